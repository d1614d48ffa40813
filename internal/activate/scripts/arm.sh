# shellcheck shell=sh disable=SC2034,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# arm.sh: sent over ssh; all of it is one compound command, so that a cut
# connection runs nothing. Before it stand the variables of this deployment.
# Touches nothing but its own folder and the gc roots until `launch`.
umask 077
set -f
PATH=$(readlink -f "$CURRENT/sw")/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
D=$RUN/$ID fresh=

refuse() { # CODE WORDS...: says why, and takes back what arming made
	code=$1
	shift
	[ -z "$fresh" ] || {
		rm -rf "$D"
		for root in new old top; do rm -f "$GCROOTS/godwit-$ID-$root"; done
		[ "$(readlink "$RUN/current")" != "$ID" ] || rm -f "$RUN/current"
	}
	printf '::godwit refused %s %s\n' "$code" "$*"
	exit "$code"
}
alive() { # ID: does a unit of that deployment still live, or can't we know?
	states=
	[ "$MODE" = detached ] || states=$(systemctl show --property=ActiveState --value "godwit-rollback-$1.timer" \
		"godwit-rollback-$1.service" "godwit-apply-$1.service" "godwit-commit-$1.service" "godwit-confirm-$1.timer" "godwit-lease-$1.timer") || return 0
	for word in $states; do
		case $word in inactive | failed) ;; *) return 0 ;; esac
	done
	! { read -r pid <"$RUN/$1/pid" && kill -0 "$pid"; } 2>/dev/null || return 0
	return 1
}

mkdir -p "$RUN" || refuse 66 "cannot make $RUN"
true >>"$RUN/lock" || refuse 66 "cannot write to $RUN"
exec 9>>"$RUN/lock"
flock -w 20 9 || refuse 75 "another deployment is being armed"
[ ! -e "$D" ] || refuse 76 "this deployment was armed before"
holder=$(readlink "$RUN/current")
if [ -n "$holder" ] && [ -d "$RUN/$holder" ] && [ ! -e "$RUN/$holder/final" ]; then
	! alive "$holder" || refuse 75 "$holder"
	echo "abandoned" >"$RUN/$holder/final" # nothing of it lives any more
fi
OLD=$(readlink -f "$CURRENT")
NEW=$(readlink -f "$NEW") || refuse 65 "the new system is not on the host"
switches() { [ -x "$1/bin/switch-to-configuration" ] || refuse 65 "$1 has no bin/switch-to-configuration"; }
switches "$NEW" && switches "$TOPLEVEL"
[ "$MODE" != guard ] || switches "$OLD" # for the way back
room "$RUN" 256
if [ "$ACTION" != dry-activate ]; then
	mkdir -p "$GCROOTS" && room "$GCROOTS" 256
	case $ACTION in switch | boot) mkdir -p "${PROFILE%/*}" "$STATE" && room "${PROFILE%/*}" 256 && room "$STATE" 64 ;; esac
fi

# Sweep: all but the last three folders, and gc roots whose folder is gone.
find "$RUN" -mindepth 2 -maxdepth 2 -name final | sort | head -n -3 | while read -r past; do
	rm -rf "${past%/final}"
done
find "$GCROOTS" -maxdepth 1 -name 'godwit-*' ! -exec test -e {} \; -exec rm -f {} + 2>/dev/null

fresh=1 && IFS= read -r uptime </proc/uptime
mkdir "$D" || refuse 66 "cannot make $D"
{ ln -sn "$NEW" "$D/new" && ln -sn "$OLD" "$D/old" && ln -sn "$TOPLEVEL" "$D/top"; } || refuse 66 "cannot write to $D"
if [ "$ACTION" != dry-activate ]; then
	{ ln -sfn "$ID" "$RUN/current" && [ "$(readlink "$RUN/current")" = "$ID" ]; } || refuse 75 "another deployment"
	# Roots by way of /run: after a power cut they point nowhere, and Nix's own
	# garbage collector removes such links from gcroots/auto.
	for root in new old top; do
		ln -sn "$D/$root" "$GCROOTS/godwit-$ID-$root" || refuse 66 "cannot write to $GCROOTS"
	done
fi
write_files() {
	{
		for name in ID NEW OLD TOPLEVEL ACTION MODE APPLY_ACTION PROFILE ACTIVATE CONFIRM SILENCE TICK TICKS STOP DEADMAN ROLLBACK_MAX COMMIT_MAX LAST_RESORT RUN STATE CURRENT GCROOTS SWITCH_LOCK; do
			eval "value=\$$name"
			# shellcheck disable=SC2154 # set by eval
			printf "%s='%s'\n" "$name" "$value"
		done
		printf "SH='%s'\nPINNED_PATH='%s'\nSTARTED=%s\nARMED=%s\n" "$(readlink -f "$(command -v sh)")" "$PATH" "$(date +%s)" "${uptime%%.*}"
	} >"$D/env" && printf '%s' "$RUN_SH" | base64 -d >"$D/run.sh" && printf '%s' "$META" | base64 -d >"$D/meta.json" && printf '%s' "$IGNORE" | base64 -d >"$D/ignore" &&
		cat /proc/sys/kernel/random/boot_id >"$D/boot_id" && true >"$D/log" && true >"$D/failed-now" && head -c 65536 /dev/zero >"$D/reserve" &&
		[ "$(wc -c <"$D/run.sh")" -eq "$RUN_SH_SIZE" ] && sh -n "$D/run.sh" 2>/dev/null
}
write_files || refuse 66 "cannot write to $D"
for name in phase final rollback-rc attempts commits commit-failed reason missed heard activated-at; do # see put
	printf '%250s\n' '' >"$D/spare-$name" || refuse 66 "cannot write to $D"
done
# The baseline: what had failed before, or fails again and again.
[ "$MODE" = detached ] || systemctl list-units --state=failed,auto-restart --plain --no-legend --no-pager >"$D/failed-now" ||
	refuse 74 "systemd does not answer on the host"
true >"$D/failed-before" || refuse 66 "cannot write to $D"
exec sh "$D/run.sh" launch
