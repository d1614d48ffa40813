# shellcheck shell=sh
# search.sh SINCE ROOT [PATTERN...]: prints where one of the lines of the input is: in files that changed since then,
# in their names, in the journal, in environments and arguments. What fits a PATTERN is left out.
set -eu
since=$1 root=$2
shift 2
umask 077
marks=$(mktemp "${TMPDIR:-/run}/canary.XXXXXXXX")
trap 'rm -f "$marks"' EXIT
cat >"$marks"
[ -s "$marks" ] || {
	echo "there is nothing to search for" >&2
	exit 1
}
n=$#
while [ "$n" -gt 0 ]; do # PATTERN... becomes -path PATTERN -prune -o ...
	set -- "$@" -path "$root$1" -prune -o
	shift
	n=$((n - 1))
done
for at in nix var etc tmp root home boot run opt srv dev/shm; do
	[ -d "$root/$at" ] || continue
	find "$root/$at" "$@" -path "$marks" -prune -o -type f -newerct "@$since" -print0 2>/dev/null |
		xargs -0 -r grep -lsaF -f "$marks" -- | sed 's/^/file /' || :
	find "$root/$at" "$@" -newerct "@$since" -print 2>/dev/null | grep -aF -f "$marks" | sed 's/^/name /' || :
	find "$root/$at" "$@" -type l -newerct "@$since" -printf '%p -> %l\n' 2>/dev/null | grep -aF -f "$marks" | sed 's/^/link /' || :
done
[ -z "$root" ] || exit 0
if command -v journalctl >/dev/null; then
	[ -n "$(journalctl --no-pager -q -n 1 -o cat 2>&1)" ] || echo "the journal cannot be searched: it has no line"
	journalctl --no-pager -q -a -o export --since "@$since" 2>/dev/null | grep -aF -f "$marks" | head -n 3 | sed 's/^/journal /' || :
fi
for at in /proc/[0-9]*/environ /proc/[0-9]*/cmdline; do
	! grep -qsaF -f "$marks" "$at" || echo "process $at: $(tr '\0' ' ' <"${at%/*}/cmdline" 2>/dev/null | cut -c 1-60)"
done
