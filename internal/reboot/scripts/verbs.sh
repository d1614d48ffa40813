# shellcheck shell=sh disable=SC2034,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# go: in a unit of its own. Lists the new system, keeps the old one as the
# default, and boots the new one once. Until the last line all of it is undone
# when something fails.
go() {
	trap '' HUP PIPE TERM
	note || undo "cannot write to $STATE"
	[ ! -s "$D/beside.sh" ] || why=$(sh "$D/beside.sh" </dev/null) || undo "${why:-the other profiles cannot be noted}"
	nix-env -p "$PROFILE" --set "$NEW" || undo "the profile could not be set"
	mkdir -p "$GCROOTS"
	ln -sfn "$OLD" "$GCROOTS/godwit-$ID-old" || undo "cannot write to $GCROOTS"
	stc "$OLD" || undo "the boot loader could not be set ($stc_why)"
	entry=$("${LOADER}_entry" "$NEW")
	[ -n "$entry" ] || undo "the boot loader has no entry for the new system"
	watch_install || {
		watch_remove
		put unwatched 1
	}
	say "boots $entry once"
	"${LOADER}_once" "$entry" || undo "the boot loader did not take the entry for one boot"
	put going 1
	sync
	why=$(systemctl reboot 2>&1) || undo "the host refused to reboot: $(echo "$why" | tr '\n' ' ')"
}
# note: the guard's next deployment puts the profile back if nobody else did. Those of
# profiles beside it come behind (internal/activate/scripts/link.sh).
note() {
	(umask 022 && mkdir -p "$STATE")
	printf '%s\n' "$ID" "$PROFILE" "$LINK" "$NEW" "$OLD" "kind nixos - system " >"$STATE/pending.new" && mv -f "$STATE/pending.new" "$STATE/pending"
}
undo() {
	say "$1: undoing"
	if tidy; then finish aborted "$1"; else finish aborted "$1; again for the old system: $stc_why"; fi
	exit 1
}

# tries: the profiles beside the system, when that runs: "STATUS NAME".
tries() {
	trap '' HUP PIPE
	timeout -k 10 "$BESIDE_MAX" sh "$BESIDE/run.sh" beside-try
	tries_rc=$?
	put tried "$tries_rc $(head -n 1 "$BESIDE/failed" 2>/dev/null)"
}

# keep: over a new connection, in a unit of its own.
keep() {
	trap '' HUP PIPE TERM
	if beside_ours; then
		[ -e "$D/trying" ] || { put trying 1 && tries; } # who confirms is not who began it
		n=0
		while [ ! -e "$D/tried" ] && [ ! -L "$D/decision" ] && [ "$n" -lt "$BESIDE_MAX" ]; do
			sleep 1
			n=$((n + 1))
		done
		case $(get tried) in '0 '*) ;; *) back "profile $(get tried | cut -d ' ' -f 2-) could not be activated" ;; esac
	fi
	[ "$(decide keep)" = keep ] || exit 0
	why="other profiles"
	beside keep && why="the boot default" && nix-env -p "$PROFILE" --set "$NEW" && stc "$NEW"
	rc=$?
	if [ "$rc" = 0 ]; then
		finish "done 0" ""
		systemctl stop --no-block godwit-watch.service
		exit 0
	fi
	put failed "$rc"
	go_back "$why could not be set (${stc_why:-exit $rc})"
}

# back REASON: somebody looked, and it is not well.
back() {
	trap '' HUP PIPE TERM
	[ "$(decide back)" = back ] || exit 0
	go_back "$1"
}

# asked keep|back REASON: over a connection. Waits until it has an effect.
asked() {
	# Only in the boot that is to be judged: the host may have booted since.
	n=100
	if [ "$(real "$BOOTED")" = "$NEW" ]; then
		n=0
		[ -L "$D/decision" ] || { self && unit "$1" "$1" "$2" 2>/dev/null; }
	fi
	while [ ! -e "$D/final" ] && [ ! -e "$D/reason" ] && [ "$n" -lt 100 ]; do
		sleep 0.2
		n=$((n + 1))
	done
}

# trying: over a connection. Begins it once, and waits for a while.
trying() {
	n=100
	if [ "$(real "$BOOTED")" = "$NEW" ]; then
		n=0
		[ -e "$D/trying" ] || [ -L "$D/decision" ] || { self && put trying 1 && unit try tries 2>/dev/null; }
	fi
	while [ ! -e "$D/final" ] && [ ! -e "$D/reason" ] && [ ! -e "$D/tried" ] && [ "$n" -lt 100 ]; do
		sleep 0.2
		n=$((n + 1))
	done
}

# attach look|keep|back REASON: by somebody who does not know this reboot yet.
attach() {
	self() { [ -e "$D/once.sh" ] || cp "$0" "$D/once.sh"; }
	case $1 in keep | back) asked "$1" "$2" ;; esac
	printf '%s %s\n' id "$ID" new "$NEW" old "$OLD" action "$ACTION" limit "$LIMIT" started "$STARTED" meta "$META"
	facts
}

# unit NAME VERB [ARGUMENT]: a verb, in a unit that nothing of ours can end.
unit() {
	name=godwit-$1-$ID
	shift
	systemd-run --quiet --collect --no-block --no-ask-password --unit="$name" -p Type=exec -p DefaultDependencies=no \
		-p IgnoreOnIsolate=yes -p "StandardOutput=append:$D/log" -p "StandardError=append:$D/log" \
		/bin/sh "$D/once.sh" "$@" </dev/null
}

# facts: what the deployer reads. Ends with "end".
facts() {
	printf '%s %s\n' boot "$(cat "$BOOTID")" booted "$(real "$BOOTED")" current "$(real "$CURRENT")" \
		profile "$(real "$PROFILE")" state "$(systemctl is-system-running 2>/dev/null)" decision "$(readlink "$D/decision")"
	for name in final reason going unwatched failed tried; do
		[ ! -e "$D/$name" ] || echo "$name $(get "$name")"
	done
	[ ! -s "$D/since" ] || echo "left $(($(get since) + LIMIT - $(date +%s)))"
	grep -qsxF "$ID" "$STATE/pending" && echo "pending 1"
	beside profiles
	systemctl list-units --state=failed --plain --no-legend --no-pager 2>/dev/null | while read -r name _; do echo "unit $name"; done
	[ ! -s "$D/log" ] || tail -n 20 "$D/log" | sed 's/^/log /'
	echo end
}
