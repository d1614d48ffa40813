# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# repair: a reboot between the first change and the end of a deployment leaves links, and
# profiles that outlive it, as nobody confirmed them. The note of pend tells: they go back,
# in the opposite order, unless somebody set them since. When what boots came up as the
# new one, all of it was kept. What fails stays noted.
repair() { go_back && pend_end; }
go_back() {
	[ -s "$STATE/pending" ] || return 0
	kept='' failed='' stanzas=$((($(wc -l <"$STATE/pending") + 5) / 6))
	stanza=$stanzas
	while [ "$stanza" -gt 0 ]; do
		stanza was_kept
		stanza=$((stanza - 1))
	done
	stanza=$stanzas
	while [ "$stanza" -gt 0 ]; do
		if [ -n "$kept" ]; then stanza keep_was; else stanza back_was; fi || failed="$failed$NAME "
		stanza=$((stanza - 1))
	done
	profile "$MAIN"
	[ -z "$failed" ]
}

# stanza COMMAND: for one of the note. One without a kind is of a version before there
# were any.
stanza() {
	sed -n "$((stanza * 6 - 5)),$((stanza * 6))p" "$STATE/pending" >"$D/stanza" || return 1
	{
		read -r was_id && read -r LINK && read -r was_link && read -r NEW && read -r OLD || return 1
		read -r _ KIND OWNER NAME COMMAND || KIND=$NOTE_KIND OWNER='' NAME='' COMMAND=''
	} <"$D/stanza"
	[ "$OWNER" != - ] || OWNER=
	TOPLEVEL=$NEW P=$D/was-$stanza
	"$1"
}

was_kept() { hook cut || kept=1; }

# keep_was: the boot default was set before the power was cut, and maybe not every link.
keep_was() {
	if [ "$(readlink "$LINK")" != "$was_link" ] || [ "$(real "$LINK")" = "$NEW" ] || [ ! -e "$NEW" ]; then return 0; fi
	say "$LINK is set to $NEW, as $was_id had confirmed it"
	as_owner nix-env -p "$LINK" --set "$NEW"
}

back_was() {
	[ "$OLD" != "$NEW" ] || return 0
	mkdir -p "$P" && note link-old "$was_link" || return 1
	if lasts; then
		say "profile $NAME: $was_id was interrupted; it goes back to ${OLD:-nothing}"
		"${KIND}_back"
		case $? in
		0) ;;
		9) say "$(now) runs here, which is neither the old nor the new one: touching nothing" ;;
		*) return 1 ;;
		esac
	elif [ "$(real "$LINK")" = "$NEW" ]; then
		say "the commit of $was_id was interrupted: $LINK goes back to $was_link"
		link_back
	fi
}

# lasts: is it, after a reboot, as it was activated last?
lasts() { case " $LASTS " in *" $KIND "*) ;; *) return 1 ;; esac; }
