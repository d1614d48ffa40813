# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# The profiles of this deployment: they are tried and kept in order, and taken back
# in the opposite one. What a profile is, its kind knows: functions whose names
# begin with it (internal/profile). They find the variables of the profile at work.

# profile N: KIND, NAME, OLD (what runs before, or nothing), NEW (what is to run),
# TOPLEVEL (what is to be kept), LINK, OWNER and COMMAND of one, and its folder $P.
profile() {
	P=$D/$1
	# shellcheck source=/dev/null
	. "$P/env"
}
note() { put_in "$P" "$1" "$2"; }
noted() { peek_in "$P" "$1" && printf '%s' "$got"; }

# each NUMBERS COMMAND...: for these profiles, one after the other, up to the first for
# which it fails. Then the main one is at work again: the first that boots, or else
# the first.
each() {
	each_of=$1 each_rc=0
	shift
	for each_n in $each_of; do
		profile "$each_n"
		"$@" || {
			each_rc=$?
			break
		}
	done
	profile "$MAIN"
	return "$each_rc"
}

# now: what runs of the profile at work.
now() { "${KIND}_now"; }

# hook NAME [ARGUMENT...]: a function that not every kind has.
hook() {
	hook_name=$1
	shift
	! command -v "${KIND}_$hook_name" >/dev/null || "${KIND}_$hook_name" "$@"
}

# begin: called by a kind right before it changes anything.
begin() { { note begun 1 && put started 1; } || exit 73; }

# unharmed WORDS: it refused before anything was changed.
unharmed() {
	note untouched "$1"
	put untouched "$1"
}
untouched() { [ ! -e "$P/begun" ] || [ -e "$P/untouched" ]; }
nothing_done() { each "$PROFILES" untouched; }
