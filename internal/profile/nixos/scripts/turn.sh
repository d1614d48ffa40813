# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# The run of the new system's switch-to-configuration, when it is our turn, and
# whether it did anything.

# run_new ACTION: once it is our turn. It fails when that does not come, and
# leaves why in $D/untouched.
run_new() {
	put waiting 1
	new_until=$(turn_until)
	while :; do
		switch_wait "$new_until" || break
		new_is=$(nixos_now)
		[ ! -e "$P/begun" ] || [ "$new_is" != "$NEW" ] || new_is=$OLD # by us, before we were killed
		if [ "$MODE" = guard ] && [ "$new_is" != "$OLD" ]; then
			unharmed "switched $new_is"
			put reason "another system was switched to before this one could be"
			return 75
		fi
		begin
		switch_run "$NEW" "$1"
		if cut_short "$NEW"; then
			say "a login that ended meanwhile ended the switch, too: once more"
			touched=1 # whatever becomes of the second
			switch_run "$NEW" "$1"
			return 0
		fi
		switch_refused || return 0
		[ "$(uptime_s)" -lt "$new_until" ] || break
		switch_again
	done
	not_our_turn
	return 75
}

# At the beginning there is no hurry: somebody else's switch changes what this
# deployment was planned for, so it is waited for only while it may be a short one.
turn_until() { uptime_look && echo "$((uptime_now + (ACTIVATE < 60 ? ACTIVATE / 4 : 15)))"; }
not_our_turn() {
	unharmed "locked $switch_held"
	put reason "another switch-to-configuration is running on the host"
}

# cut_short SYSTEM: it stopped at the users' part, after the activation script and
# before units were restarted: a session of somebody, such as the deployer, ended
# while it was being asked about. The lists in /run/nixos tell the next run the rest.
cut_short() {
	[ "$switch_rc" != 0 ] && [ "$(nixos_now)" = "$1" ] && switch_words | tail -c 4096 |
		grep -q '^Error: Failed to \(get GID\|get runtime directory\|spawn user activation\|run user activation\) for \|^Unable to list users with logind'
}

# new_runs: a status of 0 is not enough. Some refusals end with the errno of the
# moment, and that may be 0.
new_runs() {
	[ "$(nixos_now)" != "$NEW" ] || return 0
	put reason "switch-to-configuration ended with 0 and the new system does not run"
	return 1
}

# declined: it refused for a reason of its own, before it did anything.
declined() {
	[ -z "${touched:-}" ] && switch_untouched || return 0
	unharmed "declined $switch_rc"
	put reason "switch-to-configuration refused before it began"
}
