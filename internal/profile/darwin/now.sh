# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# What of a nix-darwin runs.

darwin_now() { points "$CURRENT"; }

darwin_fits() {
	owner_fits || return
	[ -x "$NEW/activate" ] || {
		echo "$NEW has no activate"
		return 1
	}
}
