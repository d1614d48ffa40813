# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# Where things are, for who has no root: a folder that each boot has anew, since
# /run/user may go away with a session.
SCOPE=
if [ "$AS" = user ]; then
	SCOPE=--user
	STATE=$HOME/.local/state/godwit
	RUN=$STATE/run/$(cat /proc/sys/kernel/random/boot_id)
	GCROOTS=$RUN
	XDG_RUNTIME_DIR=/run/user/$(id -u)
	export XDG_RUNTIME_DIR
fi
PATH=$(readlink -f "$CURRENT/sw")/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:${SCOPE:+$HOME/.nix-profile/bin:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
