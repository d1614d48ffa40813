# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# What of a NixOS runs, and what can be one.

nixos_now() { real "$CURRENT"; }

# nixos_fits: the old one matters for the way back.
nixos_fits() {
	set -- "$NEW" "$TOPLEVEL"
	[ "$MODE" != guard ] || set -- "$@" "$OLD"
	for system; do
		[ -x "$system/bin/switch-to-configuration" ] || {
			echo "$system has no bin/switch-to-configuration"
			return 1
		}
	done
}

# nixos_cut: a deployment was cut off between the profile and the boot default, or
# somebody set another system since.
nixos_cut() { [ "$(nixos_now)" = "$OLD" ] || [ "$(real "$LINK")" != "$NEW" ]; }
