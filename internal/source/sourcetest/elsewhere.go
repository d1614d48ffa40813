package sourcetest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/test/lab"
)

// OtherNix runs tests of this package, which depend on Nix, with that of Debian's
// other suites: 2.26 and 2.34.
func OtherNix(t *testing.T, tests ...string) {
	t.Helper()
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
	root := filepath.Dir(filepath.Dir(Nixpkgs(t)))
	for _, suite := range []string{"trixie", "forky"} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			d := lab.NewDeployer(t, suite, filepath.Dir(exe), root)
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			out, err := d.Command(ctx, here, nil, exe, "-test.run", "^("+strings.Join(tests, "|")+")$", "-test.v").CombinedOutput()
			if err != nil || strings.Count(string(out), "\n--- PASS: Test") != len(tests) {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}
