package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/activate"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/host/hosttest"
	"godwit/internal/store/storetest"
)

const oldSystem = "/nix/store/00000000000000000000000000000000-old"

// stage is a host that a pipeline works on: what it is asked, one stage after another.
type stage struct {
	t     *testing.T
	src   *storetest.Store
	dst   *storetest.Store
	top   string // the new system, in src
	calls []hosttest.Call
	run   Run
	job   Job
	// inOrder tells that nothing is asked beside the pipeline.
	inOrder, once bool

	mu     sync.Mutex
	events []event.Event
}

// onStage is a run that deploys a system to web1. The test says what the host is asked.
func onStage(t *testing.T) *stage {
	s := &stage{t: t, src: storetest.New(), dst: storetest.New()}
	s.top = s.src.Add("nixos-system-web1", "new", s.src.Add("dep", "x"))
	s.job = Job{Host: fleet.Host{Name: "web1"}, Ready: []string{s.top}, Source: s.src.Endpoint("this machine's store")}
	s.run = Run{Options: Options{Goal: GoalActivate, Action: activate.Switch}, Pushers: &Pushers{}}
	s.run.Sink = event.SinkFunc(func(e event.Event) { s.mu.Lock(); defer s.mu.Unlock(); s.events = append(s.events, e) })
	s.run.Pushers.Options.Sink = s.run.Sink
	return s
}

func (s *stage) add(calls ...hosttest.Call) *stage { s.calls = append(s.calls, calls...); return s }

func (s *stage) connects() *stage {
	return s.add(hosttest.Call{Want: hosttest.Connect, Name: "connect"})
}

// served is the store of the host, as often as it is opened.
func (s *stage) served() hosttest.Call {
	return hosttest.Call{Want: `^nix-store --serve --write$`, Name: "store", Root: true, Again: true,
		Serve: func(in io.Reader, out io.Writer) error { return s.dst.Serve(in, out) }}
}

// copies is a copy that comes to its end.
func (s *stage) copies() *stage {
	return s.add(s.served(), hosttest.Call{Want: copyMark + ` /nix/store`, Name: "begin", Root: true, Out: "free 1000000000 1000000\n"},
		s.served(), hosttest.Call{Want: `(?s)sync -f /nix/store`, Name: "protect", Root: true})
}

func facts(kv ...string) string {
	var b strings.Builder
	for i := 0; i < len(kv); i += 2 {
		fmt.Fprintf(&b, "::godwit fact %s %s\n", kv[i], kv[i+1])
	}
	return b.String() + "::godwit end\n"
}

func healthy(kv ...string) string {
	return facts(append([]string{"uid", "0", "boot-id", "b1", "current", oldSystem, "booted", oldSystem, "profile", oldSystem, "systemd", "257"}, kv...)...)
}

func (s *stage) preflight(kv ...string) *stage {
	return s.add(hosttest.Call{Want: `CHECK=`, Name: "preflight", Root: true, Out: healthy(kv...)})
}

func (s *stage) activated() *stage {
	return s.preflight().add(hosttest.Call{Want: `MODE='guard'`, Name: "arm", Root: true, Fed: true,
		Out: facts("armed", "x", "phase", "activated", "apply-rc", "0 ok", "old", oldSystem, "current", s.top, "id", "x")})
}

func (s *stage) confirmed() *stage {
	return s.activated().add(hosttest.Call{Want: `VERB='confirm'`, Name: "confirm", Root: true, Fresh: true,
		Out: facts("phase", "committing", "final", "committed", "apply-rc", "0 ok", "decision", "commit", "old", oldSystem, "current", s.top)})
}

// attended is the line that is held while checks are made.
func (s *stage) attended() *stage {
	return s.add(hosttest.Call{Want: `VERB='attend'`, Name: "attend", Root: true, Fresh: true, Fed: true, Again: true, Out: "::godwit beat 40 activated \n", Stays: true})
}

func (s *stage) releases() *stage {
	return s.add(hosttest.Call{Want: `^rm -f "\$1"`, Name: "release", Root: true})
}

// play runs the job and gives its outcome, and what the host was asked.
func (s *stage) play(greeting string) (Outcome, []string) {
	s.t.Helper()
	h := hosttest.New(s.t, "web1", s.calls...)
	if greeting != "" {
		h.Greets(greeting)
	}
	if !s.inOrder { // the lease is attended beside the pipeline
		h.AnyOrder()
	}
	s.run.Pool = hosttest.Pool{"web1": h}
	defer func() {
		if err := s.run.Pushers.Close(); err != nil {
			s.t.Error(err)
		}
	}()
	o := s.run.Hosts(s.t.Context(), []Job{s.job})[0]
	return o, slices.DeleteFunc(h.Made(), func(name string) bool { return name == "attend" || name == "store" })
}

func (s *stage) said(kind event.Kind) (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Kind == kind {
			all = append(all, e.Text)
		}
	}
	return all
}

const greetsOld = oldSystem + "\n" + oldSystem

var timedOut = fault.New("no answer on web1:22 within 10s").On("web1").Because(&host.ConnectError{Kind: host.Timeout})

// TestPipelineOrder: what a host is asked, and in which order.
func TestPipelineOrder(t *testing.T) {
	s := onStage(t).connects().copies().confirmed().releases()
	var admitted Admission
	s.run.Admit = func(_ context.Context, a Admission) error { admitted = a; return nil }
	var settled []Outcome
	s.run.Settled = func(o Outcome) { settled = append(settled, o) }
	var built map[string]string
	s.run.OnBuilt = func(all map[string]string) { built = all }
	o, made := s.play(greetsOld)
	if o.Err != nil || o.State != Changed || o.Detail != "switched, confirmed" || o.System != s.top || o.Previous != oldSystem || o.Activation.Running != s.top {
		t.Fatalf("%+v\n%s", o, fault.Render(o.Err))
	}
	if want := []string{"connect", "begin", "protect", "preflight", "arm", "confirm", "release"}; !slices.Equal(made, want) {
		t.Errorf("asked %q, want %q", made, want)
	}
	if !s.dst.Has(s.top) || admitted.System != s.top || admitted.Host.Name != "web1" || admitted.Source.Name != "this machine's store" {
		t.Errorf("copied %v, admitted %+v", s.dst.Has(s.top), admitted)
	}
	if len(settled) != 1 || settled[0].State != Changed || built["web1"] != s.top {
		t.Errorf("settled %+v, built %v", settled, built)
	}
}

// TestPipelineFailures: the failure of each stage leaves the later ones alone.
func TestPipelineFailures(t *testing.T) {
	root := fault.New("sudo needs a password").Because(&host.ElevateError{})
	check := fleet.Checks{Cmd: []fleet.CmdCheck{{Description: "page", Cmd: []string{"curl", "x"}, Period: time.Hour, Timeout: time.Second}}}
	bad := hosttest.Call{Want: `^curl x$`, Name: "check", Err: &host.ExitError{Code: 7}, Out: "no page"}
	for name, c := range map[string]struct {
		play     func(s *stage) *stage
		greeting string
		state    event.Outcome
		want     string // of the error
		made     string
	}{
		"no answer": {func(s *stage) *stage {
			return s.add(hosttest.Call{Want: hosttest.Connect, Name: "connect", Err: timedOut})
		}, "", Failed, "web1: no answer on web1:22 within 10s", "connect"},
		"no answer, and skipped": {func(s *stage) *stage {
			s.run.Unreachable = SkipUnreachable
			return s.add(hosttest.Call{Want: hosttest.Connect, Name: "connect", Err: timedOut})
		}, "", Skipped, "", "connect"},
		"no answer, and waited for in vain": {func(s *stage) *stage {
			s.run.Unreachable, s.run.UnreachableTimeout = WaitUnreachable, 50*time.Millisecond
			return s.add(hosttest.Call{Want: hosttest.Connect, Name: "connect", Err: timedOut})
		}, "", Failed, "web1: no answer on web1:22 within 10s", "connect"},
		"a wrong key is not waited for": {func(s *stage) *stage {
			s.run.Unreachable = WaitUnreachable
			return s.add(hosttest.Call{Want: hosttest.Connect, Name: "connect", Err: fault.New("another host key").Because(&host.ConnectError{Kind: host.HostKeyChanged})})
		}, "", Failed, "web1: another host key", "connect"},
		"no NixOS": {(*stage).connects, "\n\nforeign Debian GNU/Linux 13", Failed, "web1: the machine runs Debian GNU/Linux 13 and not NixOS", "connect"},
		"no root for the copy": {func(s *stage) *stage {
			return s.connects().add(hosttest.Call{Want: `^nix-store --serve --write$`, Name: "no store", Root: true, Err: root})
		}, greetsOld, Failed, "web1: sudo needs a password", "connect no store"},
		"no room": {func(s *stage) *stage {
			return s.connects().add(s.served(), hosttest.Call{Want: copyMark, Name: "begin", Root: true, Out: "free 0 1000\n"})
		}, greetsOld, Failed, "web1: ", "connect begin"},
		"cut while it was written": {func(s *stage) *stage {
			return s.connects().add(s.served(), hosttest.Call{Want: copyMark, Name: "begin", Root: true, Out: "cut\n"},
				hosttest.Call{Want: `(?s)-- ` + copyMark + ` /nix/store [0-9a-f]+ mend `, Name: "mend", Root: true, Out: "damaged /nix/store/x\n"})
		}, greetsOld, Failed, "web1: the host lost power during a copy, and paths that are in use there are damaged", "connect begin mend"},
		"restarted while it was written": {func(s *stage) *stage {
			return s.connects().add(s.served(), hosttest.Call{Want: copyMark + ` /nix/store`, Name: "begin", Root: true, Out: "free 1000000000 1000000\n"},
				hosttest.Call{Want: `(?s)sync -f /nix/store`, Name: "protect", Root: true, Err: &host.ExitError{Host: "web1", Command: "the end of the copy", Code: restarted}})
		}, greetsOld, Failed, "web1: the host restarted during the copy", "connect begin protect"},
		"refused by the plan": {func(s *stage) *stage {
			s.run.Admit = func(context.Context, Admission) error { return LeaveAlone(fault.New("a no to the plan")) }
			return s.connects().copies().releases()
		}, greetsOld, NotStarted, "web1: a no to the plan", "connect begin protect release"},
		"a risk": {func(s *stage) *stage {
			s.run.Admit = func(context.Context, Admission) error { return fault.New("it has a risk") }
			return s.connects().copies().releases()
		}, greetsOld, Failed, "web1: it has a risk", "connect begin protect release"},
		"check before": {func(s *stage) *stage {
			s.job.Host.PreDeployChecks, s.run.CheckTimeout = check, 200*time.Millisecond
			return s.connects().copies().releases().add(bad)
		}, greetsOld, Failed, "web1: ", "connect begin protect check release"},
		"refused by the preflight": {func(s *stage) *stage {
			return s.connects().copies().preflight("init-changed", "yes").releases()
		}, greetsOld, Failed, "web1: ", "connect begin protect preflight release"},
		"went back": {func(s *stage) *stage {
			return s.connects().copies().preflight().releases().add(hosttest.Call{Want: `MODE='guard'`, Name: "arm", Root: true, Fed: true,
				Out: facts("armed", "x", "phase", "rolling-back", "final", "rolled-back 0", "apply-rc", "4 bad", "reason", "the activation failed", "current", oldSystem, "old", oldSystem, "started", "1")})
		}, greetsOld, RolledBack, "web1: activated, but", "connect begin protect preflight arm release"},
		"check after": {func(s *stage) *stage {
			s.job.Host.HealthChecks, s.run.CheckTimeout = check, 200*time.Millisecond
			return s.connects().copies().activated().attended().releases().add(bad, hosttest.Call{Want: `VERB='cancel'`, Name: "cancel", Root: true,
				Out: facts("final", "rolled-back 0", "phase", "rolling-back", "apply-rc", "0 ok", "current", oldSystem, "old", oldSystem)})
		}, greetsOld, RolledBack, "web1: checks failed: ", "connect begin protect preflight arm check cancel release"},
		"the root of the push stays": {func(s *stage) *stage {
			return s.connects().copies().confirmed().add(hosttest.Call{Want: `^rm -f "\$1"`, Name: "release", Root: true, Err: timedOut})
		}, greetsOld, Changed, "", "connect begin protect preflight arm confirm release"},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.play(onStage(t))
			o, made := s.play(c.greeting)
			if o.State != c.state || (o.Err == nil) != (c.want == "") || o.Err != nil && !strings.HasPrefix(o.Err.Error(), c.want) {
				t.Errorf("%s: %v", o.State, o.Err)
			}
			if got := strings.Join(made, " "); got != c.made {
				t.Errorf("asked %q, want %q", got, c.made)
			}
		})
	}
}

// TestRunsAlready: a host that has the system is asked for nothing that it need not be.
func TestRunsAlready(t *testing.T) {
	has := func(s *stage, more ...string) string {
		return strings.Join(append([]string{s.top, s.top}, more...), "\n")
	}
	for name, c := range map[string]struct {
		play  func(s *stage) (greeting string)
		state event.Outcome
		made  string
	}{
		"switch": {func(s *stage) string { s.connects(); return has(s) }, Unchanged, "connect"},
		"test": {func(s *stage) string {
			s.run.Action = activate.Test
			s.connects()
			return s.top + "\n" + oldSystem + "\nboots " + oldSystem
		}, Unchanged, "connect"},
		"its checks": {func(s *stage) string {
			s.job.Host.HealthChecks = fleet.Checks{Cmd: []fleet.CmdCheck{{Description: "page", Cmd: []string{"curl", "x"}}}}
			s.connects().add(hosttest.Call{Want: `^curl x$`, Name: "check"})
			return has(s)
		}, Unchanged, "connect check"},
		"what it boots is for root to tell": {func(s *stage) string {
			s.connects().add(hosttest.Call{Want: `boot_differs "\$\(boot_default\)"`, Name: "boots", Root: true, Out: "?\n"})
			return has(s, "boots ?")
		}, Unchanged, "connect boots"},
		"an old greeting does not count": {func(s *stage) string {
			s.connects().add(hosttest.Call{Want: `readlink -f /run/current-system`, Name: "greeting", Out: has(s)})
			return ""
		}, Unchanged, "connect greeting"},
		"boots another": {func(s *stage) string {
			s.connects().copies().preflight("current", s.top, "profile", s.top).releases()
			s.run.Action = activate.Switch
			return has(s, "boots "+oldSystem)
		}, Unchanged, "connect begin protect preflight release"},
		"a change is pending": {func(s *stage) string {
			s.connects().copies().preflight("current", s.top, "profile", s.top).releases()
			return has(s, "pending")
		}, Unchanged, "connect begin protect preflight release"},
	} {
		t.Run(name, func(t *testing.T) {
			s := onStage(t)
			o, made := s.play(c.play(s))
			if o.Err != nil || o.State != c.state {
				t.Errorf("%s: %s", o.State, fault.Render(o.Err))
			}
			if got := strings.Join(made, " "); got != c.made {
				t.Errorf("asked %q, want %q", got, c.made)
			}
		})
	}
}

// TestGoals: how far each goes, and that a dry run changes nothing.
func TestGoals(t *testing.T) {
	for name, c := range map[string]struct {
		play   func(s *stage)
		state  event.Outcome
		detail string
		made   string
	}{
		"build":           {func(s *stage) { s.run.Goal = GoalBuild }, Built, "built", ""},
		"build, dry":      {func(s *stage) { s.run.Goal, s.run.DryRun = GoalBuild, true }, Skipped, "dry run: nothing was done", ""},
		"build-only":      {func(s *stage) { s.job.Host.BuildOnly = true }, Skipped, "build-only host: built, not touched", ""},
		"build-only push": {func(s *stage) { s.job.Host.BuildOnly, s.run.Goal = true, GoalPush }, Skipped, "build-only host: built, not touched", ""},
		"push":            {func(s *stage) { s.run.Goal = GoalPush; s.connects().copies() }, Pushed, "pushed", "connect begin protect"},
		"push, dry":       {func(s *stage) { s.run.Goal, s.run.DryRun = GoalPush, true; s.connects() }, Skipped, "dry run: nothing was done", "connect"},
		"deploy, dry":     {func(s *stage) { s.run.DryRun = true; s.connects() }, Skipped, "dry run: nothing was done", "connect"},
		"reboot, dry":     {func(s *stage) { s.run.DryRun, s.run.Reboot = true, true; s.connects() }, Skipped, "dry run: nothing was done", "connect"},
		"dry-activate": {func(s *stage) {
			s.run.Action = activate.DryActivate
			s.connects().copies().preflight().releases().add(hosttest.Call{Want: `MODE='plain'`, Name: "plain", Root: true,
				Out: facts("armed", "x", "final", "done 0", "apply-rc", "0 ok", "current", oldSystem, "old", oldSystem)})
		}, Unchanged, "dry-activated, nothing changed", "connect begin protect preflight plain release"},
		"boot": {func(s *stage) {
			s.run.Action = activate.Boot
			s.connects().copies().preflight().releases().add(hosttest.Call{Want: `MODE='plain'`, Name: "plain", Root: true,
				Out: facts("armed", "x", "final", "done 0", "apply-rc", "0 ok", "current", oldSystem, "old", oldSystem)})
		}, Changed, "boots the new system next time", "connect begin protect preflight plain release"},
		"no guard": {func(s *stage) {
			s.run.NoGuard = true
			s.connects().copies().preflight().releases().add(hosttest.Call{Want: `MODE='plain'`, Name: "plain", Root: true,
				Out: facts("armed", "x", "final", "done 0", "apply-rc", "0 ok", "current", s.top, "old", oldSystem)})
		}, Changed, "switched", "connect begin protect preflight plain release"},
	} {
		t.Run(name, func(t *testing.T) {
			s := onStage(t)
			c.play(s)
			o, made := s.play(greetsOld)
			if o.Err != nil || o.State != c.state || o.Detail != c.detail || o.System != s.top {
				t.Errorf("%s, %q, %s\n%s", o.State, o.Detail, o.System, fault.Render(o.Err))
			}
			if got := strings.Join(made, " "); got != c.made {
				t.Errorf("asked %q, want %q", got, c.made)
			}
			if s.run.DryRun && s.dst.Has(s.top) {
				t.Error("a dry run copied")
			}
		})
	}
}

// TestSecretsAroundTheActivation: those before it, then it, then those after it, inside
// the guard. None of a host that somebody locked.
func TestSecretsAroundTheActivation(t *testing.T) {
	for _, c := range []struct {
		name, lock, asked, says string
		override                bool
	}{
		{name: "free", asked: "connect begin protect lock secrets release"},
		{name: "locked", lock: `{"user":"ana","message":"disk"}`, asked: "connect begin protect lock release", says: "locked by ana: disk"},
		{name: "gone over", override: true, asked: "connect begin protect secrets release"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := onStage(t)
			s.run.UploadSecrets, s.run.OverrideLock = true, c.override
			file := t.TempDir() + "/secret"
			writeFile(t, file, "sesame")
			s.job.Host.Secrets = []fleet.Secret{{Name: "key", From: fleet.Content{File: file}, Destination: "/run/key", User: "root", Group: "root", Permissions: "0400", UploadAt: fleet.PreActivation}}
			s.connects().copies().releases()
			if !c.override {
				s.add(hosttest.Call{Want: `godwit-lock`, Name: "lock", Out: c.lock})
			}
			if c.lock == "" {
				s.add(hosttest.Call{Want: `walk`, Name: "secrets", Root: true, Fed: true, Err: timedOut})
			}
			o, made := s.play(greetsOld)
			if o.State != Failed || strings.Join(made, " ") != c.asked || !strings.Contains(o.Err.Error(), c.says) {
				t.Errorf("%s, asked %q: %v", o.State, made, o.Err)
			}
		})
	}
}

// TestTakenBack: with rollback as the policy, hosts that were changed return when
// another one fails.
func TestTakenBack(t *testing.T) {
	s := onStage(t).connects().copies().confirmed()
	changed := make(chan struct{})
	s.add(hosttest.Call{Want: `^rm -f "\$1"`, Name: "release", Root: true, Then: func(host.Cmd) { close(changed) }})
	// Back again: the guard with the old system.
	s.add(hosttest.Call{Want: `CHECK=`, Name: "preflight back", Root: true, Out: healthy("current", s.top, "profile", s.top)},
		hosttest.Call{Want: `MODE='guard'`, Name: "arm back", Root: true, Fed: true, Then: func(c host.Cmd) {
			if !strings.Contains(c.Script, oldSystem) {
				t.Error("another system than the old one")
			}
		},
			Out: facts("armed", "y", "phase", "activated", "apply-rc", "0 ok", "old", s.top, "current", oldSystem, "id", "y")},
		hosttest.Call{Want: `VERB='confirm'`, Name: "confirm back", Root: true, Fresh: true,
			Out: facts("phase", "committing", "final", "committed", "apply-rc", "0 ok", "decision", "commit", "old", s.top, "current", oldSystem)})
	web2 := hosttest.New(t, "web2", hosttest.Call{Want: hosttest.Connect, Err: timedOut, Then: func(host.Cmd) { <-changed }})
	web1 := hosttest.New(t, "web1", s.calls...).Greets(greetsOld)
	s.run.Pool = hosttest.Pool{"web1": web1, "web2": web2}
	s.run.Schedule = schedule(t, "1", "0", Rollback)
	two := s.job
	two.Host.Name = "web2"
	outcomes := s.run.Hosts(t.Context(), []Job{s.job, two})
	if err := s.run.Pushers.Close(); err != nil {
		t.Error(err)
	}
	if o := outcomes[0]; o.State != RolledBack || o.Err == nil || o.Err.Error() != "web1: taken back, because web2 failed" {
		t.Errorf("%+v", o)
	}
	if outcomes[1].State != Failed {
		t.Errorf("%+v", outcomes[1])
	}
	if got, want := strings.Join(web1.Made(), " "), "preflight back arm back confirm back"; !strings.HasSuffix(got, want) {
		t.Errorf("asked %q", got)
	}
}

// TestInterrupted: a run that is cancelled leaves its hosts as interrupted.
func TestInterrupted(t *testing.T) {
	s := onStage(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("somebody pressed Ctrl-C")
	s.run.Admit = func(ctx context.Context, _ Admission) error { cancel(why); <-ctx.Done(); return context.Cause(ctx) }
	s.connects().copies().releases()
	s.run.Pool = hosttest.Pool{"web1": hosttest.New(t, "web1", s.calls...).Greets(greetsOld)}
	o := s.run.Hosts(ctx, []Job{s.job})[0]
	if o.State != Interrupted || !errors.Is(o.Err, why) {
		t.Errorf("%+v", o)
	}
	if err := s.run.Pushers.Close(); err != nil {
		t.Error(err)
	}
}

// TestOneByOne: what a Gate, Each and Reached promise.
func TestOneByOne(t *testing.T) {
	hosts := someHosts(6)
	var now, most int
	var mu sync.Mutex
	count := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		now += n
		most = max(most, now)
	}
	work := func(_ context.Context, h fleet.Host) Outcome {
		count(1)
		defer count(-1)
		time.Sleep(5 * time.Millisecond)
		return Outcome{State: Ran, Detail: h.Name}
	}
	for i, o := range Each(t.Context(), hosts, 2, event.Discard, work) {
		if o.Host != hosts[i].Name || o.Detail != o.Host || o.State != Ran {
			t.Errorf("%+v", o)
		}
	}
	if most != 2 {
		t.Errorf("%d at once", most)
	}
	// One that does not answer holds no place.
	most = 0
	answered := make(chan struct{})
	reach := func(ctx context.Context, h fleet.Host) error {
		if h.Name == "h00" {
			<-answered
			return timedOut
		}
		return nil
	}
	n := 0
	outcomes := Reached(t.Context(), hosts, 1, event.Discard, reach, func(ctx context.Context, h fleet.Host) Outcome {
		if n++; n == 5 {
			close(answered)
		}
		return work(ctx, h)
	})
	if outcomes[0].State != Failed || outcomes[5].State != Ran || most != 1 {
		t.Errorf("%+v, %d at once", outcomes, most)
	}
	if o := Fail(event.Discard, "x", errors.New("broken")); o.State != Failed || o.Err.Error() != "x: broken" || !o.Bad() {
		t.Errorf("%+v", o)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	full := NewGate(1)
	leave, err := full.Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := full.Enter(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	leave()
}

// TestReleasePushed and the other single questions.
func TestQuestions(t *testing.T) {
	h := hosttest.New(t, "web1",
		hosttest.Call{Want: `(?s)readlink "\$2".*-- /nix/store/x ` + pushedRoot + `$`, Root: true},
		hosttest.Call{Want: `room_of /nix/store`, Out: "1000 20\n"},
		hosttest.Call{Want: `room_of /nix/store`, Out: "nonsense\n"},
		hosttest.Call{Want: `room_of /nix/store`, Err: timedOut})
	if err := ReleasePushed(t.Context(), h, "/nix/store/x"); err != nil {
		t.Error(err)
	}
	if room, err := roomOf(t.Context(), h); err != nil || room.Bytes != 1000<<10 || room.Inodes != 20 {
		t.Errorf("%+v, %v", room, err)
	}
	for range 2 {
		if _, err := roomOf(t.Context(), h); err == nil {
			t.Error("no error")
		}
	}
	for _, word := range []string{"fail", "skip", "wait"} {
		if u, err := ParseUnreachable(word); err != nil || string(u) != word {
			t.Errorf("%s: %v", word, err)
		}
	}
	if _, err := ParseUnreachable("explode"); err == nil {
		t.Error("--unreachable explode")
	}
	for _, word := range []string{"continue", "stop", "rollback"} {
		if p, err := ParseOnFailure(word); err != nil || string(p) != word {
			t.Errorf("%s: %v", word, err)
		}
	}
	if _, err := ParseOnFailure("explode"); err == nil {
		t.Error("--on-failure explode")
	}
}

// Check and UploadSecrets are steps by themselves, for verbs of their own.
func TestSteps(t *testing.T) {
	var events []event.Event
	sc := event.On(event.SinkFunc(func(e event.Event) { events = append(events, e) }), "web1", event.StepCheck)
	h := fleet.Host{Name: "web1"}
	c := fleet.Checks{Cmd: []fleet.CmdCheck{{Description: "page", Cmd: []string{"curl", "x"}}}}
	if err := Check(t.Context(), hosttest.New(t, "web1", hosttest.Call{Want: `^curl x$`}), h, c, time.Second, sc); err != nil {
		t.Error(err)
	}
	if last := events[len(events)-1]; last.Kind != event.Done || last.Text != "1/1 checks" {
		t.Errorf("%+v", last)
	}
	if passed(0) != "" || passed(2) != ", 2/2 checks" {
		t.Errorf("%q, %q", passed(0), passed(2))
	}
	o := Wet(true, sc, "do it", func() Outcome { t.Error("it was done"); return Outcome{} })
	if o.State != Skipped || o.Detail != "dry run: would do it" {
		t.Errorf("%+v", o)
	}
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
