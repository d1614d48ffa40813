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
	rc=$(get rollback-rc)
	case $rc/$(current) in
	"0/$OLD" | "4/$OLD") ;; # went back before, but its end could not be written: /run was full
	*)
		rm -f "$D/rollback-rc"
		NIXOS_INSTALL_BOOTLOADER=0 "$OLD/bin/switch-to-configuration" test </dev/null 8>&-
		rc=$?
		put rollback-rc "$rc"
		went_back "$rc" || exit 1 # the unit starts again
		;;
	esac
	say "rolled back to $OLD (exit $rc)"
	finish "rolled-back $rc"
}

# went_back RC: is that exit status of the old system's activation a success?
went_back() {
	case $1/$(get attempts) in
	0/* | 4/*) ;;
	2/[23]) [ "$(current)" = "$OLD" ] ;; # a snippet of the old system that always fails
	*) false ;;
	esac
}
