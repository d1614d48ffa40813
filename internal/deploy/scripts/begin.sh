# begin.sh MARK STORE ID MODE ROOT PATH...: before PATHs are copied to this host.
# It is run behind the definitions of roots (begin.go), boot_look and room_of.
#
# Nix syncs its database and not the files, so that a host that loses power while
# paths are copied to it may hold empty files for valid ones. MARK is there as
# long as a copy goes on, and names the boot that it began in. When it names
# another boot, a copy was cut short, which is only said, unless MODE is "mend":
# whatever came into the store since is verified, and what is damaged goes away,
# with what refers to it. No other process may hold the paths then.
mark=$1
store=$2
id=$3
mode=$4
shift 4
boot_look || :
boot=${boot_is:-none}
was='' whose=''
if [ -e "$mark" ]; then read -r was whose <"$mark" || :; fi
[ -n "$whose" ] || was='' # godwit before this named no boot on a Mac, and left its mark

# there tells whether nothing is to be copied: a valid path has all that it refers to.
there() {
	[ "$mode" != mend ] && [ ! -e "$mark" ] || return
	shift
	for p; do
		[ -e "$p" ] || [ -L "$p" ] || return
	done
	nix-store --check-validity "$@" 2>/dev/null
}

# new prints the valid paths that are younger than the mark.
new() {
	nix-store --verify >/dev/null 2>&1 # forgets paths that are not there at all
	find "$store" -mindepth 1 -maxdepth 1 -cnewer "$mark" ! -name '.*' ! -name '*.lock' ! -name '*.lock.tmp' >"$tmp/new" || return
	xargs nix-store --check-validity --print-invalid <"$tmp/new" >"$tmp/invalid" 2>/dev/null
	grep -vxF -f "$tmp/invalid" "$tmp/new"
	return 0
}

# damaged prints those of the paths in $tmp/valid whose contents are not what Nix
# registered. One process tells of all, unless one of them cannot be read at all.
damaged() {
	xargs nix-store --verify-path <"$tmp/valid" >/dev/null 2>"$tmp/said" && return
	if grep -q "^path '.*' was modified!" "$tmp/said" && ! grep -q '^error' "$tmp/said"; then
		sed -n "s/^path '\(.*\)' was modified!.*/\1/p" "$tmp/said"
		return
	fi
	while IFS= read -r p; do
		nix-store --verify-path "$p" >/dev/null 2>&1 || echo "$p"
	done <"$tmp/valid"
}

mend() {
	new >"$tmp/valid" || return
	[ -s "$tmp/valid" ] || return 0
	damaged >"$tmp/damaged"
	[ -s "$tmp/damaged" ] || return 0
	xargs nix-store --query --referrers-closure <"$tmp/damaged" >"$tmp/away" || return
	if xargs nix-store --delete <"$tmp/away" >/dev/null 2>"$tmp/why"; then
		sed 's/^/mended /' "$tmp/damaged"
	else
		sed 's/^/damaged /' "$tmp/damaged"
		return 1
	fi
}

ok=yes
if there "$@"; then
	# The roots at once, and no mark: that spares another round trip.
	if roots "$@"; then echo rooted && ok=; fi
elif [ -n "$was" ] && [ "$was" != "$boot" ] && [ "$mode" != mend ]; then
	echo cut
	ok=
elif [ -n "$was" ] && [ "$was" != "$boot" ]; then
	tmp=$(umask 077 && mkdir -p /run/godwit && own_folder /run/godwit && mktemp -d /run/godwit/mend.XXXXXX) || exit
	trap 'rm -rf "$tmp"' EXIT
	if ! mend; then
		ok= # the mark stays: the next copy tries again
		[ -s "$tmp/damaged" ] || echo unverified
	fi
elif [ -n "$was" ]; then
	sync -f "$store" 2>/dev/null || sync # another copy is under way, or died: what it brought is safe from here
fi
if [ -n "$ok" ]; then
	# fsync after the rename takes the name to the disk, too
	if echo "$boot $id" >"$mark.new"; then mv -f "$mark.new" "$mark" && sync "$mark" 2>/dev/null; else rm -f "$mark.new"; fi
fi
echo "free $(room_of "$store")"
