# shellcheck shell=sh disable=SC2034,SC2153,SC2154,SC2317,SC2329 # a part: names come from, and go to, the others
# Which release of secrets runs, by the link that is among them.

secrets_now() { points "$RUN/secrets/.release"; }

secrets_fits() {
	for secrets_of in "$NEW" ${OLD:+"$OLD"}; do
		[ -x "$secrets_of/godwit-secrets" ] || {
			echo "$secrets_of is not a release of secrets"
			return 1
		}
	done
	secrets_why=$("$NEW/godwit-secrets" check "$NEW" 2>&1 </dev/null) || {
		printf '%s\n' "$secrets_why" | head -n 1
		return 1
	}
}
