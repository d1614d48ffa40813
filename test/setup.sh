#!/bin/bash
# Makes a Debian machine able to run godwit's tests and demo.
#
#   test/setup.sh           install what is missing, start a container engine if none answers
#   test/setup.sh --demo    the same without what only the tests need
#   test/setup.sh --check   say what is missing and change nothing
#   test/setup.sh --stop    stop the container engine that an earlier run started, unless containers run in it
#
# Everything comes from Debian packages. Prints nothing when nothing is missing.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

state=${GODWIT_LAB_STATE:-/run/godwit-lab}
log=${GODWIT_LAB_LOG:-/var/log/godwit-lab-setup.log}
pidfile=$state/dockerd.pid
machine=$(uname -m)

say() { echo "setup: $*" >&2; }
die() {
	say "$*"
	exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
engine_answers() { have docker && timeout 20 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }
# The process in the pidfile, if it still is the one that was started.
own_engine() {
	local pid start
	[ -s "$pidfile" ] || return 1
	read -r pid start <"$pidfile"
	[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] && [ "$(start_time "$pid")" = "$start" ] && echo "$pid"
}
start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }
# Flag F: in containers, too. Flag C: setuid programs (sudo) become root, too.
can_run_arm64() {
	local entry=/proc/sys/fs/binfmt_misc/qemu-aarch64
	case $machine in
	aarch64 | arm64) return 0 ;;
	esac
	grep -qs '^enabled' "$entry" && grep -q '^flags:.*C.*F' "$entry"
}

stop_engine() {
	local pid i others
	if ! pid=$(own_engine); then
		rm -f "$pidfile" 2>/dev/null || true
		return 0
	fi
	# Hosts and builders of others, and containers that have nothing to do with godwit.
	others=$(docker ps --format '{{.Names}}' 2>/dev/null || true)
	if [ -n "$others" ]; then
		say "the container engine (process $pid) goes on, for others' containers run in it: $(wc -l <<<"$others"), one of them ${others%%$'\n'*}"
		return 0
	fi
	kill -TERM "$pid" || die "cannot stop the container engine (process $pid): be root"
	for ((i = 0; i < 300; i++)); do
		if [ ! -d "/proc/$pid" ]; then
			rm -f "$pidfile"
			say "stopped the container engine (process $pid)"
			return 0
		fi
		sleep 0.1
	done
	die "the container engine (process $pid) does not stop; its log: $state/dockerd.log"
}

# Fills the array missing with the packages to install.
missing=()
find_missing() {
	missing=()
	if ! engine_answers; then
		# A client alone is no engine.
		have dockerd || missing+=(docker.io)
		have iptables || missing+=(iptables)
		if ! have docker && apt-cache show docker-cli >/dev/null 2>&1; then
			# From Debian 13 on the client is a package of its own.
			missing+=(docker-cli)
		fi
	fi
	if ! have nix-store; then
		missing+=(nix-bin libdbd-sqlite3-perl)
	fi
	if [ -z "$demo" ]; then
		have shellcheck || missing+=(shellcheck)
		have mkdocs || missing+=(mkdocs)
		have chromium-headless-shell || missing+=(chromium-headless-shell)
		# For go test -race.
		have gcc || missing+=(gcc libc6-dev)
		have sshd || missing+=(openssh-server)
		# Login shells that a user may have on a host.
		for shell in fish csh zsh; do
			have "$shell" || missing+=("$shell")
		done
	fi
	have ssh && have ssh-keygen || missing+=(openssh-client)
	have ps || missing+=(procps)
	have flock && have unshare || missing+=(util-linux)
	have tar || missing+=(tar)
	have git || missing+=(git)
	[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
	if ! can_run_arm64; then
		have qemu-aarch64-static || missing+=(qemu-user-static)
		have update-binfmts || missing+=(binfmt-support)
	fi
}

# Every host of the lab has a systemd, which takes about ten of these; all hosts share the kernel's 128 for root.
inotify=/proc/sys/fs/inotify/max_user_instances
enough_inotify() { [ "$(cat "$inotify")" -ge 1024 ]; }

# What is to be done beside packages, in words.
todo() {
	enough_inotify || echo "let root watch more files (fs.inotify.max_user_instances=1024)"
	engine_answers || echo "start a container engine (dockerd)"
	can_run_arm64 || echo "let the kernel run arm64 programs (binfmt_misc with qemu-aarch64)"
}

start_engine() {
	local i pid
	if [ -d /run/systemd/system ]; then
		say "starting the container engine: systemctl start docker"
		systemctl start docker || die "docker.service does not start; see journalctl -u docker"
	else
		mkdir -p "$state"
		if ! mountpoint -q /sys/fs/cgroup; then
			mount -t cgroup2 cgroup2 /sys/fs/cgroup || die "cannot mount control groups at /sys/fs/cgroup, which containers need"
		fi
		say "starting the container engine: dockerd (stop it with test/setup.sh --stop)"
		# shellcheck disable=SC2086 # a list of arguments
		setsid dockerd ${GODWIT_LAB_DOCKERD_ARGS:-} >"$state/dockerd.log" 2>&1 </dev/null &
		pid=$!
		echo "$pid $(start_time "$pid")" >"$pidfile"
	fi
	for ((i = 0; i < 300; i++)); do
		if engine_answers; then return 0; fi
		if [ -n "${pid:-}" ] && [ ! -d "/proc/$pid" ]; then break; fi
		sleep 0.2
	done
	[ -z "${pid:-}" ] || tail -n 10 "$state/dockerd.log" >&2
	die "the container engine does not answer${pid:+; its log: $state/dockerd.log}"
}

enable_arm64() {
	if [ ! -e /proc/sys/fs/binfmt_misc/register ]; then
		say "mounting binfmt_misc"
		mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc ||
			die "cannot mount binfmt_misc: load it outside of this container (modprobe binfmt_misc)"
	fi
	local entry=/proc/sys/fs/binfmt_misc/qemu-aarch64 magic mask interpreter flags
	if ! grep -qs '^enabled' "$entry"; then
		update-binfmts --import qemu-aarch64 >/dev/null 2>&1 || true
		update-binfmts --enable qemu-aarch64 >>"$log" 2>&1 || true
	fi
	grep -qs '^enabled' "$entry" ||
		die "cannot enable arm64 programs; see update-binfmts --display qemu-aarch64 and $log"
	if ! can_run_arm64; then
		# Debian's entry lacks the flag C: registered again, until the next boot.
		say "enabling arm64 programs in containers, setuid programs included"
		field() { sed -n "s/^$1 //p" "$entry"; }
		escape() { sed 's/../\\x&/g'; }
		magic=$(field magic | escape) mask=$(field mask | escape)
		interpreter=$(field interpreter)
		flags=FC
		case $(field flags:) in
		*P*) flags=PFC ;;
		esac
		echo -1 >"$entry"
		printf '%s' ":qemu-aarch64:M::$magic:$mask:$interpreter:$flags" >/proc/sys/fs/binfmt_misc/register
	fi
	can_run_arm64 || die "arm64 programs do not run: $entry must be enabled with the flags F and C"
}

demo=
case ${1:-} in
'' | --check) ;;
--demo) demo=1 ;;
--stop)
	stop_engine
	exit 0
	;;
-h | --help)
	sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
	exit 0
	;;
*) die "unknown option $1: use --demo, --check or --stop" ;;
esac

find_missing
work=$(todo)
if [ "${#missing[@]}" = 0 ] && [ -z "$work" ]; then
	exit 0
fi
needs() {
	[ "${#missing[@]}" = 0 ] || say "missing Debian packages: ${missing[*]}"
	[ -z "$work" ] || while IFS= read -r line; do say "to do: $line"; done <<<"$work"
}
if [ "${1:-}" = --check ]; then
	needs
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	needs
	die "this needs root: sudo test/setup.sh"
fi
if [ "${#missing[@]}" != 0 ]; then
	if ! have apt-get; then
		needs
		die "this machine has no apt-get. The lab is made for Debian 12 or newer; elsewhere install the like of these packages and run it again"
	fi
	say "installing Debian packages: ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	{
		apt-get update &&
			# RUNLEVEL keeps packages from starting services on their own.
			RUNLEVEL=1 apt-get install -y --no-install-recommends "${missing[@]}"
	} >>"$log" 2>&1 </dev/null || {
		tail -n 15 "$log" >&2
		die "apt-get failed (all of its output: $log); it was to install: ${missing[*]}"
	}
	hash -r
fi
# docker.io of Debian 13 comes without its client.
if ! have docker; then
	say "installing Debian packages: docker-cli"
	apt-get install -y --no-install-recommends docker-cli >>"$log" 2>&1 </dev/null || die "no docker client: see $log"
fi
enough_inotify || echo 1024 >"$inotify" || die "cannot set fs.inotify.max_user_instances: set it to 1024 outside of this container"
engine_answers || start_engine
can_run_arm64 || enable_arm64
