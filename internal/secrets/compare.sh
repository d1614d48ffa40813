# shellcheck shell=sh disable=SC2034,SC2154 # need and walk.sh assign
# Runs as root on the host, behind walk.sh, and only reads: see compare.go.
made=
need key; need n
i=0
while [ $i -lt "$n" ]; do
	need dest; need length
	name=${dest##*/}
	if ! enter "${dest%/*}/" 0; then
		if [ "$what" = nodir ]; then echo "$i absent"; else printf '%s refused %s %s\n' "$i" "$what" "$(printf '%s' "$why" | head -n 1)"; fi
	elif [ ! -e "./$name" ] && [ ! -L "./$name" ]; then
		echo "$i absent"
	elif have=$(stat -c '%s %a %u %g %U %G %F' -- "./$name") && [ "${have#* regular}" != "$have" ]; then
		sum=-
		[ "${have%% *}" != "$length" ] || sum=$(sum_at "./$name" "$length") || exit 1
		echo "$i file ${have% regular*} $sum"
	else
		echo "$i other"
	fi
	i=$((i + 1))
done
echo end
