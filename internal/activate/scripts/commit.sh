# shellcheck shell=sh disable=SC2034,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# Making the new system permanent.

# commit: started over a new connection. A second run goes on where a first
# one was cut. Ignores SIGTERM: an orderly shutdown waits for it.
commit() {
	trap '' TERM HUP INT
	exec 8>"$D/act.lock"
	flock 8 || exit 75
	if [ -e "$D/final" ]; then
		release
		exit 0
	fi
	[ "$(decide commit)" = commit ] || {
		say "too late to confirm: the rollback was decided first"
		exit 0
	}
	[ ! -e "$D/commit-failed" ] || exit 0
	if [ "$(current)" != "$NEW" ]; then
		say "$(current) runs here, which is not the system to confirm: touching nothing"
		finish superseded
		exit 0
	fi
	systemctl stop --no-block "godwit-confirm-$ID.timer" 2>/dev/null
	put phase committing
	if [ "$ACTION" = switch ]; then
		profile_set "$TOPLEVEL" && NIXOS_INSTALL_BOOTLOADER=0 "$TOPLEVEL/bin/switch-to-configuration" boot </dev/null 8>&-
		rc=$?
		if [ "$rc" != 0 ]; then
			commit_failed "the boot default could not be set (exit $rc)" "$rc"
			exit 0
		fi
	fi
	finish committed
}

# commit-ended: ExecStopPost, after every attempt.
commit_ended() {
	[ ! -e "$D/final" ] && [ "$(decided)" = commit ] && [ ! -e "$D/commit-failed" ] || return 0
	commits=$(get commits)
	commits=$((${commits:-0} + 1))
	put commits "$commits"
	say "attempt $commits to commit ended: ${SERVICE_RESULT:-?} ${EXIT_CODE:-} ${EXIT_STATUS:-}"
	[ "$commits" -lt 3 ] || commit_failed "the commit did not end in three attempts" 124
}

# commit_failed REASON RC: the profile as before, then the system as before:
# a host that runs what it would not boot is neither old nor new.
commit_failed() {
	say "$1: going back"
	profile_back
	boot_back
	put commit-failed "$2"
	put reason "$1"
	start_rollback "$1"
}

# profile_set TOPLEVEL: with a note that outlives a power cut before the boot
# default follows: the next deployment puts the profile back (profile_repair).
profile_set() {
	[ -e "$D/profile-old" ] || put profile-old "$(readlink "$PROFILE")" || return 1
	(umask 022 && mkdir -p "$STATE") && printf '%s\n' "$ID" "$PROFILE" "$(get profile-old)" "$1" "$OLD" >"$STATE/pending.new" &&
		mv -f "$STATE/pending.new" "$STATE/pending" || return 1
	nix-env -p "$PROFILE" --set "$1"
}

# profile_back: the profile's link as it was, and no generation of ours.
profile_back() {
	[ -s "$D/profile-old" ] || return 0
	link_back "$PROFILE" "$(get profile-old)"
}
link_back() {
	made=$(readlink "$1")
	if [ -n "$2" ] && [ "$made" != "$2" ]; then
		number=${2%-link}
		nix-env -p "$1" --switch-generation "${number##*-}" 2>&1 ||
			{ ln -sfn "$2" "$1.godwit" && mv -fT "$1.godwit" "$1"; } || return 1
		number=${made%-link}
		nix-env -p "$1" --delete-generations "${number##*-}" 2>&1
	fi
}

# boot_back: the boot loader again, of the system that the profile names.
boot_back() {
	before=$(readlink -f "$PROFILE")
	[ -x "$before/bin/switch-to-configuration" ] || return 0
	NIXOS_INSTALL_BOOTLOADER=0 "$before/bin/switch-to-configuration" boot </dev/null 8>&- ||
		say "the boot loader could not be set again for $before"
}
