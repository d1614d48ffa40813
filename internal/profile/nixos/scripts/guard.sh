# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# NixOS under the guard. Only `test` is asked of a new system, so until it is kept
# every reboot and power cut leads back to the old one.

nixos_try() { # ACTION
	if [ "$MODE" != guard ]; then # the profile first, then the action, as nixos-rebuild does it
		switch_wait "$(turn_until)" || {
			not_our_turn
			return 1
		}
		case $1 in
		switch | boot) link_set "$TOPLEVEL" || {
			begin
			say "the profile could not be set"
			link_back
			rc=1
			return 1
		} ;;
		esac
	fi
	run_new "$1" || {
		[ "$MODE" = guard ] || link_back
		return 1
	}
	rc=$switch_rc
	case $1/$rc in
	test/0 | switch/0) ! new_runs || return 0 ;;
	*/0) return 0 ;;
	*/4) ! tolerable || return 0 ;; # something failed
	test/100) # init's interface changed: told before anything is stopped
		[ "$MODE" != guard ] || cmp -s "$NEW/init-interface-version" "$OLD/init-interface-version" || unharmed "$rc"
		;;
	esac
	if [ "$1" = boot ]; then
		say "setting the boot default failed (exit $rc): going back"
		link_back
		boot_back "$COMMIT_MAX"
		put restored 1
	fi
	declined
	return 1
}

nixos_keep() {
	[ "$MODE" = guard ] || return 0 # switch and boot have seen to it
	link_set "$TOPLEVEL" && boot_loader "$TOPLEVEL" "$COMMIT_MAX"
	keep_rc=$?
	[ "$keep_rc" != 75 ] || why="another switch-to-configuration did not end within ${COMMIT_MAX}s"
	return "$keep_rc"
}

nixos_unkeep() { # STATUS of keep, or nothing when it did not come to the boot loader
	link_back
	case $1 in
	'') ;;
	137 | 124) boot_back 45 ;; # it hung, so it most likely hangs again
	*) boot_back "$COMMIT_MAX" ;;
	esac
}

# nixos_back: once nobody else switches. Half of the unit's time is left for the
# switch itself; a lock that is held longer than the other half takes an attempt.
nixos_back() {
	uptime_look
	back_until=$((uptime_now + ROLLBACK_MAX / 2))
	while :; do
		if ! switch_wait "$back_until"; then
			put held "$switch_held"
			return 75
		fi
		case $(nixos_now) in "$OLD" | "$NEW") ;; *) return 9 ;; esac
		rm -f "$D/held"
		[ -s "$P/mark" ] || note mark "$(system_mark)"
		switch_run "$OLD" test
		switch_refused || break
		put held "${switch_held:-unknown}"
		[ "$(uptime_s)" -lt "$back_until" ] || return 75
		switch_again
	done
	switch_parts >"$D/parts-old"
	rc=$switch_rc
	case $rc/$attempts in
	0/* | 4/*) [ "$(nixos_now)" = "$OLD" ] ;;
	*/2) nixos_returned ;; # it does its work, and never ends well
	*) return 1 ;;
	esac
}

# nixos_returned: the old system's activation came to its end since the way back began,
# whatever the status was.
nixos_returned() { [ -s "$P/mark" ] && [ "$(nixos_now)" = "$OLD" ] && [ "$(system_mark)" != "$(noted mark)" ]; }

# boot_back SECONDS: the boot loader again, of the system that the profile names,
# for no longer than that, nor than it had the first time. A
# fourth time there is not: who runs this may have been killed because it hung.
boot_back() {
	before=$(real "$LINK")
	[ -x "$before/bin/switch-to-configuration" ] || return 0
	backs=$(get backs)
	put backs "$((${backs:-0} + 1))"
	put boot-unsure 1
	back_max=$1
	[ "$back_max" -lt "$COMMIT_MAX" ] || back_max=$COMMIT_MAX
	if [ "${backs:-0}" -lt 3 ] && boot_loader "$before" "$back_max"; then
		rm -f "$D/boot-unsure"
	else
		say "the boot loader could not be set again for $before"
	fi
}
