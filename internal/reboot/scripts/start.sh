# shellcheck shell=sh disable=SC2034,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# What is sent over ssh, after the words: VERB and REASON say what for.
self() {
	mkdir -p "$D" && printf '%s' "$ONCE_SH" | base64 -d >"$D/once.sh" &&
		{ [ -z "$BESIDE_SH" ] || printf '%s' "$BESIDE_SH" | base64 -d >"$D/beside.sh"; }
}
refuse() {
	echo "refused $*"
	echo end
	exit
}
# Only in the boot that it was asked in: an answer may have been lost because the
# host is in the next one already, where nothing may be begun or waited for.
[ "$VERB" != go ] || [ "$(cat "$BOOTID")" = "$ASKED" ] || VERB=look
case $VERB in
go)
	{ mkdir -p "$RUN" && own_folder "$RUN" && true >>"$RUN/lock"; } || refuse "66 cannot write to $RUN, or users other than root can"
	exec 9>>"$RUN/lock"
	flock -w 20 9 || refuse "75 another deployment is being armed"
	if [ ! -e "$D" ]; then
		holder=$(readlink "$RUN/current")
		[ -z "$holder" ] || [ ! -d "$RUN/$holder" ] || [ -e "$RUN/$holder/final" ] || refuse "75 $holder"
		{ self && lock && unit reboot go 9>&-; } || refuse "66 cannot write to $D, or start a unit"
	fi
	exec 9>&-
	n=0
	while [ ! -e "$D/going" ] && [ ! -e "$D/final" ] && [ "$n" -lt 400 ]; do
		sleep 0.2
		n=$((n + 1))
	done
	;;
trying) trying ;;
keep | back) asked "$VERB" "$REASON" ;;
esac
facts
