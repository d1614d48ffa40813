# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# A nix-darwin system. Its activate makes it the running one; what starts it at boot
# reads the profile, which is set when it is kept.

# darwin_run SYSTEM: older ones have a part of their own for a user, the owner.
darwin_run() {
	env -i HOME=/var/root USER=root LOGNAME=root "PATH=$PATH" "$1/activate" </dev/null 8>&- 9>&- || return
	if [ -n "$OWNER" ] && [ -x "$1/activate-user" ] && ! grep -q deprecated "$1/activate-user"; then
		as_owner "$1/activate-user"
	fi
}

darwin_try() { # ACTION
	rc=0
	begin
	[ "$1" != boot ] || return 0
	darwin_run "$NEW" || rc=$?
	if [ "$rc" != 0 ] && [ "$MODE" != guard ] && [ -n "$OLD" ]; then
		say "the activation failed: going back"
		darwin_run "$OLD" && put restored 1
	fi
	return "$rc"
}

darwin_keep() {
	darwin_root link_set "$NEW"
}
darwin_unkeep() { darwin_root link_back; }

darwin_back() {
	case $(darwin_now) in "$OLD" | "$NEW") ;; *) return 9 ;; esac
	rc=0
	darwin_root link_back || return 1
	[ -z "$OLD" ] || darwin_run "$OLD" || rc=$?
	return "$rc"
}
darwin_returned() { false; }

# darwin_root FUNCTION...: the profile of the system is root's, whoever the owner is.
darwin_root() {
	darwin_owner=$OWNER OWNER=
	"$@"
	darwin_rc=$?
	OWNER=$darwin_owner
	return "$darwin_rc"
}
