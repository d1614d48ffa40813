package activate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/awake"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/host/hosttest"
	"godwit/internal/profile/nixos"
)

// fed tells whether the deployer may say more on such a connection.
func (k call) fed() bool {
	return strings.Contains(k.want, "MODE=") && !strings.Contains(k.want, "plain") && !strings.Contains(k.want, "detached") ||
		strings.Contains(k.want, "VERB='follow'") || strings.Contains(k.want, "VERB='attend'")
}

// call expects a script that matches want and answers it.
type call struct {
	want  string // regular expression on the script
	fresh bool
	out   string
	err   error
	then  func()
	stays bool // the connection stays open for as long as the deployer wants
}

// web1 is a host that expects exactly these calls, each as root.
func web1(t *testing.T, calls ...call) *hosttest.Host {
	t.Helper()
	expected := make([]hosttest.Call, len(calls))
	for i, k := range calls {
		expected[i] = hosttest.Call{Want: k.want, Root: true, Fresh: k.fresh, Fed: k.fed(), Out: k.out, Err: k.err, Stays: k.stays}
		if k.then != nil {
			expected[i].Then = func(host.Cmd) { k.then() }
		}
	}
	return hosttest.New(t, "web1", expected...)
}

const (
	oldSystem = "/nix/store/1-old"
	newSystem = "/nix/store/2-new"
)

func facts(kv ...string) string {
	var b strings.Builder
	for i := 0; i < len(kv); i += 2 {
		fmt.Fprintf(&b, "::godwit fact %s %s\n", kv[i], kv[i+1])
	}
	return b.String() + "::godwit end\n"
}

func data(offset int, text string) string {
	return fmt.Sprintf("::godwit data %d %d\n%s", offset, len(text), text)
}

func healthy(kv ...string) string {
	return facts(append([]string{"uid", "0", "boot-id", "b1", "current", oldSystem, "booted", oldSystem, "profile", oldSystem, "systemd", "257"}, kv...)...)
}

func deploy(t *testing.T, req Request, calls ...call) (Result, []event.Event, error) {
	t.Helper()
	s := web1(t, calls...)
	if req.NewSystem == "" {
		req.NewSystem = newSystem
	}
	if req.Action == "" {
		req.Action = Switch
	}
	req.Host = "web1"
	var events []event.Event
	res, err := Run(t.Context(), s, req, event.SinkFunc(func(e event.Event) { events = append(events, e) }))
	if n := len(s.Made()); n != len(calls) {
		t.Errorf("%d calls were made, want %d (%v)", n, len(calls), err)
	}
	var last []event.Kind
	for _, e := range events {
		if e.Step != event.StepActivate || e.Host != "web1" {
			t.Errorf("event of another step: %+v", e)
		}
		if e.Kind == event.Done || e.Kind == event.Failed {
			last = append(last, e.Kind)
		}
	}
	if len(last) != 1 {
		t.Errorf("the step ended %d times: %v", len(last), last)
	}
	return res, events, err
}

func logs(events []event.Event) (lines []string) {
	for _, e := range events {
		if e.Kind == event.Log {
			lines = append(lines, e.Text)
		}
	}
	return lines
}

var (
	activatedFacts = []string{"phase", "activated", "apply-rc", "0 ok", "old", oldSystem, "current", newSystem, "id", "x"}
	committedFacts = []string{"phase", "committing", "final", "committed", "apply-rc", "0 ok", "decision", "commit", "old", oldSystem, "current", newSystem}
	dropped        = &host.DroppedError{Host: "web1", Command: "script", Err: errors.New("gone")}
)

func TestCommitted(t *testing.T) {
	var phases []Phase
	res, events, err := deploy(t, Request{OnPhase: func(p Phase) { phases = append(phases, p) }, Meta: map[string]string{"who": "it's me"}},
		call{want: `CHECK='1'`, out: healthy("differs", "kernel")},
		call{want: `APPLY_ACTION='test'[\s\S]*MODE='guard'`, out: "::godwit fact armed x\n" + data(0, "one\ntwo\n") + facts(activatedFacts...)},
		call{want: `A1='8'[\s\S]*VERB='confirm'`, fresh: true, out: data(8, "three\n") + facts(committedFacts...)})
	if err != nil || res.Outcome != "changed" || res.ExitCode != 0 || res.OldSystem != oldSystem || res.Running != newSystem || !res.NeedsReboot {
		t.Errorf("%+v %v", res, err)
	}
	if got := logs(events); !slices.Equal(got, []string{"one", "two", "three"}) || !slices.Equal(res.Log, got) {
		t.Errorf("log %q", got)
	}
	if !slices.Equal(phases, []Phase{Armed, Activated, Confirmed}) {
		t.Errorf("phases %v", phases)
	}
}

// A connection may be lost at every byte of an answer: each line of the log is
// seen exactly once, and the next connection asks for the byte that was reached.
func TestDropAtEveryByte(t *testing.T) {
	log := "alpha\nbeta\n\ngamma ::godwit end\n"
	whole := "::godwit fact armed x\n" + data(0, log)
	for cut := len("::godwit fact armed x\n"); cut <= len(whole); cut++ {
		got := max(0, cut-(len(whole)-len(log)))
		_, events, err := deploy(t, Request{},
			call{want: `CHECK=`, out: healthy()},
			call{want: `MODE=`, out: whole[:cut], err: dropped},
			call{want: fmt.Sprintf(`A1='%d'[\s\S]*VERB='follow'`, got), out: data(got, log[got:]) + facts(activatedFacts...)},
			call{want: `VERB='confirm'`, fresh: true, out: facts(committedFacts...)})
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if l := logs(events); !slices.Equal(l, []string{"alpha", "beta", "", "gamma ::godwit end"}) {
			t.Fatalf("cut at %d: %q", cut, l)
		}
		if testing.Short() {
			cut += 7
		}
	}
}

func TestRolledBack(t *testing.T) {
	res, _, err := deploy(t, Request{},
		call{want: `CHECK=`, out: healthy()},
		call{want: `MODE=`, out: "::godwit fact armed x\n" + data(0, "restarting sshd\n") + facts("phase", "rolling-back", "final", "rolled-back 0", "apply-rc", "4 bad",
			"reason", "the activation failed", "failed-new", "sshd.service", "current", oldSystem, "old", oldSystem, "started", "1")})
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != ExitRolledBack || res.Outcome != "rolled-back" || res.ExitCode != 4 || !slices.Equal(res.NewlyFailed, []string{"sshd.service"}) {
		t.Fatalf("%+v %+v", res, err)
	}
	text := fault.Render(err)
	for _, want := range []string{"web1: activated, but sshd.service failed (exit 4); it went back by itself", "running now   " + oldSystem, "newly failed  sshd.service", "  | restarting sshd", "godwit diff web1"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
}

func TestConfirmIsTriedAgain(t *testing.T) {
	res, _, err := deploy(t, Request{},
		call{want: `CHECK=`, out: healthy()},
		call{want: `MODE=`, out: facts(append([]string{"armed", "x"}, activatedFacts...)...)},
		call{want: `VERB='confirm'`, fresh: true, err: dropped},
		call{want: `VERB='confirm'`, fresh: true, err: errors.New("no route")},
		call{want: `VERB='confirm'`, fresh: true, out: facts(committedFacts...)})
	if err != nil || res.Outcome != "changed" || res.Drops != 2 {
		t.Errorf("%+v %v", res, err)
	}
}

func TestChecksFail(t *testing.T) {
	res, _, err := deploy(t, Request{Checks: func(_ context.Context, p Phase) error { return fmt.Errorf("tcp 22: refused (%s)", p) }},
		call{want: `CHECK=`, out: healthy()},
		call{want: `MODE=`, out: facts(append([]string{"armed", "x"}, activatedFacts...)...)},
		call{want: `VERB='attend'`, fresh: true, out: "::godwit beat 40 activated \n", stays: true},
		call{want: `A2='the checks failed'[\s\S]*VERB='cancel'`, out: facts("final", "rolled-back 0", "phase", "rolling-back", "apply-rc", "0 ok", "current", oldSystem)})
	if err == nil || res.Outcome != "rolled-back" || !strings.Contains(err.Error(), "checks failed: tcp 22: refused (activated)") {
		t.Errorf("%+v %v", res, err)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name, words string
		code        int
		req         Request
		state       []string
		armed       string
	}{
		{name: "no root", state: []string{"uid", "1000"}, words: "needs root", code: 1},
		{name: "no systemd", state: []string{"systemd", ""}, words: "--no-guard", code: 1},
		{name: "old systemd", state: []string{"systemd", "239"}, words: "too old", code: 1},
		{name: "no flock", state: []string{"missing", "flock"}, words: "flock is missing", code: 1},
		{name: "init", state: []string{"init-changed", "yes"}, words: "boot --reboot", code: 1},
		{name: "inhibitors", state: []string{"inhibited", "yes"}, words: "boot --reboot", code: 1},
		{name: "check", state: []string{"check-failed", "1", "check-line", "because"}, words: "because", code: 1},
		{name: "absent", state: []string{"absent", newSystem}, words: "godwit push", code: 1},
		{name: "no switch", state: []string{"no-switch", newSystem}, words: "system.switch.enable", code: 1},
		{name: "nixos-rebuild", state: []string{"rebuild", "nixos-rebuild-switch-to-configuration.service"}, words: "right now", code: ExitBusy},
		{name: "busy", armed: "::godwit refused 75 other\n", words: "another deployment is under way on this host (other)", code: ExitBusy},
		{name: "who is busy", armed: "::godwit refused 75 other\n", words: "it is a switch by ana on laptop7, commit 4f2a91c, since ", code: ExitBusy},
		{name: "until when", armed: "::godwit refused 75 other\n", words: "if no deployer confirms, the host goes back in 41s", code: ExitBusy},
		{name: "no room", armed: "::godwit refused 66 only 3 KiB are free in /run\n", words: "only 3 KiB are free in /run; nothing was changed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := []call{{want: `CHECK=`, out: healthy(c.state...)}}
			if c.armed != "" {
				calls = append(calls, call{want: `MODE=`, out: c.armed, err: &host.ExitError{Code: 75}})
				if c.code == ExitBusy { // who is it?
					calls = append(calls, call{want: `VERB='facts'`, out: facts("id", "other", "action", "switch", "phase", "activated", "age", "63", "left", "41",
						"meta", `{"user":"ana","deployer":"laptop7","commit":"4f2a91c0d"}`)})
				}
			}
			res, _, err := deploy(t, c.req, calls...)
			var f *fault.Error
			if !errors.As(err, &f) || f.Code != c.code || res.Outcome != "failed" || !strings.Contains(fault.Render(err), c.words) {
				t.Errorf("%+v\n%s", res, fault.Render(err))
			}
		})
	}
}

func TestRebooted(t *testing.T) {
	gone := func(kv ...string) call {
		return call{want: `VERB='follow'`, out: facts(append([]string{"gone", "1"}, kv...)...)}
	}
	for _, c := range []struct {
		name, outcome string
		last          call
		fails         bool
	}{
		{name: "into the old system", outcome: "rolled-back", fails: true, last: gone("boot-id", "b2", "current", oldSystem)},
		{name: "after the commit", outcome: "changed", last: gone("boot-id", "b2", "current", newSystem, "record", `{"id":"x","result":"committed"}`)},
		{name: "somebody removed it", outcome: "failed", fails: true, last: gone("boot-id", "b1", "current", newSystem)},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, _, err := deploy(t, Request{},
				call{want: `CHECK=`, out: healthy()},
				call{want: `MODE=`, out: "::godwit fact armed x\n", err: dropped}, c.last)
			if (err != nil) != c.fails || string(res.Outcome) != c.outcome {
				t.Errorf("%+v %v", res, err)
			}
		})
	}
}

func TestPlainAndDry(t *testing.T) {
	res, _, err := deploy(t, Request{Action: Boot},
		call{want: `CHECK=''`, out: healthy()},
		call{want: `ACTION='boot'[\s\S]*MODE='plain'`, out: facts("armed", "x", "final", "done 0", "apply-rc", "0 ok", "current", oldSystem, "old", oldSystem)})
	if err != nil || res.Outcome != "changed" {
		t.Errorf("%+v %v", res, err)
	}
	res, _, err = deploy(t, Request{Action: Switch, NoGuard: true},
		call{want: `CHECK='1'`, out: healthy("systemd", "")},
		call{want: `APPLY_ACTION='switch'[\s\S]*MODE='detached'`, out: facts("armed", "x", "final", "failed 1", "apply-rc", "1 bad", "current", oldSystem, "old", oldSystem)})
	if err == nil || res.Outcome != "failed" || !strings.Contains(fault.Render(err), "no guard") {
		t.Errorf("%+v %v", res, err)
	}
	res, _, err = deploy(t, Request{SkipUnchanged: true, NewSystem: oldSystem}, call{want: `CHECK=`, out: healthy()})
	if err != nil || res.Outcome != "unchanged" {
		t.Errorf("%+v %v", res, err)
	}
}

func TestBadRequests(t *testing.T) {
	for _, r := range []Request{
		{NewSystem: "relative"}, {NewSystem: "/nix/store/a'b"}, {NewSystem: "/nix/store/a\nb"}, {Action: "explode"},
		{IgnoreUnits: []string{"a;b"}}, {LastResort: "pray"}, {Profiles: []Change{{Name: "system", Kind: "nixos", New: newSystem, Link: "$(id)"}}},
	} {
		if r.NewSystem == "" {
			r.NewSystem = newSystem
		}
		if r.Action == "" {
			r.Action = Switch
		}
		if _, err := Run(t.Context(), web1(t), r, nil); err == nil {
			t.Errorf("%+v was accepted", r)
		}
	}
}

// Ctrl-C says what becomes of the host, as far as the host says it.
func TestInterrupted(t *testing.T) {
	cancelled := `A2='interrupted by the deployer'[\s\S]*VERB='cancel'`
	deaf := call{want: cancelled, err: dropped}
	for _, c := range []struct {
		name, words string
		asked       []call
	}{
		{name: "gone back", words: "the host went back", asked: []call{{want: cancelled, out: facts("phase", "rolling-back", "final", "rolled-back 0", "current", oldSystem)}}},
		{name: "going back", words: "is going back", asked: []call{deaf, {want: `VERB='facts'`, out: facts("phase", "rolling-back", "decision", "rollback")}}},
		{name: "nothing begun", words: "before anything was changed", asked: []call{{want: cancelled, out: facts("final", "aborted")}}},
		{name: "confirmed", words: "had been confirmed already", asked: []call{{want: cancelled, out: facts(committedFacts...)}}},
		{name: "being confirmed", words: "confirmed already; the host is making it permanent", asked: []call{deaf, {want: `VERB='facts'`, out: facts("phase", "committing", "decision", "commit")}}},
		{name: "no end to the commit", words: "is going back", asked: []call{deaf, {want: `VERB='facts'`, out: facts("phase", "committing", "decision", "commit", "commit-failed", "1")}}},
		{name: "cannot go back", words: "interrupted; the deployment was not confirmed, and three attempts to go back failed", asked: []call{{want: cancelled, out: facts("final", "rollback-failed")}}},
		{name: "rebooted", words: "has rebooted", asked: []call{{want: cancelled, out: facts("gone", "1", "boot-id", "b2")}}},
		{name: "not begun yet", words: "if it begins later", asked: []call{{want: cancelled, out: facts("gone", "1", "boot-id", "b1")}}},
		{name: "deaf", words: "unless it was confirmed already", asked: []call{deaf, {want: `VERB='facts'`, err: dropped}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			calls := append([]call{
				{want: `CHECK=`, out: healthy()},
				{want: `MODE=`, out: "::godwit fact armed x\n" + data(0, "one\n"), err: dropped, then: cancel},
			}, c.asked...)
			s := web1(t, calls...)
			begin := time.Now()
			res, err := Run(ctx, s, Request{Host: "web1", NewSystem: newSystem, Action: Switch}, nil)
			if res.Outcome != "interrupted" || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), c.words) || len(s.Made()) != len(calls) || time.Since(begin) > 30*time.Second {
				t.Errorf("%d calls, %+v %v", len(s.Made()), res, err)
			}
		})
	}
}

// What godwit says of a host that is not heard any more must be true.
func TestLost(t *testing.T) {
	for _, c := range []struct {
		name  string
		run   run
		words []string
		not   string
	}{
		{name: "never confirmed", words: []string{"no answer since", "must have gone back", "it boots " + oldSystem}, not: newSystem},
		{name: "perhaps confirmed", run: run{asked: true}, words: []string{"it is not known whether the request arrived", newSystem, oldSystem}, not: "must have gone back"},
		{name: "it answers", run: run{lastOK: awake.Now()}, words: []string{"the deployment has not ended in"}, not: "gone back"},
	} {
		d := c.run
		if d.lastOK == 0 {
			d.lastOK = awake.Now().Add(-time.Hour)
		}
		d.req, d.res = Request{Host: "web1", NewSystem: newSystem, Action: Switch}, Result{OldSystem: oldSystem}
		text := fault.Render(d.lost(nil))
		for _, want := range c.words {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is missing in\n%s", c.name, want, text)
			}
		}
		if strings.Contains(text, c.not) || d.res.Outcome != "unreachable" {
			t.Errorf("%s: outcome %s\n%s", c.name, d.res.Outcome, text)
		}
	}
}

func TestExitMeanings(t *testing.T) {
	seen := map[string]int{}
	for _, code := range []int{-1, 0, 1, 2, 3, 4, 5, 11, 100, 101, 127, 137, 143, 28} {
		m := nixos.ExitMeaning(code)
		if other, ok := seen[m]; ok || m == "" {
			t.Errorf("%d and %d are both %q", code, other, m)
		}
		seen[m] = code
	}
	for line, want := range map[string]string{"Error: Failed to get GID for deploy": "stopped: Failed to get GID for deploy", "Pre-switch checks failed": "pre-switch checks failed", "activating": nixos.ExitMeaning(1)} {
		if got := nixos.Meaning(1, []string{"x", line, "y"}); !strings.Contains(got, want) {
			t.Errorf("%q: %q", line, got)
		}
	}
	for result, want := range map[string]string{"timeout killed TERM": "took longer than 5m", "signal killed KILL": "SIGKILL", "success killed TERM": "stopped from outside", "oom-kill killed KILL": "memory", "": "killed"} {
		if got := unitMeaning(result, "5m"); !strings.Contains(got, want) {
			t.Errorf("%q: %q", result, got)
		}
	}
}

func TestCleanLine(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[31mred\x1b[0m": "red", "a\tb": "a       b", "10%\r100%": "100%", "bell\a": "bell", "\xff": "\ufffd", "x\r": "x", "\x1b]0;t": `\u001b]0;t`, "end ": "end", "": "",
	} {
		if got := cleanLine(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("::godwit data 0 5\nhelloxx\n::godwit fact a b\n::godwit end\n"), 3)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		one, two := frames{}, frames{}
		var l1, l2 []string
		one.line, two.line = func(s string) { l1 = append(l1, s) }, func(s string) { l2 = append(l2, s) }
		one.begin()
		two.begin()
		_, _ = one.Write(b)
		cut = max(0, min(cut, len(b)))
		_, _ = two.Write(b[:cut])
		_, _ = two.Write(b[cut:])
		if len(b) < maxLine && (!slices.Equal(l1, l2) || one.ended != two.ended || one.received != two.received) {
			t.Errorf("%q cut at %d: %q %q", b, cut, l1, l2)
		}
	})
}
