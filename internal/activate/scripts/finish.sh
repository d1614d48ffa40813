# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329,SC2119,SC2120 # a part: names come from, and go to, the others
# The end of a deployment: its record, then its result, then the traces of it.

# finish RESULT: called once; a killed finish is repeated by whoever comes next.
finish() {
	waits_end
	record "$1"
	each "$PROFILES" hook ended "$1"
	# What one before left, and could not be put right, stays noted.
	if [ "$1" != aborted ] || [ "$(head -n 1 "$STATE/pending" 2>/dev/null)" = "$ID" ]; then pend_end; fi
	durable
	put final "$1"
	release
}

# durable: what was said to hold must outlive a power cut in the next moment.
# File system by file system: a plain sync also waits for dead network mounts.
durable() {
	case $ACTION in dry-activate) return ;; esac
	each "$PROFILES" on_disk_all
	for mount in /boot /boot/efi /efi; do
		[ ! -d "$mount" ] || sync -f "$mount" 2>/dev/null
	done
}
on_disk_all() { sync -f "$NEW" "${LINK%/*}" "$STATE" 2>/dev/null || true; }

# release: the lock, the gc roots and the deadman. A failed rollback keeps the
# gc roots: somebody will need the old system.
release() {
	case $(get final) in
	rollback-failed*) ;;
	*)
		rm -f "$GCROOTS/godwit-$ID"-*
		[ -z "$SCOPE" ] || rm -f "$D"/*/new "$D"/*/old "$D"/*/top
		[ "$ACTION" = dry-activate ] || each "$PROFILES" pushed_ours
		;;
	esac
	! current_is_ours || rm -f "$RUN/current"
	rm -f "$D/reserve" "$D"/spare-* "$D"/*/spare-*
	waits_end
	deadman_end
	return 0
}
pushed_ours() { pushed_done "$NEW" "$TOPLEVEL"; }

# record RESULT: one line of JSON in the host's own history. Nothing in it
# needs quoting, except what the deployer sent as ready JSON (meta.json).
record() {
	case $ACTION in dry-activate) return ;; esac
	[ -d "$STATE" ] || (umask 022 && mkdir -p "$STATE")
	history=$STATE/history.jsonl
	if [ -s "$history" ]; then
		past=$(tail -n 30 "$history" && echo .)
		case $past in *"\"id\":\"$ID\""*) return 0 ;; esac
		case $past in *'
.') ;; *) echo >>"$history" ;; esac # torn by a power cut
	fi
	now=$(date +%s)
	peek apply-rc
	apply_rc=${got%% *}
	peek reason
	case $got in *[!A-Za-z0-9\ ._,:\;/\(\)@+=-]*) got=$(printf '%s' "$got" | tr -cd 'A-Za-z0-9 ._,:;/()@+=-') ;; esac
	reason=$got
	peek meta.json
	(
		umask 022
		printf '{"id":"%s","action":"%s","mode":"%s","old":"%s","new":"%s","toplevel":"%s","result":"%s","exit":"%s","reason":"%s","started":%s,"ended":%s,"profiles":[%s],"meta":%s}\n' \
			"$ID" "$ACTION" "$MODE" "$OLD" "$NEW" "$TOPLEVEL" "$1" "$apply_rc" \
			"$reason" "$STARTED" "$now" "$(each "$PROFILES" record_profile)" "$got" >>"$history"
	) || say "no record was written to $history"
}
record_profile() {
	[ "$each_n" = "${PROFILES%% *}" ] || printf ','
	record_link=$LINK
	is_plain "$LINK" || record_link=
	printf '{"name":"%s","kind":"%s","owner":"%s","link":"%s","command":"%s","old":"%s","new":"%s"}' "$NAME" "$KIND" "$OWNER" "$record_link" "$COMMAND" "$OLD" "$NEW"
}
