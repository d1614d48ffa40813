# shellcheck shell=sh disable=SC1091,SC2317 # sources the behaviour, which calls heal
# switch-to-configuration of the fault suite's systems: the actions, the lock,
# the order and the exit codes of the real one, and in the middle a behaviour.
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
self=$(readlink -f "$0")
system=${self%/bin/switch-to-configuration}
action=${1:-}
factory=$(readlink -f /nix/var/nix/gcroots/lab-factory)

set_boot() { echo "$system" >/boot/loader/default.new && mv -f /boot/loader/default.new /boot/loader/default; }
set_current() { ln -sfn "$system" /run/current-system.new && mv -fT /run/current-system.new /run/current-system; }
heal() { # what the old system is known for: reachable, with sudo
	nft flush ruleset 2>/dev/null
	ip link set eth0 up
	# shellcheck disable=SC2046 # the words of the route
	ip -4 route show default | grep -q . || ip route add $(cat /run/lab/default-route)
	[ -e /etc/sudoers.d/deploy ] || { install -m 0440 "$factory/etc/sudoers.d/deploy" /run/sudoers-deploy && mv /run/sudoers-deploy /etc/sudoers.d/deploy; }
	systemctl is-active --quiet ssh.service || systemctl start ssh.service
}

mkdir -p /run/nixos
exec 9>/run/nixos/switch-to-configuration.lock
flock 9
echo "$action ${system#*-}" >&2
case $action in
check) [ ! -e "$system/check-fails" ] || { echo "pre-switch check says no" >&2; exit 1; }; exit 0 ;;
dry-activate) echo "would restart ssh.service" >&2; exit 0 ;;
switch | boot | test) ;;
*) exit 1 ;;
esac
echo "$action ${system#*-}" >>/var/log/stc-runs
if [ "$action" = switch ] || [ "$action" = boot ]; then
	[ ! -e /var/lib/fault/boot-broken ] || { echo "no space left on /boot" >&2; exit 1; }
	[ ! -e /var/lib/fault/boot-half ] || { rm -f /var/lib/fault/boot-half; set_boot; echo "the boot loader died half way" >&2; exit 1; }
	[ ! -e /var/lib/fault/boot-slow ] || { touch /run/fault-boot-reached; sleep "$(cat /var/lib/fault/boot-slow)"; }
	set_boot || exit 1
	[ "$action" != boot ] || exit 0
fi
cmp -s "$system/init-interface-version" /run/current-system/init-interface-version || exit 100
status=0
. "$system/behaviour"
set_current
systemctl daemon-reload 9>&-
systemctl reset-failed 9>&-
[ ! -e "$system/late" ] || . "$system/late"
exit "$status"
