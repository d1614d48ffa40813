package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestBuildsAtOnce: every verb that builds has the same bound, with --parallel and
// without.
func TestBuildsAtOnce(t *testing.T) {
	turn(t)
	w := newWorld(t)
	standard := max(2, runtime.NumCPU())
	hosts := standard + 3
	for i, c := range []struct {
		args []string
		most int
	}{
		{[]string{"build"}, standard},
		{[]string{"plan"}, standard},
		{[]string{"deploy", "switch", "--yes"}, standard},
		{[]string{"plan", "--parallel", "build=1"}, 1},
		{[]string{"build", "--parallel", "1"}, 1},
	} {
		log := filepath.Join(w.dir, fmt.Sprintf("log%d", i))
		fleet := map[string]string{}
		for h := range hosts {
			name := fmt.Sprintf("h%d", h)
			// Nothing but the times of building: no host is touched.
			fleet[name] = amd64 + fmt.Sprintf(`deployment.buildOnly = true; system.build.toplevel = lib.mkForce (derivation {
				name = "nixos-system-%s-%d"; system = "x86_64-linux"; builder = "/bin/sh"; PATH = "/usr/bin:/bin"; log = "%s";
				args = [ "-c" "echo + >>$log; sleep 1.5; echo - >>$log; mkdir $out" ]; });`, name, i, log)
		}
		args := append([]string{c.args[0], w.fleetOf("", fleet)}, c.args[1:]...)
		w.run(args...).exits(0)
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		now, most, all := 0, 0, 0
		for _, line := range strings.Fields(string(text)) {
			if line == "+" {
				now, all = now+1, all+1
				most = max(most, now)
			} else {
				now--
			}
		}
		if all != hosts || most != c.most {
			t.Errorf("%q: %d of %d built, %d at once, want %d", args, all, hosts, most, c.most)
		}
	}
}
