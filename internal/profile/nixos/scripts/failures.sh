# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# What failed in a switch besides units: parts that no unit stands for. They have
# names, too, and what had failed before, or may fail, does not take the host back.

# switch_parts: what the last run says failed, besides failed units. What a
# user's own part says of its units comes before the line about that user.
switch_parts() {
	switch_words | tail -c 1048576 | sed -n \
		-e 's/^warning: user activation for \([A-Za-z0-9._$-]*\) failed$/user activation for \1/p' \
		-e '/^Failed to [a-z]* user unit /d' \
		-e 's/^Failed to \(stop\|start\|restart\|reload\) \([A-Za-z0-9:_.@\\-]*\.[a-z]*\)\(: .*\)*$/\1 of \2/p' \
		-e 's/^Job for \([A-Za-z0-9:_.@\\-]*\.[a-z]*\) \(failed\|timed out\|canceled\).*/job of \1/p' \
		-e 's/^\(Failed to run activate script\|Activation script snippet \).*/the activation script/p' | while read -r part; do
		case $part in 'job of '*) part="$(job_verb "${part##* }") of ${part##* }" ;; esac
		printf '%s\n' "$part"
	done | sort -u
}

# job_verb UNIT: what was asked of it. systemctl, which the older switch-to-configuration
# runs, does not say; the last line before it that names the unit does.
job_verb() {
	case $(switch_words | grep '^[a-z]*ing the following units: ' | grep -F -e "$1" | tail -n 1) in
	reloading*) echo reload ;;
	restarting*) echo restart ;;
	starting*) echo start ;;
	stopping*) echo stop ;;
	*) echo job ;;
	esac
}

# judge_parts: those that count into $D/parts-new, the others, with the reason,
# into $D/parts-known.
judge_parts() {
	true >"$D/parts-known"
	switch_parts >"$D/parts" || return 1
	while IFS= read -r part; do
		why='accepted'
		case $part in
		'the activation script') why= ;; # nobody means this by a pattern
		'user activation for '*) ignored "$part" || user_excused "$part" "${part##* }" || why= ;;
		*)
			! grep -qxF -e "${part##* }" "$D/failed-now" || continue # judged as a unit
			ignored "$part" || ignored "${part##* }" || part_before "$part" || why=
			;;
		esac
		if [ -z "$why" ]; then printf '%s\n' "$part"; else printf '%s: %s\n' "$part" "$why" >>"$D/parts-known"; fi || return 1
	done <"$D/parts" >"$D/parts-new"
}

# part_before PART: it failed in the run that made the old system run.
part_before() {
	why='it had failed before'
	grep -qsxF -e "$1" "$D/parts-before"
}

# user_excused PART NAME: who had no manager that answers cannot have lost it to
# this system, and who has logged out since has nothing to lose.
user_excused() {
	! part_before "$1" || return 0
	why="$2 had no user manager that answered before"
	[ ! -e "$D/users" ] || grep -qsxF -e "$2" "$D/users-before" || return 0
	why="$2 is not logged in any more"
	loginctl list-users >/dev/null 2>&1 || return 1 # not known
	case $(loginctl show-user --property=State --value -- "$2" 2>/dev/null) in '' | closing) ;; *) return 1 ;; esac
}

# tolerable: exit 4 is, when something explains it, and all of that had failed
# before or may fail. A part of a switch does not hide behind a unit.
tolerable() {
	newly_failed && judge_parts && [ ! -s "$D/failed-new" ] && [ ! -s "$D/parts-new" ] && { [ -s "$D/failed-now" ] || [ -s "$D/parts-known" ]; }
}
