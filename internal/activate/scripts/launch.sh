# launch: the second half of arming, run by arm.sh from the file in /run with
# the short lock on fd 9. The deadman exists before anything else happens.
launch() {
	[ "$ACTION" = dry-activate ] || repair
	if [ "$MODE" = guard ]; then
		unit_deadman || {
			put reason "no timer for the deadman"
			finish aborted
			printf '::godwit refused 74 %s\n' "systemd-run could not create the deadman timer"
			exit 74
		}
		unit_apply apply || start_rollback "the activation could not be started"
	elif [ "$MODE" = plain ]; then
		unit_apply plain || {
			finish aborted
			printf '::godwit refused 74 %s\n' "systemd-run could not create the unit for the activation"
			exit 74
		}
	else # detached: no systemd-run on this host
		setsid "$SH" "$D/run.sh" detached >>"$D/log" 2>&1 </dev/null 9>&- &
	fi
	exec 9>&-
	printf '::godwit fact armed %s\n' "$ID"
	follow 0 activated
}

# detached: plain without systemd; a lost connection does not end it either.
detached() {
	trap '' HUP
	"$SH" "$D/run.sh" plain
	EXIT_STATUS=$? EXIT_CODE=exited SERVICE_RESULT=exit-code
	[ "$EXIT_STATUS" != 0 ] || SERVICE_RESULT=success
	plain_ended
}
