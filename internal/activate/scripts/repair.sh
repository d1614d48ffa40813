# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# repair: a power cut between a profile and the end of its deployment leaves a link that
# names what was never confirmed. The note of link_set tells; the link goes back, unless
# somebody set it since. When what boots came up as the new one, all of it was kept.
repair() {
	[ -s "$STATE/pending" ] || return 0
	kept=
	stanzas was_kept
	[ -n "$kept" ] || stanzas link_was
	rm -f "$STATE/pending"
	profile "$MAIN"
}

# stanzas COMMAND: for each of the note. One without a kind is of a version before there
# were any.
stanzas() {
	while read -r was_id && read -r LINK && read -r was_link && read -r NEW && read -r OLD; do
		read -r _ KIND OWNER || KIND=$NOTE_KIND OWNER=
		"$1"
	done <"$STATE/pending"
}
was_kept() { hook cut || kept=1; }
link_was() {
	if [ "$OLD" = "$NEW" ] || [ "$(readlink -f "$LINK")" != "$NEW" ]; then return; fi
	echo "godwit: the commit of $was_id was interrupted: $LINK goes back to $was_link" >>"$D/log"
	link_to "$LINK" "$was_link" >>"$D/log" 2>&1
}
