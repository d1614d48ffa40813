# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# Without the guard: boot, dry-activate, and switch or test with --no-guard.

# plain: every profile is made to run, and kept at once.
plain() {
	each "$PROFILES" plain_one
	each "$PROFILES" tried_one
	put apply-rc "$(noted rc)"
}
plain_one() {
	try_one "$ACTION"
	case $ACTION in
	switch | boot)
		"${KIND}_keep" || {
			rc=$?
			say "the profile $NAME could not be set"
			put apply-rc "$rc bad"
			exit "$rc"
		}
		;;
	esac
}

# plain_late: the deadman of an unguarded activation only tidies up.
plain_late() {
	apply_stop
	[ -e "$D/final" ] || SERVICE_RESULT=killed plain_ended
}

# plain-ended: ExecStopPost. A killed `boot` leaves the profiles as they were.
plain_ended() {
	[ ! -e "$D/final" ] || return 0
	[ -e "$D/apply-result" ] || put apply-result "${SERVICE_RESULT:-} ${EXIT_CODE:-} ${EXIT_STATUS:-}"
	rc=$(get apply-rc)
	case $rc in
	*' ok') finish "done ${rc% *}" ;;
	*)
		if nothing_done; then
			each "$BACKWARDS" unset_one '' # it may have been killed before it did
			finish aborted
			return
		fi
		if [ "$ACTION" = boot ] && [ ! -e "$D/restored" ]; then
			each "$BACKWARDS" unset_one 1
		fi
		finish "failed ${rc% *}"
		;;
	esac
}
unset_one() {
	"${KIND}_unkeep" "$1"
	return 0
}
