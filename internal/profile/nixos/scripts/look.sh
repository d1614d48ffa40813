# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# What a change to a NixOS would mean. Reads, changes nothing.

# same: the same file or folder, whatever leads there.
# shellcheck disable=SC3013 # POSIX has -ef since 2024; dash, bash 3.2 and busybox have it
same() { [ "$1" -ef "$2" ]; }

nixos_look() {
	tell foreign "$(foreign)"
	tell booted "$(real /run/booted-system)"
	# deploy-rs's profile is a folder of links around the system, beside its own programs.
	if [ -e "$LINK/deploy-rs-activate" ]; then
		wrapped=$(readlink -f "$LINK/bin/switch-to-configuration")
		tell wrapped "${wrapped%/bin/switch-to-configuration}"
	fi
	[ "$LINK" != /nix/var/nix/profiles/system ] || tell boots "$(boot_differs "$(boot_default)" "$LINK")"
	printf '%s\n' "$units" | while read -r unit _; do
		case $unit in nixos-rebuild-switch-to-configuration*) tell rebuild "$unit" && break ;; esac
	done
	held=$(switch_holder) && switch_ours "$held" || held=
	tell held "$held"
	for special in "$LINK"/specialisation/*; do
		if [ -e "$special" ] && same "$special" "$CURRENT"; then tell specialisation "${special##*/}"; fi
	done
	[ -z "$NEW" ] || nixos_look_new
}

nixos_look_new() {
	for system in "$NEW" "$TOPLEVEL"; do
		if [ ! -e "$system" ]; then tell absent "$system"; elif [ -e "$system/bin/switch-to-configuration" ] && [ ! -s "$system/bin/switch-to-configuration" ]; then tell hollow "$system"; elif [ ! -x "$system/bin/switch-to-configuration" ]; then tell no-switch "$system"; fi
	done
	[ -x "$CURRENT/bin/switch-to-configuration" ] || tell no-switch-old "$(real "$CURRENT")"
	for part in kernel initrd kernel-modules kernel-params systemd; do
		# A container has none of these, and nothing of it is due by a reboot.
		{ [ ! -e "$NEW/$part" ] || [ ! -e "/run/booted-system/$part" ]; } || same "$NEW/$part" "/run/booted-system/$part" ||
			cmp -s "$NEW/$part" "/run/booted-system/$part" || tell differs "$part"
	done
	if [ -e "$NEW/init-interface-version" ] && ! cmp -s "$NEW/init-interface-version" "$CURRENT/init-interface-version"; then tell init-changed yes; fi
	if [ -e "$NEW/switch-inhibitors" ] && [ -e /run/booted-system/switch-inhibitors ] &&
		! cmp -s "$NEW/switch-inhibitors" /run/booted-system/switch-inhibitors; then tell inhibited yes; fi
	if [ -n "$CHECK" ] && [ -z "$held" ] && grep -qs PRE_SWITCH_CHECK "$NEW/bin/switch-to-configuration"; then
		check=$("$NEW/bin/switch-to-configuration" check 2>&1 </dev/null) && failed= || failed=$?
		case $check in
		*'Could not acquire lock'*) tell held "${held:-unknown}" ;;
		*'Pre-switch checks failed'*) tell check-failed "${failed:-0}" ;; # it ends with an errno, which may be 0
		*sage:\ *) ;;                                                     # it cannot check alone
		*) tell check-failed "$failed" ;;
		esac
		[ -z "$check" ] || printf '%s\n' "$check" | tail -n 40 | while IFS= read -r line; do tell check-line "$line"; done
	fi
}
