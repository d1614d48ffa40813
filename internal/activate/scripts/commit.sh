# shellcheck shell=sh disable=SC2034,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# Making the new system permanent.

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
	if [ "$(current)" != "$NEW" ]; then
		say "$(current) runs here, which is not the system to confirm: touching nothing"
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
		begun=$(uptime_s)
		profile_set "$TOPLEVEL" && boot_loader "$TOPLEVEL" "$COMMIT_MAX"
		rc=$?
		why="exit $rc"
		[ "$(($(uptime_s) - begun))" -lt "$COMMIT_MAX" ] || why="it took longer than ${COMMIT_MAX}s"
		[ "$rc" != 75 ] || why="another switch-to-configuration did not end within ${COMMIT_MAX}s"
		if [ "$rc" != 0 ]; then
			commit_failed "the boot default could not be set ($why)" "$rc"
			exit 0
		fi
	fi
	finish committed
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

# commit_failed REASON RC: the profile as before, then the system as before:
# a host that runs what it would not boot is neither old nor new.
commit_failed() {
	say "$1: going back"
	profile_back
	case $2 in
	137 | 124) boot_back 45 ;; # it hung, so it most likely hangs again
	*) boot_back "$COMMIT_MAX" ;;
	esac
	put commit-failed "$2"
	put reason "$1"
	start_rollback "$1"
}
