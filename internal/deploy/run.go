package deploy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"godwit/internal/activate"
	"godwit/internal/builder"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/health"
	"godwit/internal/reboot"
	"godwit/internal/secrets"
	"godwit/internal/ssh"
	"godwit/internal/store"
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
	// CheckTimeout bounds all checks of one host in one phase; 0 is health's default.
	CheckTimeout time.Duration
	// ActivateTimeout and ConfirmTimeout bound the guard; 0 is its default.
	ActivateTimeout, ConfirmTimeout time.Duration
	// RebootTimeout bounds the wait for a host that reboots.
	RebootTimeout time.Duration
	// Meta is written into the record on the host (who, commit, ...).
	Meta map[string]string

	// Schedule deals the hosts into batches; nil is one batch, in which the
	// others go on when one fails.
	Schedule *Schedule
	// Unreachable is what becomes of hosts that do not answer; empty is to fail.
	Unreachable Unreachable
	// UnreachableTimeout bounds the waiting with WaitUnreachable; 0 is 10 minutes.
	UnreachableTimeout time.Duration

	Builds, Copies, Activations int // hosts at once in each stage; 0: no bound
}

// Job is a host with the builder that was chosen for it.
type Job struct {
	Host    fleet.Host
	Builder builder.Builder
	// Prepare are derivations that this machine builds first (builder.Request).
	Prepare []string
	// Link is the GC root on this machine; empty for none.
	Link string
	// Ready are paths that exist already, in Source: nothing is built, and
	// Builder is nil. The first is the system; others are copied, too.
	Ready  []string
	Source store.Endpoint
}

// source is the store that the host's system comes from.
func (j Job) source() store.Endpoint {
	if len(j.Ready) > 0 {
		return j.Source
	}
	return j.Builder.Store()
}

// Admission is what is known of a host that is about to be changed.
type Admission struct {
	Host   fleet.Host
	Conn   *ssh.Host
	System string // the new toplevel, in the host's store
	// Source is the store that it came from.
	Source store.Endpoint
}

// Run is one run over several hosts.
type Run struct {
	Options
	Pool *ssh.Pool
	Sink event.Sink
	// Pushers copies from a builder's store to hosts.
	Pushers *Pushers
	// OnBuilt is called once, when no host builds any more, with the store
	// path of each host that was built. May be nil.
	OnBuilt func(systems map[string]string)
	// Admit is asked when a host has its system in its store, before anything on
	// it changes. It may wait: for a person's answer, for a batch's turn. An
	// error keeps the host as it is. May be nil.
	Admit func(ctx context.Context, a Admission) error
	// Settled is told how each host ended, as soon as it did. May be nil.
	Settled func(Outcome)

	builds, copies, activations Gate
}

// Hosts takes every job through its stages and gives the outcomes in order.
func (r *Run) Hosts(ctx context.Context, jobs []Job) []Outcome {
	r.builds, r.copies, r.activations = NewGate(r.Builds), NewGate(r.Copies), NewGate(r.Activations)
	hosts := make([]fleet.Host, len(jobs))
	byName := make(map[string]Job, len(jobs))
	for i, j := range jobs {
		hosts[i] = j.Host
		byName[j.Host.Name] = j
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
		defer close(announced)
		systems := map[string]string{}
		for range jobs {
			if b := <-builtCh; b.system != "" {
				systems[b.host] = b.system
			}
		}
		if r.OnBuilt != nil {
			r.OnBuilt(systems)
		}
	}()
	outcomes := each(ctx, hosts, nil, r.Sink, settled, func(ctx context.Context, h fleet.Host) Outcome {
		return r.host(ctx, byName[h.Name], func(system string) { builtCh <- built{h.Name, system} })
	})
	<-announced
	if s := r.Schedule; s != nil && s.stopped && s.OnFailure == Rollback && ctx.Err() == nil {
		r.takeBack(ctx, jobs, outcomes)
	}
	return outcomes
}

// Target is the ssh target of a host.
func Target(h fleet.Host) ssh.Target {
	return ssh.Target{Name: h.Name, Host: h.TargetHost, User: h.TargetUser, Port: h.TargetPort}
}

// host is the pipeline of one host. It calls built exactly once.
func (r *Run) host(ctx context.Context, j Job, built func(system string)) Outcome {
	h := j.Host
	if r.Goal > GoalBuild && !h.BuildOnly && r.Pushers.Nix != nil {
		// Not after a long build.
		if _, err := r.Pushers.Nix.from(j.source(), r.Pool.Host(Target(h))); err != nil {
			built("")
			return Outcome{Err: err}
		}
	}
	// The connection is opened while the host is built: both take time, and a
	// host that is down should be known early.
	connected := make(chan error, 1)
	if r.Goal > GoalBuild && !h.BuildOnly {
		go func() { connected <- r.connect(ctx, h) }()
	}

	system, err := r.build(ctx, j)
	built(system)
	if err != nil {
		return Outcome{Err: err}
	}
	switch {
	case r.Goal == GoalBuild:
		return Outcome{State: r.state(Built), System: system, Detail: r.detail("built")}
	case h.BuildOnly:
		event.On(r.Sink, h.Name, event.StepCopy).Note(buildOnlyNote(r.Goal, h.Name))
		return Outcome{State: Skipped, System: system, Detail: "build-only host: built, not touched"}
	}
	if err := <-connected; err != nil {
		if r.Unreachable == SkipUnreachable && ssh.Retryable(err) {
			return Outcome{State: Skipped, System: system, Detail: "does not answer: " + event.Message(err)}
		}
		return Outcome{Err: err, System: system}
	}
	conn := r.Pool.Host(Target(h))

	roots := []string{system}
	if len(j.Ready) > 0 {
		roots = j.Ready
	}
	if err := r.push(ctx, h, conn, j.source(), roots); err != nil {
		return Outcome{Err: err, System: system}
	}
	if r.Goal == GoalPush {
		return Outcome{State: r.state(Pushed), System: system, Detail: r.detail("pushed")}
	}
	if r.Admit != nil {
		if err := r.Admit(ctx, Admission{Host: h, Conn: conn, System: system, Source: j.source()}); err != nil {
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
	o := r.activate(ctx, h, conn, system)
	o.System = system
	r.release(ctx, h, conn)
	return o
}

// release takes the root of the push away; what the host runs and boots is
// rooted by its profile. A host that cannot be reached keeps it until the next
// push replaces it.
func (r *Run) release(ctx context.Context, h fleet.Host, conn *ssh.Host) {
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

func (r *Run) state(s State) State {
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

// wet is the one place through which a change passes. In a dry run it says
// what would happen and does nothing.
func (r *Run) wet(sc event.Scope, would string, fn func() error) error {
	if r.DryRun {
		sc.Emit(event.Event{Kind: event.Skipped, Text: "dry run: would " + would})
		return nil
	}
	return fn()
}

func (r *Run) connect(ctx context.Context, h fleet.Host) error {
	sc := event.On(r.Sink, h.Name, event.StepConnect)
	sc.Start("")
	err := r.reach(ctx, r.Pool.Host(Target(h)), sc)
	if r.Unreachable == SkipUnreachable && ssh.Retryable(err) {
		sc.Emit(event.Event{Kind: event.Skipped, Text: "does not answer: " + event.Message(err)})
		return err
	}
	sc.End("", err)
	return err
}

func (r *Run) build(ctx context.Context, j Job) (string, error) {
	if len(j.Ready) > 0 {
		return j.Ready[0], nil
	}
	sc := event.On(r.Sink, j.Host.Name, event.StepBuild)
	if r.DryRun {
		sc.Emit(event.Event{Kind: event.Skipped, Text: fmt.Sprintf("dry run: would build %s on %s", j.Host.DrvPath, j.Builder.Name())})
		return j.Host.OutPath, nil
	}
	leave, err := r.builds.Enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	sc.Start("on " + j.Builder.Name())
	res, err := j.Builder.Build(ctx, builder.Request{
		Items:   []builder.Item{{Host: j.Host.Name, Drv: j.Host.DrvPath, Link: j.Link}},
		Prepare: j.Prepare,
	}, r.Sink)
	if err == nil {
		err = res.Failed[j.Host.DrvPath]
	}
	if err != nil {
		sc.End("", err)
		return "", err
	}
	out := res.Outputs[j.Host.DrvPath]
	sc.Emit(event.Event{Kind: event.Done, Text: "built", Data: map[string]string{"system": out}})
	return out, nil
}

func (r *Run) push(ctx context.Context, h fleet.Host, conn *ssh.Host, src store.Endpoint, roots []string) error {
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
func (r *Run) activate(ctx context.Context, h fleet.Host, conn *ssh.Host, system string) (out Outcome) {
	leave, err := r.activations.Enter(ctx)
	if err != nil {
		return Outcome{Err: err}
	}
	defer leave()

	dryActivate := r.Action == activate.DryActivate
	if r.UploadSecrets && !dryActivate {
		if err := r.uploadSecrets(ctx, h, conn, fleet.PreActivation); err != nil {
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
		if r.UploadSecrets && !dryActivate {
			if err := r.uploadSecrets(ctx, h, conn, fleet.PostActivation); err != nil {
				return err
			}
		}
		if r.SkipHealthChecks || dryActivate || r.Action == activate.Boot && !r.Reboot {
			return nil
		}
		checked = h.HealthChecks.Len()
		return r.checks(ctx, h, conn, h.HealthChecks, event.StepCheck, about)
	}
	if r.Reboot && !dryActivate {
		return r.rebootInto(ctx, h, conn, system, after, func() int { return checked })
	}

	var res activate.Result
	defer func() { out.Activation = res }()
	sc := event.On(r.Sink, h.Name, event.StepActivate)
	err = r.wet(sc, fmt.Sprintf("run %s/bin/switch-to-configuration %s", system, r.Action), func() error {
		var err error
		res, err = activate.Run(ctx, conn, activate.Request{
			Host:            h.Name,
			NewSystem:       system,
			Action:          r.Action,
			NoGuard:         r.NoGuard,
			ActivateTimeout: r.ActivateTimeout,
			ConfirmTimeout:  r.confirmTimeout(h),
			Checks:          r.guardedChecks(h, after),
			SkipUnchanged:   true,
			Meta:            r.Meta,
		}, r.Sink)
		return err
	})
	if err != nil {
		o := Outcome{Err: err}
		if res.Outcome == string(RolledBack) {
			o.State = RolledBack
		}
		return o
	}
	if r.DryRun {
		return Outcome{State: Skipped, Detail: "dry run: nothing was done"}
	}
	if res.Outcome == string(Unchanged) {
		if err := after(ctx); err != nil {
			return Outcome{Err: err}
		}
		return Outcome{State: Unchanged, Detail: "already runs this system" + passed(checked)}
	}
	if dryActivate {
		return Outcome{State: Unchanged, Detail: r.did(res)}
	}
	return Outcome{State: Changed, Detail: r.did(res) + passed(checked), Previous: res.OldSystem}
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
			if err := r.rebootBack(ctx, h, r.Pool.Host(Target(h)), o.Previous); err != nil {
				return Outcome{Err: err}
			}
			return Outcome{State: RolledBack, Err: fault.New("taken back, because %s failed", failed), System: o.System}
		}
		_, err := activate.Run(ctx, r.Pool.Host(Target(h)), activate.Request{
			Host: h.Name, NewSystem: o.Previous, Action: r.Action, NoGuard: r.NoGuard,
			ActivateTimeout: r.ActivateTimeout, ConfirmTimeout: r.ConfirmTimeout, Meta: r.Meta,
		}, r.Sink)
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

// confirmTimeout leaves the health checks all the time that they may take, and
// the confirmation its own, unless a person decided.
func (r *Run) confirmTimeout(h fleet.Host) time.Duration {
	if r.ConfirmTimeout > 0 || r.SkipHealthChecks || h.HealthChecks.Len() == 0 {
		return r.ConfirmTimeout
	}
	checks := r.CheckTimeout
	if checks <= 0 {
		checks = health.DefaultBudget
	}
	return checks + activate.DefaultConfirmTimeout
}

// guardedChecks are the checks that decide whether the new system is kept.
func (r *Run) guardedChecks(h fleet.Host, after func(context.Context) error) func(context.Context, activate.Phase) error {
	if r.Action == activate.Boot || r.Action == activate.DryActivate {
		return nil
	}
	return func(ctx context.Context, _ activate.Phase) error {
		if err := after(ctx); err != nil || r.Schedule == nil {
			return err
		}
		return r.Schedule.together(ctx, h.Name)
	}
}

func (r *Run) did(res activate.Result) string {
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
	if !r.NoGuard {
		s += ", confirmed"
	}
	if res.NeedsReboot {
		s += ", reboot due"
	}
	return s
}

func passed(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d/%d checks", n, n)
}

// checkContext is what checks may want to know of the deploy that they belong to.
type checkContext struct {
	system string   // that is deployed
	failed []string // units that had failed before
}

func (r *Run) checks(ctx context.Context, h fleet.Host, conn *ssh.Host, c fleet.Checks, step event.Step, about checkContext) error {
	if c.Len() == 0 {
		return nil
	}
	sc := event.On(r.Sink, h.Name, step)
	return r.wet(sc, fmt.Sprintf("run %d checks", c.Len()), func() error {
		return check(ctx, conn, h, c, r.CheckTimeout, sc, about)
	})
}

// Check runs the checks of one host and reports them as one step.
func Check(ctx context.Context, conn *ssh.Host, h fleet.Host, c fleet.Checks, timeout time.Duration, sc event.Scope) error {
	return check(ctx, conn, h, c, timeout, sc, checkContext{})
}

func check(ctx context.Context, conn *ssh.Host, h fleet.Host, c fleet.Checks, timeout time.Duration, sc event.Scope, about checkContext) error {
	what := "health checks"
	if sc.Step == event.StepPreCheck {
		what = "pre-deploy checks"
	}
	sc.Start(fmt.Sprintf("%d checks", c.Len()))
	_, err := health.Run(ctx, conn, h, c, health.Options{Budget: timeout, What: what, Failed: about.failed, System: about.system}, sc)
	sc.End(fmt.Sprintf("%d/%d checks", c.Len(), c.Len()), err)
	return err
}

func (r *Run) uploadSecrets(ctx context.Context, h fleet.Host, conn *ssh.Host, phase string) error {
	sc := event.On(r.Sink, h.Name, event.StepSecrets)
	return r.wet(sc, "upload "+phase+" secrets", func() error {
		_, err := UploadSecrets(ctx, conn, h, secrets.Options{Phase: phase}, sc)
		return err
	})
}

// UploadSecrets sends the secrets of one phase as one step.
func UploadSecrets(ctx context.Context, conn *ssh.Host, h fleet.Host, opt secrets.Options, sc event.Scope) (secrets.Report, error) {
	if len(secrets.Select(h.Secrets, opt.Phase)) == 0 {
		return secrets.Report{}, nil
	}
	sc.Start("")
	rep, err := secrets.Upload(ctx, conn, h, opt, sc)
	sc.End(rep.String(), err)
	return rep, err
}

func (r *Run) reboot(ctx context.Context, h fleet.Host, conn *ssh.Host) error {
	sc := event.On(r.Sink, h.Name, event.StepReboot)
	return r.wet(sc, "reboot", func() error {
		sc.Start("")
		_, err := reboot.Run(ctx, conn, h.Name, reboot.Options{Timeout: r.RebootTimeout}, sc)
		sc.End("back", err)
		return err
	})
}

// Pushers keeps one store.Pusher for each source store of a run, so that hosts
// whose systems come from the same place share what is read there.
type Pushers struct {
	Options store.Options
	// Nix copies in place of our own way. May be nil.
	Nix *NixCopy
	// Slow has connections that compress, for hosts behind a slow link. nil:
	// everything goes over the run's own connections.
	Slow *ssh.Pool
	// Direct lets ssh builders try to send to hosts by themselves. Their
	// connections are of this pool. nil: all goes through this machine.
	Direct *ssh.Pool

	mu sync.Mutex
	m  map[string]*store.Pusher
}

func (p *Pushers) of(src store.Endpoint) *store.Pusher {
	p.mu.Lock()
	defer p.mu.Unlock()
	push, ok := p.m[src.Name]
	if !ok {
		if p.m == nil {
			p.m = map[string]*store.Pusher{}
		}
		push = store.NewPusher(src, p.Options)
		p.m[src.Name] = push
	}
	return push
}

// Push copies the closures of roots from src to the host's store.
func (p *Pushers) Push(ctx context.Context, src store.Endpoint, h fleet.Host, conn *ssh.Host, roots ...string) error {
	if p.Nix != nil {
		return p.Nix.Push(ctx, src, h, conn, roots)
	}
	push := p.of(src)
	return push.Push(ctx, store.Dest{
		Endpoint:   HostStore(p.wire(ctx, push, h, conn, roots)),
		Host:       h.Name,
		Roots:      roots,
		Substitute: h.SubstituteOnDestination,
		Direct:     p.direct(src, conn),
		GCRoot:     func(ctx context.Context) error { return protect(ctx, conn, roots) },
		FreeBytes:  func(ctx context.Context) (int64, error) { return freeBytes(ctx, conn) },
	}).Err
}

// Close ends the pushers.
func (p *Pushers) Close() error {
	var errs []error
	for _, push := range p.m {
		errs = append(errs, push.Close())
	}
	return errors.Join(errs...)
}

// pushedRoot keeps what was pushed last from being collected until it is the
// system profile of the host. Further paths of one push have the name with
// -2, -3 and so on.
const pushedRoot = "/nix/var/nix/gcroots/godwit-pushed"

func protect(ctx context.Context, conn *ssh.Host, roots []string) error {
	return conn.Run(ctx, ssh.Cmd{Script: `r=$1; shift
n=
for p; do ln -sfn "$p" "$r${n:+-$n}" || exit; n=$((${n:-1}+1)); done
while [ -L "$r-$n" ]; do rm -f "$r-$n" || exit; n=$((n+1)); done`, Args: append([]string{pushedRoot}, roots...), Elevate: true})
}

// release takes that root away again.
func release(ctx context.Context, conn *ssh.Host) error {
	return conn.Run(ctx, ssh.Cmd{Script: `rm -f "$1" "$1"-[0-9]*`, Args: []string{pushedRoot}, Elevate: true})
}

// freeBytes is the room on the file system of the host's store.
func freeBytes(ctx context.Context, conn *ssh.Host) (int64, error) {
	out, err := conn.Output(ctx, ssh.Cmd{Script: `df -Pk /nix/store | { read -r _; read -r _ _ _ free _; echo "$free"; }`})
	if err != nil {
		return 0, err
	}
	kib, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("df on the host says %q", out)
	}
	return kib << 10, nil
}

// HostStore is the store of a host, reached with the elevation that writing
// needs: `nix-store --serve` as root asks for no signature and no trusted user.
func HostStore(conn *ssh.Host) store.Endpoint {
	return store.Endpoint{
		Name: "the store of " + conn.Name(),
		Dial: func(ctx context.Context, write bool) (*store.Stream, error) {
			p, err := conn.Open(ctx, ssh.Cmd{Argv: store.Serve(write), Elevate: write})
			if err != nil {
				return nil, err
			}
			return &store.Stream{Stdin: p.Stdin, Stdout: p.Stdout, Stderr: p.Stderr, Wait: p.Wait, Kill: p.Kill}, nil
		},
	}
}
