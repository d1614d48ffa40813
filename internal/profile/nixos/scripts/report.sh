# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# What of a running NixOS a status shows. Reads, changes nothing.

nixos_first() { head -c 300 "$1" 2>/dev/null | head -n 1; }

nixos_report() {
	now=${CURRENT:-/run/current-system} booted=/run/booted-system
	tell version "$(nixos_first "$now/nixos-version")"
	tell revision "$(nixos_first "$now/configuration-revision")"
	tell uname "$(uname -r)"
	for part in kernel initrd kernel-modules kernel-params systemd; do
		# A container has none of these, and nothing of it is due by a reboot.
		if [ -e "$now/$part" ] && [ -e "$booted/$part" ]; then
			# shellcheck disable=SC3013 # POSIX has -ef since 2024; dash, bash 3.2 and busybox have it
			[ "$now/$part" -ef "$booted/$part" ] || cmp -s "$now/$part" "$booted/$part" || tell differs "$part"
		fi
	done
	tell kernel "$(readlink -f "$now/kernel")"
	tell booted-kernel "$(readlink -f "$booted/kernel")"
	tell boots "$(boot_default)"
}
