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

tell boots "$(boot_default)"
echo end
