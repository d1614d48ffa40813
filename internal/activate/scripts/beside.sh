# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# Profiles beside a system that is booted once (internal/reboot). Its deadman and its
# decision are theirs, too: it calls these verbs, in the boot of the new system to try and to
# keep them, and in that of the old one to take them back. Here $D is $STATE/beside, which
# outlives reboots; $MAIN is the system, and is not among $PROFILES.

# beside_arm: before anything is changed.
beside_arm() { each "$PROFILES" hook armed; }

# beside_try: the new system runs. Ends with the status of what failed, whose name is in
# $D/failed.
beside_try() {
	MANY=1
	apply
}

# beside_keep: may be run again after it was killed. What fails is all undone.
beside_keep() {
	each "$PROFILES" keep_one && return 0
	keep_failed=$?
	each "$BACKWARDS" unkeep_one 1
	return "$keep_failed"
}

# beside_back [here]: once the old system runs again, or, where nobody would do it then, in
# the new one. What a boot has anew needs no more than its link.
beside_back() {
	failed=''
	each "$BACKWARDS" unkeep_one 1
	each "$BACKWARDS" beside_back_one
	[ -z "$failed" ] || say "not taken back: $failed"
	[ -z "$failed" ]
}
beside_back_one() {
	if ! lasts || untouched || [ -e "$P/back" ]; then return 0; fi
	say "profile $NAME: going back to ${OLD:-nothing}"
	"${KIND}_back"
	case $? in
	0) note back 0 ;;
	9)
		say "$(now) runs here, which is neither the old nor the new one: touching nothing"
		note back superseded
		;;
	*) failed="$failed$NAME " ;;
	esac
	return 0
}

# beside_end RESULT: nothing is left of it.
beside_end() {
	each "$PROFILES" hook ended "$1"
	rm -f "$GCROOTS/godwit-$ID"-*
	rm -rf "$D"
}

# beside_profiles: how the deployer reads them; beside_record: how the host's history has them.
beside_profiles() { each "$PROFILES" beside_profile; }
beside_profile() { printf 'of %s %s %s %s\n' "$NAME" "$KIND" "${OLD:--}" "$NEW"; }
beside_record() {
	PROFILES=$(cd "$D" && for n in *; do [ ! -s "$n/env" ] || echo "$n"; done | sort -n | tr '\n' ' ')
	each "$PROFILES" record_profile
}
