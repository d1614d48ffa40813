# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# home-manager's home of a user. Its own profile is set when it is kept: a newer
# activate leaves it alone when it is asked to, an older one sets it by itself.

home_run() { # GENERATION [ASSIGNMENT...]
	home_gen=$1
	shift
	set -- "$@" "$home_gen/activate"
	[ ! -e "$home_gen/gen-version" ] || set -- "$@" --driver-version 1
	as_owner env "$@"
}

home_try() { # ACTION
	rc=0
	case $1 in
	dry-activate) home_run "$NEW" DRY_RUN=1 || rc=$? ;;
	boot) begin ;; # nothing of a home is begun by a boot
	*)
		link_note && pend "$NEW" || return 1
		as_owner mkdir -p "${LINK%/*}" || return 1
		begin
		home_run "$NEW" || rc=$?
		;;
	esac
	return "$rc"
}

home_keep() {
	[ "$(points "$LINK")" = "$NEW" ] || link_set "$NEW"
}
home_unkeep() { link_back; }

home_back() {
	case $(home_now) in "$OLD" | "$NEW") ;; *) return 9 ;; esac
	rc=0
	link_back || return 1 # first, or an activate that sets it makes another generation
	if [ -n "$OLD" ]; then home_run "$OLD"; else home_leave; fi || rc=$?
	link_back && [ "$rc" = 0 ]
}

# home_leave: there was no home before, so the links into the new one go away.
home_leave() {
	say "there was no home of $OWNER before: the links into the new one are removed"
	# shellcheck disable=SC2016 # for the inner shell
	as_owner "$SH" -c 'cd "$1/home-files/" 2>/dev/null && find . ! -type d | while IFS= read -r file; do
	file=$HOME/${file#./}
	[ ! -L "$file" ] || [ "$(readlink -f "$file")" != "$(readlink -f "$1/home-files/${file#"$HOME"/}")" ] || rm -f "$file"
done
rm -f "$HOME/.local/state/home-manager/gcroots/current-home"
nix-env -e home-manager-path >/dev/null 2>&1
systemctl --user daemon-reload >/dev/null 2>&1
true' sh "$NEW"
}
home_returned() { false; }
