# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# Lays the folder of profiles that go with a system which is booted once (beside.sh). It is
# run by what is about to reboot, before that changes anything of its own. The folder is on
# the disk: whichever system boots next finds it. Profiles that are as they should be are
# left out. Says why it cannot be, with status 65 or 66.
umask 077
set -f
D=$STATE/beside
no() { # CODE WORDS...
	code=$1
	shift
	[ ! -s "$D/run.sh" ] || sh "$D/run.sh" beside-end aborted >/dev/null 2>&1
	rm -rf "$D"
	find "$GCROOTS" -maxdepth 1 -name "godwit-$ID-*" -exec rm -f {} +
	echo "$*"
	exit "$code"
}
wanted=$PROFILES PROFILES='' BACKWARDS=''
rm -rf "$D"
{ (umask 022 && mkdir -p "$STATE") && own_folder "$STATE" && mkdir "$D"; } || no 66 "cannot write to $STATE, or others than root can"
for n in $MAIN $wanted; do
	load "$n"
	store "$n" NEW "$(real "$NEW")" || no 65 "$NEW is not on the host"
	store "$n" OLD "$("${KIND}_now")"
	load "$n"
	[ "$n" = "$MAIN" ] || why=$("${KIND}_fits") || no 65 "profile $NAME: $why"
	write_profile || no 66 "cannot write to $D"
	[ "$n" != "$MAIN" ] || continue
	case " $ALWAYS " in
	*" $KIND "*) ;;
	*) [ "$OLD" != "$NEW" ] || [ "$(points "$LINK")" != "$TOPLEVEL" ] || {
		rm -rf "$P"
		continue
	} ;;
	esac
	root_profile || no 66 "cannot write to $GCROOTS"
	PROFILES="$PROFILES${PROFILES:+ }$n" BACKWARDS="$n${BACKWARDS:+ }$BACKWARDS"
done
uptime_look
write_files || no 66 "cannot write to $D"
why=$(sh "$D/run.sh" beside-arm 2>&1) || no 66 "$why"
sync -f "$D"
