# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# The supervisor: transient units of systemd. They belong to PID 1, so nothing that
# happens to the connection or to the deployer reaches them. Output goes to a file,
# never to the connection: a program that writes to a dead connection dies of it.

# run_unit NAME VERB [systemd-run options]: runs a verb of this script.
run_unit() {
	unit_name=$1 unit_verb=$2
	shift 2
	case $SCOPE/$unit_name in
	--user/* | */godwit-confirm | */godwit-lease) ;; # a user's own may not
	*/godwit-apply) set -- -p OOMScoreAdjust=-500 "$@" ;;
	*) set -- -p OOMScoreAdjust=-900 "$@" ;;
	esac
	systemd-run ${SCOPE:+"$SCOPE"} --quiet --collect --no-ask-password --unit="$unit_name-$ID" \
		-p "StandardOutput=append:$D/log" -p "StandardError=append:$D/log" \
		-p IgnoreOnIsolate=yes -p StartLimitIntervalSec=0 \
		"$@" "$SH" "$D/run.sh" "$unit_verb" </dev/null
}

# The deadman: a timer of its own for the service that rolls back. The timer
# is monotonic and says its accuracy (the default is a minute).
unit_deadman() {
	unit_rollback --on-active="${DEADMAN}s" --timer-property=AccuracySec=500ms \
		--timer-property=RemainAfterElapse=no --timer-property=IgnoreOnIsolate=yes
}
unit_rollback() {
	run_unit godwit-rollback rollback "$@" -p Type=exec -p Restart=on-failure -p RestartSec=3 \
		-p "RuntimeMaxSec=$ROLLBACK_MAX" -p "TimeoutStopSec=$STOP" \
		-p "ExecStopPost=$SH $D/run.sh rollback-ended"
}

# rollback_begin: the unit that rolls back, made anew when it is gone.
rollback_begin() {
	systemctl start --no-block "godwit-rollback-$ID.service" 2>/dev/null ||
		try 6 unit_rollback 2>/dev/null ||
		try 4 systemctl start --no-block "godwit-rollback-$ID.service"
}

# unit_again: another unit of the same kind, when this one will not come back.
unit_again() {
	systemd-run ${SCOPE:+"$SCOPE"} --quiet --collect --no-block --unit="godwit-again-$ID-$attempts" -p Type=exec \
		-p "RuntimeMaxSec=60" "$SH" "$D/run.sh" again </dev/null
}

# OnFailure: PID 1 itself starts the rollback when somebody killed the
# activation together with its ExecStopPost.
unit_apply() {
	run_unit godwit-apply "$1" --no-block -p Type=exec -p "OnFailure=godwit-rollback-$ID.service" -p "RuntimeMaxSec=$ACTIVATE" \
		-p "TimeoutStopSec=$STOP" -p "ExecStopPost=$SH $D/run.sh $1-ended"
}
apply_stop() { systemctl stop "godwit-apply-$ID.service" 2>/dev/null; }

# The short deadline between activation and confirmation. Its service only
# starts the unit that rolls back, which is bounded and tries again.
unit_confirm() {
	run_unit godwit-confirm expire --on-active="${CONFIRM}s" --timer-property=AccuracySec=250ms \
		--timer-property=RemainAfterElapse=no --timer-property=IgnoreOnIsolate=yes \
		-p Type=exec -p RuntimeMaxSec=30 ||
		systemctl is-active --quiet "godwit-confirm-$ID.timer"
}

# The silence that is borne while it waits (lease.sh). Its lines in the journal
# are left out: it would fill it.
unit_lease() {
	run_unit godwit-lease tick --on-active="${TICK}s" --on-unit-active="${TICK}s" --timer-property=AccuracySec=250ms \
		--timer-property=RemainAfterElapse=no --timer-property=IgnoreOnIsolate=yes \
		-p Type=exec -p RuntimeMaxSec=30 -p LogLevelMax=notice ||
		systemctl is-active --quiet "godwit-lease-$ID.timer"
}

unit_commit() {
	run_unit godwit-commit commit --no-block -p Type=exec -p "OnFailure=godwit-rollback-$ID.service" -p Restart=on-failure -p RestartSec=1 \
		-p "RuntimeMaxSec=$((2 * COMMIT_MAX + 60))" -p "TimeoutStopSec=$COMMIT_MAX" \
		-p "ExecStopPost=$SH $D/run.sh commit-ended"
}

# waits_end [dead]: the timers that wait for the confirmation; dead, if the one
# that fires once must not fire any more when this returns. One by one: newer
# systemctl stops nothing when one of the units is unknown, and says so with 5. Once
# in a script that has them ended is enough: who says dead knows that what sets them
# may still run.
waits_end() {
	[ -z "${waits_ended:-}" ] || return 0
	waits_ended=1
	for waits in confirm lease; do
		systemctl stop --no-block "godwit-$waits-$ID.timer" 2>/dev/null
		case $? in 0 | 5) ;; *) waits_ended= ;; esac
	done
	[ "${1:-}" != dead ] || {
		waits_ended=
		systemctl stop "godwit-confirm-$ID.timer" 2>/dev/null
	}
}
deadman_end() { systemctl stop --no-block "godwit-rollback-$ID.timer" 2>/dev/null; }
