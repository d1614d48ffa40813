# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# What a Mac lacks of what the scripts use, by its own perl and directory service. It
# stands behind what it replaces. GNU's programs come out of what is deployed (places.sh).
mac() {
	flock() { # [-w SECONDS] DESCRIPTOR
		mac_wait=600
		[ "$1" != -w ] || { mac_wait=$2 && shift 2; }
		perl -e 'use Fcntl ":flock"; alarm shift; open(my $f, ">>&=", shift) or exit 1; flock($f, LOCK_EX) or exit 1' "$mac_wait" "$1"
	}
	setsid() { perl -e 'use POSIX; POSIX::setsid(); exec @ARGV' -- "$@"; }
	setpriv() { # --reuid ID --regid ID --init-groups COMMAND...
		mac_user=$2
		shift 5
		sudo -u "#$mac_user" -- "$@"
	}
	# launchd knows of no units that failed, and no jobs are waited for.
	units_failed() { true; }
	jobs_run() { true; }
	alive() { # ID
		for mac_job in deadman rollback apply commit confirm lease; do
			! launchctl print "system/godwit-$mac_job-$1" 2>/dev/null | grep -q 'state = running' || return 0
		done
		{ read -r pid <"$RUN/$1/pid" && kill -0 "$pid"; } 2>/dev/null
	}
	uptime_look() { uptime_now=$(perl -e 'use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC); print int(clock_gettime(CLOCK_MONOTONIC)), "\n"'); }
	home_of() { dscl . -read "/Users/$1" NFSHomeDirectory 2>/dev/null | sed 's/^[^ ]* //'; }
}
[ "$_kernel" != Darwin ] || mac
