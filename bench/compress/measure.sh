#!/bin/bash
# What ssh's compression (zlib, level 6) costs and gains on this machine, told in
# CPU time, which another load does not change. Needs sshd; root not.
#
#   bench/compress/measure.sh [FILE]    FILE: data to send; by default a NAR of
#                                       this machine's own programs and libraries
set -euo pipefail
dir=$(mktemp -d)
sshd_pid=
trap '[ -z "$sshd_pid" ] || kill "$sshd_pid" 2>/dev/null; rm -rf "$dir"' EXIT
data=${1-}
if [ -z "$data" ]; then
	mkdir "$dir/tree"
	# What a system is made of: programs, libraries, scripts, texts.
	find /usr/lib/x86_64-linux-gnu /usr/lib/git-core /usr/share/perl /usr/lib/python3* /usr/share/doc -type f -size +2k -size -8M 2>/dev/null |
		sort | awk 'NR % 5 == 0' | head -4000 | while IFS= read -r f; do cp --no-preserve=all "$f" "$dir/tree/$(echo "$f" | tr / _)"; done
	data=$dir/data.nar
	nix-store --dump "$dir/tree" >"$data"
fi
port=$((20000 + RANDOM % 10000))
ssh-keygen -q -t ed25519 -N '' -f "$dir/key"
ssh-keygen -q -t ed25519 -N '' -f "$dir/hostkey"
cp "$dir/key.pub" "$dir/authorized"
printf '%s\n' "Port $port" 'ListenAddress 127.0.0.1' "HostKey $dir/hostkey" "AuthorizedKeysFile $dir/authorized" \
	'PidFile none' 'UsePAM no' 'StrictModes no' 'PermitRootLogin yes' >"$dir/sshd_config"
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd
"$(command -v sshd || echo /usr/sbin/sshd)" -D -e -f "$dir/sshd_config" 2>"$dir/sshd.log" &
sshd_pid=$!
sleep 1
size=$(stat -c %s "$data")
# CPU seconds of sshd's children that have ended.
children() { awk -v hz="$(getconf CLK_TCK)" '{ print ($16 + $17) / hz }' "/proc/$sshd_pid/stat"; }
TIMEFORMAT='%R %U %S'
echo "$(awk -v s="$size" 'BEGIN { printf "%.1f MB", s / 1e6 }') of $data; $(ssh -V 2>&1); $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo)"
for c in no yes; do
	before=$(children)
	{ time ssh -v -F none -T -i "$dir/key" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o Compression=$c \
		-p "$port" 127.0.0.1 'cat >/dev/null' <"$data" 2>"$dir/log"; } 2>"$dir/time"
	sleep 1
	read -r real user sys <"$dir/time"
	factor=$(sed -n 's/.*compress outgoing: raw data \([0-9]*\), compressed \([0-9]*\).*/\1 \2/p' "$dir/log" | awk '{ printf "%.2f", $1 / $2 }')
	awk -v c=$c -v s="$size" -v r="$real" -v cpu="$(echo "$user $sys" | awk '{ print $1 + $2 }')" -v a="$before" -v b="$(children)" -v f="${factor:-1}" 'BEGIN {
		printf "compression %-3s  factor %s  sender %.2f s CPU = %.0f MB/s of a core  receiver %.2f s = %.0f MB/s  (took %.1f s)\n",
			c, f, cpu, s / 1e6 / cpu, b - a, s / 1e6 / (b - a + 1e-9), r }'
done
