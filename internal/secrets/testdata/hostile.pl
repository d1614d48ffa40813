#!/usr/bin/perl
# hostile.pl DIR: what the owner of DIR, or of one above it, can do while root puts a
# secret there: exchanges names with links as fast as it can, and reads what it can.
# Runs until DIR.stop is there. Prints "read NAME" for a secret that was not to be read.
use strict;
use warnings;
my $dir    = shift;
my $parent = $dir =~ s{/[^/]*$}{}r;
my $side   = "$parent.side";           # its own folder, on the same file system
mkdir $side;
my %links = (file => "/root/canary", dir => "/root/canaries", self => $side, none => "/root/none", secret => "/root/secret");
symlink $links{$_}, "$side/$_" for keys %links;
mkdir "$side/mine";
system "mkfifo", "$side/fifo";
my @decoys = map { "$side/$_" } keys(%links), "mine", "fifo";
my ($renameat2, $here, $exchange) = (316, -100, 2); # x86_64 Linux
sub swap { syscall $renameat2, $here, $_[0], $here, $_[1], $exchange }
symlink "/root/canaries", "$parent/.way"; # beside DIR: who does not own DIR cannot move it further
my $n = 0;
while (!-e "$dir.stop") {
	$n++;
	my $decoy = $decoys[rand @decoys];
	# the way: for a moment another one, now and then
	if ($n % 7 == 0) { swap($dir, "$parent/.way"); swap($dir, "$parent/.way"); }
	opendir my $d, $dir or next;
	my @names = grep { !/^\.\.?$/ } readdir $d;
	closedir $d;
	for my $name (@names) {
		look("$dir/$name");
		if (opendir my $inner, "$dir/$name") { look("$dir/$name/$_") for grep { !/^\.\.?$/ } readdir $inner; closedir $inner; }
		if ($name =~ /^\.godwit/ && rand() < 0.5) {
			swap("$dir/$name", $decoy);
			swap("$dir/$name", $decoy) if rand() < 0.7;
		} elsif (rand() < 0.2) {
			swap("$dir/$name", $decoy);
		}
	}
}
print "rounds $n\n";

sub look {
	my $file = shift;
	return if -p $file || -d _;
	open my $f, "<", $file or return;
	my $text = <$f> // "";
	print "read $file\n" if $text =~ /ROOT ONLY/;
}
