package approve

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/plan"
	"godwit/internal/store"
)

// testGate holds back n hosts called a, b, c...
func testGate(n int, accept plan.Accept) *Gate {
	var hosts []fleet.Host
	for i := range n {
		hosts = append(hosts, fleet.Host{Name: string(rune('a' + i))})
	}
	return New(Options{
		Plan: &plan.Plan{Options: plan.Options{Action: "switch"}}, Accept: accept, Hosts: hosts, Jobs: n, Meta: map[string]string{},
		Remember: func(context.Context, *plan.Host) {}, Show: func(bool) {}, Sink: event.Discard,
		Ask: func(string) (string, error) { return "", ErrNobody },
	})
}

// TestWaits: nothing is decided before the last host is ready or out.
func TestWaits(t *testing.T) {
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
		g := testGate(4, c.accept)
		g.arrive(ctx, plan.Host{Name: "a", Status: plan.Change})
		g.arrive(ctx, risky)
		g.settled(ctx, deploy.Outcome{Host: "c", State: deploy.Failed, Err: errors.New("no")})
		select {
		case <-g.decided:
			t.Fatal("decided before everybody was ready")
		case <-time.After(20 * time.Millisecond):
		}
		g.admitted["a"] = true
		g.settled(ctx, deploy.Outcome{Host: "a"}) // was counted
		g.settled(ctx, deploy.Outcome{Host: "d", State: deploy.Skipped, Detail: "does not answer"})
		select {
		case <-g.decided:
		case <-time.After(5 * time.Second):
			t.Fatal("never decided")
		}
		if (g.stopped != nil) != c.stopped || g.stopped != nil && g.stopped.Code != plan.ExitStopped {
			t.Errorf("%s: %v", c.name, g.stopped)
		}
		if got := g.Plan.With(plan.Failed); !slices.Equal(got, []string{"c"}) {
			t.Errorf("failed: %v", got)
		}
		if got := g.Plan.With(plan.Unreachable); !slices.Equal(got, []string{"d"}) {
			t.Errorf("unreachable: %v", got)
		}
	}
}

// TestSaved: a host that moved stops the plan for all.
func TestSaved(t *testing.T) {
	for _, c := range []struct {
		running string
		stopped string
	}{
		{"/nix/store/old", ""},
		{"/nix/store/other", "has changed"},
	} {
		g := testGate(1, nil)
		g.Saved = &plan.Plan{Hash: "h", Hosts: []plan.Host{{Name: "a", Status: plan.Change, System: "/nix/store/new", Running: "/nix/store/old",
			Risks: []plan.Risk{{Name: plan.DirtyTree, Accepted: "--accept-risk"}}}}}
		g.arrive(context.Background(), plan.Host{Name: "a", Status: plan.Change, System: "/nix/store/new", Running: c.running,
			Risks: []plan.Risk{{Name: plan.DirtyTree, Text: "x"}}})
		<-g.decided
		switch {
		case c.stopped == "" && g.stopped != nil:
			t.Errorf("%s: %v", c.running, g.stopped)
		case c.stopped != "" && (g.stopped == nil || !strings.Contains(fault.Render(g.stopped), c.stopped)):
			t.Errorf("%s: %v", c.running, g.stopped)
		}
	}
}

// TestWhyNot: of a plan that was turned down each host has its own reason.
func TestWhyNot(t *testing.T) {
	ctx := context.Background()
	change := func(name, running string, risks ...plan.Risk) plan.Host {
		return plan.Host{Name: name, Status: plan.Change, System: "/new", Running: running, Risks: risks}
	}
	check := func(g *Gate, want map[string]string) {
		t.Helper()
		<-g.decided
		for i := range g.Plan.Hosts {
			h := &g.Plan.Hosts[i]
			if got := g.whyNot(h); !strings.Contains(got, want[h.Name]) {
				t.Errorf("%s: %q, want %q", h.Name, got, want[h.Name])
			}
		}
	}
	g := testGate(3, nil)
	g.arrive(ctx, change("a", "/old", plan.Risk{Name: plan.KernelChange}))
	g.arrive(ctx, change("b", "/old", plan.Risk{Name: plan.DirtyTree}, plan.Risk{Name: plan.SSHChange}))
	g.arrive(ctx, change("c", "/old"))
	check(g, map[string]string{"a": "nobody accepted kernel-change", "b": "nobody accepted dirty-tree, ssh-change", "c": "rejected because of a, b"})

	g = testGate(3, nil)
	g.Saved = &plan.Plan{Hash: "h", Hosts: []plan.Host{change("a", "/old"), change("b", "/old"), change("c", "/old")}}
	g.arrive(ctx, change("a", "/x"))
	g.arrive(ctx, change("b", "/y"))
	g.arrive(ctx, change("c", "/old"))
	check(g, map[string]string{"a": "it runs /x, not /old", "b": "it runs /y, not /old", "c": "rejected because of a, b"})
	if text := fault.Render(g.stopped); !strings.Contains(text, "2 hosts have changed") || !strings.Contains(text, "a  it runs /x") || !strings.Contains(text, "b  it runs /y") {
		t.Error(text)
	}
}

// TestQuestion: what a person answers, and what nobody being there means.
func TestQuestion(t *testing.T) {
	type answers []string
	for _, c := range []struct {
		name    string
		answers answers // "" is the end of the input, "-" nobody
		risk    bool
		yes     bool
		stopped string
		shown   []bool // verbose
	}{
		{name: "yes", answers: answers{"y"}, shown: []bool{false}},
		{name: "no", answers: answers{"n"}, stopped: "the answer was no", shown: []bool{false}},
		{name: "anything else", answers: answers{"maybe"}, stopped: "the answer was no", shown: []bool{false}},
		{name: "the end", answers: answers{""}, stopped: "the answer was no", shown: []bool{false}},
		{name: "details first", answers: answers{"d", "YES"}, shown: []bool{false, true}},
		{name: "nobody after all", answers: answers{"-"}, shown: []bool{false}},
		{name: "nobody and a risk", answers: answers{"-"}, risk: true, stopped: "that nobody accepted", shown: []bool{false}},
		{name: "-y", yes: true, shown: []bool{false}},
		{name: "-y and a risk", yes: true, risk: true, stopped: "that nobody accepted", shown: []bool{false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := testGate(1, nil)
			var shown []bool
			left := c.answers
			g.Watched, g.Yes = true, c.yes
			g.Show = func(verbose bool) { shown = append(shown, verbose) }
			g.Ask = func(question string) (string, error) {
				if len(left) == 0 || question == "" {
					t.Fatalf("asked %q", question)
				}
				answer := left[0]
				left = left[1:]
				switch answer {
				case "":
					return "", io.EOF
				case "-":
					return "", ErrNobody
				}
				return answer, nil
			}
			h := plan.Host{Name: "a", Status: plan.Change, System: "/new", Running: "/old"}
			if c.risk {
				h.Risks = []plan.Risk{{Name: plan.KernelChange, Text: "x"}}
			}
			g.arrive(t.Context(), h)
			<-g.decided
			stopped := g.Stopped()
			if (stopped == nil) != (c.stopped == "") || stopped != nil && !strings.Contains(stopped.Error(), c.stopped) {
				t.Errorf("%v", stopped)
			}
			if len(left) > 0 || !slices.Equal(shown, c.shown) {
				t.Errorf("not asked: %q; shown %v", left, shown)
			}
		})
	}
}

// TestGate: the hooks of a run wait for the decision, and obey it.
func TestGate(t *testing.T) {
	for _, agreed := range []bool{true, false} {
		g := testGate(2, nil)
		g.Watched = true
		g.Ask = func(string) (string, error) { return map[bool]string{true: "y", false: "n"}[agreed], nil }
		g.Look = func(_ context.Context, h fleet.Host, system string, _ store.Endpoint, brief bool) (plan.Host, error) {
			if brief {
				t.Error("somebody reads it")
			}
			return plan.Host{Name: h.Name, Status: plan.Change, System: system, Running: "/old"}, nil
		}
		var seen []string
		run := &deploy.Run{Settled: func(o deploy.Outcome) { seen = append(seen, o.Host) }}
		g.Before(t.Context(), run)
		if g.Stopped() != nil {
			t.Error("decided before anybody came")
		}
		result := make(chan error, 1)
		go func() {
			result <- run.Admit(t.Context(), deploy.Admission{Host: fleet.Host{Name: "a"}, System: "/new"})
		}()
		run.Settled(deploy.Outcome{Host: "b", State: deploy.Failed, Err: errors.New("no")})
		err := <-result
		if agreed != (err == nil) || !agreed && !strings.Contains(err.Error(), "not started: the answer was no") {
			t.Error(err)
		}
		if g.Meta["plan"] == "" || !slices.Equal(seen, []string{"b"}) {
			t.Error(g.Meta, seen)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		waiting := testGate(2, nil)
		waiting.Look = g.Look
		waiting.Watched = true
		if err := waiting.admit(ctx, deploy.Admission{Host: fleet.Host{Name: "a"}}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}
