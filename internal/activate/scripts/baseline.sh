# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# Units that failed: before anything is changed, and since.

# failed_before: the baseline.
failed_before() {
	while read -r unit _; do printf '%s\n' "$unit"; done <"$D/failed-now" >"$D/failed-before"
}

# failed_units: failed, or failing again and again. No answer from systemd is an
# error, not an empty list.
failed_units() {
	failed_list=$(try 6 units_failed 2>/dev/null) || return 1
	[ -z "$failed_list" ] || printf '%s\n' "$failed_list" | sed 's/ .*//'
}

# ignored NAME: is there a pattern for it in $D/ignore?
ignored() {
	while IFS= read -r pattern; do
		# shellcheck disable=SC2254 # a pattern on purpose
		case $1 in $pattern) return 0 ;; esac
	done <"$D/ignore"
	return 1
}

# newly_failed: those of $D/failed-now that had not failed before and are not
# ignored, into $D/failed-new.
newly_failed() {
	failed_units >"$D/failed-now" || return 1
	while read -r unit; do
		if grep -qxF -e "$unit" "$D/failed-before" || ignored "$unit"; then continue; fi
		printf '%s\n' "$unit" || return 1 # /run is full
	done <"$D/failed-now" >"$D/failed-new"
}
