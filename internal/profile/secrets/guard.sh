# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# A release of secrets. The program that came with it does the work, and changes nothing
# unless it can do all of it (internal/secrets/onhost).

secrets_run() { # RELEASE VERB [ARGUMENT...]
	secrets_of=$1
	shift
	"$secrets_of/godwit-secrets" "$@" </dev/null 8>&- 9>&-
}

secrets_try() { # ACTION
	rc=0
	case $1 in
	dry-activate) secrets_run "$NEW" check "$NEW" || rc=$? ;;
	boot) begin ;; # the boot delivers what is kept
	*)
		begin
		secrets_run "$NEW" deliver "$NEW" || rc=$?
		;;
	esac
	return "$rc"
}

# secrets_tried: after all profiles were tried: owners that they made, and units that
# did not start meanwhile.
secrets_tried() {
	rc=0
	case $ACTION in boot | dry-activate) return 0 ;; esac
	secrets_run "$NEW" settle && secrets_run "$NEW" restart || rc=$?
	return "$rc"
}

# secrets_lead NAME: the link leads to another generation, in one step.
secrets_lead() { ln -sfn "$1" "$LINK.godwit" && mv -fT "$LINK.godwit" "$LINK"; }

secrets_keep() {
	[ "$(points "$LINK")" != "$NEW" ] || return 0
	link_note && pend "$NEW" || return 1
	secrets_n=$(readlink "$LINK")
	secrets_n=${secrets_n%-link}
	secrets_n=$((${secrets_n##*-} + 1))
	while [ -L "$LINK-$secrets_n-link" ]; do secrets_n=$((secrets_n + 1)); done
	ln -s "$NEW" "$LINK-$secrets_n-link" && secrets_lead "${LINK##*/}-$secrets_n-link"
}

secrets_unkeep() {
	secrets_was=$(noted link-old) secrets_made=$(readlink "$LINK")
	[ "$secrets_made" != "$secrets_was" ] || return 0
	if [ -n "$secrets_was" ]; then secrets_lead "$secrets_was"; else rm -f "$LINK"; fi &&
		rm -f "${LINK%/*}/$secrets_made"
}

# secrets_back: a unit that does not start with its older secret is said; the secret is
# back all the same.
secrets_back() {
	case $(secrets_now) in "$OLD" | "$NEW") ;; *) return 9 ;; esac
	rc=0
	if [ -n "$OLD" ]; then
		secrets_run "$OLD" deliver "$OLD" || {
			rc=$?
			return 1
		}
		secrets_run "$OLD" settle && secrets_run "$OLD" restart || rc=$?
	else
		secrets_run "$NEW" leave || {
			rc=$?
			return 1
		}
	fi
}
secrets_returned() { false; }

# secrets_armed: the boot of the new system is to deliver the new release, that of the old
# one its own.
secrets_armed() {
	[ "$MODE" != once ] || secrets_of_main once "$NEW"
}

# secrets_of_main VERB [RELEASE]: with the systems of the host that it is for.
secrets_of_main() {
	# shellcheck source=/dev/null # of the main profile
	secrets_for=$(. "$D/$MAIN/env" && [ "$KIND" = nixos ] && printf '%s\n%s' "$NEW" "$TOPLEVEL")
	# shellcheck disable=SC2086 # words
	secrets_run "$NEW" "$@" $secrets_for
}

# secrets_ended RESULT: which system of the host goes with it, and what nothing needs
# goes away. A boot that was to be the only one is forgotten.
secrets_ended() {
	case $1 in
	committed* | 'done '*) case $ACTION in switch | boot) secrets_of_main keep "$NEW" ;; esac ;;
	*)
		[ "$MODE" = once ] || return 0
		secrets_run "$NEW" once
		[ -n "$OLD" ] || secrets_run "$NEW" leave
		;;
	esac
}
