package sshtest

// FakeSudo behaves as sudo does, in the one way that we call it. It fails on
// anything else, notes what it was given, and takes $1 of its own settings.
const FakeSudo = `#!/bin/sh
dir=DIR
echo "$*" >>$dir/calls
case "$1 $2 $3" in
"-k -n --") shift 3
	[ -e $dir/nopasswd ] || { echo "sudo: a password is required" >&2; exit 1; } ;;
"-k -S --") shift 3
	tries=0
	until printf '[sudo] password for user: ' >&2; IFS= read -r pw && [ "$pw" = "correct horse" ]; do
		echo "$pw" >>$dir/wrong
		tries=$((tries + 1))
		[ -z "$pw" ] && { echo "sudo: no password was provided" >&2; exit 1; }
		[ $tries -ge 3 ] && { echo "sudo: 3 incorrect password attempts" >&2; exit 1; }
		echo "Sorry, try again." >&2
	done ;;
*) echo "sudo: unexpected: $*" >&2; exit 97 ;;
esac
[ "$1" = /bin/sh ] || exit 96
GODWIT_FAKE_ROOT=1 exec "$@"
`

// FakeDoas stands in for doas in the same way.
const FakeDoas = `#!/bin/sh
dir=DIR
echo "doas $*" >>$dir/calls
[ "$1" = -n ] || exit 97
shift
[ -e $dir/nopasswd ] || { echo "doas: Authentication required" >&2; exit 1; }
GODWIT_FAKE_ROOT=1 exec "$@"
`
