# shellcheck shell=sh disable=SC2034,SC2317,SC2329 # a part: it is used by the others
# What boots next. Reads, changes nothing, and starts no program where a shell can
# tell, because each login asks.

# boot_hidden PATH: "?", when it is there and closed to who asks.
boot_hidden() {
	[ -e "$1" ] || return 1
	[ ! -r "$1" ] || { [ -d "$1" ] && [ ! -x "$1" ]; } || return 1
	echo '?'
}

# boot_files: the system that the files of the boot loader name, as far as who asks
# may read them; "?" when they are there and may not be read.
boot_files() {
	for boot_esp in /boot /efi /boot/efi; do
		if boot_hidden "$boot_esp"; then return; fi
		if boot_hidden "$boot_esp/loader"; then return; fi
		if boot_hidden "$boot_esp/loader/default"; then return; fi
		boot_line=
		[ ! -e "$boot_esp/loader/default" ] || read -r boot_line <"$boot_esp/loader/default"
		if [ -n "$boot_line" ]; then
			echo "$boot_line"
			return
		fi
		if boot_hidden "$boot_esp/loader/loader.conf"; then return; fi
		[ -e "$boot_esp/loader/loader.conf" ] || continue
		boot_entry=none
		while read -r boot_key boot_line; do [ "$boot_key" != default ] || boot_entry=$boot_line; done <"$boot_esp/loader/loader.conf"
		# shellcheck disable=SC2231 # a pattern on purpose
		for boot_file in "$boot_esp"/loader/entries/$boot_entry; do
			[ -e "$boot_file" ] || continue
			if boot_hidden "$boot_file"; then return; fi
			while read -r boot_key boot_line; do
				[ "$boot_key" = options ] || continue
				for boot_word in $boot_line; do
					case $boot_word in init=/nix/store/*/init)
						boot_word=${boot_word#init=}
						echo "${boot_word%/init}"
						return
						;;
					esac
				done
			done <"$boot_file"
		done
	done
	for boot_file in /boot/extlinux/extlinux.conf /boot/grub/grub.cfg /boot/cmdline.txt; do
		[ -e "$boot_file" ] || continue
		if boot_hidden "$boot_file"; then return; fi
		boot_word=$(grep -o -m 1 'init=/nix/store/[^ ]*/init' "$boot_file")
		boot_word=${boot_word#init=}
		[ -z "$boot_word" ] || {
			echo "${boot_word%/init}"
			return
		}
	done
}

# boot_default: what the boot loader itself says, or else its files. For root.
boot_default() {
	boot_said=
	! command -v bootctl >/dev/null || boot_said=$(timeout 10 bootctl list --json=short --no-pager 2>/dev/null | tr '{' '\n' | grep '"isDefault":true' |
		sed -n 's/.*init=\(\/nix\/store\/[^ "]*\)\/init[ "].*/\1/p' | head -n 1)
	[ -n "$boot_said" ] || boot_said=$(boot_files)
	[ -z "$boot_said" ] || echo "$boot_said"
}

# boot_differs SYSTEM PROFILE: SYSTEM, when it is another one than the profile names;
# the boot default may be one of its specialisations.
boot_differs() {
	case $1 in
	'' | "$(real "$2")") return ;;
	'?') ;;
	*)
		[ -e "$1" ] || return 0
		for boot_special in "$2"/specialisation/*; do
			if [ -e "$boot_special" ] && [ "$(real "$boot_special")" = "$1" ]; then return; fi
		done
		;;
	esac
	echo "$1"
}
