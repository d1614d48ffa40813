# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# attach.sh: a verb of a deployment that exists: VERB, ID (or "current"), A1, A2.
[ "$ID" != current ] || ID=$(readlink "$RUN/current") || {
	# nothing pending: the last one that ended since the boot, if any
	[ "$VERB" = facts ] && ID=$(cd "$RUN" 2>/dev/null && find . -mindepth 2 -maxdepth 2 -name final | sort | tail -n 1)
	ID=${ID#./}
	ID=${ID%/final}
}
if [ -n "$ID" ] && [ -r "$RUN/$ID/run.sh" ]; then
	exec sh "$RUN/$ID/run.sh" "$VERB" "$A1" "$A2"
fi
printf '::godwit fact %s %s\n' gone 1 uid "$(id -u)" boot-id "$(boot_id)" current "$(real "$CURRENT")" profile "$(real "$PROFILE")"
[ ! -s "$STATE/pending" ] || sed 's/^/::godwit fact interrupted /;1q' "$STATE/pending"
[ -z "$ID" ] || grep -sF "\"id\":\"$ID\"" "$STATE/history.jsonl" | tail -n 1 | sed 's/^/::godwit fact record /'
printf '::godwit end\n'
