# shellcheck shell=sh
# pushed_done SYSTEM...: ends the root that a push left for one of these systems. Who
# pushed does that, too, unless it died.
pushed_done() {
	[ -L /nix/var/nix/gcroots/godwit-pushed ] || return 0
	pushed_is=$(readlink /nix/var/nix/gcroots/godwit-pushed)
	for pushed; do
		[ "$pushed_is" != "$pushed" ] || rm -f /nix/var/nix/gcroots/godwit-pushed
	done
}
