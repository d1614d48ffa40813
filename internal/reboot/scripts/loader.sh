# shellcheck shell=sh disable=SC2034,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# The seam to boot loaders. Each has four words: KIND_probe (is it this one, and
# can it boot an entry once?), KIND_entry SYSTEM (the name of the system's entry),
# KIND_once ENTRY, KIND_clear (forget what KIND_once said).

# loader_probe: "KIND" of the loader, or "- REASON".
loader_probe() {
	why=
	[ -x "$CURRENT/bin/switch-to-configuration" ] || { # it lists the new system beside itself
		echo "- the system that runs there has no switch-to-configuration"
		return
	}
	for kind in lab sdboot grub; do
		if "${kind}_probe"; then
			echo "$kind"
			return
		fi
	done
	[ -n "$why" ] || ! [ -e "$BOOT/extlinux/extlinux.conf" ] || why="extlinux cannot boot an entry once"
	echo "- ${why:-no boot loader was found that can boot an entry once}"
}

# The lab's (test/images): files with the path of a system.
lab_probe() { [ -f "$BOOT/loader/default" ] && [ ! -e "$BOOT/loader/loader.conf" ]; }
lab_entry() {
	for file in "$BOOT"/loader/entries/*; do
		[ "$(head -n 1 "$file" 2>/dev/null)" != "$1" ] || found=${file##*/}
	done
	echo "$found"
}
lab_once() { head -n 1 "$BOOT/loader/entries/$1" >"$BOOT/loader/.oneshot" && mv -f "$BOOT/loader/.oneshot" "$BOOT/loader/oneshot"; }
lab_clear() { rm -f "$BOOT/loader/oneshot"; }

# systemd-boot, also when Lanzaboote made its entries. The names of entries are
# asked for, never made up: 26.05 calls them by a hash.
sdboot_probe() {
	for file in "$EFI"/LoaderInfo-*; do
		{ [ -r "$file" ] && tr -d '\0' <"$file" | grep -q systemd-boot; } || continue
		! command -v bootctl >/dev/null || return 0
		why="bootctl is missing"
	done
	return 1
}
# JSON in one line, an object a line once it is broken at the braces.
sdboot_entry() {
	bootctl --no-pager --json=short list 2>/dev/null | tr '{' '\n' | grep -F "init=$1/init" |
		sed -n 's/^\(.*,\)\{0,1\}"id":"\([^"]*\)".*/\2/p' | head -n 1
}
sdboot_once() { bootctl set-oneshot "$1" </dev/null; }
sdboot_clear() { bootctl set-oneshot "" </dev/null; }

# GRUB, when its menu reads next_entry and it can write its own environment, to
# forget it again: not on LVM, RAID, btrfs or ZFS.
grub_probe() {
	for file in grub grub2; do
		[ -f "$BOOT/$file/grub.cfg" ] || continue
		grub=$file
		why="this GRUB menu does not read next_entry"
		grep -q 'save_env  *next_entry' "$BOOT/$grub/grub.cfg" || continue
		why="GRUB cannot write to the file system of $BOOT, so it would not forget the entry"
		case $(stat -f -c %T "$BOOT/$grub") in ext2* | msdos | vfat | xfs | tmpfs) ;; *) continue ;; esac
		case $(df -P "$BOOT/$grub" | { read -r _ && read -r device _ && echo "$device"; }) in /dev/mapper/* | /dev/md* | /dev/dm-*) continue ;; esac
		why="grub-reboot is missing"
		! command -v "$grub-reboot" >/dev/null || ! command -v "$grub-editenv" >/dev/null || return 0
	done
	return 1
}
grub_entry() { # SYSTEM: the titles on the way to its line, with > between them
	grub_probe || return
	awk -v want="init=$1/init" '
		function title(s) { gsub(/\047/, "\"", s); split(s, q, "\""); return q[2] }
		$1 == "submenu" { menu = title($0) ">" }
		$1 == "menuentry" { entry = title($0); inside = 1 }
		inside && (index($0, want " ") || substr($0, length($0) - length(want) + 1) == want) { print menu entry; exit }
		$1 == "}" { if (inside) inside = 0; else menu = "" }
	' "$BOOT/$grub/grub.cfg"
}
grub_once() {
	grub_probe && "$grub-reboot" --boot-directory="$BOOT" "$1" </dev/null &&
		"$grub-editenv" "$BOOT/$grub/grubenv" list | grep -qxF "next_entry=$1"
}
grub_clear() { grub_probe && "$grub-editenv" "$BOOT/$grub/grubenv" unset next_entry; }
