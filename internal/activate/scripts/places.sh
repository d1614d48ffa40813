# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# Where things are, for who has no root: a folder that each boot has anew, since
# /run/user may go away with a session.
SCOPE=
if [ "$AS" = user ]; then
	SCOPE=--user
	STATE=$HOME/.local/state/godwit
	RUN=$STATE/run/$(boot_id)
	GCROOTS=$RUN
	XDG_RUNTIME_DIR=/run/user/$(id -u)
	export XDG_RUNTIME_DIR
fi
always_path=/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:${SCOPE:+$HOME/.nix-profile/bin:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
PATH=$CURRENT/sw/bin:$always_path gnu=
export PATH
if [ "$_kernel" = Darwin ]; then
	gnu=$(cat "${NEW_1:-}/activate" "$CURRENT/activate" 2>/dev/null | grep -o '/nix/store/[a-z0-9]*-coreutils-[^/" :]*/bin' | head -n 1)
	PATH=${gnu:+$gnu:}$PATH
fi
