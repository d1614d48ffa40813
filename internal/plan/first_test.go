package plan

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFirstPlansDerivations: plans of version 1 have no sum over the derivations: they
// must make the systems that the plan says.
func TestFirstPlansDerivations(t *testing.T) {
	const system = "/nix/store/0c5b9z3s1mxk6d4v8q7rnhfwj2ypal0g-nixos-system-web"
	drv := filepath.Join(t.TempDir(), "web.drv")
	text := `Derive([("out","` + system + `","","")],[],[],"x86_64-linux","/bin/sh",[],[("out","` + system + `")])`
	if err := os.WriteFile(drv, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p := &Plan{Hosts: []Host{{Name: "web", Status: Change, Drv: drv, System: system}, {Name: "pi", Status: Unreachable}}}
	if err := SameSystems(p, "x.plan"); err != nil {
		t.Error(err)
	}
	p.Hosts[0].System += "2"
	if err := SameSystems(p, "x.plan"); err == nil || !strings.Contains(err.Error(), "was changed after it was made") {
		t.Error(err)
	}
}
