# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# What the deployer reads. Every answer is a frame: "::godwit data OFFSET N"
# and N bytes of the log; "::godwit fact NAME VALUE"; "::godwit end".

# follow OFFSET activated|final: new bytes of the log until that state, for at
# most half a minute or so. The state is read before the log, so that all that
# led to it is in the log.
follow() {
	offset=$1 rounds=0 size=0 busy='' seen=$D/.seen.$$
	while :; do
		reached=
		if [ -e "$D/final" ] || [ "$rounds" -gt 170 ]; then reached=1; fi
		if [ "$2" = activated ] && is_phase activated; then reached=1; fi
		# A round in which nothing happens starts no process but its sleep: on a small host, or an
		# emulated one, they would take what the activation needs. The mark is made before the look.
		# shellcheck disable=SC3013 # POSIX has -nt since 2024; dash and bash 3.2 have it
		if [ -n "$reached" ] || [ "$((rounds % 10))" = 0 ] || [ ! -e "$seen" ] || [ "$D/log" -nt "$seen" ]; then
			{ true >"$seen"; } 2>/dev/null # without it, as on a full /run, every round looks
			size=$(stat -c %s "$D/log") || break
		fi
		[ "$size" -ge "$offset" ] || offset=0 # emptied because /run was full
		if [ "$size" -gt "$offset" ]; then
			printf '::godwit data %s %s\n' "$offset" "$((size - offset))"
			tail -c "+$((offset + 1))" "$D/log" | head -c "$((size - offset))"
			offset=$size
		elif [ "$((rounds % 10))" = 0 ]; then
			case $((rounds % 50))/$MODE in
			*/detached) ;;
			20/* | 40/*) busy=$(jobs_now) ;; # after a second, then every five
			esac
			beat
		fi
		[ -z "$reached" ] || break
		rounds=$((rounds + 1))
		if [ "$rounds" -lt 20 ]; then sleep 0.05; else sleep 0.2; fi
	done
	rm -f "$seen"
	facts
	[ "$2" != activated ] || [ -z "$reached" ] || ! is_phase activated || hold
}

# jobs_now: what the host is busy with.
jobs_now() {
	[ ! -e "$D/boot-unsure" ] || is_phase rolling-back || { echo 'the boot loader, which is set again for the old system' && return; }
	[ ! -s "$D/held" ] || { peek held && printf 'another switch-to-configuration, process %s' "$got" && return; }
	jobs_run
}

# facts: the whole state, and the end of the answer.
facts() {
	for fact in phase final apply-rc apply-result rollback-rc attempts commit-failed boot-unsure reason untouched restored started waiting held failed; do
		[ ! -e "$D/$fact" ] || { peek "$fact" && printf '::godwit fact %s %s\n' "$fact" "$got"; }
	done
	[ ! -L "$D/decision" ] || printf '::godwit fact decision %s\n' "$(decided)"
	[ ! -s "$D/failed-new" ] || sed 's/^/::godwit fact failed-new /' "$D/failed-new"
	for fact in parts-new parts-known parts-old; do
		[ ! -s "$D/$fact" ] || sed "s/^/::godwit fact $fact /" "$D/$fact"
	done
	left
	main_now=$(now)
	printf '::godwit fact %s %s\n' id "$ID" old "$OLD" new "$NEW" toplevel "$TOPLEVEL" action "$ACTION" mode "$MODE" \
		since "$STARTED" age "$((uptime_now - ARMED))" left "$left" confirm "$CONFIRM" silence "$SILENCE" current "$main_now" profile "$(points "$LINK")"
	each "$PROFILES" fact_profile
	peek meta.json
	printf '::godwit fact meta %s\n' "$got"
	printf '::godwit end\n'
}

# fact_profile: "NAME KIND OWNER NOW OLD NEW"; "-" stands for nothing.
fact_profile() {
	[ "$each_n" = "$MAIN" ] && fact_now=$main_now || fact_now=$(now)
	printf '::godwit fact of %s %s %s %s %s %s\n' "$NAME" "$KIND" "${OWNER:--}" "${fact_now:--}" "${OLD:--}" "$NEW"
}

# confirm OFFSET [force]: asked over a connection that was opened after the
# activation. Units that failed since then speak against it.
confirm() {
	if is_phase activated && [ ! -L "$D/decision" ]; then
		if [ "$2" = force ]; then
			unit_commit 2>/dev/null
		elif ! newly_failed; then
			facts # systemd does not answer: ask again
			return
		elif [ -s "$D/failed-new" ]; then
			start_rollback "units failed after the activation"
		else
			unit_commit 2>/dev/null
		fi
	fi
	case $(get phase)/$(decided)/$(get final) in
	activated/* | committing/* | rolling-back/* | failed/* | */rollback/* | */?*) follow "$1" final ;;
	*) facts ;; # armed or applying: there is nothing to confirm yet
	esac
}

# cancel OFFSET REASON: back to the old system, asked by somebody.
cancel() {
	[ -e "$D/final" ] || [ "$(decided)" = commit ] || start_rollback "$2"
	follow "$1" final
}
