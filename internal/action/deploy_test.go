package action

import (
	"godwit/internal/deploy"
	"godwit/internal/plan"
	"godwit/internal/source"
	"godwit/internal/source/known"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSavedRolling: a saved plan says itself how it is rolled out; no configuration is
// opened for it (there is no Nix here that could). What the command line says counts
// more.
func TestSavedRolling(t *testing.T) {
	rolling := plan.Rolling{Batch: "1,rest", OnFailure: "stop", Unreachable: "skip", AcceptRisks: []string{"reboot"}}
	s := &session{Env: &Env{}, source: known.New(source.About{Settings: rolling.Settings()}, nil, "")}
	said := "rollback"
	var d deployment
	if err := s.roll(Rolling{OnFailure: &said}, &d); err != nil {
		t.Fatal(err)
	}
	if d.Schedule == nil || d.Schedule.OnFailure != deploy.OnFailure("rollback") || d.Unreachable != deploy.Unreachable("skip") || !slices.Equal(d.accept, []string{"reboot"}) {
		t.Errorf("%+v, %v, %v", d.Schedule, d.Unreachable, d.accept)
	}
}

// TestFirstPlansDerivations: plans of version 1 have no sum over the derivations: they
// must make the systems that the plan says.
func TestFirstPlansDerivations(t *testing.T) {
	const system = "/nix/store/0c5b9z3s1mxk6d4v8q7rnhfwj2ypal0g-nixos-system-web"
	drv := filepath.Join(t.TempDir(), "web.drv")
	text := `Derive([("out","` + system + `","","")],[],[],"x86_64-linux","/bin/sh",[],[("out","` + system + `")])`
	if err := os.WriteFile(drv, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p := &plan.Plan{Hosts: []plan.Host{{Name: "web", Status: plan.Change, Drv: drv, System: system}, {Name: "pi", Status: plan.Unreachable}}}
	if err := sameSystems(p, "x.plan"); err != nil {
		t.Error(err)
	}
	p.Hosts[0].System += "2"
	if err := sameSystems(p, "x.plan"); err == nil || !strings.Contains(err.Error(), "was changed after it was made") {
		t.Error(err)
	}
}
