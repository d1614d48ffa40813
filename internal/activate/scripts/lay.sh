# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# The folder of a deployment, for arm.sh.

# load N: what was sent of a profile, whose variables end in _N.
load() {
	for name in KIND NAME NEW OLD TOPLEVEL LINK OWNER COMMAND; do eval "$name=\${${name}_$1:-}"; done
	P=$D/$1
	[ -n "$LINK" ] || LINK=$("${KIND}_link")
}
store() { [ -n "$3" ] && eval "$2_$1=\$3"; } # N NAME VALUE

assignments() { # NAME...
	for name; do
		eval "value=\$$name"
		printf "%s='%s'\n" "$name" "$value"
	done
}

write_profile() {
	mkdir "$P" && assignments KIND NAME NEW OLD TOPLEVEL LINK OWNER COMMAND >"$P/env" &&
		ln -sn "$NEW" "$P/new" && ln -sn "$TOPLEVEL" "$P/top" && { [ -z "$OLD" ] || ln -sn "$OLD" "$P/old"; } &&
		printf '%250s\n' '' >"$P/spare-back" && printf '%250s\n' '' >"$P/spare-link-old" # see put
}

# Roots by way of /run: after a power cut they point nowhere, and Nix's own
# garbage collector removes such links from gcroots/auto.
root_of() { # N new|old|top
	[ "$1" = "$MAIN" ] && echo "$GCROOTS/godwit-$ID-$2" || echo "$GCROOTS/godwit-$ID-$2-$1"
}
root_profile() {
	for root in new old top; do
		[ -L "$P/$root" ] || continue
		if [ -n "$SCOPE" ]; then
			nix-store --realise "$(readlink "$P/$root")" --add-root "$P/$root" >/dev/null
		else
			ln -sn "$P/$root" "$(root_of "${P##*/}" "$root")"
		fi || return 1
	done
}

write_files() {
	{
		assignments ID PROFILES BACKWARDS MAIN MANY NOTE_KIND ACTION MODE APPLY_ACTION ACTIVATE CONFIRM SILENCE TICK TICKS STOP DEADMAN ROLLBACK_MAX COMMIT_MAX KEEP LAST_RESORT SCOPE RUN STATE HOOKS LASTS CURRENT GCROOTS SWITCH_LOCK
		printf "SH='%s'\nPINNED_PATH='%s'\nSTARTED=%s\nARMED=%s\n" "$(readlink -f "$(command -v sh)")" \
			"${gnu:+$gnu:}$(real "$CURRENT/sw")/bin:$always_path" "$(date +%s)" "$uptime_now"
	} >"$D/env" && printf '%s' "$RUN_SH" | base64 -d >"$D/run.sh" && printf '%s' "$META" | base64 -d >"$D/meta.json" && printf '%s' "$IGNORE" | base64 -d >"$D/ignore" &&
		boot_id >"$D/boot_id" && true >"$D/log" && true >"$D/failed-now" && head -c 65536 /dev/zero >"$D/reserve" &&
		[ "$(wc -c <"$D/run.sh")" -eq "$RUN_SH_SIZE" ] && sh -n "$D/run.sh" 2>/dev/null || return 1
	for name in phase final rollback-rc attempts commits commit-failed reason missed heard activated-at; do # see put
		printf '%250s\n' '' >"$D/spare-$name" || return 1
	done
}

# look_plain: what preflight.sh tells of a profile that is nothing special.
look_plain() {
	[ -n "$NEW" ] || return 0
	[ -e "$NEW" ] || tell absent "$NEW"
	why=$("${KIND}_fits") || tell unfit "$why"
}
