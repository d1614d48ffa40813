package cli

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/action"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/history"
	"godwit/internal/hoststate"
	"godwit/internal/plan"
	"godwit/internal/source"
	"godwit/internal/ui"
)

// shown is a view whose output is kept.
func shown(o ui.Options) (v *view, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	a := &app{stdout: stdout, stderr: stderr, getenv: func(string) string { return "" }}
	a.globals.json = o.Mode == ui.JSON
	return a.open(o), stdout, stderr
}

// TestFinish: what a run over hosts says at its end, and its exit code.
func TestFinish(t *testing.T) {
	ok := deploy.Outcome{Host: "web", State: deploy.Changed, Detail: "switched, confirmed"}
	bad := deploy.Outcome{Host: "db", State: deploy.Failed, Err: fault.New("no room").On("db")}
	none := deploy.Outcome{Host: "pi", State: deploy.Failed, Err: fault.New("nothing builds it").On("pi").Exit(ExitNoBuilder)}
	left := deploy.Outcome{Host: "mail", State: deploy.NotStarted, Err: fault.New("not started").On("mail")}
	interrupted, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	for name, c := range map[string]struct {
		ctx  context.Context
		mode ui.Mode
		sum  action.Summary
		code int
		says []string
		not  string
	}{
		"all well":       {sum: action.Summary{Outcomes: []deploy.Outcome{ok}}, says: []string{"1 host: 1 changed, in "}, not: "HOST"},
		"one failed":     {sum: action.Summary{Outcomes: []deploy.Outcome{ok, bad}}, code: ExitHosts, says: []string{"error: db: no room", "HOST", "2 hosts: 1 changed, 1 failed, in "}},
		"no builder":     {sum: action.Summary{Outcomes: []deploy.Outcome{none}}, code: ExitNoBuilder, says: []string{"nothing builds it"}},
		"interrupted":    {ctx: interrupted, sum: action.Summary{Outcomes: []deploy.Outcome{bad}}, code: ExitInterrupted},
		"JSON":           {mode: ui.JSON, sum: action.Summary{Outcomes: []deploy.Outcome{ok, bad}}, code: ExitHosts, says: []string{`"kind":"result"`, `"2 hosts: 1 changed, 1 failed`}, not: "HOST"},
		"turned down":    {sum: action.Summary{Outcomes: []deploy.Outcome{bad, left}, Stopped: fault.New("a risk").Exit(ExitRisk)}, code: ExitRisk, says: []string{"db: no room"}, not: "not started"},
		"turned down, i": {ctx: interrupted, sum: action.Summary{Stopped: fault.New("a risk").Exit(ExitRisk)}, code: ExitInterrupted},
	} {
		v, stdout, stderr := shown(ui.Options{Mode: c.mode})
		if c.ctx == nil {
			c.ctx = t.Context()
		}
		err := v.finish(c.ctx, &c.sum)
		code := ExitOK
		if quiet := (silent{}); errors.As(err, &quiet) {
			code = quiet.code
		} else if err != nil {
			code = exitCode(err)
		}
		said := stdout.String() + stderr.String()
		if code != c.code || slices.ContainsFunc(c.says, func(s string) bool { return !strings.Contains(said, s) }) || c.not != "" && strings.Contains(said, c.not) {
			t.Errorf("%s: exit %d, %v\n%s", name, code, err, said)
		}
	}
}

// TestViewOfActions: the lines that are no events go where they belong.
func TestViewOfActions(t *testing.T) {
	at := source.Location{Dialect: "morph", File: "/x/network.nix", Given: "network.nix"}
	p := &plan.Plan{Hosts: []plan.Host{{Name: "web", Status: plan.Change}}}
	for _, mode := range []ui.Mode{ui.Plain, ui.JSON} {
		v, stdout, stderr := shown(ui.Options{Mode: mode})
		v.Println("a line")
		v.Output("for scripts")
		v.Using(at, "")
		v.Using(at, "with which web was last deployed")
		v.Plan(p, true)
		v.close()
		quiet := mode == ui.JSON
		want := "for scripts\n"
		if quiet {
			want = `"kind":"note","text":"for scripts"}` + "\n"
		}
		if !strings.HasSuffix(stdout.String(), want) || !quiet && stdout.String() != want {
			t.Errorf("stdout: %q", stdout)
		}
		for line, always := range map[string]bool{"a line\n": false, "morph: network.nix\n": false, "using network.nix, with which web was last deployed\n": true, "web": true} {
			if strings.Contains(stderr.String(), line) != (always || !quiet) {
				t.Errorf("JSON %t, %q: %s", quiet, line, stderr)
			}
		}
		if v.Watched() || v.width() != 0 {
			t.Error("nobody watches a buffer")
		}
	}
}

// TestReports: reports go to stdout, what they lack to stderr.
func TestReports(t *testing.T) {
	v, stdout, stderr := shown(ui.Options{})
	found := &action.Fleet{OK: false, Hosts: []hoststate.Status{{Host: "web", Answers: true, OK: false, Hints: []string{"godwit confirm n web"}}}, Broken: []error{fault.New("it is broken").On("db")}}
	v.app.globals.verbose = true
	if err := v.status(found); !errors.Is(err, silent{ExitDrift}) || !strings.Contains(stdout.String(), "web") || !strings.Contains(stderr.String(), "error: db: it is broken\nhint: godwit confirm n web\n") {
		t.Errorf("%v\n%s\n%s", err, stdout, stderr)
	}

	v, stdout, stderr = shown(ui.Options{})
	entries := []history.Entry{{Host: "web", Deployment: "d1", Outcome: deploy.Changed, Started: time.Unix(1, 0), Log: "a\nb\n"}, {Host: "same", Outcome: deploy.Unchanged}}
	if err := v.history(slices.Clone(entries), historyView{}); err != nil || !strings.Contains(stdout.String(), "d1") || strings.Contains(stdout.String(), "same") {
		t.Errorf("%v\n%s", err, stdout)
	}
	if err := v.history(nil, historyView{}); err != nil || !strings.Contains(stderr.String(), "this machine knows of no deployment") {
		t.Errorf("%v\n%s", err, stderr)
	}
	if err := v.deployment(entries[:1]); err != nil || !strings.Contains(stdout.String(), "  | b\n") {
		t.Errorf("%v\n%s", err, stdout)
	}

	v, stdout, stderr = shown(ui.Options{})
	p := &plan.Plan{Hosts: []plan.Host{{Name: "web", Status: plan.Change}}}
	if err := v.plan(p, planView{saved: "x.plan", detailed: true}); !errors.Is(err, silent{ExitDrift}) || !strings.Contains(stdout.String(), "web") || !strings.Contains(stderr.String(), "saved: godwit deploy x.plan applies this plan") {
		t.Errorf("%v\n%s\n%s", err, stdout, stderr)
	}
	p.Hosts = append(p.Hosts, plan.Host{Name: "db", Status: plan.Failed})
	if err := v.plan(p, planView{json: true}); !errors.Is(err, silent{ExitHosts}) || !strings.Contains(stdout.String(), `"db"`) {
		t.Errorf("%v\n%s", err, stdout)
	}
	if err := v.app.lacking([]error{fault.New("no answer").On("db")}); !errors.Is(err, silent{ExitHosts}) || !strings.Contains(stderr.String(), "error: db: no answer") {
		t.Errorf("%v\n%s", err, stderr)
	}
}

// TestSudoersVerb: the rule is one command, for a name that needs no quotes.
func TestSudoersVerb(t *testing.T) {
	if out, _, code := runApp(t, "sudoers", "ana"); code != 0 || !strings.Contains(out, "ana ALL=(root) NOPASSWD: /bin/sh\n") {
		t.Error(code, out)
	}
	if out, _, code := runApp(t, "sudoers", "--nix", "ana"); code != 0 || !strings.Contains(out, `users = [ "ana" ]`) {
		t.Error(code, out)
	}
	if _, errs, code := runApp(t, "sudoers", "a b"); code != ExitFailure || !strings.Contains(errs, "is not a user name") {
		t.Error(code, errs)
	}
}
