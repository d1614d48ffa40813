# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# What a reboot would leave as nobody confirmed it goes back when the host has booted: a
# unit on the disk for that, from the first change to the end of the deployment. Where the
# folder of such units cannot be written to, the next deployment does it (repair).

# boot_place: $hooks, where systemd looks for units that outlive a reboot; what is booted
# after; and what is there as long as the host does not reboot.
boot_place() {
	hooks=$HOOKS hook_target=multi-user.target hook_alive=$RUN/$ID
	[ -z "$SCOPE" ] || hooks=$HOME/.config/systemd/user.control hook_target=default.target hook_alive=$XDG_RUNTIME_DIR/godwit-$ID
}

# at_boot: makes the unit, for a profile that needs it.
at_boot() {
	if [ "$MODE" != guard ] || ! lasts || [ -L "$D/at-boot" ]; then return 0; fi
	if [ "$_kernel" = Darwin ]; then
		say "after a reboot only the next deploy would take profile $NAME back"
		ln -sn 1 "$D/at-boot"
		return 0
	fi
	boot_place
	is_plain "$STATE$hooks" || return 0
	at=$STATE/recover
	(
		umask 077
		rm -rf "$at" && mkdir "$at" && cp "$D/env" "$D/run.sh" "$D/meta.json" "$at" && : >"$at/log" || exit 1
		for n in $PROFILES; do mkdir "$at/$n" && cp "$D/$n/env" "$at/$n" || exit 1; done
		[ -z "$SCOPE" ] || : >"$hook_alive" || exit 1
		umask 022
		mkdir -p "$hooks/$hook_target.wants" && printf '%s\n' '[Unit]' 'Description=godwit takes back what was not confirmed before the reboot' \
			"After=$hook_target" "ConditionPathExists=$at/run.sh" "ConditionPathExists=!$hook_alive" StartLimitIntervalSec=600 StartLimitBurst=5 \
			'[Service]' Type=oneshot Restart=on-failure RestartSec=10 "TimeoutStartSec=$((ROLLBACK_MAX + 60))" \
			"ExecStart=/bin/sh $at/run.sh recover" >"$hooks/godwit-recover.service.new" &&
			mv -f "$hooks/godwit-recover.service.new" "$hooks/godwit-recover.service" &&
			ln -sfn ../godwit-recover.service "$hooks/$hook_target.wants/godwit-recover.service"
	) 2>/dev/null || {
		say "nothing in $hooks can be made: after a reboot only the next deploy would take profile $NAME back"
		pend_boot_end
	}
	ln -sn 1 "$D/at-boot"
	sync -f "$STATE" "$hooks" 2>/dev/null
	return 0
}

# pend_end: the note, what a reboot left that nobody ended (beside.sh), and the unit.
pend_end() {
	[ ! -e "$STATE/pending" ] || rm -f "$STATE/pending"
	[ ! -e "$STATE/beside" ] || rm -rf "$STATE/beside"
	pend_boot_end
}
pend_boot_end() {
	[ -e "$STATE/recover" ] || return 0
	boot_place
	rm -f "$hooks/$hook_target.wants/godwit-recover.service" "$hooks/godwit-recover.service" "$hooks/godwit-recover.service.new"
	[ -z "$SCOPE" ] || rm -f "$hook_alive"
	rmdir "$hooks/$hook_target.wants" "$hooks" 2>/dev/null
	rm -rf "$STATE/recover"
}

# recover: what the unit runs. Here $D is $STATE/recover. A deployment that was armed
# since has done it, and may have made another unit.
recover() {
	rebooted || return 0
	[ -z "$SCOPE" ] || RUN=${RUN%/*}/$(cat /proc/sys/kernel/random/boot_id)
	mkdir -p "$RUN" && exec 9>>"$RUN/lock" && flock 9 || exit 75
	# shellcheck source=/dev/null
	[ -s "$D/env" ] && . "$D/env" && rebooted || return 0
	go_back || exit 1
	put reason "the host rebooted before it was confirmed"
	if [ -n "$kept" ]; then record committed; else record 'rolled-back 0'; fi
	rm -f "$GCROOTS/godwit-$ID"-*
	pend_end
}
rebooted() {
	boot_place
	[ ! -e "$hook_alive" ]
}
