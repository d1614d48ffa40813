# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# repair: a power cut between a profile and the end of its deployment leaves a link that
# names what was never confirmed. The note of link_set tells; the link goes back, unless
# somebody set it since. A stanza without a kind is of a version before there were any.
repair() {
	[ -s "$STATE/pending" ] || return 0
	while read -r was_id && read -r LINK && read -r was_link && read -r NEW && read -r OLD; do
		read -r _ KIND OWNER || KIND=$NOTE_KIND
		if [ "$OLD" != "$NEW" ] && [ "$(readlink -f "$LINK")" = "$NEW" ] && hook cut; then
			echo "godwit: the commit of $was_id was interrupted: $LINK goes back to $was_link" >>"$D/log"
			link_to "$LINK" "$was_link" >>"$D/log" 2>&1
		fi
	done <"$STATE/pending"
	rm -f "$STATE/pending"
	profile "$MAIN"
}
