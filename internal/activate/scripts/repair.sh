# shellcheck shell=sh disable=SC2034,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# repair: a power cut between the profile and the boot default leaves a
# profile that names a system that was never confirmed to boot. The note of
# profile_set tells; the profile goes back, unless somebody set it since.
repair() {
	[ -s "$STATE/pending" ] || return 0
	{ read -r was_id && read -r was_profile && read -r was_link && read -r was_new && read -r was_old; } <"$STATE/pending"
	if [ "$(readlink -f "$was_profile")" = "$was_new" ] && [ "$(readlink -f "$CURRENT")" = "$was_old" ] && [ "$was_old" != "$was_new" ]; then
		echo "godwit: the commit of $was_id was interrupted: $was_profile goes back to $was_link" >>"$D/log"
		link_back "$was_profile" "$was_link" >>"$D/log" 2>&1
	fi
	rm -f "$STATE/pending"
}
