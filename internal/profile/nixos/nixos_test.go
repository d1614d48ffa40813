package nixos_test

import (
	"testing"

	"godwit/internal/profile"
	"godwit/internal/profile/kindtest"
	"godwit/internal/profile/nixos"
)

func TestNixOS(t *testing.T) {
	kindtest.Run(t, nixos.Kind, kindtest.Fixture{
		Make: `mkdir -p $1/bin; cat >$1/bin/switch-to-configuration <<'END'
#!/bin/sh
self=$(dirname "$(dirname "$(readlink -f "$0")")")
[ "$1" != dry-activate ] || { echo "would restart the following units: a.service"; exit 0; }
[ "$1" != boot ] || { echo "$self" >"$ROOT/boot"; exit 0; }
"$ROOT/bin/activated" "$self" || exit 2
ln -sfn "$self" "$ROOT/current"
END
chmod +x $1/bin/switch-to-configuration`,
		Runs: `ln -sfn $ROOT/$1 $ROOT/current`,
		Risky: `for version in 1 2; do mkdir $ROOT/linux-6.6.$version; touch $ROOT/linux-6.6.$version/bzImage; done
ln -s $ROOT/linux-6.6.1/bzImage $ROOT/old/kernel; ln -s $ROOT/linux-6.6.2/bzImage $1/kernel`,
		Risk: profile.KernelChange,
	})
}
