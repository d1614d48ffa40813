# shellcheck shell=sh
# program.sh STATE SUM NAME: keeps a program under its SHA-256 and name, when all of it has come. The
# folders are root's alone; who owns what is above them could do more than put a
# program there.
umask 022
mkdir -p "${1%/*}" || exit
umask 077
mkdir -p "$1/programs" && cd "$1/programs" || exit
[ "$(stat -c '%u %a %F' .)" = "$(id -u) 700 directory" ] || {
	echo "$1/programs is not a folder of root's alone" >&2
	exit 1
}
find . -name '.new.*' -mmin +60 -exec rm -f {} +
new=$(mktemp ./.new.XXXXXXXX) || exit
trap 'rm -f "$new"' EXIT
cat >"$new" || exit
sum=$(sha256sum <"$new") || exit
[ "${sum%% *}" = "$2" ] || {
	echo "only a part of the program arrived" >&2
	exit 1
}
chmod 500 "$new" && { sync "$new" 2>/dev/null || sync; } && mv -f "$new" "./$2-$3"
