# shellcheck shell=sh
# search.sh SINCE ROOT [PATTERN...]: prints where one of the lines of the input is: in files that changed since then,
# in their names, in the journal, in environments and arguments. What fits a PATTERN is left out.
set -eu
since=$1 root=$2
shift 2
umask 077
said=$(cat)
[ -n "$said" ] || {
	echo "there is nothing to search for" >&2
	exit 1
}
marks=
trap 'rm -f "$marks" "$marks.files"' EXIT
for at in "${TMPDIR:-/dev/shm}" /run /tmp; do # one of them may be full on purpose
	marks=$(mktemp "$at/canary.XXXXXXXX") && printf '%s\n' "$said" >"$marks" && break
	rm -f "$marks"
	marks=
done
[ -s "$marks" ] || {
	echo "there is no room for what is to be searched for" >&2
	exit 1
}
n=$#
while [ "$n" -gt 0 ]; do # PATTERN... becomes -path PATTERN -prune -o ...
	set -- "$@" -path "$root$1" -prune -o
	shift
	n=$((n - 1))
done
n=$#
for at in nix var etc tmp root home boot run opt srv dev/shm; do
	[ ! -d "$root/$at" ] || set -- "$@" "$root/$at"
done
# One look at all files: names and links are printed, files are noted. Folders come before the rest of what find is told.
while [ "$n" -gt 0 ]; do
	set -- "$@" "$1"
	shift
	n=$((n - 1))
done
find "$@" -path "$marks*" -prune -o -newerct "@$since" '(' -type f -fprint0 "$marks.files" , -type l -printf 'link %p -> %l\n' , -printf 'name %p\n' ')' 2>/dev/null |
	grep -aF -f "$marks" || :
xargs -0 -r grep -lsaF -f "$marks" -- <"$marks.files" | sed 's/^/file /' || :
[ -z "$root" ] || exit 0
if command -v journalctl >/dev/null; then
	[ -n "$(journalctl --no-pager -q -n 1 -o cat 2>&1)" ] || echo "the journal cannot be searched: it has no line"
	journalctl --no-pager -q -a -o export --since "@$since" 2>/dev/null | grep -aF -f "$marks" | head -n 3 | sed 's/^/journal /' || :
fi
grep -lsaF -f "$marks" /proc/[0-9]*/environ /proc/[0-9]*/cmdline | while read -r at; do
	echo "process $at: $(tr '\0' ' ' <"${at%/*}/cmdline" 2>/dev/null | cut -c 1-60)"
done || :
