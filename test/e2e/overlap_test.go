package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOverlap: a host is built and copied to while another is still being evaluated, and
// changed only when all are. The second host's evaluation does not end before the first
// one's copy has: without overlap it would wait for itself.
func TestOverlap(t *testing.T) {
	web := host(t, "spare")
	w := newWorld(t, web)
	go_ := filepath.Join(w.dir, "go-on")
	// Evaluating it takes a build that ends when the file is there.
	fleet := func(word, slow, of string) string {
		return w.file("network.nix", fmt.Sprintf(`{
  spare = { ... }: { imports = [ ({ ... }: { %[1]s deployment.targetUser = "deploy"; }) ({ ... }: { %[2]s }) ]; };
  zslow = { ... }: { %[1]s %[3]s
    environment.etc.slow.text = %[6]s (builtins.readFile (derivation { name = "slow-%[4]s"; system = "x86_64-linux"; builder = "/bin/sh";
      args = [ "-c" "i=0; while ! [ -e %[5]s ]; do i=$((i+1)); [ $i -lt 1200 ] || exit 1; sleep 0.1; done; echo slow >$out" ]; PATH = "/bin:/usr/bin"; }));
  };
}`, amd64, service(word), slow, word, go_, of))
	}
	type said struct{ Kind, Host, Step, Text, Error string }
	// play runs godwit, lets the evaluation go on when the first host was copied to, and
	// tells for what of kind, host and step an event came before the end of the evaluation.
	play := func(code int, until string, args ...string) (before, after map[string]bool) {
		t.Helper()
		_ = os.Remove(go_)
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
		defer cancel()
		p := w.start(ctx, nil, append(args, "--json")...)
		p.until(until, 90*time.Second)
		if err := os.WriteFile(go_, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		r := p.wait().exits(code)
		before, after = map[string]bool{}, map[string]bool{}
		now := before
		for lines := bufio.NewScanner(strings.NewReader(r.stdout)); lines.Scan(); {
			var e said
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				continue
			}
			if e.Host == "zslow" && e.Step == "evaluate" && (e.Kind == "done" || e.Kind == "failed") {
				now = after
			}
			now[e.Kind+" "+e.Host+" "+e.Step] = true
		}
		return before, after
	}
	expect := func(m map[string]bool, want bool, events ...string) {
		t.Helper()
		for _, e := range events {
			if m[e] != want {
				t.Errorf("%q: %t, want %t", e, m[e], want)
			}
		}
	}
	const only = "deployment.buildOnly = true; "
	const waits = "waits until the other hosts are evaluated"

	net := fleet("overlap", only, "toString")
	before, after := play(0, waits, "deploy", net, "switch", "--upload-secrets")
	expect(before, true, "done spare build", "done spare copy", "waiting spare copy")
	expect(before, false, "started spare activate", "started zslow build")
	expect(after, true, "done zslow evaluate", "done zslow build", "done spare activate")
	expect(after, false, "started spare build", "started spare copy")
	wrote(t, web, "overlap")

	// What is wrong with the whole run stops it before anything changed, whatever was
	// begun: here that two hosts are one machine.
	fleet("refused", `deployment.targetHost = "spare";`, "toString")
	before, after = play(4, waits, "deploy", net, "switch")
	expect(before, true, "done spare copy")
	expect(after, false, "started spare activate")
	wrote(t, web, "overlap")
	if left := on(t, web, "ls /nix/var/nix/gcroots | grep godwit-pushed || true"); left != "" {
		t.Errorf("the root of what was copied is left: %s", left)
	}

	// A host that fails to be evaluated does not take the other with it.
	fleet("alone", only, `(x: builtins.seq x (throw "not this one"))`)
	before, after = play(3, waits, "deploy", net, "switch")
	expect(before, true, "done spare copy")
	expect(after, true, "failed zslow evaluate", "done spare activate")
	wrote(t, web, "alone")

	// A plan builds ahead, too, and changes nothing.
	fleet("planned", only, "toString")
	play(0, waits, "plan", net, "--copy")
	wrote(t, web, "alone")
	w.run("deploy", net, "switch").exits(0)
	isSettled(t, web)
}
