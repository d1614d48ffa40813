# shellcheck shell=sh disable=SC1091,SC2317 # sources the behaviour, which calls heal
# switch-to-configuration of the fault suite's systems: the actions, the lock,
# the order and the exit codes of the real one, and in the middle a behaviour.
# With the file perl beside it it is the older one, which waits for its lock and
# knows no users.
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
	[ ! -s /run/lab/address ] || { ip addr add "$(cat /run/lab/address)" dev eth0; rm -f /run/lab/address; }
	ip -4 route show type blackhole | while read -r _ to _; do ip route del blackhole "$to"; done
	[ ! -e /etc/ssh/key-of-deploy ] || mv /etc/ssh/key-of-deploy /etc/ssh/authorized_keys.d/deploy
	# shellcheck disable=SC2046 # the words of the route
	ip -4 route show default | grep -q . || ip route add $(cat /run/lab/default-route)
	[ -e /etc/sudoers.d/deploy ] || { install -m 0440 "$factory/etc/sudoers.d/deploy" /run/sudoers-deploy && mv /run/sudoers-deploy /etc/sudoers.d/deploy; }
	systemctl is-active --quiet ssh.service || systemctl start ssh.service
}
slow() { # part, seconds: waits while somebody holds the part, or for as long as it is to take
	if [ -e "/run/fault-hold-$1" ]; then
		touch "/run/fault-held-$1"
		tries=0
		while [ -e "/run/fault-hold-$1" ] && [ "$tries" -lt 1200 ]; do
			sleep 0.05
			tries=$((tries + 1))
		done
	elif [ -e "/var/lib/fault/$1-slow" ]; then
		touch "/run/fault-held-$1"
		sleep "$(cat "/var/lib/fault/$1-slow")"
	else
		sleep "$2"
	fi
}

mkdir -p /run/nixos
exec 9>>/run/nixos/switch-to-configuration.lock
ng=1
[ ! -e "$system/perl" ] || ng=
if [ -z "$ng" ]; then flock 9; elif ! flock -n 9; then
	echo "Could not acquire lock" >&2
	exit 11
fi
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
	slow boot 0
	set_boot || exit 1
	[ "$action" != boot ] || exit 0
fi
cmp -s "$system/init-interface-version" /run/current-system/init-interface-version || exit 100
status=0
left=$(cat /run/nixos/start-list 2>/dev/null) # by an interrupted run of any system
[ "$action" = switch ] || echo "activating the configuration..." >&2
. "$system/behaviour"
set_current
systemctl daemon-reload 9>&-
systemctl reset-failed 9>&-
if [ -n "$ng" ]; then # the user part
	# shellcheck disable=SC2013 # words
	for user in $(cat /var/lib/fault/user-fails 2>/dev/null); do
		echo "warning: user activation for $user failed" >&2
		status=4
	done
	if rm /var/lib/fault/user-gone 2>/dev/null; then
		printf 'Error: Failed to get GID for deploy\n\nCaused by:\n    no such user\n' >&2
		exit 1
	fi
fi
for unit in $left; do systemctl start "$unit" 9>&- 2>/dev/null || { echo "Failed to start $unit" >&2; status=4; }; done
rm -f /run/nixos/start-list
[ ! -e "$system/late" ] || . "$system/late"
exit "$status"
