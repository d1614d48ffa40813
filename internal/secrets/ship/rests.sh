# shellcheck shell=sh
# rests.sh STATE ID WHICH: which release of secrets runs and which one the next boot uses,
# and what is in the one that WHICH (running, kept) names, unless that is ID. Changes nothing.
running=$(readlink -e /run/godwit/secrets/.release) || running=
kept=$(readlink -e "$1/secrets") || kept=
echo "running ${running##*/}"
echo "kept ${kept##*/}"
at=$running
[ "$3" != kept ] || at=$kept
if [ -n "$at" ] && [ "${at##*/}" != "$2" ]; then
	printf 'bundle '
	cat "$at/bundle.json" || exit
	echo
fi
echo end
