# shellcheck shell=sh disable=SC2034,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# Words of all verbs. D is the folder of this reboot below /run; it goes with
# every boot, so whoever needs it makes it again.
D=$RUN/$ID
umask 077
PATH=$(real "$CURRENT/sw")/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

say() { printf 'godwit: %s\n' "$*"; }
put() { printf '%s\n' "$2" >"$D/.$1" && mv -f "$D/.$1" "$D/$1"; }
get() { head -n 1 "$D/$1" 2>/dev/null; }

# stc SYSTEM: the boot default, or why it could not be set.
stc() {
	boot_loader "$1" "$LOADER_MAX"
	stc_rc=$?
	stc_why="exit $stc_rc"
	[ "$stc_rc" != 75 ] || stc_why="another switch-to-configuration did not end within ${LOADER_MAX}s"
	[ "$stc_rc" != 137 ] || stc_why="killed; its limit is ${LOADER_MAX}s"
	return "$stc_rc"
}

# decide keep|back: the one decision; the first wins.
decide() {
	mkdir -p "$D"
	ln -sn "$1" "$D/decision" 2>/dev/null
	readlink "$D/decision"
}

# beside VERB [ARGUMENT]: profiles that go with the new system, if there are any
# (internal/activate/scripts/beside.sh).
beside() {
	! beside_ours || sh "$BESIDE/run.sh" "beside-$1" ${2+"$2"} </dev/null
}
beside_ours() { grep -qsxF "ID='$ID'" "$BESIDE/env"; }

# lock: other deployments see a pending one. Its pid is that of PID 1: nothing
# of it may be taken over before the next boot.
lock() {
	mkdir -p "$D" && rm -f "$D/final" && echo 1 >"$D/pid" && ln -sfn "$ID" "$RUN/current"
}

# profile_back: the profile as before, and no generation of the new system.
profile_back() {
	made=$(readlink "$PROFILE")
	[ "$(real "$PROFILE")" != "$OLD" ] || return 0
	back=
	for file in "$PROFILE"-*-link "${PROFILE%/*}/$LINK"; do
		[ "$(real "$file")" != "$OLD" ] || back=$file
	done
	if [ -n "$back" ]; then
		number=${back%-link}
		nix-env -p "$PROFILE" --switch-generation "${number##*-}" || return 1
	else
		nix-env -p "$PROFILE" --set "$OLD" || return 1
	fi
	[ "$made" != "$LINK" ] && [ "$(real "${PROFILE%/*}/$made")" = "$NEW" ] || return 0
	number=${made%-link}
	nix-env -p "$PROFILE" --delete-generations "${number##*-}"
}

# tidy: profile and boot loader as before.
tidy() {
	"${LOADER}_clear"
	profile_back || say "the profile could not be put back"
	stc "$OLD" || {
		say "the boot loader could not be set again for $OLD ($stc_why)"
		return 1
	}
}

# finish RESULT REASON: the record, then no trace.
finish() {
	record "$1" "$2"
	# What could not be taken back stays noted: the guard's next deployment does it.
	[ -n "${beside_left:-}" ] || rm -f "$STATE/pending"
	rm -f "$GCROOTS/godwit-$ID-old"
	beside end "$1"
	pushed_done "$NEW"
	watch_remove
	systemctl daemon-reload
	put reason "$2"
	sync -f "$NEW" "${PROFILE%/*}" "$STATE" 2>/dev/null # must outlive a power cut in the next moment
	for mount in /boot /boot/efi /efi; do
		[ ! -d "$mount" ] || sync -f "$mount" 2>/dev/null
	done
	put final "$1"
	[ "$(readlink "$RUN/current")" != "$ID" ] || rm -f "$RUN/current"
}

# record RESULT REASON: a line in the host's own history, as the guard writes it.
record() {
	(umask 022 && mkdir -p "$STATE")
	! tail -n 30 "$STATE/history.jsonl" 2>/dev/null | grep -qF "\"id\":\"$ID\"" || return 0
	(
		umask 022
		profiles=$(beside record)
		printf '{"id":"%s","action":"%s","mode":"once","old":"%s","new":"%s","toplevel":"%s","result":"%s","exit":"","reason":"%s","started":%s,"ended":%s,%s"meta":%s}\n' \
			"$ID" "$ACTION" "$OLD" "$NEW" "$NEW" "$1" "$(printf '%s' "$2" | tr -cd 'A-Za-z0-9 ._,:;/()@+=-')" \
			"$STARTED" "$(date +%s)" "${profiles:+\"profiles\":[$profiles],}" "$(printf '%s' "$META" | base64 -d)" >>"$STATE/history.jsonl"
	)
}
