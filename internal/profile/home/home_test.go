package home_test

import (
	"testing"

	"godwit/internal/profile/home"
	"godwit/internal/profile/kindtest"
)

// A generation of home-manager's: newer ones leave the profile to who asks them to,
// older ones set it by themselves.
const generation = `mkdir -p $1/files/.config; echo $1 >$1/files/.config/it; ln -s files $1/home-files; cat >$1/activate <<'END'
#!/bin/sh
self=$(dirname "$(readlink -f "$0")") roots=$HOME/.local/state/home-manager/gcroots
"$ROOT/bin/activated" "$self" || exit
if [ -e "$self/gen-version" ]; then [ "$*" = "--driver-version 1" ] || exit 64; else nix-env -p "$LINK" --set "$self"; fi
mkdir -p "$roots" "$HOME/.config" && ln -sfn "$self" "$roots/current-home" && ln -sfn "$self/home-files/.config/it" "$HOME/.config/it"
END
chmod +x $1/activate; `

const runs = `mkdir -p $ROOT/home/.local/state/home-manager/gcroots; ln -sfn $ROOT/$1 $ROOT/home/.local/state/home-manager/gcroots/current-home`

func TestHome(t *testing.T) {
	kindtest.Run(t, home.Kind, kindtest.Fixture{Make: generation + "echo 1 >$1/gen-version", Runs: runs, First: true})
}

func TestHomeThatSetsItsProfile(t *testing.T) {
	kindtest.Run(t, home.Kind, kindtest.Fixture{Make: generation, Runs: runs, First: true})
}
