package secrets_test

import (
	"testing"

	"godwit/internal/profile/kindtest"
	"godwit/internal/profile/secrets"
)

// A release, with a program that does what godwit-secrets does with links alone.
const release = `cat >$1/godwit-secrets <<'END'
#!/bin/sh
case $1 in
check) [ -e "$2/godwit-secrets" ] ;;
deliver) "$ROOT/bin/activated" "$2" && mkdir -p "$RUN/secrets" && ln -sfn "$2" "$RUN/secrets/.release" ;;
leave) rm -rf "$RUN/secrets" ;;
settle | restart | keep | once) ;;
*) exit 64 ;;
esac
END
chmod +x $1/godwit-secrets`

const runs = `mkdir -p $RUN/secrets; ln -sfn $ROOT/$1 $RUN/secrets/.release`

func TestSecrets(t *testing.T) {
	kindtest.Run(t, secrets.Kind, kindtest.Fixture{Make: release, Runs: runs, First: true})
}
