# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# launch: the second half of arming, run by arm.sh from the file in /run with
# the short lock on fd 9. The deadman exists before anything else happens.
launch() {
	if [ "$ACTION" != dry-activate ] && [ -s "$STATE/pending" ]; then
		# Bounded: who sent this waits for an answer.
		timeout -k 5 30 "$SH" "$D/run.sh" repair >>"$D/log" 2>&1 9>&- || say "not all that a reboot left is as it was before" >>"$D/log"
		each "$PROFILES" look_again
	fi
	failed_before
	each "$PROFILES" hook armed
	# Nix registers a path before its files are on the disk: after a power cut
	# it would hold empty files for valid ones.
	[ "$ACTION" = dry-activate ] || each "$PROFILES" on_disk
	if [ "$MODE" = detached ]; then # no systemd on this host
		setsid "$SH" "$D/run.sh" detached >>"$D/log" 2>&1 </dev/null 9>&- &
	elif ! unit_deadman; then
		put reason "no timer for the deadman"
		finish aborted
		printf '::godwit refused 74 %s\n' "the timer of the deadman could not be made"
		exit 74
	elif [ "$MODE" = guard ]; then
		unit_apply apply || start_rollback "the activation could not be started"
	else
		unit_apply plain || start_rollback "the activation could not be started"
	fi
	exec 9>&-
	printf '::godwit fact armed %s\n' "$ID"
	follow 0 activated
}

# look_again: a link that was put right may be what tells what runs.
look_again() {
	was=$OLD OLD=$(now)
	[ "$OLD" = "$was" ] || { printf "OLD='%s'\n" "$OLD" >>"$P/env" && ln -sfn "$OLD" "$P/old"; }
}
on_disk() { sync -f "$NEW" 2>/dev/null || true; }

# detached: plain without systemd; a lost connection does not end it either.
detached() {
	trap '' HUP
	put pid "$$"
	timeout -k "$STOP" "$ACTIVATE" "$SH" "$D/run.sh" plain
	EXIT_STATUS=$? EXIT_CODE=exited SERVICE_RESULT=exit-code
	case $EXIT_STATUS in 0) SERVICE_RESULT=success ;; 124 | 137) SERVICE_RESULT=timeout ;; esac
	plain_ended
}
