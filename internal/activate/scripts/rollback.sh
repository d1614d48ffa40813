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
	waits_end dead
	systemctl stop "godwit-apply-$ID.service" 2>/dev/null # waits until all of it is dead
	if [ ! -e "$D/started" ] || [ -e "$D/untouched" ]; then
		say "nothing was begun: $(get reason)"
		finish aborted
		exit 0
	fi
	say "rolling back: $(get reason)"
	run_old
	rc=$switch_rc
	put rollback-rc "$rc"
	case $rc/$(get attempts) in
	0/* | 4/*) [ "$(current)" = "$OLD" ] || exit 1 ;;
	*/2) old_runs || exit 1 ;; # it does its work, and never ends well
	*) exit 1 ;;               # the unit starts again
	esac
	say "rolled back to $OLD (exit $rc)"
	finish "rolled-back $rc"
}

# run_old: once nobody else switches. Half of the unit's time is left for the
# switch itself; a lock that is held longer than the other half takes an attempt.
run_old() {
	old_until=$(($(uptime_s) + ROLLBACK_MAX / 2))
	while :; do
		if ! switch_wait "$old_until"; then
			put held "$switch_held"
			exit 75
		fi
		case $(current) in
		"$OLD" | "$NEW") ;;
		*)
			say "$(current) runs here, which is neither the old nor the new system: touching nothing"
			finish superseded
			exit 0
			;;
		esac
		rm -f "$D/held"
		[ -s "$D/mark" ] || put mark "$(system_mark)"
		switch_run "$OLD" test
		switch_refused || break
		put held "${switch_held:-unknown}"
		[ "$(uptime_s)" -lt "$old_until" ] || exit 75
		switch_again
	done
	switch_parts >"$D/parts-old"
}

# old_runs: the old system's activation came to its end since the way back began,
# whatever the status was.
old_runs() { [ -s "$D/mark" ] && [ "$(current)" = "$OLD" ] && [ "$(system_mark)" != "$(get mark)" ]; }
