# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# The link of a profile, forth and back.

# link_set PATH: with a note that outlives a power cut before the deployment ends:
# the next one puts the link back (repair).
link_set() {
	link_note && pend "$1" || return 1
	[ -d "${LINK%/*}" ] || as_owner mkdir -p "${LINK%/*}" || return 1
	as_owner nix-env -p "$LINK" --set "$1"
}

# link_note: the generation that the link names before.
link_note() {
	[ ! -e "$P/link-old" ] || return 0
	link_old=$(readlink "$LINK")
	is_plain "$link_old" && note link-old "$link_old"
}

# pend PATH: a stanza of six lines in the note. The first five are what the first
# versions of godwit read, of the first stanza.
pend() {
	[ -d "$STATE" ] || (umask 022 && mkdir -p "$STATE") || return 1
	[ ! -s "$STATE/pending" ] || ! grep -qsxF -e "$LINK" "$STATE/pending" || return 0
	{
		[ ! -s "$STATE/pending" ] || cat "$STATE/pending"
		printf '%s\n' "$ID" "$LINK" "$(noted link-old)" "$1" "$OLD" "kind $KIND ${OWNER:--} $NAME $COMMAND"
	} >"$STATE/pending.new" && mv -f "$STATE/pending.new" "$STATE/pending" && at_boot
}

# link_back: as it was, and no generation of ours.
link_back() { [ ! -s "$P/link-old" ] || link_to "$LINK" "$(noted link-old)"; }
link_to() { # LINK GENERATION: which is empty where there was none
	made=$(readlink "$1")
	[ "$made" != "$2" ] || return 0
	if [ -z "$2" ]; then
		as_owner rm -f "$1" "${1%/*}/$made"
		return
	fi
	number=${2%-link}
	as_owner nix-env -p "$1" --switch-generation "${number##*-}" 2>&1 ||
		{ as_owner ln -sfn "$2" "$1.godwit" && as_owner mv -fT "$1.godwit" "$1"; } || return 1
	number=${made%-link}
	as_owner nix-env -p "$1" --delete-generations "${number##*-}" 2>&1
}

# as_owner COMMAND...: as the user whose profile it is. It stays in the control group
# of who calls, so that it ends with it; the user's own manager is reached where there
# is one. Nothing of root's is open to it but the log.
as_owner() {
	if [ -z "$OWNER" ] || [ "$OWNER" = "$(id -un)" ]; then
		"$@" </dev/null 8>&- 9>&-
		return
	fi
	owner_id=$(id -u "$OWNER") && owner_group=$(id -g "$OWNER") && owner_home=$(home_of "$OWNER") || return 1
	owner_run=/run/user/$owner_id
	setpriv --reuid "$owner_id" --regid "$owner_group" --init-groups env -i "HOME=$owner_home" "USER=$OWNER" "LOGNAME=$OWNER" \
		"PATH=$owner_home/.nix-profile/bin:$owner_home/.local/state/nix/profile/bin:/etc/profiles/per-user/$OWNER/bin:$PATH" \
		"XDG_RUNTIME_DIR=$owner_run" "DBUS_SESSION_BUS_ADDRESS=unix:path=$owner_run/bus" "$@" </dev/null 8>&- 9>&-
}
