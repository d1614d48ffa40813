# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# Words that every verb of the guard uses. $D is the folder of this deployment
# below /run; the other variables come from $D/env, written by arm.sh.

say() { printf 'godwit: %s\n' "$*"; }

# put NAME VALUE: replaces $D/NAME in one step. When /run is full and stays so,
# a short value still goes into the page of the file before it, or of the spare
# one that arm.sh made for it: that needs no room, so nobody can take it.
put() { put_in "$D" "$1" "$2"; }
put_in() { # FOLDER NAME VALUE
	for put_try in 1 2 3; do
		if printf '%s\n' "$3" >"$1/.$2.$$" && [ -s "$1/.$2.$$" ] && mv -f "$1/.$2.$$" "$1/$2"; then
			return 0
		fi
		rm -f "$D/reserve"
		[ "$put_try" = 1 ] || printf '' >"$D/log"
	done 2>/dev/null
	rm -f "$1/.$2.$$"
	if [ -s "$1/$2" ]; then
		printf '%s\n' "$3" 1<>"$1/$2"
	else
		[ -e "$1/spare-$2" ] && printf '%s\n' "$3" 1<>"$1/spare-$2" && mv -f "$1/spare-$2" "$1/$2"
	fi
}

# peek NAME: the first line of $D/NAME, or nothing, into $got. Unlike get, which prints it,
# it takes no process: on a small host, or an emulated one, the processes are what takes time.
peek() { peek_in "$D" "$1"; }
peek_in() { # FOLDER NAME
	got=
	[ ! -r "$1/$2" ] || IFS= read -r got <"$1/$2" || :
}
get() { peek "$1" && printf '%s' "$got"; }
is_phase() { peek phase && [ "$got" = "$1" ]; }

# decide commit|rollback: the one decision. Creating a symlink is atomic and
# carries its value: the first wins, and everybody gets to know what holds.
decide() {
	if ln -sn "$1" "$D/decision" 2>/dev/null; then echo "$1"; else readlink "$D/decision"; fi
}
decided() { [ ! -L "$D/decision" ] || readlink "$D/decision" 2>/dev/null; }

# try N COMMAND...: PID 1 does not answer for a moment while it re-executes itself.
try() {
	try_left=$1
	shift
	until "$@"; do
		try_left=$((try_left - 1))
		[ "$try_left" -gt 0 ] || return 1
		sleep 0.5
	done
}

# start_rollback REASON: the unit that rolls back. Never waits for it.
start_rollback() {
	[ -s "$D/reason" ] || put reason "$1"
	rollback_begin
}
