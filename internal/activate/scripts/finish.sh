# shellcheck shell=sh disable=SC2034,SC2154,SC2317,SC2329,SC2119,SC2120 # a part: names come from, and go to, the others
# The end of a deployment: its record, then its result, then the traces of it.

# finish RESULT: called once; a killed finish is repeated by whoever comes next.
finish() {
	waits_end
	record "$1"
	case $ACTION/$1 in
	dry-activate/* | boot/*) ;;
	*/rolled-back*) remember "$D/parts-old" ;;
	*/committed | */done*) remember "$D/parts-new" "$D/parts-known" ;;
	esac
	rm -f "$STATE/pending"
	durable
	put final "$1"
	release
}

# waits_end [dead]: the timers that wait for the confirmation; dead, if the one
# that fires once must not fire any more when this returns. One by one: newer
# systemctl stops nothing when one of the units is unknown.
waits_end() {
	for waits in confirm lease; do
		systemctl stop --no-block "godwit-$waits-$ID.timer" 2>/dev/null
	done
	[ "${1:-}" != dead ] || systemctl stop "godwit-confirm-$ID.timer" 2>/dev/null
}

# durable: what was said to hold must outlive a power cut in the next moment.
# File system by file system: a plain sync also waits for dead network mounts.
durable() {
	case $ACTION in dry-activate) return ;; esac
	sync -f "$NEW" "${PROFILE%/*}" "$STATE" 2>/dev/null
	for mount in /boot /boot/efi /efi; do
		[ ! -d "$mount" ] || sync -f "$mount" 2>/dev/null
	done
}

# release: the lock, the gc roots and the deadman. A failed rollback keeps the
# gc roots: somebody will need the old system.
release() {
	case $(get final) in
	rollback-failed*) ;;
	*)
		rm -f "$GCROOTS/godwit-$ID-new" "$GCROOTS/godwit-$ID-old" "$GCROOTS/godwit-$ID-top"
		[ "$ACTION" = dry-activate ] || pushed_done "$NEW" "$TOPLEVEL"
		;;
	esac
	[ "$(readlink "$RUN/current")" != "$ID" ] || rm -f "$RUN/current"
	rm -f "$D/reserve" "$D"/spare-*
	waits_end
	systemctl stop --no-block "godwit-rollback-$ID.timer" 2>/dev/null
	return 0
}

# record RESULT: one line of JSON in the host's own history. Nothing in it
# needs quoting, except what the deployer sent as ready JSON (meta.json).
record() {
	case $ACTION in dry-activate) return ;; esac
	(umask 022 && mkdir -p "$STATE")
	history=$STATE/history.jsonl
	if [ -s "$history" ]; then
		! tail -n 30 "$history" | grep -qF "\"id\":\"$ID\"" || return 0
		[ -z "$(tail -c 1 "$history")" ] || echo >>"$history" # torn by a power cut
	fi
	now=$(date +%s)
	(
		umask 022
		printf '{"id":"%s","action":"%s","mode":"%s","old":"%s","new":"%s","toplevel":"%s","result":"%s","exit":"%s","reason":"%s","started":%s,"ended":%s,"meta":%s}\n' \
			"$ID" "$ACTION" "$MODE" "$OLD" "$NEW" "$TOPLEVEL" "$1" "$(get apply-rc | sed 's/ .*//')" \
			"$(get reason | tr -cd 'A-Za-z0-9 ._,:;/()@+=-')" "$STARTED" "$now" "$(get meta.json)" >>"$history"
	) || say "no record was written to $history"
}
