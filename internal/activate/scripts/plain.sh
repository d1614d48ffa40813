# shellcheck shell=sh disable=SC2034,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# Without the guard: boot, dry-activate, and switch or test with --no-guard.

# plain: the profile first, then the action, as nixos-rebuild does it.
plain() {
	switch_wait "$(turn_until)" || { # before the profile is set
		not_our_turn
		exit 75
	}
	case $ACTION in
	switch | boot) profile_set "$TOPLEVEL" || {
		put started 1
		say "the profile could not be set"
		profile_back
		put apply-rc "1 bad"
		exit 1
	} ;;
	esac
	run_new "$APPLY_ACTION" || {
		profile_back
		exit 75
	}
	rc=$switch_rc
	verdict=bad
	case $ACTION/$rc in
	switch/0 | test/0) ! new_runs || verdict=ok ;;
	*/0) verdict=ok ;;
	*/4) ! tolerable || verdict=ok ;;
	esac
	if [ "$ACTION/$verdict" = boot/bad ]; then
		say "setting the boot default failed (exit $rc): going back"
		profile_back
		boot_back "$COMMIT_MAX"
		put restored 1
	fi
	put apply-rc "$rc $verdict"
	[ "$verdict" != ok ] || return 0
	declined
	exit "$((rc == 0 ? 1 : rc))"
}

# plain_late: the deadman of an unguarded activation only tidies up.
plain_late() {
	systemctl stop "godwit-apply-$ID.service" 2>/dev/null
	[ -e "$D/final" ] || SERVICE_RESULT=killed plain_ended
}

# plain-ended: ExecStopPost. A killed `boot` leaves the profile as it was.
plain_ended() {
	[ ! -e "$D/final" ] || return 0
	[ -e "$D/apply-result" ] || put apply-result "${SERVICE_RESULT:-} ${EXIT_CODE:-} ${EXIT_STATUS:-}"
	rc=$(get apply-rc)
	case $rc in
	*' ok') finish "done ${rc% *}" ;;
	*)
		if [ ! -e "$D/started" ] || [ -e "$D/untouched" ]; then
			profile_back # it may have been killed before it did
			finish aborted
			return
		fi
		if [ "$ACTION" = boot ] && [ ! -e "$D/restored" ]; then
			profile_back
			boot_back "$COMMIT_MAX"
		fi
		finish "failed ${rc% *}"
		;;
	esac
}
