# shellcheck shell=sh
# Running a switch-to-configuration. Since 25.05 it does not wait for its lock: it
# says so and ends, with 1 or an errno, before it does anything. A status alone
# tells little; what it said, and which system runs, tell what it did.

# system_mark: the link of the running system, which the activation script makes
# anew as its last step: another mark means that one came to its end meanwhile.
system_mark() { stat -c '%i %z' "$CURRENT" 2>/dev/null; }

# switch_holder: "PID NAME" of who holds the lock, if somebody does. Looked up, not
# tried: taking the lock for a moment would make a switch of somebody else fail.
switch_holder() {
	holder_file=$(stat -c '%d %i' "$SWITCH_LOCK" 2>/dev/null) || return 1
	holder_dev=${holder_file% *}
	holder_file=$(printf '%02x:%02x:%s' "$((holder_dev >> 8 & 4095))" "$((holder_dev & 255 | holder_dev >> 12 & 1048320))" "${holder_file#* }")
	# Linux walks its list anew for each piece that is read, and a lock that goes meanwhile hides another: so not by
	# read, which reads byte by byte, and more than once where the list is longer than a piece, a page.
	holder_looks=0
	while [ "$holder_looks" -lt 5 ]; do
		holder_looks=$((holder_looks + 1))
		holder_locks=$(cat /proc/locks 2>/dev/null)
		case $holder_locks in
		*" $holder_file "*) # or somebody waits for it, or it is of another kind
			if holder_pid=$(printf '%s\n' "$holder_locks" | grep "^[0-9]*: FLOCK .* $holder_file "); then
				holder_pid=${holder_pid%%" $holder_file "*}
				holder_pid=${holder_pid##* }
				echo "$holder_pid $(tr -cd 'A-Za-z0-9._:@+-' 2>/dev/null <"/proc/$holder_pid/comm")"
				return 0
			fi
			;;
		esac
		[ "${#holder_locks}" -gt 4000 ] || return 1
	done
	return 1
}

# switch_ours "PID NAME": is the holder one of root's? Everybody may open the file
# and lock it, but only root switches.
switch_ours() {
	holder_uid=$(stat -c %u "/proc/${1%% *}" 2>/dev/null) || return 0 # it has just ended
	[ "$holder_uid" = "$(id -u)" ]
}

# switch_wait UNTIL: until nobody holds the lock, or it is UNTIL (uptime_s). Who
# held it last is in $switch_held.
switch_wait() {
	while switch_held=$(switch_holder); do
		if ! switch_ours "$switch_held"; then
			echo "godwit: process $switch_held holds $SWITCH_LOCK and is not root's: making a new one"
			rm -f "$SWITCH_LOCK"
			return 0
		fi
		[ "$(uptime_s)" -lt "$1" ] || return 1
		[ "$switch_held" = "${switch_told:-}" ] || echo "godwit: waiting for another switch-to-configuration to end (process $switch_held)"
		switch_told=$switch_held
		sleep 0.5
	done
}

# switch_begin: its words begin at byte $switch_from of the log.
switch_begin() {
	switch_from=$(stat -c %s "$D/log" 2>/dev/null || echo 0)
	switch_mark=$(system_mark)
	switch_rc=0
}

# switch_run SYSTEM ACTION: its status is in $switch_rc, too.
switch_run() {
	switch_begin
	NIXOS_INSTALL_BOOTLOADER=0 "$1/bin/switch-to-configuration" "$2" </dev/null 8>&- 9>&- || switch_rc=$?
	return "$switch_rc"
}

# switch_words: what it said. Nothing when the log was emptied, for want of room.
switch_words() { tail -c "+$((switch_from + 1))" "$D/log" 2>/dev/null; }

# switch_untouched: it ended before it did anything. A script that said that it stops
# units, or activates, or whose activation came to its end, did not.
switch_untouched() {
	[ "$(system_mark)" = "$switch_mark" ] || return 1
	! switch_words | head -c 65536 | grep -q '^stopping the following units\|^activating the configuration' || return 1
	switch_words | head -c 65536 | grep -q '^\(Error: \)\{0,1\}\(Could not \(acquire\|open\) lock\|Pre-switch checks failed\|This is not a NixOS installation\)'
}

# switch_refused: the same, because of the lock.
switch_refused() {
	[ "$switch_rc" != 0 ] && switch_untouched && switch_words | head -c 65536 | grep -q '^\(Error: \)\{0,1\}Could not acquire lock'
}

# switch_again: between two tries, when nobody is seen who holds the lock.
switch_again() {
	[ -n "${switch_told:-}" ] || echo "godwit: waiting for another switch-to-configuration to end"
	switch_told=${switch_told:-unknown}
	sleep 1
}
