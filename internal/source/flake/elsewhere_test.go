package flake

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/source/sourcetest"
	"godwit/test/lab"
)

// TestOtherNix runs what depends on Nix with that of Debian's other suites.
func TestOtherNix(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the lab")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Dir(filepath.Dir(sourcetest.Nixpkgs(t)))
	for _, suite := range []string{"trixie", "forky"} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			d := lab.NewDeployer(t, suite, filepath.Dir(exe), root)
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			out, err := d.Command(ctx, here, nil, exe, "-test.run", "^(TestSameDerivation|TestReuse)$", "-test.v").CombinedOutput()
			if err != nil || strings.Count(string(out), "\n--- PASS: Test") != 2 {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}
