package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/plan"
	"godwit/internal/source"
	"godwit/internal/source/known"
	"godwit/internal/ui"
)

func TestPlanRoots(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	dir := t.TempDir()
	gone, kept := filepath.Join(dir, "gone.plan"), filepath.Join(dir, "kept.plan")
	for _, f := range []string{gone, kept} {
		if _, err := newPlanRoots(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := newPlanRoots(filepath.Join(dir, "third.plan"))
	if err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(filepath.Join(state, "godwit", "plans"))
	if len(entries) != 2 {
		t.Errorf("%v", entries)
	}
	if link := r.link("web"); filepath.Dir(filepath.Dir(link)) != filepath.Join(state, "godwit", "plans") {
		t.Error(link)
	}
}

// testPlanner holds back n hosts called a, b, c...
func testPlanner(t *testing.T, n int, accept plan.Accept) *planner {
	t.Helper()
	a := &app{stderr: os.Stderr, getenv: func(string) string { return "" }}
	s := &session{app: a, ui: ui.New(ui.Options{Stderr: new(strings.Builder), Stdout: new(strings.Builder), Mode: ui.Plain})}
	t.Cleanup(s.close)
	for i := range n {
		s.hosts = append(s.hosts, fleet.Host{Name: string(rune('a' + i))})
	}
	return &planner{s: s, plan: &plan.Plan{Options: plan.Options{Action: "switch"}}, accept: accept, order: s.names(), meta: map[string]string{},
		left: n, admitted: map[string]bool{}, decided: make(chan struct{})}
}

// TestPlannerWaits: nothing is decided before the last host is ready or out.
func TestPlannerWaits(t *testing.T) {
	risky := plan.Host{Name: "b", Status: plan.Change, Risks: []plan.Risk{{Name: plan.KernelChange, Text: "x"}}}
	for _, c := range []struct {
		name    string
		accept  plan.Accept
		stopped bool
	}{
		{"risk", nil, true},
		{"accepted", plan.Accept{plan.KernelChange: true}, false},
	} {
		ctx := context.Background()
		pl := testPlanner(t, 4, c.accept)
		pl.arrive(ctx, plan.Host{Name: "a", Status: plan.Change})
		pl.arrive(ctx, risky)
		pl.settled(ctx, deploy.Outcome{Host: "c", State: deploy.Failed, Err: errors.New("no")})
		select {
		case <-pl.decided:
			t.Fatal("decided before everybody was ready")
		case <-time.After(20 * time.Millisecond):
		}
		pl.admitted["a"] = true
		pl.settled(ctx, deploy.Outcome{Host: "a"}) // was counted
		pl.settled(ctx, deploy.Outcome{Host: "d", State: deploy.Skipped, Detail: "does not answer"})
		select {
		case <-pl.decided:
		case <-time.After(5 * time.Second):
			t.Fatal("never decided")
		}
		if (pl.stopped != nil) != c.stopped || pl.stopped != nil && pl.stopped.Code != ExitRisk {
			t.Errorf("%s: %v", c.name, pl.stopped)
		}
		if got := pl.plan.With(plan.Failed); !slices.Equal(got, []string{"c"}) {
			t.Errorf("failed: %v", got)
		}
		if got := pl.plan.With(plan.Unreachable); !slices.Equal(got, []string{"d"}) {
			t.Errorf("unreachable: %v", got)
		}
	}
}

// TestPlannerSaved: a host that moved stops the plan for all.
func TestPlannerSaved(t *testing.T) {
	for _, c := range []struct {
		running string
		stopped string
	}{
		{"/nix/store/old", ""},
		{"/nix/store/other", "has moved"},
	} {
		pl := testPlanner(t, 1, nil)
		pl.saved = &plan.Plan{Hash: "h", Hosts: []plan.Host{{Name: "a", Status: plan.Change, System: "/nix/store/new", Running: "/nix/store/old",
			Risks: []plan.Risk{{Name: plan.DirtyTree, Accepted: "--accept-risk"}}}}}
		pl.arrive(context.Background(), plan.Host{Name: "a", Status: plan.Change, System: "/nix/store/new", Running: c.running,
			Risks: []plan.Risk{{Name: plan.DirtyTree, Text: "x"}}})
		<-pl.decided
		switch {
		case c.stopped == "" && pl.stopped != nil:
			t.Errorf("%s: %v", c.running, pl.stopped)
		case c.stopped != "" && (pl.stopped == nil || !strings.Contains(fault.Render(pl.stopped), c.stopped)):
			t.Errorf("%s: %v", c.running, pl.stopped)
		}
	}
}

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

// TestWhyNot: of a plan that was turned down each host has its own reason.
func TestWhyNot(t *testing.T) {
	ctx := context.Background()
	change := func(name, running string, risks ...plan.Risk) plan.Host {
		return plan.Host{Name: name, Status: plan.Change, System: "/new", Running: running, Risks: risks}
	}
	check := func(pl *planner, want map[string]string) {
		t.Helper()
		<-pl.decided
		for i := range pl.plan.Hosts {
			h := &pl.plan.Hosts[i]
			if got := pl.whyNot(h); !strings.Contains(got, want[h.Name]) {
				t.Errorf("%s: %q, want %q", h.Name, got, want[h.Name])
			}
		}
	}
	pl := testPlanner(t, 3, nil)
	pl.arrive(ctx, change("a", "/old", plan.Risk{Name: plan.KernelChange}))
	pl.arrive(ctx, change("b", "/old", plan.Risk{Name: plan.DirtyTree}, plan.Risk{Name: plan.SSHChange}))
	pl.arrive(ctx, change("c", "/old"))
	check(pl, map[string]string{"a": "nobody accepted kernel-change", "b": "nobody accepted dirty-tree, ssh-change", "c": "turned down because of a, b"})

	pl = testPlanner(t, 3, nil)
	pl.saved = &plan.Plan{Hash: "h", Hosts: []plan.Host{change("a", "/old"), change("b", "/old"), change("c", "/old")}}
	pl.arrive(ctx, change("a", "/x"))
	pl.arrive(ctx, change("b", "/y"))
	pl.arrive(ctx, change("c", "/old"))
	check(pl, map[string]string{"a": "it runs /x, not /old", "b": "it runs /y, not /old", "c": "turned down because of a, b"})
	if text := fault.Render(pl.stopped); !strings.Contains(text, "2 hosts have moved") || !strings.Contains(text, "a  it runs /x") || !strings.Contains(text, "b  it runs /y") {
		t.Error(text)
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
