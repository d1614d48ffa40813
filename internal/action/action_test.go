package action

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/approve"
	"godwit/internal/crash"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/host/hosttest"
	"godwit/internal/plan"
	"godwit/internal/settings"
	"godwit/internal/source"
	"godwit/internal/source/all"
	"godwit/internal/source/known"
)

// seen is a view that remembers what it was shown.
type seen struct {
	mu     sync.Mutex
	events []event.Event
	lines  []string // of Println; those of Output behind "> "
	using  string
	answer string // to whatever is asked; empty: nobody is there
	asked  int
}

func (v *seen) Emit(e event.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.events = append(v.events, e)
}
func (v *seen) line(l string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lines = append(v.lines, l)
}
func (v *seen) Announce([]string)                    {}
func (v *seen) Println(l string)                     { v.line(l) }
func (v *seen) Tell(l string)                        { v.line(l) }
func (v *seen) Output(l string)                      { v.line("> " + l) }
func (v *seen) Using(at source.Location, why string) { v.using = at.Name() + why }
func (v *seen) Watched() bool                        { return v.answer != "" }
func (v *seen) Plan(p *plan.Plan, _ bool)            { v.line(p.Text(plan.Layout{})) }
func (v *seen) CanAsk() bool                         { return v.answer != "" }
func (v *seen) Ask(context.Context, string) (string, error) {
	v.asked++
	if v.answer == "" {
		return "", approve.ErrNobody
	}
	return v.answer, nil
}

// tested is what an action gets in a test: a state of its own, no settings, and a view
// that remembers.
func tested(t *testing.T) (*Env, *seen) {
	t.Helper()
	t.Setenv("XDG_STATE_HOME", filepath.Join(t.TempDir(), "state"))
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(t.TempDir(), "config"))
	v := &seen{}
	limits, err := deploy.ParseLimits("")
	if err != nil {
		t.Fatal(err)
	}
	return &Env{
		View: v, Version: "1.0", Settings: settings.Load, Options: Options{Limits: limits},
		Getenv: func(name string) string { return map[string]string{"USER": "ana"}[name] },
	}, v
}

// TestPanicWhileHeld: an internal fault ends the process, though what the action
// has opened never closes.
func TestPanicWhileHeld(t *testing.T) {
	if os.Getenv("GODWIT_TEST_HELD") != "" {
		crash.Open()
		s := (&Env{}).open()
		s.closers = append(s.closers, func() { select {} })
		defer s.close()
		var m map[string]int
		fail := func(m map[string]int) { m["x"] = 1 }
		fail(m)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-test.run=^TestPanicWhileHeld$")
	cmd.Env = append(os.Environ(), "GODWIT_TEST_HELD=1", "XDG_STATE_HOME="+t.TempDir())
	var errs strings.Builder
	cmd.Stdout, cmd.Stderr = io.Discard, &errs
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(errs.String(), "an internal fault: assignment to entry in nil map") {
		t.Errorf("status %d: %s", code, errs.String())
	}
}

// said are the texts of events of a host.
func (v *seen) said(host string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var b strings.Builder
	for _, e := range v.events {
		if e.Host == host {
			b.WriteString(string(e.Kind) + " " + e.Text + "\n")
		}
	}
	return b.String()
}

// fleetOf is a configuration of hosts that are fakes, each with the calls that come to
// it, in any order. Hosts have no address, so that none has that of another.
func fleetOf(t *testing.T, hosts []fleet.Host, fakes ...*hosttest.Host) (*Env, *seen) {
	t.Helper()
	e, v := tested(t)
	pool := hosttest.Pool{}
	for _, f := range fakes {
		pool[f.Name()] = f.AnyOrder()
	}
	var names []string
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	at := source.Location{Dialect: "godwit", File: filepath.Join(t.TempDir(), "fleet.nix")}
	e.fakes = func(s *session) {
		s.at, s.conns = &all.Found{At: at}, pool
		s.source = known.New(source.About{At: at, Names: names}, hosts, "")
	}
	return e, v
}

// everyone are all hosts.
var everyone = HostsRequest{Selection: everyHost}

// web are hosts without profiles.
func web(names ...string) (out []fleet.Host) {
	for _, n := range names {
		out = append(out, fleet.Host{Name: n})
	}
	return out
}

// connects is a host that can be connected to, and what else it is asked.
func connects(t *testing.T, name string, calls ...hosttest.Call) *hosttest.Host {
	return hosttest.New(t, name, append([]hosttest.Call{{Want: hosttest.Connect, Again: true}}, calls...)...)
}

// ends are the outcomes of a run, a line for each host.
func ends(sum *Summary) string {
	if sum == nil {
		return "no run"
	}
	var lines []string
	for _, o := range sum.Outcomes {
		line := o.Host + ": " + string(o.State) + " " + o.Detail
		if o.Err != nil {
			line = o.Host + ": " + string(o.State) + " " + o.Err.Error()
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
