# shellcheck shell=sh disable=SC2154 # switch_held comes from switch.sh
# boot_loader SYSTEM SECONDS: SYSTEM becomes the boot default, once no other
# switch-to-configuration runs. A boot loader that hangs is killed with all that
# it started, and 137 is returned; who calls may ignore SIGTERM, and then so does
# it. The watchdog never does, holds nothing of ours open and ends with it: a
# process left behind would hold up a reboot.
boot_loader() {
	uptime_look
	loader_until=$((uptime_now + $2))
	while switch_wait "$loader_until"; do
		uptime_look
		loader_left=$((loader_until - uptime_now))
		[ "$loader_left" -gt 0 ] || loader_left=1
		boot_loader_once "$1" "$loader_left"
		switch_rc=$?
		if ! switch_refused || [ "$(uptime_s)" -ge "$loader_until" ]; then return "$switch_rc"; fi
		switch_again
	done
	echo "godwit: another switch-to-configuration (process $switch_held) did not end within ${2}s"
	return 75
}
boot_loader_once() {
	switch_begin
	# Its files get the modes that nixos-rebuild gives them; ours are nobody else's.
	(umask 022 && NIXOS_INSTALL_BOOTLOADER=0 && export NIXOS_INSTALL_BOOTLOADER && exec setsid "$1/bin/switch-to-configuration" boot) </dev/null 8>&- &
	loader_pid=$!
	(trap - TERM HUP INT PIPE && exec setsid "${SH:-/bin/sh}" -c "sleep $2; kill -s KILL -- -$loader_pid") </dev/null >/dev/null 2>&1 8>&- &
	loader_dog=$!
	wait "$loader_pid" 2>/dev/null
	loader_rc=$?
	kill -s KILL -- "-$loader_dog" 2>/dev/null || kill -s KILL "$loader_dog" 2>/dev/null
	wait "$loader_dog" 2>/dev/null
	return "$loader_rc"
}
