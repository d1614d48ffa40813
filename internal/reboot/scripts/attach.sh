# shellcheck shell=sh disable=SC2034,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# What is sent by who does not know the reboot: VERB, REASON, and WANT, its id;
# without that it is the one that is pending. The script that it left answers:
# before the reboot the one in its folder, after it that of the watch.
id=$(readlink "$RUN/current")
if [ -n "$id" ] && { [ -z "$WANT" ] || [ "$id" = "$WANT" ]; }; then
	for file in "$UNITS/godwit-watch.sh" "$RUN/$id/once.sh"; do
		if grep -qsxF "ID='$id'" "$file"; then exec /bin/sh "$file" attach "$VERB" "$REASON"; fi
	done
fi
printf '%s %s\n' boot "$(cat "$BOOTID")" booted "$(real "$BOOTED")" current "$(real "$CURRENT")"
if [ -n "$WANT" ]; then
	for name in final reason; do
		[ ! -e "$RUN/$WANT/$name" ] || echo "$name $(head -n 1 "$RUN/$WANT/$name")"
	done
fi
echo end
