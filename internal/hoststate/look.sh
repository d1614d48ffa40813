# look.sh: what a host runs, boots and keeps. Reads, changes nothing. Answers
# "name value" lines, the last of which is "end". $1: the system profile.
PATH=$(readlink -f /run/current-system/sw)/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
profile=$1 now=/run/current-system booted=/run/booted-system
tell() { [ -z "$2" ] || printf '%s %s\n' "$1" "$2"; }
first() { head -c 300 "$1" 2>/dev/null | head -n 1; }

tell version "$(first "$now/nixos-version")"
tell revision "$(first "$now/configuration-revision")"
tell uname "$(uname -r)"
for special in "$profile"/specialisation/*; do
	[ ! -e "$special" ] || [ "$(readlink -f "$special")" != "$(readlink -f "$now")" ] || tell specialisation "${special##*/}"
done
tell clock "$(date +%s)"
for part in kernel initrd kernel-modules kernel-params systemd; do
	# A container has none of these, and nothing of it is due by a reboot.
	if [ -e "$now/$part" ] && [ -e "$booted/$part" ]; then
		[ "$(readlink -f "$now/$part")" = "$(readlink -f "$booted/$part")" ] ||
			cmp -s "$now/$part" "$booted/$part" || tell differs "$part"
	fi
done
tell kernel "$(readlink -f "$now/kernel")"
tell booted-kernel "$(readlink -f "$booted/kernel")"
for folder in /nix/store /boot; do
	tell disk "$folder $(df -Pk "$folder" 2>/dev/null | { read -r _; read -r device total _ free _ && echo "$device $total $free"; }) $(stat -f -c '%c %d' "$folder" 2>/dev/null)"
done
find "${profile%/*}" -maxdepth 1 -name "${profile##*/}-*-link" -printf 'generation %f %T@ %l\n' 2>/dev/null

# The boot default: what the boot loader says itself, or its files.
tell bootctl "$(timeout 10 bootctl list --json=short --no-pager 2>/dev/null | head -n 1 | head -c 500000)"
for esp in /boot /efi /boot/efi; do
	tell default-file "$(first "$esp/loader/default")"
	entry=$(sed -n 's/^default[[:space:]]*//p' "$esp/loader/loader.conf" 2>/dev/null | head -n 1)
	for file in "$esp"/loader/entries/${entry:-none}; do
		tell default-entry "$(sed -n 's/^options.*init=\(\/nix\/store\/[^ ]*\)\/init.*/\1/p' "$file" 2>/dev/null | head -n 1)"
	done
done
for file in /boot/extlinux/extlinux.conf /boot/grub/grub.cfg /boot/cmdline.txt; do
	tell default-entry "$(grep -o -m 1 'init=/nix/store/[^ ]*/init' "$file" 2>/dev/null | head -n 1 | sed 's/^init=//; s/\/init$//')"
done
echo end
