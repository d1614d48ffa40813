package deploy

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"time"

	"godwit/internal/activate"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/health"
	"godwit/internal/host"
	"godwit/internal/reboot"
)

// bootTime is what a new system has from the start of its systemd until it must
// be reachable, besides the time for its checks.
const bootTime = 4 * time.Minute

// rebooting is a host that is to be rebooted into a system.
type rebooting struct {
	*Run
	h      fleet.Host
	conn   host.Conn
	system string
	// after is what is done when the new system is up: secrets, checks.
	after   func(context.Context) error
	checked func() int
	back    bool // to what it ran before: nobody else is waited for
	sc      event.Scope
	result  activate.Result
}

// rebootInto is the end of a host with --reboot. The new system is not switched
// to, but booted once; when it is up and well it becomes the boot default. Its secrets
// are there in that boot, its other profiles are activated in it, and all of them are kept
// or taken back with it. Where the boot loader cannot do that, it becomes the default first.
func (r *Run) rebootInto(ctx context.Context, h fleet.Host, conn host.Conn, system string, after func(context.Context) error, checked func() int) Outcome {
	return (&rebooting{Run: r, h: h, conn: conn, system: system, after: after, checked: checked,
		sc: event.On(r.Sink, h.Name, event.StepReboot)}).outcome(ctx)
}

// rebootBack takes a host that was rebooted into a new system back to the old one.
func (r *Run) rebootBack(ctx context.Context, h fleet.Host, conn host.Conn, old string) error {
	return (&rebooting{Run: r, h: h, conn: conn, system: old, back: true, sc: event.On(r.Sink, h.Name, event.StepReboot),
		after: func(context.Context) error { return nil }, checked: func() int { return 0 }}).outcome(ctx).Err
}

func (b *rebooting) outcome(ctx context.Context) Outcome {
	out := Outcome{State: Skipped, Detail: "dry run: nothing was done"}
	err := b.wet(b.sc, "boot "+b.system+" once, and keep it if it is healthy", func() error {
		out = b.run(ctx)
		return nil
	})
	if err != nil {
		out = Outcome{Err: err}
	}
	out.Activation = b.result
	return out
}

func (b *rebooting) run(ctx context.Context) Outcome {
	if b.Action == activate.Test {
		return Outcome{Err: fault.New("test and --reboot contradict each other: a reboot ends what test began").On(b.h.Name).
			Hint("deploy boot --reboot boots the new system once, and keeps it only if it is healthy")}
	}
	req := activate.Request{Host: b.h.Name, Profiles: activate.Changes(b.h, activate.PathOf), NewSystem: b.system, Action: activate.Boot, OverrideLock: b.OverrideLock}
	state, err := activate.Preflight(ctx, b.conn, req)
	if err == nil {
		err = activate.Refuses(state, req)
	}
	if err != nil {
		return Outcome{Err: err}
	}
	b.result = activate.Result{OldSystem: state.Current, NewSystem: b.system, Running: state.Current, ExitCode: -1, Outcome: Failed, Overrode: activate.Overrode(state, b.Action)}
	old := state.Current
	if old == b.system || state.Specialisation != "" {
		old = state.Profile
	}
	if old == b.system || old == "" {
		return b.again(ctx)
	}
	if b.unguarded() {
		return b.defaultFirst(ctx, old)
	}
	if b.h.Guard.NoMagicRollback {
		b.sc.Warn("no-oneshot: "+reboot.NoMagicOnce+"; the new system becomes the boot default before it has booted",
			"magicRollback = true boots it once, and keeps it when it is confirmed")
		return b.defaultFirst(ctx, old)
	}
	loader, err := reboot.Probe(ctx, b.conn, b.h.Name)
	if err != nil {
		return Outcome{Err: err}
	}
	if !loader.Once() {
		b.sc.Warn("no-oneshot: "+loader.Why+"; the new system becomes the boot default before it has booted",
			"stay near the host's console, or see docs/rolling.md")
		return b.defaultFirst(ctx, old)
	}
	return b.once(ctx, state, old, loader)
}

// unguarded tells that nothing is to take the host back.
func (b *rebooting) unguarded() bool { return b.NoGuard || b.h.Guard.NoAutoRollback }

// limit is how long the new system may run before it is confirmed.
func (b *rebooting) limit() time.Duration {
	if b.ConfirmTimeout > 0 {
		return b.ConfirmTimeout
	}
	limit := bootTime + b.besideMax()
	if !b.SkipHealthChecks && b.h.HealthChecks.Len() > 0 {
		if b.CheckTimeout > 0 {
			limit += b.CheckTimeout
		} else {
			limit += health.DefaultBudget
		}
	}
	if b.Keep != nil && !b.back {
		limit += KeepTime
	}
	return limit
}

// besideMax is how long the activation of the profiles beside the system may take.
func (b *rebooting) besideMax() time.Duration {
	if activate.Plain(b.h) {
		return 0
	}
	return cmp.Or(b.ActivateTimeout, b.h.Guard.ActivationTimeout, activate.DefaultActivateTimeout)
}

// beside makes what lays the profiles beside the system; nil where it is alone.
func (b *rebooting) beside() func(id string) (string, error) {
	if activate.Plain(b.h) {
		return nil
	}
	return func(id string) (string, error) {
		req := b.guarded(b.h, activate.Request{Profiles: activate.Changes(b.h, activate.PathOf), NewSystem: b.system})
		req.Action = activate.Switch // what a boot does not begin by itself is begun in it
		return activate.Beside(req, id)
	}
}

// profiles are what became of all profiles, for who takes them back, and for records.
func (b *rebooting) profiles(beside []reboot.Beside, old string) []activate.Changed {
	if len(beside) == 0 {
		return nil
	}
	var all []activate.Changed
	for _, p := range b.h.Profiles {
		if p.Kind == fleet.NixOS {
			all = append(all, activate.Changed{Name: p.Name, Kind: string(p.Kind), Old: old, New: p.Path})
		}
		for _, o := range beside {
			if o.Name == p.Name {
				all = append(all, activate.Changed{Name: o.Name, Kind: o.Kind, Old: o.Old, New: o.New})
			}
		}
	}
	return all
}

// decided does what is done when the new system is up, checks it, and asks a person to keep
// it, who has as long as the host waits for that.
func (b *rebooting) decided(ctx context.Context) error {
	if err := b.after(ctx); err != nil || b.Keep == nil || b.back {
		return err
	}
	until, waits := ctx.Deadline()
	if !waits { // the host does not go back by itself
		until = time.Now().Add(cmp.Or(b.ConfirmTimeout, KeepTime))
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	return b.Keep(ctx, b.h.Name, until)
}

func (b *rebooting) once(ctx context.Context, state activate.State, old string, loader reboot.Loader) Outcome {
	b.sc.Start("")
	res, err := reboot.BootOnce(ctx, b.conn, reboot.Request{
		Host: b.h.Name, New: b.system, Old: old, Profile: activate.DefaultProfile, Link: state.Generation,
		Loader: loader, Action: string(b.Action), Limit: b.limit(), Failed: state.FailedUnits, Meta: b.meta(),
		Ignore: b.h.HealthChecks.Ignored().Match, Beside: b.beside(), BesideMax: b.besideMax(),
		Checks: func(ctx context.Context) error {
			if err := b.decided(ctx); err != nil || b.Schedule == nil || b.back {
				return err
			}
			return b.Schedule.together(ctx, b.h.Name)
		},
	}, reboot.Options{Timeout: b.RebootTimeout}, b.sc)
	b.sc.End("back, confirmed", err)
	b.result.ID, b.result.Outcome, b.result.Running, b.result.Reason = res.ID, res.Outcome, res.Running, res.Reason
	if res.Outcome == reboot.Untouched {
		b.result.Outcome = Failed
	}
	b.result.Duration, b.result.Profiles = res.Took, b.profiles(res.Beside, old)
	switch {
	case err == nil:
		return Outcome{State: Changed, Detail: "rebooted into the new system, confirmed" + passed(b.checked()), Previous: old}
	case res.Outcome == reboot.RolledBack:
		return Outcome{State: RolledBack, Err: err}
	}
	return Outcome{Err: err}
}

// again reboots a host into the system that it runs and boots already. What else changes
// is activated before that, under the guard.
func (b *rebooting) again(ctx context.Context) Outcome {
	state := Unchanged
	if !activate.Plain(b.h) {
		req := b.guarded(b.h, activate.Request{Profiles: activate.Changes(b.h, activate.PathOf), NewSystem: b.system, SkipUnchanged: true})
		req.Action = activate.Switch
		res, err := activate.Run(ctx, b.conn, req, b.Sink)
		b.result = res
		if err != nil {
			return turned(err, res)
		}
		if res.Outcome != Unchanged {
			state = Changed
		}
	}
	err := b.reboot(ctx, b.h, b.conn)
	if err == nil {
		err = b.arrived(ctx)
	}
	if err == nil && state == Changed {
		err = b.decided(ctx)
	} else if err == nil {
		err = b.after(ctx)
	}
	if err != nil && state == Changed && b.result.Running == b.system && !b.unguarded() && ctx.Err() == nil {
		b.sc.Warn(event.Message(err) + ": the other profiles go back")
		return b.turnBack(ctx, err, at(b.h, Outcome{Activation: b.result}.old()), "the other profiles are as before")
	}
	if err != nil {
		b.result.Outcome = Failed
		return Outcome{Err: err}
	}
	b.result.Outcome = state
	return Outcome{State: state, Detail: "already ran this system, rebooted" + passed(b.checked()), Previous: previous(state, b.system)}
}

// previous is what a host goes back to when others fail.
func previous(state event.Outcome, system string) string {
	if state == Changed {
		return system
	}
	return ""
}

// turned is the outcome of a host whose activation did not end well.
func turned(err error, res activate.Result) Outcome {
	o := Outcome{Err: err}
	if res.Outcome == RolledBack {
		o.State = RolledBack
	}
	return o
}

// turnBack makes the profiles of h run, which ran before. why is what was wrong.
func (b *rebooting) turnBack(ctx context.Context, why error, h fleet.Host, said string) Outcome {
	req := b.guarded(h, activate.Request{Profiles: activate.Changes(h, activate.PathOf), NewSystem: h.Main().Path})
	req.Action, req.OverrideLock = activate.Switch, true
	res, err := activate.Run(ctx, b.conn, req, b.Sink)
	if err != nil {
		b.result.Outcome = Failed
		return Outcome{Err: fault.New("%w; and its other profiles could not be sent back: %s", why, event.Message(err)).On(b.h.Name)}
	}
	b.result.Outcome, b.result.Running = RolledBack, res.Running
	return Outcome{State: RolledBack, Err: fault.New("%w; %s", why, said).On(b.h.Name)}
}

// defaultFirst is the way of boot loaders that cannot boot an entry once: the
// new system is the default when the host reboots. With switch it is tried
// before that, under the guard, with all other profiles; else those that no boot begins
// are activated after it. A host that comes back unwell is sent back.
func (b *rebooting) defaultFirst(ctx context.Context, old string) Outcome {
	first, late := b.h, fleet.Host{}
	if b.Action != activate.Switch {
		first, late = withBoot(b.h, true), withBoot(b.h, false)
	}
	res, err := activate.Run(ctx, b.conn, b.guarded(b.h, activate.Request{
		Profiles:      activate.Changes(first, activate.PathOf),
		NewSystem:     b.system,
		SkipUnchanged: b.Action == activate.Switch,
		Checks: func(ctx context.Context, _ activate.Phase) error {
			if b.Action != activate.Switch || b.SkipHealthChecks {
				return nil
			}
			return b.checks(ctx, b.h, b.conn, b.h.HealthChecks, event.StepCheck, checkContext{})
		},
	}), b.Sink)
	b.result = res
	if err != nil {
		return turned(err, res)
	}
	b.result.Outcome = Failed
	if err := b.reboot(ctx, b.h, b.conn); err != nil {
		return Outcome{Err: err}
	}
	err = b.arrived(ctx)
	if err == nil && len(late.Profiles) > 0 {
		req := b.guarded(late, activate.Request{Profiles: activate.Changes(late, activate.PathOf), NewSystem: late.Main().Path, SkipUnchanged: true})
		req.Action = activate.Switch
		var res activate.Result
		res, err = activate.Run(ctx, b.conn, req, b.Sink)
		b.result.Profiles = append(b.result.Profiles, res.Profiles...)
	}
	if err == nil {
		err = b.decided(ctx)
	}
	switch {
	case err == nil:
		b.result.Outcome = Changed
		return Outcome{State: Changed, Detail: "rebooted into the new system" + passed(b.checked()), Previous: old}
	case b.unguarded() || ctx.Err() != nil:
		return Outcome{Err: err}
	}
	return b.sendBack(ctx, err, old)
}

// sendBack reboots a host that came up unwell, whose boot default is the new system, into
// the old one: first what no boot takes back, where it runs.
func (b *rebooting) sendBack(ctx context.Context, why error, old string) Outcome {
	b.sc.Warn(event.Message(why) + ": rebooting into the system that ran before")
	before := at(b.h, Outcome{Activation: b.result}.old())
	if others := withBoot(before, false); len(others.Profiles) > 0 {
		if o := b.turnBack(ctx, why, others, ""); o.State != RolledBack {
			return o
		}
	}
	back, err := activate.Run(ctx, b.conn, activate.Request{Host: b.h.Name, Profiles: activate.Changes(withBoot(before, true), activate.PathOf), NewSystem: old,
		Action: activate.Boot, Meta: b.Meta, OverrideLock: true}, b.Sink)
	if err == nil {
		err = b.reboot(ctx, b.h, b.conn)
	}
	if err != nil {
		b.result.Outcome = Failed
		return Outcome{Err: fault.New("%w; and it could not be sent back: %s", why, event.Message(err)).On(b.h.Name)}
	}
	b.result.Outcome, b.result.Running = RolledBack, back.NewSystem
	return Outcome{State: RolledBack, Err: fault.New("%w; the host was rebooted into the system that ran before", why).On(b.h.Name)}
}

// meta is what the record on the host says of this run.
func (b *rebooting) meta() map[string]string {
	if b.result.Overrode == "" {
		return b.Meta
	}
	m := maps.Clone(b.Meta)
	m["overrode"] = b.result.Overrode
	return m
}

// arrived checks what a host runs after its reboot.
func (b *rebooting) arrived(ctx context.Context) error {
	state, err := activate.Preflight(ctx, b.conn, activate.Request{Host: b.h.Name})
	if err != nil {
		return err
	}
	b.result.Running = state.Current
	if state.Booted != b.system {
		return fault.New("rebooted, but not into the new system").On(b.h.Name).
			Detail(fmt.Sprintf("running now   %s", state.Current), "expected      "+b.system).
			Hint("look at the boot loader's default: godwit status %s", b.h.Name)
	}
	return nil
}
