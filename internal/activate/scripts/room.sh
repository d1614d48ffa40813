# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# Room for what arming writes. Before arm.sh, whose refuse it uses.

there() { [ -d "$1" ] || mkdir -p "$1"; }
room() { # FOLDER KIB: free space, and that it can be written to
	own_folder "$1" || refuse 66 "users other than root can write to $1"
	free=$(room_of "$1")
	[ "${free%% *}" -ge "$2" ] 2>/dev/null || refuse 66 "only ${free%% *} KiB are free in $1"
	[ "${free#*-}" != "$free" ] || [ "${free#* }" -ge 64 ] || refuse 66 "only ${free#* } inodes are free in $1"
	{ printf 1 >"$1/.godwit-$ID" && [ -s "$1/.godwit-$ID" ]; } 2>/dev/null || {
		rm -f "$1/.godwit-$ID" 2>/dev/null
		refuse 66 "cannot write to $1"
	}
	rm -f "$1/.godwit-$ID"
}
