# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
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
	[ -s "$D/reason" ] || put reason "$(overdue)"
	put phase rolling-back
	waits_end dead
	apply_stop # waits until all of it is dead
	if nothing_done; then
		say "nothing was begun: $(get reason)"
		finish aborted
		exit 0
	fi
	say "rolling back: $(get reason)"
	attempts=$(get attempts) failed=0
	# One that ended an attempt before, since it hangs, waits for the others.
	late=
	each "$BACKWARDS" back_one first
	each "$late" back_one late
	[ "$failed" = 0 ] || exit "$failed" # the unit starts again
	result=superseded
	each "$PROFILES" back_sum
	if [ "$result" = superseded ]; then
		finish superseded
	else
		say "rolled back to ${OLD:-nothing} (exit $result)"
		finish "rolled-back $result"
	fi
}

# overdue: PID 1 began this, and nobody said why.
overdue() {
	if [ -e "$D/started" ] && [ ! -e "$D/apply-result" ]; then
		echo "the activation was killed"
	elif [ ! -e "$D/apply-result" ] || [ -n "$(get phase)" ]; then
		echo "the deadline of the whole deployment passed"
	else # apply_ended was stopped in the middle
		case $(get apply-rc) in
		*' ok') echo "systemd did not set the deadline for the confirmation within ${STOP}s" ;;
		*) echo "the activation failed" ;;
		esac
	fi
}

# back_one: a kind leaves the status of what it ran in $rc, and ends with 0 when the old
# one runs again, with 9 when neither the old nor the new one runs here, with 75 when it
# did not come to it. The others are taken back whatever became of one.
back_one() { # first|late
	if untouched || [ -e "$P/back" ]; then return 0; fi
	if [ "$1" = first ] && [ -e "$P/on-its-way" ]; then
		late="$late $each_n"
		return 0
	fi
	note on-its-way 1
	rc=
	"${KIND}_back"
	back_rc=$?
	rm -f "$P/on-its-way"
	case $back_rc in
	0) note back "$rc" ;;
	9)
		say "$(now) runs here, which is neither the old nor the new system: touching nothing"
		note back superseded
		;;
	*) failed=$back_rc ;;
	esac
	[ -z "$rc" ] || put rollback-rc "$rc"
	return 0
}

# back_sum: the first status that is not 0 stands for all.
back_sum() {
	[ -e "$P/back" ] || return 0
	back=$(noted back)
	case $result/$back in
	*/superseded) ;;
	superseded/* | 0/*) result=${back:-0} ;;
	esac
}
