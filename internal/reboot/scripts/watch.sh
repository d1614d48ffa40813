# shellcheck shell=sh disable=SC2034,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# The deadman on the other side of the reboot. /run is empty then and no timer
# of PID 1 outlives it, so for the time of this one reboot a unit file lies in
# /etc/systemd/system.control, where `systemctl set-property` keeps its own.

watch_install() {
	mkdir -p "$UNITS/sysinit.target.wants" && cp "$0" "$UNITS/godwit-watch.sh" && printf '%s\n' \
		'[Unit]' 'Description=godwit: back to the old system unless the new one is confirmed' \
		'DefaultDependencies=no' 'IgnoreOnIsolate=yes' \
		'[Service]' 'Type=simple' "ExecStart=/bin/sh $UNITS/godwit-watch.sh watch" >"$UNITS/godwit-watch.service" &&
		ln -sfn ../godwit-watch.service "$UNITS/sysinit.target.wants/godwit-watch.service" && sync
}
watch_remove() {
	rm -f "$UNITS/godwit-watch.sh" "$UNITS/godwit-watch.service" "$UNITS/sysinit.target.wants/godwit-watch.service"
	rmdir "$UNITS/sysinit.target.wants" "$UNITS" 2>/dev/null
}

# watch: runs at the very beginning of the next boot, whichever system that is.
watch() {
	if [ "$(real "$BOOTED")" = "$NEW" ]; then
		lock
		date +%s >"$D/since"
		sleep "$LIMIT"
		[ "$(decide back)" != back ] || go_back "not confirmed within ${LIMIT}s of its boot"
		return
	fi
	lock
	timeout 900 systemctl is-system-running --wait >/dev/null 2>&1 # the boot first
	watch_why=
	! beside_ours || watch_why=$(head -n 1 "$BESIDE/why" 2>/dev/null)
	beside_left=
	beside back || beside back || beside_left=1
	tidy
	finish "rolled-back 0" "${watch_why:-the host booted the old system}"
}

# go_back REASON: the boot default is the old system already. What cannot be
# tidied up from here is tidied up by the watch after the boot.
go_back() {
	say "$1: rebooting into $OLD"
	put reason "$1"
	systemctl stop "godwit-try-$ID.service" 2>/dev/null
	! beside_ours || printf '%s\n' "$1" >"$BESIDE/why"
	timeout -s KILL 60 /bin/sh "$0" tidied "$1" # who called may ignore SIGTERM, and so would it
	systemctl reboot
	trap - TERM # or the shutdown waits for us
	sleep 120
	systemctl reboot --force
	sleep 60
	systemctl reboot --force --force
}
# tidied REASON: tidy, with a record if all of it went well.
tidied() {
	[ "$LOADER_MAX" -le 45 ] || LOADER_MAX=45
	"${LOADER}_clear"
	profile_back && stc "$OLD" || exit 1
	if beside_ours; then
		# Where the old system runs: their programs may need it.
		[ ! -e "$UNITS/godwit-watch.service" ] || exit 0
		beside back || exit 1
	fi
	record "rolled-back 0" "$1"
	beside end rolled-back
	rm -f "$STATE/pending" "$GCROOTS/godwit-$ID-old"
	watch_remove
}
