# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# A profile with an activation of its own, as deploy-rs defines it: the link is set
# first, then a command below it runs, as its owner, in the folder of the profile. It
# has no other way to run something than for good, so a power cut leaves what was
# activated: the link goes back with the next deployment.

# custom_run FOLDER ASSIGNMENT...: the command, if it is there. Nothing is run without one.
custom_run() {
	custom_words=$(printf '%s' "$COMMAND" | base64 -d)
	custom_in=$1 custom_first=$(printf '%s\n' "$custom_words" | head -n 1)
	# What deploy-rs built has an activation under its own name, whatever is asked now.
	[ -x "$1/$custom_first" ] || custom_words=deploy-rs-activate custom_first=deploy-rs-activate
	if [ -z "$custom_first" ] || [ ! -x "$1/$custom_first" ]; then
		say "nothing to run in $1"
		return 0
	fi
	shift
	set -- "PROFILE=$custom_in" "$@" "$custom_in/$custom_first"
	while IFS= read -r word; do
		[ -z "$custom_first" ] && set -- "$@" "$word"
		custom_first=
	done <<END
$custom_words
END
	# shellcheck disable=SC2016 # for the inner shell
	as_owner "$SH" -c 'cd "$1" && shift && exec env "$@"' sh "$custom_in" "$@"
}

# custom_asks: does the command know DRY_ACTIVATE and BOOT?
custom_asks() { [ "$(printf '%s' "$COMMAND" | base64 -d)" = deploy-rs-activate ]; }

custom_try() { # ACTION
	rc=0
	if [ "$1" = dry-activate ]; then
		if custom_asks; then custom_run "$NEW" DRY_ACTIVATE=1 BOOT=0; else say "would activate $NEW"; fi
		rc=$?
		return "$rc"
	fi
	begin
	if ! link_set "$NEW"; then
		say "the link $LINK could not be set"
		rc=1
	elif [ "$1" != boot ]; then
		custom_run "$LINK" DRY_ACTIVATE=0 BOOT=0 || rc=$?
	elif custom_asks; then
		custom_run "$NEW" DRY_ACTIVATE=0 BOOT=1 || rc=$?
	fi
	return "$rc"
}

custom_keep() { true; }
custom_unkeep() { link_back; }

custom_back() {
	case $(custom_now) in "$OLD" | "$NEW") ;; *) return 9 ;; esac
	rc=0
	link_back || rc=$?
	[ "$rc" = 0 ] || return 1
	if [ -z "$OLD" ]; then
		say "there was no profile $NAME before: its link is gone; what its activation did is left"
		return 0
	fi
	custom_run "$LINK" DRY_ACTIVATE=0 BOOT=0 || rc=$?
	[ "$rc" = 0 ]
}
custom_returned() { false; }
