# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# What of a custom profile is active: what its link names, since the link is set first.

custom_now() { points "$LINK"; }

# custom_link: as deploy-rs finds it.
custom_link() {
	case $OWNER in '' | root) echo "/nix/var/nix/profiles/per-user/root/$NAME" ;; *)
		if [ -d "/nix/var/nix/profiles/per-user/$OWNER" ]; then
			echo "/nix/var/nix/profiles/per-user/$OWNER/$NAME"
		else
			echo "$(home_of "$OWNER")/.local/state/nix/profiles/$NAME"
		fi
		;;
	esac
}

custom_fits() {
	owner_fits || return
	custom_first=$(printf '%s' "$COMMAND" | base64 -d | head -n 1)
	[ -z "$custom_first" ] || [ -x "$NEW/$custom_first" ] || {
		echo "$NEW has no $custom_first"
		return 1
	}
}
