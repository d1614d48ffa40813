package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"godwit/internal/deploy"
	"godwit/internal/fleet"
	"godwit/internal/plan"
	"godwit/internal/source"
	"godwit/internal/source/known"
)

func TestDeployTakesAPlanAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.plan")
	p := &plan.Plan{Hosts: []plan.Host{{Name: "a", Config: &fleet.Host{Name: "a"}}}}
	p.Seal(nil)
	if err := p.Save(file); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"deploy", file, "switch"}, "leave out"},
		{[]string{"deploy", file, "--on", "a"}, "--on belongs to godwit plan"},
		{[]string{"deploy", file, "--reboot"}, "--reboot belongs to godwit plan"},
		{[]string{"plan", file}, "saved plan"},
	} {
		_, stderr, code := runApp(t, c.args...)
		if code != ExitFailure || !strings.Contains(stderr, c.says) {
			t.Errorf("%v: exit %d, %s", c.args, code, stderr)
		}
	}
}

// TestSavedRolling: a saved plan says itself how it is rolled out; no configuration is
// opened for it (there is no Nix here that could). What the command line says counts
// more.
func TestSavedRolling(t *testing.T) {
	given := map[string]bool{"on-failure": true}
	rolling := plan.Rolling{Batch: "1,rest", OnFailure: "stop", Unreachable: "skip", AcceptRisks: []string{"reboot"}}
	s := &session{app: &app{}, source: known.New(source.About{Settings: rolling.Settings()}, nil, "")}
	s.rolling = scheduleFlags{onFailure: "rollback", budget: "0", given: func(f string) bool { return given[f] }}
	var d deploy.Options
	if err := s.roll(&d); err != nil {
		t.Fatal(err)
	}
	if d.Schedule == nil || d.Schedule.OnFailure != deploy.OnFailure("rollback") || d.Unreachable != deploy.Unreachable("skip") || !slices.Equal(s.approval.accept, []string{"reboot"}) {
		t.Errorf("%+v, %v, %v", d.Schedule, d.Unreachable, s.approval.accept)
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
