# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# arm.sh: sent over ssh; all of it is one compound command, so that a cut
# connection runs nothing. Before it stand the variables of this deployment.
# Touches nothing but its own folder and the gc roots until `launch`.
umask 077
set -f
D=$RUN/$ID fresh=

refuse() { # CODE WORDS...: says why, and takes back what arming made
	code=$1
	shift
	[ -z "$fresh" ] || {
		! current_is_ours || rm -f "$RUN/current" # while the folder is there, by which it is known
		rm -rf "$D"
		for n in $PROFILES; do
			for root in new old top; do rm -f "$(root_of "$n" "$root")"; done
		done
	}
	printf '::godwit refused %s %s\n' "$code" "$*"
	exit "$code"
}

there "$RUN" || refuse 66 "cannot make $RUN"
[ -z "$SCOPE" ] || find "${RUN%/*}" -mindepth 1 -maxdepth 1 ! -name "${RUN##*/}" -exec rm -rf {} + # of boots before
true >>"$RUN/lock" || refuse 66 "cannot write to $RUN"
exec 9>>"$RUN/lock"
flock -w 20 9 || refuse 75 "another deployment is being armed"
[ ! -e "$D" ] || refuse 76 "this deployment was armed before"
[ -n "$OVERRIDE" ] || [ "$ACTION" = dry-activate ] || [ ! -s "$LOCK_FILE" ] || refuse 77 "$(head -c 4096 "$LOCK_FILE" | tr -d '\n\r')"
holder=$(current_is)
if [ -n "$holder" ] && [ -d "$RUN/$holder" ] && [ ! -e "$RUN/$holder/final" ]; then
	! alive "$holder" || refuse 75 "$holder"
	echo "abandoned" >"$RUN/$holder/final" # nothing of it lives any more
fi
room "$RUN" 256
if [ "$ACTION" != dry-activate ]; then
	there "$GCROOTS" && room "$GCROOTS" 256
	case $ACTION in switch | boot) there "$STATE" && room "$STATE" 64 ;; esac
fi
for n in $PROFILES; do
	load "$n"
	store "$n" NEW "$(real "$NEW")" || refuse 65 "the new system is not on the host"
	store "$n" OLD "$("${KIND}_now")"
	load "$n"
	why=$("${KIND}_fits") || refuse 65 "$why"
	case $ACTION/$OWNER in switch/ | boot/) there "${LINK%/*}" && room "${LINK%/*}" 256 ;; esac
done

# Sweep: all but the last three folders, and gc roots whose folder is gone.
set +f
set -- "$RUN"/*/final
while [ $# -gt 3 ]; do
	rm -rf "${1%/final}"
	shift
done
for root in "$GCROOTS"/godwit-*; do [ -e "$root" ] || [ ! -L "$root" ] || rm -f "$root"; done
set -f

fresh=1
uptime_look
mkdir "$D" || refuse 66 "cannot make $D"
if [ "$ACTION" != dry-activate ]; then
	{ ln -sfn "$ID" "$RUN/current" && current_is_ours; } || refuse 75 "another deployment"
fi
for n in $PROFILES; do
	load "$n"
	write_profile || refuse 66 "cannot write to $D"
	[ "$ACTION" = dry-activate ] || root_profile || refuse 66 "cannot write to $GCROOTS"
done
write_files || refuse 66 "cannot write to $D"
# The baseline: what had failed before, or fails again and again.
[ "$MODE" = detached ] || units_failed >"$D/failed-now" || refuse 74 "systemd does not answer on the host"
true >"$D/failed-before" || refuse 66 "cannot write to $D"
exec sh "$D/run.sh" launch
