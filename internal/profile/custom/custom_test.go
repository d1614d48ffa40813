package custom_test

import (
	"testing"

	"godwit/internal/profile/custom"
	"godwit/internal/profile/kindtest"
)

const runs = `[ "$1" = old ] || ln -sfn "$ROOT/$1" "$LINK"`

func TestCustom(t *testing.T) {
	kindtest.Run(t, custom.Kind, kindtest.Fixture{
		Make: `mkdir -p $1/bin; cat >$1/bin/go <<'END'
#!/bin/sh
[ "$1 $2" = "a b c" ] && [ "$(pwd -P)" = "$(readlink -f "$PROFILE")" ] && [ "$PROFILE/bin/go" = "$0" ] || exit 66
exec "$ROOT/bin/activated" "$(readlink -f "$PROFILE")"
END
chmod +x $1/bin/go`,
		Runs:    runs,
		Command: []string{"bin/go", "a b", "c"},
		First:   true,
	})
}

func TestNoop(t *testing.T) {
	kindtest.Run(t, custom.Noop, kindtest.Fixture{Make: "touch $1/file", Runs: runs, First: true, NoActivation: true})
}
