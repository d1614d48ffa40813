# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# What had failed already: from one deployment to the next.

nixos_armed() {
	{ read -r system && [ "$system" = "$OLD" ] && cat >"$D/parts-before"; } 2>/dev/null <"$STATE/failed-parts"
	if [ "$MODE" = detached ] || ! loginctl list-users --no-legend >"$D/users" 2>/dev/null; then
		rm -f "$D/users" # not known
		return 0
	fi
	while read -r uid name _; do
		(! user_answers "$uid" || echo "$name" >>"$D/users-before") &
	done <"$D/users"
	wait
}
# user_answers UID: over the bus that the user's part of a switch needs, asked as
# that user: nothing of root's is handed to a socket of somebody else.
user_answers() {
	gid=$(id -g "$1") && timeout -k 1 3 setpriv --reuid "$1" --regid "$gid" --clear-groups env -i "PATH=$PATH" "XDG_RUNTIME_DIR=/run/user/$1" \
		busctl --user status org.freedesktop.systemd1 </dev/null >/dev/null 2>&1 9>&-
}

nixos_ended() { # RESULT
	case $ACTION in dry-activate | boot) return 0 ;; esac
	case $1 in
	rolled-back*) remember "$D/parts-old" ;;
	committed | done*) remember "$D/parts-new" "$D/parts-known" ;;
	esac
	return 0
}
# remember FILE...: the parts that failed in the run of the system that runs now,
# for the next deployment.
remember() {
	(
		umask 022
		[ ! -e "$STATE/failed-parts" ] || rm -f "$STATE/failed-parts"
		parts=
		for file; do [ ! -s "$file" ] || parts=some; done
		[ -z "$parts" ] || parts=$(cat "$@" 2>/dev/null | sed 's/: .*//')
		[ -z "$parts" ] || printf '%s\n' "$(nixos_now)" "$parts" >"$STATE/failed-parts"
	)
}
