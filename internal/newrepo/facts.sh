PATH=/run/wrappers/bin:/run/current-system/sw/bin:$PATH
root=
can=no
if [ "$(id -u)" = 0 ]; then
	can=root
elif sudo -n true 2>/dev/null; then
	can=sudo
	root='sudo -n'
fi
# tell NAME: what is on stdin, each line behind NAME, at most 64 KiB.
tell() {
	head -c 65536 | sed "s/^/$1 /"
	echo
}
# show FILE NAME: what is in a file, if it can be read.
show() {
	if [ -r "$1" ]; then tell "$2" <"$1"; fi
}
# limited COMMAND...: for 20 seconds at most, where timeout is there.
limited() {
	if command -v timeout >/dev/null 2>&1; then
		timeout 20 "$@"
	else
		"$@"
	fi
}
echo "::godwit facts"
[ -e /etc/NIXOS ] && echo yes | tell nixos
grep -s '^ID=' /etc/os-release | tell os
uname -n | tell name
uname -m | tell machine
id -un | tell user
id -u | tell uid
id -nG | tell groups
echo "$can" | tell can
[ -d /sys/firmware/efi ] && echo yes | tell efi
[ -d /sys/firmware/efi/efivars ] && echo yes | tell efivars
systemd-detect-virt --container 2>/dev/null | tell container
nixos-version 2>/dev/null | tell version
nixos-version --json 2>/dev/null | tell revision
cat /etc/ssh/ssh_host_ed25519_key.pub /etc/ssh/ssh_host_rsa_key.pub 2>/dev/null | tell hostkey
show "/etc/ssh/authorized_keys.d/$(id -un)" login
# shellcheck disable=SC2086 # no word, or two
$root find /etc/nixos -maxdepth 3 -name '*.nix' -exec grep -hs 'system\.stateVersion' {} + 2>/dev/null | tell state
limited nixos-option system.stateVersion 2>/dev/null | tell option
# What installs the boot loader is named in what switches systems, for anybody to read.
switch=/run/current-system/bin/switch-to-configuration
# The program in later releases is a wrapper whose environment says it.
installer=$(head -c 262144 "$switch" 2>/dev/null | grep -ao "/nix/store/[a-zA-Z0-9+._?=-]*\(install-grub\|systemd-boot\|extlinux-conf-builder\)[a-zA-Z0-9+._?=/-]*" | head -n 1)
echo "$installer" | tell installer
config=$(head -c 65536 "$installer" 2>/dev/null | grep -ao "/nix/store/[a-zA-Z0-9+._?=-]*grub-config\.xml" | head -n 1)
show "$config" grub
# shellcheck disable=SC2086
for f in loader/entries grub/grub.cfg extlinux/extlinux.conf; do
	$root test -e "/boot/$f" 2>/dev/null && echo "$f"
done | tell boot
# shellcheck disable=SC2086
limited $root nixos-generate-config --show-hardware-config 2>/dev/null | tell hardware
show /etc/fstab fstab
show /proc/mounts mounts
cut -d ' ' -f 1 /proc/modules 2>/dev/null | tell module
echo "::godwit end"
