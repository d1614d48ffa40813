# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# What a plan of a change to a NixOS is judged by. Reads, changes nothing.

# nixos_tell NAME OF VALUE
nixos_tell() { [ -z "$3" ] || tell "$1" "$2 $3"; }

# nixos_plainly: text without the paths of packages, which change with every update.
nixos_plainly() { sed -e 's#/nix/store/[^/"'"'"' ]*##g' "$@" 2>/dev/null; }

# nixos_units SYSTEM PATTERN...: unit files, and the scripts that they name.
nixos_units() {
	unit_dir=$1/etc/systemd/system
	shift
	for pattern; do
		# shellcheck disable=SC2231 # a pattern on purpose
		for unit in "$unit_dir"/$pattern "$unit_dir"/$pattern.d/*.conf; do
			[ -f "$unit" ] || continue
			printf '%s\n' "${unit##*/}"
			nixos_plainly "$unit"
			# shellcheck disable=SC2013 # paths in the store hold no blanks
			for script in $(grep -o '/nix/store/[A-Za-z0-9+._?=/-]*' "$unit" | sort -u); do
				if [ -f "$script" ] && [ "$(wc -c <"$script")" -lt 262144 ] && grep -qI . "$script"; then nixos_plainly "$script"; fi
			done
		done
	done
}

# nixos_files SYSTEM PATTERN...: files below its etc.
nixos_files() {
	etc_dir=$1/etc
	shift
	for pattern; do
		for file in "$etc_dir"/$pattern; do
			[ -f "$file" ] || continue
			printf '%s\n' "$file" | sed 's#.*/etc/##'
			nixos_plainly "$file"
		done
	done
}

# nixos_lines WHICH NAME: tells its standard input, which the deployer compares.
nixos_lines() {
	lines=0
	while [ "$lines" -lt 2000 ] && IFS= read -r line; do
		nixos_tell line "$1 $2" "$line"
		lines=$((lines + 1))
	done
}

# nixos_sum WHICH NAME TEXT: tells the sum of the text, unless that is empty.
nixos_sum() { [ -z "$3" ] || nixos_tell print "$1 $2" "$(printf '%s\n' "$3" | cksum)"; }

# nixos_first_line FILE: its first line, into $line.
nixos_first_line() {
	line=
	[ ! -f "$1" ] || [ ! -r "$1" ] || IFS= read -r line <"$1" || :
}

# nixos_system WHICH SYSTEM: what judging a change to it, or from it, takes.
nixos_system() {
	system=$(real "$2") && [ -e "$system" ] || return 0
	nixos_tell sys "$1" "$system"
	parts=
	for part in kernel initrd kernel-modules systemd; do [ ! -e "$system/$part" ] || parts="$parts $part"; done
	# shellcheck disable=SC2086 # words
	[ -z "$parts" ] || (cd "$system" && readlink -f $parts) | while IFS= read -r where; do
		parts=${parts# }
		nixos_tell part "$1 ${parts%% *}" "$where"
		parts=${parts#"${parts%% *}"}
	done
	nixos_tell part "$1 kernel-params" "$([ ! -f "$system/kernel-params" ] || cksum <"$system/kernel-params")"
	grep -ao "INSTALL_BOOTLOADER[=' \"]*/nix/store/[A-Za-z0-9+._?=/-]*" "$system/bin/switch-to-configuration" 2>/dev/null | {
		IFS= read -r loader && nixos_tell part "$1 boot-loader" "/${loader#*/}"
	}
	nixos_first_line "$system/nixos-version"
	nixos_tell part "$1 version" "$line"
	nixos_first_line "$system/etc/hostname"
	nixos_tell part "$1 hostname" "$line"
	[ "$1" != booted ] || return 0
	# Settings without a unit belong to a daemon that is not the system's own.
	daemon=$(nixos_units "$system" sshd.service sshd@.service sshd.socket ssh.service ssh.socket)
	[ -z "$daemon" ] || nixos_sum "$1" ssh "$(
		printf '%s\n' "$daemon"
		nixos_files "$system" 'ssh/sshd_config' 'ssh/sshd_config.d/*'
	)"
	{
		nixos_files "$system" 'nftables*'
		nixos_units "$system" firewall.service nftables.service
	} | nixos_lines "$1" firewall
	nixos_sum "$1" network "$(
		nixos_files "$system" 'systemd/network/*' 'NetworkManager/NetworkManager.conf' 'dhcpcd.conf' 'wpa_supplicant*'
		nixos_units "$system" systemd-networkd.service NetworkManager.service network-setup.service 'network-addresses-*.service' \
			dhcpcd.service 'wpa_supplicant*.service' 'wg-quick-*.service' 'wireguard-*.service'
	)"
}

nixos_change() {
	nixos_system cur "${CURRENT:=/run/current-system}"
	nixos_system booted /run/booted-system
	[ -z "$NEW" ] || nixos_system new "$NEW"
	if [ -n "$NEW" ] && [ -e "$NEW/kernel" ]; then
		nixos_tell size boot "$(du -kLsc "$NEW/kernel" "$NEW/initrd" 2>/dev/null | {
			while read -r kib _; do total=$kib; done
			echo "$total"
		})"
	fi
	if [ -n "$UNITS" ]; then
		for unit in "$CURRENT"/etc/systemd/system/*; do
			[ -L "$unit" ] && [ -f "$unit" ] && nixos_tell unit "${unit##*/}" "$(readlink -f "$unit")"
		done
	fi
	if [ -n "$DRY" ] && [ -x "$NEW/bin/switch-to-configuration" ]; then
		dry=$(timeout -k 5 90 "$NEW/bin/switch-to-configuration" dry-activate 2>&1 </dev/null)
		nixos_tell dry rc "$?"
		printf '%s\n' "$dry" | tail -n 200 | while IFS= read -r line; do nixos_tell dry line "$line"; done
	fi
}
