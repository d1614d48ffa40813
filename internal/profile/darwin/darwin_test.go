package darwin_test

import (
	"testing"

	"godwit/internal/profile/darwin"
	"godwit/internal/profile/kindtest"
)

const system = `cat >$1/activate <<'END'
#!/bin/sh
self=$(dirname "$(readlink -f "$0")")
[ "$HOME" = /var/root ] || exit 66
ROOT=${self%/*}
export ROOT
"$ROOT/bin/activated" "$self" || exit
ln -sfn "$self" "$ROOT/current"
END
chmod +x $1/activate; `

const runs = `ln -sfn $ROOT/$1 $ROOT/current`

func TestDarwin(t *testing.T) {
	kindtest.Run(t, darwin.Kind, kindtest.Fixture{Make: system, Runs: runs})
}

// A system of an older nix-darwin, whose user has a part of its own.
func TestDarwinOfBefore(t *testing.T) {
	kindtest.Run(t, darwin.Kind, kindtest.Fixture{Make: system + `cat >$1/activate-user <<'END'
#!/bin/sh
ROOT=$(dirname "$(dirname "$(readlink -f "$0")")")
[ "$(tail -n 1 "$ROOT/ran")" = "$(basename "$(dirname "$(readlink -f "$0")")")" ]
END
chmod +x $1/activate-user`, Runs: runs})
}
