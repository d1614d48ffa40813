# facts.sh: reads, changes nothing. NEW: the system to deploy; DRY: ask it what
# it would do; UNITS: list the unit files of the running system.
PATH=$(readlink -f /run/current-system/sw)/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
LC_ALL=C
export LC_ALL
tell() { [ -z "$3" ] || printf '%s %s %s\n' "$1" "$2" "$3"; }

# plainly: text without the paths of packages, which change with every update.
plainly() { sed -e 's#/nix/store/[^/"'"'"' ]*##g' "$@" 2>/dev/null; }

# unit_text SYSTEM PATTERN...: unit files, and the scripts that they name.
unit_text() {
	unit_dir=$1/etc/systemd/system
	shift
	for pattern; do
		# shellcheck disable=SC2231 # a pattern on purpose
		for unit in "$unit_dir"/$pattern "$unit_dir"/$pattern.d/*.conf; do
			[ -f "$unit" ] || continue
			printf '%s\n' "${unit##*/}"
			plainly "$unit"
			# shellcheck disable=SC2013 # paths in the store hold no blanks
			for script in $(grep -o '/nix/store/[A-Za-z0-9+._?=/-]*' "$unit" | sort -u); do
				if [ -f "$script" ] && [ "$(wc -c <"$script")" -lt 262144 ] && grep -qI . "$script"; then plainly "$script"; fi
			done
		done
	done
}

# file_text SYSTEM PATTERN...: files below its etc.
file_text() {
	etc_dir=$1/etc
	shift
	for pattern; do
		for file in "$etc_dir"/$pattern; do
			[ -f "$file" ] || continue
			printf '%s\n' "$file" | sed 's#.*/etc/##'
			plainly "$file"
		done
	done
}

# lines WHICH NAME: tells its standard input, which the deployer compares.
lines() {
	head -n 2000 | while IFS= read -r line; do tell line "$1 $2" "$line"; done
}

# sum WHICH NAME: tells the sum of its standard input, unless that is empty.
sum() {
	text=$(cat)
	[ -z "$text" ] || tell print "$1 $2" "$(printf '%s\n' "$text" | cksum)"
}

look() { # WHICH SYSTEM
	system=$(readlink -f "$2") && [ -e "$system" ] || return 0
	tell sys "$1" "$system"
	for part in kernel initrd kernel-modules systemd; do tell part "$1 $part" "$([ -e "$system/$part" ] && readlink -f "$system/$part")"; done
	tell part "$1 kernel-params" "$([ ! -f "$system/kernel-params" ] || cksum <"$system/kernel-params")"
	tell part "$1 boot-loader" "$(grep -ao "INSTALL_BOOTLOADER[=' \"]*/nix/store/[A-Za-z0-9+._?=/-]*" "$system/bin/switch-to-configuration" 2>/dev/null | head -n 1 | sed 's#^[^/]*##')"
	tell part "$1 version" "$(head -n 1 "$system/nixos-version" 2>/dev/null)"
	tell part "$1 hostname" "$(head -n 1 "$system/etc/hostname" 2>/dev/null)"
	[ "$1" != booted ] || return 0
	# Settings without a unit belong to a daemon that is not the system's own.
	daemon=$(unit_text "$system" sshd.service sshd@.service sshd.socket ssh.service ssh.socket)
	[ -z "$daemon" ] || {
		printf '%s\n' "$daemon"
		file_text "$system" 'ssh/sshd_config' 'ssh/sshd_config.d/*'
	} | sum "$1" ssh
	{
		file_text "$system" 'nftables*'
		unit_text "$system" firewall.service nftables.service
	} | lines "$1" firewall
	{
		file_text "$system" 'systemd/network/*' 'NetworkManager/NetworkManager.conf' 'dhcpcd.conf' 'wpa_supplicant*'
		unit_text "$system" systemd-networkd.service NetworkManager.service network-setup.service 'network-addresses-*.service' \
			dhcpcd.service 'wpa_supplicant*.service' 'wg-quick-*.service' 'wireguard-*.service'
	} | sum "$1" network
}

look cur /run/current-system
look booted /run/booted-system
[ -z "$NEW" ] || look new "$NEW"
if [ -n "$NEW" ] && [ -e "$NEW/kernel" ]; then
	tell size boot "$(du -kLsc "$NEW/kernel" "$NEW/initrd" 2>/dev/null | tail -n 1 | sed 's/[^0-9].*//')"
fi
[ ! -r "$STATE/history.jsonl" ] || tell record last "$(tail -n 1 "$STATE/history.jsonl")"
if [ -n "$UNITS" ]; then
	for unit in /run/current-system/etc/systemd/system/*; do
		[ -L "$unit" ] && [ -f "$unit" ] && tell unit "${unit##*/}" "$(readlink -f "$unit")"
	done
fi
if [ -n "$DRY" ] && [ -x "$NEW/bin/switch-to-configuration" ]; then
	dry=$(timeout -k 5 90 "$NEW/bin/switch-to-configuration" dry-activate 2>&1 </dev/null)
	tell dry rc "$?"
	printf '%s\n' "$dry" | tail -n 200 | while IFS= read -r line; do tell dry line "$line"; done
fi
printf 'end\n'
