# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# The end of an attempt to go back, and the next one.

# rollback-ended: ExecStopPost, after every attempt.
rollback_ended() {
	[ ! -e "$D/final" ] || return 0
	if [ "$(decided)" = commit ] && [ ! -e "$D/commit-failed" ]; then
		commit_ended
		return
	fi
	[ -L "$D/decision" ] || return 0
	attempts=$(get attempts)
	attempts=$((${attempts:-0} + 1))
	put attempts "$attempts"
	say "attempt $attempts to roll back ended: ${SERVICE_RESULT:-?} ${EXIT_CODE:-} ${EXIT_STATUS:-}"
	if [ "$attempts" -lt 3 ]; then
		# A stop or SIGTERM is success for systemd: it would not start again.
		[ "${SERVICE_RESULT:-}" != success ] || try 6 unit_again
		return 0
	fi
	if each "$PROFILES" returned; then # and then it was killed, three times
		say "rolled back to $OLD (its own activation never ended: ${EXIT_STATUS:-?})"
		finish "rolled-back ${EXIT_STATUS:-killed}"
		return 0
	fi
	finish rollback-failed
	if [ "$LAST_RESORT" = reboot ]; then
		say "last resort: rebooting into the boot default"
		try 4 systemctl reboot
	fi
}

# returned: does the old one run again, whatever became of who saw to it?
returned() { untouched || [ -e "$P/back" ] || "${KIND}_returned"; }

again() {
	sleep 3
	start_rollback "$(get reason)"
}
