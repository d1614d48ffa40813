# shellcheck shell=sh disable=SC2034,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# Profile and boot default, forth and back.

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

# boot_back SECONDS: the boot loader again, of the system that the profile names,
# for no longer than that, nor than it had the first time. A
# fourth time there is not: who runs this may have been killed because it hung.
boot_back() {
	before=$(readlink -f "$PROFILE")
	[ -x "$before/bin/switch-to-configuration" ] || return 0
	backs=$(get backs)
	put backs "$((${backs:-0} + 1))"
	put boot-unsure 1
	back_max=$1
	[ "$back_max" -lt "$COMMIT_MAX" ] || back_max=$COMMIT_MAX
	if [ "${backs:-0}" -lt 3 ] && boot_loader "$before" "$back_max"; then
		rm -f "$D/boot-unsure"
	else
		say "the boot loader could not be set again for $before"
	fi
}
