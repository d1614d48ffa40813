# shellcheck shell=sh disable=SC2034,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# Back to what ran when the deployment was armed.

# rollback: the service behind the deadman; everybody else starts it too.
rollback() {
	if [ -e "$D/final" ]; then
		release
		exit 0
	fi
	if [ "$MODE" != guard ]; then
		plain_late
		exit 0
	fi
	if [ "$(decide rollback)" = commit ] && [ ! -e "$D/commit-failed" ]; then
		(commit) # whoever confirmed may have died in the middle: finish it
		[ ! -e "$D/final" ] || exit 0
		[ -e "$D/commit-failed" ] || exit 1
	fi
	exec 8>"$D/act.lock"
	flock 8 || exit 75
	[ ! -e "$D/final" ] || exit 0
	rm -f "$D/reserve" # room on a full /run for the old system's own files
	put phase rolling-back
	if [ -e "$D/started" ] && [ ! -e "$D/apply-result" ]; then
		[ -s "$D/reason" ] || put reason "the activation was killed"
	fi
	[ -s "$D/reason" ] || put reason "the deadline of the whole deployment passed"
	say "rolling back: $(get reason)"
	systemctl stop "godwit-confirm-$ID.timer" 2>/dev/null
	systemctl stop "godwit-apply-$ID.service" 2>/dev/null # waits until all of it is dead
	if [ ! -e "$D/started" ] || [ -e "$D/untouched" ]; then
		finish aborted
		exit 0
	fi
	case $(current) in
	"$OLD" | "$NEW") ;;
	*)
		say "$(current) runs here, which is neither the old nor the new system: touching nothing"
		finish superseded
		exit 0
		;;
	esac
	NIXOS_INSTALL_BOOTLOADER=0 "$OLD/bin/switch-to-configuration" test </dev/null 8>&-
	rc=$?
	put rollback-rc "$rc"
	case $rc/$(get attempts) in
	0/* | 4/*) ;;
	2/2) [ "$(current)" = "$OLD" ] || exit 1 ;; # a snippet of the old system that always fails
	*) exit 1 ;;                               # the unit starts again
	esac
	say "rolled back to $OLD (exit $rc)"
	finish "rolled-back $rc"
}

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
	finish rollback-failed
	if [ "$LAST_RESORT" = reboot ]; then
		say "last resort: rebooting into the boot default"
		try 4 systemctl reboot
	fi
}

# unit_again: another unit of the same kind, when this one will not come back.
unit_again() {
	systemd-run --quiet --collect --no-block --unit="godwit-again-$ID-$attempts" -p Type=exec \
		-p "RuntimeMaxSec=60" "$SH" "$D/run.sh" again </dev/null
}
again() {
	sleep 3
	start_rollback "$(get reason)"
}
