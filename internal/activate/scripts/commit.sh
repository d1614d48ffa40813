# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# Making what runs permanent.

# commit: started over a new connection. A second run goes on where a first
# one was cut. Ignores SIGTERM: an orderly shutdown waits for it.
commit() {
	trap '' TERM HUP INT
	exec 8>"$D/act.lock"
	flock 8 || exit 75
	if [ -e "$D/final" ]; then
		release
		exit 0
	fi
	[ "$(decide commit)" = commit ] || {
		say "too late to confirm: the rollback was decided first"
		exit 0
	}
	[ ! -e "$D/commit-failed" ] || exit 0
	standing=
	each "$PROFILES" stands
	if [ -z "$standing" ]; then
		finish superseded
		exit 0
	fi
	waits_end
	put phase committing
	case $(get commits) in
	'' | [12]) ;;
	*) # and then going back was killed, too
		commit_failed "the commit did not end in three attempts" 124
		exit 0
		;;
	esac
	if [ "$ACTION" = switch ]; then
		uptime_look
		begun=$uptime_now why=
		each "$PROFILES" keep_one
		rc=$?
		uptime_look
		[ "$((uptime_now - begun))" -lt "$COMMIT_MAX" ] || : "${why:=it took longer than ${COMMIT_MAX}s}"
		if [ "$rc" != 0 ]; then
			commit_failed "the boot default could not be set (${why:-exit $rc})" "$rc"
			exit 0
		fi
	fi
	finish committed
}

# stands: is it what runs? What somebody else made run meanwhile is left alone.
stands() {
	if [ "$(now)" = "$NEW" ]; then
		standing=1
	else
		say "$(now) runs here, which is not the system to confirm: touching nothing"
		note superseded 1
	fi
}
# keep_one: a kind that has a better word than its status leaves it in $why.
keep_one() {
	[ -e "$P/superseded" ] || "${KIND}_keep"
}

# commit-ended: ExecStopPost, after every attempt.
commit_ended() {
	[ ! -e "$D/final" ] && [ "$(decided)" = commit ] && [ ! -e "$D/commit-failed" ] || return 0
	commits=$(get commits)
	commits=$((${commits:-0} + 1))
	put commits "$commits"
	say "attempt $commits to commit ended: ${SERVICE_RESULT:-?} ${EXIT_CODE:-} ${EXIT_STATUS:-}"
	[ "$commits" -lt 3 ] || commit_failed "the commit did not end in three attempts" 124
}

# commit_failed REASON RC: the profiles as before, then the system as before:
# a host that runs what it would not boot is neither old nor new.
commit_failed() {
	say "$1: going back"
	each "$BACKWARDS" unkeep_one "$2"
	put commit-failed "$2"
	put reason "$1"
	start_rollback "$1"
}
unkeep_one() { # RC
	[ ! -e "$P/link-old" ] || "${KIND}_unkeep" "$1" # what keeps begins with the link
	return 0
}
