# shellcheck shell=sh disable=SC2154 # need assigns
# Runs as root on the host and only reads: see compare.go.
PATH=$PATH:/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
export PATH LC_ALL=C
need() { IFS= read -r "$1" || { echo "the connection ended early" >&2; exit 1; }; }
need key; need n
i=0
while [ $i -lt "$n" ]; do
	need dest; need length
	if [ ! -e "$dest" ] && [ ! -L "$dest" ]; then
		echo "$i absent"
	elif [ -L "$dest" ] || [ ! -f "$dest" ]; then
		echo "$i other"
	else
		have=$(stat -c '%s %a %u %g %U %G' -- "$dest") || exit 1
		sum=-
		if [ "${have%% *}" = "$length" ]; then
			sum=$({ printf '%s' "$key"; cat -- "$dest"; } | sha256sum) || exit 1
		fi
		echo "$i file $have ${sum%% *}"
	fi
	i=$((i + 1))
done
echo end
