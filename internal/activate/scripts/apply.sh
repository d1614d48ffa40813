# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# The activation, and what follows from the way it ended.

# apply: runs in its own unit. A kind that boots is only asked to run now, so until
# the commit every reboot and power cut leads back to the old system.
apply() {
	if [ "$(decided)" = rollback ]; then
		say "too late: the rollback was decided before the activation began"
		exit 3
	fi
	each "$PROFILES" try_one "$APPLY_ACTION"
	each "$PROFILES" tried_one
	put apply-rc "$(noted rc)" || exit 73
}

# try_one ACTION: a profile that does not come to run ends the activation. Its status
# is left in $rc by its kind; there is none when nothing was run.
try_one() {
	rc=
	[ -z "$MANY" ] || say "profile $NAME"
	if "${KIND}_try" "$1"; then
		note rc "$rc ok" || exit 73
		return 0
	fi
	[ -z "$MANY" ] || put failed "$NAME"
	[ -z "$rc" ] || put apply-rc "$rc bad" || exit 73
	[ "$rc" != 0 ] || rc=1
	exit "${rc:-75}"
}

# tried_one: what a kind has left to do when all of them run.
tried_one() {
	rc=0
	hook tried || {
		[ -z "$MANY" ] || put failed "$NAME"
		put apply-rc "$rc bad" || exit 73
		exit "$rc"
	}
}

# apply-ended: ExecStopPost, after success, failure, time-out and SIGKILL.
# A stop or SIGTERM counts as success for systemd: only apply-rc tells.
apply_ended() {
	put apply-result "${SERVICE_RESULT:-} ${EXIT_CODE:-} ${EXIT_STATUS:-}"
	[ "$(decided)" != rollback ] || return 0 # the rollback waits for our end
	case ${SERVICE_RESULT:-}/$(get apply-rc) in
	success/*' ok')
		uptime_look
		put activated-at "$uptime_now"
		if try 6 unit_confirm && { [ "$TICKS" = 0 ] || try 6 unit_lease; }; then
			# Before the phase: who follows the log reads no further than that.
			left
			say "activated; ${KEEP:-goes back} in ${left}s unless it is reached and confirmed"
			! put phase activated || return 0
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
	unconfirmed "not confirmed within ${CONFIRM}s"
}

# unconfirmed REASON: back to what ran before, or, with KEEP, what runs is kept
# without a word from the deployer. Units that failed since then speak against it.
unconfirmed() {
	if [ -z "$KEEP" ] || ! newly_failed; then
		start_rollback "$1"
	elif [ -s "$D/failed-new" ]; then
		start_rollback "units failed after the activation"
	else
		say "$1: kept anyway"
		unit_commit 2>/dev/null
	fi
}
