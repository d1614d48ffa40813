# shellcheck shell=sh disable=SC2034,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# The activation, and what follows from the way it ended.

# apply: runs in its own unit. Only `test` is asked of the new system, so
# until the commit every reboot and power cut leads back to the old one.
apply() {
	if [ "$(decided)" = rollback ]; then
		say "too late: the rollback was decided before the activation began"
		exit 3
	fi
	run_new "$APPLY_ACTION" || exit
	rc=$switch_rc
	verdict=bad
	case $rc in
	0) verdict=ok ;;
	4) ! tolerable || verdict=ok ;; # something failed
	100) # init's interface changed: told before anything is stopped
		cmp -s "$NEW/init-interface-version" "$OLD/init-interface-version" || put untouched "$rc"
		;;
	esac
	put apply-rc "$rc $verdict" || exit 73
	[ "$verdict" = ok ] || exit "$rc"
}

# run_new ACTION: once it is our turn. It fails when that does not come, and
# leaves why in $D/untouched.
run_new() {
	put waiting 1
	new_until=$(turn_until)
	while :; do
		switch_wait "$new_until" || break
		if [ "$MODE" = guard ] && [ "$(current)" != "$OLD" ]; then
			put untouched "switched $(current)"
			put reason "another system was switched to before this one could be"
			return 75
		fi
		put started 1 || exit 73
		switch_run "$NEW" "$1"
		if cut_short "$NEW"; then
			say "a login that ended meanwhile ended the switch, too: once more"
			switch_run "$NEW" "$1"
		fi
		switch_refused || return 0
		[ "$(uptime_s)" -lt "$new_until" ] || break
		switch_again
	done
	not_our_turn
	return 75
}

# At the beginning there is no hurry: somebody else's switch changes what this
# deployment was planned for, so it is waited for only while it may be a short one.
turn_until() { echo "$(($(uptime_s) + (ACTIVATE < 60 ? ACTIVATE / 4 : 15)))"; }
not_our_turn() {
	put untouched "locked $switch_held"
	put reason "another switch-to-configuration is running on the host"
}

# cut_short SYSTEM: it stopped at the users' part, after the activation script and
# before units were restarted: a session of somebody, such as the deployer, ended
# while it was being asked about. The lists in /run/nixos tell the next run the rest.
cut_short() {
	[ "$switch_rc" != 0 ] && [ "$(current)" = "$1" ] && switch_words | tail -c 4096 |
		grep -q '^Error: Failed to \(get GID\|get runtime directory\|spawn user activation\|run user activation\) for \|^Unable to list users with logind'
}

# apply-ended: ExecStopPost, after success, failure, time-out and SIGKILL.
# A stop or SIGTERM counts as success for systemd: only apply-rc tells.
apply_ended() {
	put apply-result "${SERVICE_RESULT:-} ${EXIT_CODE:-} ${EXIT_STATUS:-}"
	[ "$(decided)" != rollback ] || return 0 # the rollback waits for our end
	case ${SERVICE_RESULT:-}/$(get apply-rc) in
	success/*' ok')
		put activated-at "$(uptime_s)"
		if try 6 unit_confirm && { [ "$TICKS" = 0 ] || try 6 unit_lease; } && put phase activated; then
			say "activated; goes back in $(left)s unless it is reached and confirmed"
			return 0
		fi
		start_rollback "the deadline for the confirmation could not be set"
		;;
	success/*) start_rollback "the activation was stopped" ;;
	timeout/*) start_rollback "the activation took longer than ${ACTIVATE}s" ;;
	*/[0-9]*) start_rollback "the activation failed" ;;
	*) start_rollback "the activation was killed" ;;
	esac
	put phase failed
}

# expire: nobody confirmed in time.
expire() {
	[ ! -e "$D/final" ] || return 0
	[ "$(decided)" != commit ] || return 0
	start_rollback "not confirmed within ${CONFIRM}s"
}
