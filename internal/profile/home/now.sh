# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# What home of a user is active, by home-manager's own root for it.

home_now() {
	home_at=$(home_of "$OWNER")
	points "$home_at/.local/state/home-manager/gcroots/current-home" || points "/nix/var/nix/gcroots/per-user/${OWNER:-root}/current-home" || points "$LINK"
}

# home_link: where home-manager itself keeps its generations.
home_link() {
	home_at=$(home_of "$OWNER")
	if [ -d "$home_at/.local/state/nix/profiles" ] || [ ! -d "/nix/var/nix/profiles/per-user/${OWNER:-root}" ]; then
		echo "$home_at/.local/state/nix/profiles/home-manager"
	else
		echo "/nix/var/nix/profiles/per-user/${OWNER:-root}/home-manager"
	fi
}

home_fits() {
	owner_fits || return
	[ -x "$NEW/activate" ] || {
		echo "$NEW has no activate"
		return 1
	}
}
