# shellcheck shell=sh
# pushed_done SYSTEM...: ends the root that a push left for one of these systems. Who
# pushed does that, too, unless it died.
pushed_done() {
	for pushed; do
		[ "$(readlink /nix/var/nix/gcroots/godwit-pushed)" != "$pushed" ] || rm -f /nix/var/nix/gcroots/godwit-pushed
	done
}
