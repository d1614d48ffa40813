package deploy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"godwit/internal/activate"
	"godwit/internal/builder"
	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/health"
	"godwit/internal/host"
	"godwit/internal/hostscript"
	"godwit/internal/lock"
	"godwit/internal/reboot"
	"godwit/internal/secrets"
	"godwit/internal/secrets/bundle"
	"godwit/internal/store"
	"godwit/internal/storepath"
)

// Goal is how far a run goes.
type Goal int

// Goals, each of which contains the ones before it.
const (
	GoalBuild Goal = iota
	GoalPush
	GoalActivate
)

// Options are what was asked of a run.
type Options struct {
	Goal   Goal
	Action activate.Action // with GoalActivate
	DryRun bool

	UploadSecrets    bool
	SkipHealthChecks bool
	SkipPreChecks    bool
	Reboot           bool
	NoGuard          bool
	// AcceptFailed are units, and parts of a switch, that may fail in this run.
	AcceptFailed fleet.UnitPatterns
	// Keep is asked about each host whose new system runs and passed its checks, before
	// it is confirmed: an error takes it back. nil keeps it. The context ends when the
	// host waits no longer, which is about at until.
	Keep func(ctx context.Context, host string, until time.Time) error
	// CheckTimeout bounds all checks of one host in one phase; 0 is health's default.
	CheckTimeout time.Duration
	// ActivateTimeout and ConfirmTimeout bound the guard; 0 is its default.
	ActivateTimeout, ConfirmTimeout time.Duration
	// RebootTimeout bounds the wait for a host that reboots.
	RebootTimeout time.Duration
	// OverrideLock changes hosts that a person keeps from being changed (internal/lock).
	OverrideLock bool
	// Meta is written into the record on the host (who, commit, ...).
	Meta map[string]string

	// Schedule deals the hosts into batches; nil is one batch, in which the
	// others go on when one fails.
	Schedule *Schedule
	// Unreachable is what becomes of hosts that do not answer; empty is to fail.
	Unreachable Unreachable
	// UnreachableTimeout bounds the waiting with WaitUnreachable; 0 is 10 minutes.
	UnreachableTimeout time.Duration

	Limits Limits
}

// Job is a host with the builder that was chosen for it.
type Job struct {
	Host    fleet.Host
	Builder builder.Builder
	// Needs are what is to be built for it; empty: all is there or can be fetched.
	Needs []builder.Need
	// Prepare are derivations that this machine builds first (builder.Request).
	Prepare []string
	// Link is the GC root that stays on this machine; empty for none.
	Link string
	// Ready are paths that exist already, in Source: nothing is built, and
	// Builder is nil. The first is the system; others are copied, too.
	Ready  []string
	Source store.Endpoint
}

// sources are the stores that the host's system may come from.
func (j Job) sources() []store.Endpoint {
	if len(j.Ready) > 0 {
		return []store.Endpoint{j.Source}
	}
	if j.Builder == nil { // all of it exists here
		return nil
	}
	return j.Builder.Stores()
}

// Admission is what is known of a host that is about to be changed.
type Admission struct {
	Host   fleet.Host
	Conn   host.Conn
	System string // the new toplevel, in the host's store
	// Source is the store that it came from.
	Source store.Endpoint
}

// Run is one run over several hosts.
type Run struct {
	Options
	Pool host.Pool
	Sink event.Sink
	// Here is the store of this machine, which has the profiles that are no derivation
	// but a path. May be empty: then there are none.
	Here store.Endpoint
	// Pushers copies from a builder's store to hosts.
	Pushers *Pushers
	// OnBuilt is called once, when no host builds any more, with the store
	// path of each host that was built. May be nil.
	OnBuilt func(systems map[string]string)
	// Admit is asked when a host has its system in its store, before anything on
	// it changes. It may wait: for a person's answer, for a batch's turn. An
	// error keeps the host as it is. May be nil.
	Admit func(ctx context.Context, a Admission) error
	// Secrets gives what is to rest on a host, for it to open itself; nil for one of which
	// nobody keeps such secrets. May be nil.
	Secrets func(ctx context.Context, h fleet.Host) (*bundle.Bundle, error)
	// Settled is told how each host ended, as soon as it did. May be nil.
	Settled func(Outcome)

	gated                       sync.Once
	builds, copies, activations Gate
	early                       map[string]*early // of Begin, by host
}

// gates makes the gates, which what begins early shares with the others.
func (r *Run) gates() {
	r.gated.Do(func() {
		l := r.Limits.orDefault()
		r.builds, r.copies, r.activations = NewGate(l.Build), NewGate(l.Copy), NewGate(l.Activate)
	})
}

// Hosts takes every job through its stages and gives the outcomes in order.
func (r *Run) Hosts(ctx context.Context, jobs []Job) []Outcome {
	r.gates()
	if r.Schedule != nil && r.Schedule.Together {
		r.activations = nil // one that waits for the others must not be in their way
	}
	hosts := make([]fleet.Host, len(jobs))
	byName := make(map[string]Job, len(jobs))
	jobs = slices.Clone(jobs)
	for i := range jobs {
		j := &jobs[i]
		j.Host.HealthChecks.Accepted = r.AcceptFailed
		hosts[i] = j.Host
		byName[j.Host.Name] = *j
	}
	if r.Schedule != nil {
		r.Schedule.begin(hosts, r.Sink)
	}
	settled := func(o Outcome) {
		if r.Schedule != nil {
			r.Schedule.settled(o)
		}
		if r.Settled != nil {
			r.Settled(o)
		}
	}
	type built struct{ host, system string }
	builtCh := make(chan built, len(jobs))
	announced := make(chan struct{})
	go func() {
		defer crash.Catch()
		defer close(announced)
		systems := map[string]string{}
		for range jobs {
			b, ok := <-builtCh
			if !ok {
				break // interrupted before a host began
			}
			if b.system != "" {
				systems[b.host] = b.system
			}
		}
		if r.OnBuilt != nil {
			r.OnBuilt(systems)
		}
	}()
	begun := r.takeUp(ctx, jobs)
	outcomes := each(ctx, hosts, nil, r.Sink, settled, func(ctx context.Context, h fleet.Host) Outcome {
		return r.host(ctx, byName[h.Name], begun[h.Name], func(system string) { builtCh <- built{h.Name, system} })
	})
	close(builtCh)
	<-announced
	if s := r.Schedule; s != nil && s.stopped && s.OnFailure == Rollback && ctx.Err() == nil {
		r.takeBack(ctx, jobs, outcomes)
	}
	return outcomes
}

// host is the pipeline of one host, of which a part may have begun early. It calls
// built exactly once.
func (r *Run) host(ctx context.Context, j Job, begun *early, built func(system string)) (o Outcome) {
	var m *product
	if begun != nil {
		m = begun.wait(ctx)
		defer func() { o.began = begun.at }()
	} else {
		m = r.make(ctx, j)
	}
	if m.err != nil && m.system == "" {
		built("")
		return Outcome{Err: m.err}
	}
	h, system := m.host, m.system
	h.HealthChecks.Accepted = r.AcceptFailed // known only when all hosts are
	built(system)
	defer func() { o.In = m.in() }()
	switch {
	case r.Goal == GoalBuild:
		return Outcome{State: r.state(Built), System: system, Detail: r.detail("built")}
	case h.BuildOnly:
		event.On(r.Sink, h.Name, event.StepCopy).Note(buildOnlyNote(r.Goal, h.Name))
		return Outcome{State: Skipped, System: system, Detail: "build-only host: built, not touched"}
	}
	resting, err := r.secretsOf(ctx, h)
	if err != nil {
		return Outcome{Err: err, System: system}
	}
	running := false
	if !m.copied && m.err == nil {
		// A host that runs the system already is asked for nothing else: no copy, no
		// plan, no activation. Its checks are run all the same. Secrets that may
		// change it are for the plan to tell.
		running = r.deliver(ctx, j, m, resting != nil || r.Admit != nil && r.UploadSecrets && len(h.Secrets) > 0)
	}
	if m.err != nil {
		if m.away && r.Unreachable == SkipUnreachable && host.Retryable(m.err) {
			return Outcome{State: Skipped, System: system, Detail: "does not answer: " + event.Message(m.err)}
		}
		return Outcome{Err: m.err, System: system}
	}
	conn := r.Pool.Conn(h)
	if running {
		o = r.activate(ctx, h, conn, system, true)
		o.System = system
		return o
	}
	changes, err := r.shipSecrets(ctx, h, conn, resting)
	if err != nil {
		r.release(ctx, h, conn)
		return Outcome{Err: err, System: system}
	}
	if r.Goal == GoalPush {
		return Outcome{State: r.state(Pushed), System: system, Detail: r.detail("pushed")}
	}
	if r.Admit != nil {
		if err := r.Admit(ctx, Admission{Host: h, Conn: conn, System: system, Source: m.in()}); err != nil {
			r.release(ctx, h, conn)
			return leftAlone(err, system)
		}
	}
	if r.Schedule != nil && !r.DryRun {
		if err := r.Schedule.enter(ctx, h.Name); err != nil {
			r.release(ctx, h, conn)
			return leftAlone(err, system)
		}
	}
	o = r.activate(ctx, changes, conn, system, false)
	o.System = system
	r.release(ctx, h, conn)
	return o
}

// Greeting is the ssh.Options.Greeting of a pool that Run works with: what the
// host runs, what its profile names, whether a change of it is pending, whether
// there is a root of a push, which a deployer that died may have left, what it is when
// it is no NixOS, and what it boots when that is another system than its profile
// names ("?" when the user may not know).
var Greeting = hostscript.Foreign + "\n" + hostscript.BootDefault + `
readlink -f /run/current-system ` + activate.DefaultProfile + `
[ ! -L /run/godwit/current ] || echo pending
[ ! -L ` + pushedRoot + ` ] || echo pushed
foreign | sed 's/^/foreign /'
boots=$(boot_differs "$(boot_files)" ` + activate.DefaultProfile + `)
[ -z "$boots" ] || echo "boots $boots"`

// freshLook is how old a greeting may be to tell what a host runs: no older than
// the answer of a slow host to a command.
const freshLook = 5 * time.Second

// runsAlready tells whether switch or test would change nothing: the host runs
// the system and, for switch, its profile names it. When the host cannot tell, or
// there is something to tidy up, the long way does it.
func (r *Run) runsAlready(ctx context.Context, conn host.Conn, system string) bool {
	if r.Goal != GoalActivate || r.DryRun || r.Reboot || r.Action != activate.Switch && r.Action != activate.Test {
		return false
	}
	out, age, ok := conn.Greeting()
	if !ok || age > freshLook {
		var err error
		if out, err = conn.Output(ctx, host.Cmd{Script: Greeting}); err != nil {
			return false
		}
	}
	found := strings.Fields(out)
	if len(found) < 2 || found[0] != system || found[1] != system && r.Action != activate.Test {
		return false
	}
	switch rest := found[2:]; {
	case len(rest) == 0:
		return true
	case len(rest) != 2 || rest[0] != "boots": // pending
		return false
	case r.Action == activate.Test:
		return true
	case rest[1] != "?":
		return false
	}
	// Only root may read what boots next. Who cannot become root finds that out when
	// there is something to do.
	other, err := conn.Output(ctx, host.Cmd{Script: hostscript.Compound(hostscript.BootDefault, `boot_differs "$(boot_default)" `+activate.DefaultProfile),
		Elevate: true, Name: "the question what boots next"})
	return err != nil || strings.Trim(other, "?\n") == ""
}

// nixos is an error for a machine that is no NixOS: what would be copied to it could
// not be activated. A host that does not tell is found out about later.
func (r *Run) nixos(ctx context.Context, h fleet.Host, conn host.Conn) error {
	if r.Goal != GoalActivate || !slices.ContainsFunc(h.Profiles, func(p fleet.Profile) bool { return p.Kind == fleet.NixOS }) {
		return nil
	}
	out, _, ok := conn.Greeting()
	if !ok {
		var err error
		if out, err = conn.Output(ctx, host.Cmd{Script: Greeting}); err != nil {
			return nil
		}
	}
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(line, "foreign "); ok {
			return activate.NoNixOS(h.Name, strings.TrimSpace(name))
		}
	}
	return nil
}

// release takes the root of the push away; what the host runs and boots is
// rooted by its profile. A host that cannot be reached keeps it until the next
// push replaces it.
func (r *Run) release(ctx context.Context, h fleet.Host, conn host.Conn) {
	if r.DryRun {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := release(ctx, conn); err != nil {
		event.On(r.Sink, h.Name, event.StepActivate).Warn(pushedRoot + " is left on the host: " + event.Message(err))
	}
}

// buildOnlyNote is morph's line about hosts that are only built.
func buildOnlyNote(g Goal, host string) string {
	if g == GoalPush {
		return "Push is disabled for build-only host: " + host
	}
	return "Deployment steps are disabled for build-only host: " + host
}

func (r *Run) state(s event.Outcome) event.Outcome {
	if r.DryRun {
		return Skipped
	}
	return s
}

func (r *Run) detail(s string) string {
	if r.DryRun {
		return "dry run: nothing was done"
	}
	return s
}

// Wet is the one place through which a change of a host passes. In a dry run it
// says what would happen and does nothing.
func Wet(dry bool, sc event.Scope, would string, fn func() Outcome) Outcome {
	if dry {
		detail := "dry run: would " + would
		sc.Emit(event.Event{Kind: event.Skipped, Text: detail})
		return Outcome{State: Skipped, Detail: detail}
	}
	return fn()
}

// wet is Wet for a step of a host's pipeline.
func (r *Run) wet(sc event.Scope, would string, fn func() error) error {
	return Wet(r.DryRun, sc, would, func() Outcome { return Outcome{Err: fn()} }).Err
}

func (r *Run) connect(ctx context.Context, h fleet.Host) error {
	sc := event.On(r.Sink, h.Name, event.StepConnect)
	sc.Start("")
	err := r.reach(ctx, r.Pool.Conn(h), sc)
	if r.Unreachable == SkipUnreachable && host.Retryable(err) {
		sc.Emit(event.Event{Kind: event.Skipped, Text: "does not answer: " + event.Message(err)})
		return err
	}
	sc.End("", err)
	return err
}

// build makes the profiles of a job. It gives the host with the path of each, and the
// stores that have them.
func (r *Run) build(ctx context.Context, j Job) (fleet.Host, []store.Endpoint, error) {
	h := j.Host
	h.Profiles = slices.Clone(h.Profiles)
	stores := make([]store.Endpoint, max(1, len(h.Profiles)))
	if len(j.Ready) > 0 {
		h.Profiles = []fleet.Profile{fleet.System("", j.Ready[0])}
		stores[0] = j.Source
		return h, stores, nil
	}
	sc := event.On(r.Sink, h.Name, event.StepBuild)
	if j.Builder == nil { // all of it exists
		for i, p := range h.Profiles {
			if stores[i] = r.Here; p.Path == "" || r.Here.Dial == nil {
				return h, stores, fault.New("profile '%s' has no derivation, so nothing can be built for it", p.Name).On(h.Name)
			}
		}
		sc.Emit(event.Event{Kind: event.Skipped, Text: "nothing to build: its paths exist"})
		return h, stores, nil
	}
	if r.DryRun {
		for i, p := range h.Profiles {
			s := sc
			if len(h.Profiles) > 1 {
				s = s.For(p.Name)
			}
			would := fmt.Sprintf("would build %s on %s", p.Drv, j.Builder.Name())
			if len(j.Needs) == 0 || p.Drv == "" {
				would = "nothing to build for " + p.Path
			}
			s.Emit(event.Event{Kind: event.Skipped, Text: "dry run: " + would})
			stores[i] = store.Endpoint{}
		}
		return h, stores, nil
	}
	leave, err := r.builds.Enter(ctx)
	if err != nil {
		return h, stores, err
	}
	defer leave()
	sc.Start("on " + j.Builder.Name())
	var res *builder.Built
	if items := j.items(); len(items) > 0 {
		res, err = j.Builder.Build(ctx, builder.Request{Items: items, Prepare: j.Prepare}, r.Sink)
	}
	data := map[string]string{}
	for i, p := range h.Profiles {
		if err != nil {
			break
		}
		if p.Drv == "" {
			if stores[i] = r.Here; p.Path == "" || r.Here.Dial == nil {
				err = fault.New("profile '%s' has no derivation, so nothing can be built for it", p.Name).On(h.Name)
			}
			data["profile "+p.Name] = p.Path
			continue
		}
		out := res.Outputs[p.Drv]
		if err = res.Failed[p.Drv]; err == nil {
			if err = storepath.Check(out.Path); err != nil {
				err = fault.New("%s built something other than a system: %w", j.Builder.Name(), err).On(h.Name)
			}
		}
		if err != nil && len(h.Profiles) > 1 {
			sc.For(p.Name).Note("profile '" + p.Name + "' was not built")
		}
		h.Profiles[i].Path, stores[i] = out.Path, out.In
		data["profile "+p.Name] = out.Path
	}
	if err != nil {
		sc.End("", err)
		return j.Host, stores, err
	}
	if len(data) == 1 {
		clear(data)
	}
	data["system"] = h.Main().Path
	sc.Emit(event.Event{Kind: event.Done, Text: "built", Data: data})
	return h, stores, nil
}

func (r *Run) push(ctx context.Context, h fleet.Host, conn host.Conn, src store.Endpoint, roots []string) error {
	sc := event.On(r.Sink, h.Name, event.StepCopy)
	return r.wet(sc, "copy "+strings.Join(roots, " "), func() error {
		leave, err := r.copies.Enter(ctx)
		if err != nil {
			return err
		}
		defer leave()
		return r.Pushers.Push(ctx, src, h, conn, roots...)
	})
}

// activate takes a host that has the system in its store to its end.
func (r *Run) activate(ctx context.Context, h fleet.Host, conn host.Conn, system string, running bool) (out Outcome) {
	leave, err := r.activations.Enter(ctx)
	if err != nil {
		return Outcome{Err: err}
	}
	defer leave()

	dryActivate := r.Action == activate.DryActivate
	var late []string // secrets whose owner the activation is to make
	if r.UploadSecrets && !dryActivate {
		if err := r.unlocked(ctx, h, conn); err != nil {
			return Outcome{Err: err}
		}
		if late, err = r.uploadSecrets(ctx, h, conn, fleet.PreActivation); err != nil {
			return Outcome{Err: err}
		}
	}
	about := checkContext{system: system}
	if !r.SkipPreChecks && h.PreDeployChecks.Len() > 0 {
		if err := r.checks(ctx, h, conn, h.PreDeployChecks, event.StepPreCheck, about); err != nil {
			return Outcome{Err: err}
		}
	}
	if len(h.HealthChecks.FailedUnits) > 0 && !r.SkipHealthChecks && !r.DryRun {
		if about.failed, err = health.FailedUnits(ctx, conn); err != nil {
			return Outcome{Err: err}
		}
	}

	checked := 0
	after := func(ctx context.Context) error {
		if r.Reboot && r.UploadSecrets {
			// What was in memory is gone with the boot, and owners may have come with it.
			late = nil
			for _, s := range secrets.Select(h.Secrets, fleet.PreActivation) {
				late = append(late, s.Name)
			}
		}
		if len(late) > 0 {
			if _, err := r.uploadSecrets(ctx, h, conn, fleet.PreActivation, late...); err != nil {
				return err
			}
		}
		if r.UploadSecrets && !dryActivate {
			if _, err := r.uploadSecrets(ctx, h, conn, fleet.PostActivation); err != nil {
				return err
			}
		}
		if r.SkipHealthChecks || dryActivate || r.Action == activate.Boot && !r.Reboot {
			return nil
		}
		checked = h.HealthChecks.Len()
		return r.checks(ctx, h, conn, h.HealthChecks, event.StepCheck, about)
	}
	if running {
		event.On(r.Sink, h.Name, event.StepActivate).Emit(event.Event{Kind: event.Skipped, Text: "already runs this system"})
		if err := after(ctx); err != nil {
			return Outcome{Err: err}
		}
		return Outcome{State: Unchanged, Detail: "already runs this system" + passed(checked)}
	}
	if r.Reboot && !dryActivate {
		return r.rebootInto(ctx, h, conn, system, after, func() int { return checked })
	}

	var res activate.Result
	defer func() { out.Activation = res }()
	sc := event.On(r.Sink, h.Name, event.StepActivate)
	would := fmt.Sprintf("run %s/bin/switch-to-configuration %s", system, r.Action)
	if !activate.Plain(h) {
		would = fmt.Sprintf("activate the profiles %s (%s)", strings.Join(names(h), ", "), r.Action)
	}
	err = r.wet(sc, would, func() error {
		var err error
		res, err = activate.Run(ctx, conn, r.guarded(h, activate.Request{
			Profiles:      activate.Changes(h, activate.PathOf),
			NewSystem:     system,
			Checks:        r.guardedChecks(h, after, len(late) > 0),
			SkipUnchanged: true,
		}), r.Sink)
		return err
	})
	if err != nil {
		o := Outcome{Err: err}
		if res.Outcome == RolledBack {
			o.State = RolledBack
		}
		return o
	}
	if r.DryRun {
		return Outcome{State: Skipped, Detail: "dry run: nothing was done"}
	}
	if res.BootOnly {
		if checks := r.guardedChecks(h, after, len(late) > 0); checks != nil {
			if err := checks(ctx, activate.Confirmed); err != nil {
				return Outcome{Err: err}
			}
		}
		return Outcome{State: Changed, Detail: "already ran this system, boots it again" + passed(checked)}
	}
	if res.Outcome == Unchanged {
		if err := after(ctx); err != nil {
			return Outcome{Err: err}
		}
		return Outcome{State: Unchanged, Detail: "already runs this system" + passed(checked)}
	}
	if dryActivate {
		return Outcome{State: Unchanged, Detail: r.did(h, res)}
	}
	return Outcome{State: Changed, Detail: r.did(h, res) + passed(checked), Previous: res.OldSystem}
}

// takeBack returns the hosts that this run changed to what they ran before.
func (r *Run) takeBack(ctx context.Context, jobs []Job, outcomes []Outcome) {
	var hosts []fleet.Host
	index := map[string]int{}
	for i, o := range outcomes {
		if o.State == Changed && o.Previous != "" {
			hosts = append(hosts, jobs[i].Host)
			index[o.Host] = i
		}
	}
	failed := strings.Join(r.Schedule.failed, ", ")
	back := each(ctx, hosts, r.activations, r.Sink, nil, func(ctx context.Context, h fleet.Host) Outcome {
		o := outcomes[index[h.Name]]
		if r.Reboot {
			if err := r.rebootBack(ctx, at(o.withSecrets(h), o.old()), r.Pool.Conn(h), o.Previous); err != nil {
				return Outcome{Err: err}
			}
			return Outcome{State: RolledBack, Err: fault.New("taken back, because %s failed", failed), System: o.System}
		}
		req := r.guarded(h, activate.Request{Profiles: o.before(o.withSecrets(h)), NewSystem: o.Previous})
		req.OverrideLock = true // who locked it meanwhile wanted it as it was
		_, err := activate.Run(ctx, r.Pool.Conn(h), req, r.Sink)
		if err != nil {
			return Outcome{Err: err}
		}
		return Outcome{State: RolledBack, Err: fault.New("taken back, because %s failed", failed), System: o.System}
	})
	for _, o := range back {
		i := index[o.Host]
		o.Duration += outcomes[i].Duration
		outcomes[i] = o
	}
}

// guarded adds to a request what is the same for every activation on a host: what the
// command line says, over what the configuration says of the host.
func (r *Run) guarded(h fleet.Host, req activate.Request) activate.Request {
	req.Host, req.Action, req.Meta = h.Name, r.Action, r.Meta
	req.NoGuard, req.KeepUnconfirmed = r.NoGuard || h.Guard.NoAutoRollback, h.Guard.NoMagicRollback
	req.ActivateTimeout = cmp.Or(r.ActivateTimeout, h.Guard.ActivationTimeout)
	req.ConfirmTimeout, req.Silence = r.confirmTimeout(h), cmp.Or(r.ConfirmTimeout, h.Guard.ConfirmTimeout)
	req.IgnoreUnits = h.HealthChecks.Ignored().Whole()
	req.OverrideLock = r.OverrideLock
	return req
}

// unlocked looks for a lock before the first change that is no activation.
func (r *Run) unlocked(ctx context.Context, h fleet.Host, conn host.Conn) error {
	if r.OverrideLock || r.DryRun || len(h.Secrets) == 0 {
		return nil
	}
	return Unlocked(ctx, conn, h.Name)
}

// Unlocked says why a host is left alone that a person keeps from being changed. What
// activates a system asks for itself.
func Unlocked(ctx context.Context, conn host.Conn, name string) error {
	l, err := lock.Of(ctx, conn, name)
	if err != nil || l == nil {
		return err
	}
	return l.Err(name)
}

// confirmTimeout leaves the health checks all the time that they may take, and
// the confirmation its own, unless a person decided.
func (r *Run) confirmTimeout(h fleet.Host) time.Duration {
	said := cmp.Or(r.ConfirmTimeout, h.Guard.ConfirmTimeout)
	var checks time.Duration
	if !r.SkipHealthChecks && h.HealthChecks.Len() > 0 {
		checks = cmp.Or(max(r.CheckTimeout, 0), health.DefaultBudget)
	}
	if r.Keep != nil {
		checks += KeepTime
	}
	if said > 0 || checks == 0 {
		return said
	}
	return checks + activate.DefaultConfirmTimeout
}

// KeepTime is how long a person has to answer Options.Keep, unless ConfirmTimeout says it.
const KeepTime = 5 * time.Minute

// guardedChecks are the checks that decide whether the new system is kept.
func (r *Run) guardedChecks(h fleet.Host, after func(context.Context) error, late bool) func(context.Context, activate.Phase) error {
	if r.Action == activate.Boot || r.Action == activate.DryActivate {
		return nil
	}
	late = late || r.UploadSecrets && len(secrets.Select(h.Secrets, fleet.PostActivation)) > 0
	if (r.SkipHealthChecks || h.HealthChecks.Len() == 0) && !late && r.Keep == nil && (r.Schedule == nil || !r.Schedule.Together) {
		return nil // nothing to wait for
	}
	return func(ctx context.Context, phase activate.Phase) error {
		until := time.Now().Add(r.confirmTimeout(h))
		if err := after(ctx); err != nil {
			return err
		}
		if r.Keep != nil && phase == activate.Activated {
			if err := r.Keep(ctx, h.Name, until); err != nil {
				return err
			}
		}
		if r.Schedule == nil {
			return nil
		}
		return r.Schedule.together(ctx, h.Name)
	}
}

func (r *Run) did(h fleet.Host, res activate.Result) string {
	var s string
	switch {
	case r.Action == activate.DryActivate:
		return "dry-activated, nothing changed"
	case r.Action == activate.Boot:
		return "boots the new system next time"
	case r.Action == activate.Test:
		s = "runs it until the next reboot"
	default:
		s = "switched"
	}
	if !r.NoGuard && !h.Guard.NoAutoRollback && !h.Guard.NoMagicRollback {
		s += ", confirmed"
	}
	if res.NeedsReboot {
		s += ", reboot due"
	}
	return s
}

func (r *Run) reboot(ctx context.Context, h fleet.Host, conn host.Conn) error {
	sc := event.On(r.Sink, h.Name, event.StepReboot)
	return r.wet(sc, "reboot", func() error {
		sc.Start("")
		_, err := reboot.Run(ctx, conn, h.Name, reboot.Options{Timeout: r.RebootTimeout}, sc)
		sc.End("back", err)
		return err
	})
}
