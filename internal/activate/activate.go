// Package activate makes a host run a system that its store holds, so that
// whatever goes wrong the host ends up with exactly the new system, confirmed
// over a connection that was opened after the change, or exactly the old one.
//
// The host does it with its own tools: a few lines of POSIX sh (scripts/) in a
// folder below /run, run by transient units of its systemd. The deployer only
// arms, listens, checks and confirms; when it goes away the host goes back by
// itself. In short:
//
//	arm      the deadman timer first, then the activation in a unit of its own
//	apply    switch-to-configuration test: the boot default stays the old one
//	check    what the caller wants to see working
//	confirm  over a new connection, with the same elevation: the profile, then
//	         switch-to-configuration boot
//
// Facts that this rests on, and the failures it was tried against, are in
// docs/ and in test/faults.
package activate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"godwit/internal/awake"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/hostscript"
	"godwit/internal/lock"
	"godwit/internal/profile"
	"godwit/internal/profile/nixos"
	"godwit/internal/shell"
)

// DefaultProfile is the profile of a NixOS system.
const DefaultProfile = nixos.Profile

// Defaults of the time limits.
const (
	DefaultActivateTimeout = 5 * time.Minute
	// DefaultSilence is how long a host that runs an unconfirmed system bears not
	// to hear from the deployer: longer than a line that pauses for half a minute
	// needs to come back, short enough to be back on the old system within a minute.
	DefaultSilence        = 45 * time.Second
	DefaultConfirmTimeout = DefaultSilence
)

// Exit codes that the errors of this package ask for.
const (
	ExitFailed     = 1
	ExitRolledBack = 3
	ExitBusy       = 75 // another deployment is pending on the host (EX_TEMPFAIL)
)

// Action is what to do with the profiles.
type Action = profile.Action

// The actions.
const (
	Switch      = profile.Switch
	Boot        = profile.Boot
	Test        = profile.Test
	DryActivate = profile.DryActivate
)

// Phase is how far a deployment is.
type Phase string

// Phases that callers meet.
const (
	Armed     Phase = "armed"     // the deadman is set, the activation starts
	Activated Phase = "activated" // the new system runs, not yet confirmed
	Confirmed Phase = "confirmed" // the new system is permanent
)

// Request says what to run on a host.
type Request struct {
	// Host is the host's name in the configuration, for messages.
	Host string
	// Profiles are made to run in this order, kept in this order, and taken back in the
	// opposite one. None: NewSystem is the one profile, a NixOS system.
	Profiles []Change
	// NewSystem is the toplevel: a store path that the host has. With Profiles it is
	// that of the first that boots, or else of the first.
	NewSystem string
	// Activation is the system to activate when it is not NewSystem itself: a
	// path below it, .../specialisation/NAME. Profile and boot default are
	// always NewSystem.
	Activation string
	Action     Action
	// NoGuard activates without deadman, confirmation and rollback, as
	// nixos-rebuild does; still detached from the connection.
	NoGuard bool
	// KeepUnconfirmed keeps what was activated, and on which nothing failed since,
	// when nobody confirms it: for a host that moves to another address. Checks
	// that fail still take it back.
	KeepUnconfirmed bool
	// AsUser does it all as the login user, without root: for profiles that are that
	// user's. Their guard is the user's own systemd, which must linger. It is found out
	// where nobody can become root.
	AsUser bool
	// ActivateTimeout bounds the activation, ConfirmTimeout the time from its
	// end to the confirmation, checks included. 0 means the default.
	ActivateTimeout, ConfirmTimeout time.Duration
	// Silence is how long, within ConfirmTimeout, the host bears not to hear from
	// the deployer over a connection that was opened after the activation. 0
	// means DefaultSilence; ConfirmTimeout leaves it all of its time, for a person
	// who confirms by hand.
	Silence time.Duration
	// IgnoreUnits are whole names or shell patterns (fleet.UnitPatterns) of what may
	// fail: units, and parts of a switch by the name that the error gives them, such
	// as "user activation for alice" or "reload of nginx.service".
	IgnoreUnits []string
	// SkipUnchanged leaves a host alone that runs and boots NewSystem already. With
	// Switch, one that only boots another system becomes a Boot (Result.BootOnly).
	SkipUnchanged bool
	// OverrideLock goes on although a person keeps the host from being changed.
	OverrideLock bool
	// Checks is run while the new system is activated and not yet confirmed
	// (Activated), its context bounded by what is left of ConfirmTimeout. An
	// error rolls back.
	Checks func(context.Context, Phase) error
	// OnPhase is told about phases as they are reached. It must not block.
	OnPhase func(Phase)
	// Meta goes into the record on the host: who, commit, plan, ...
	Meta map[string]string
	// LastResort is empty, or "reboot": reboot into the (old) boot default when
	// three attempts to roll back have failed.
	LastResort string

	main    int      // index of the one of Profiles that stands for all: the first that boots, or else the first
	leftOut []string // names of profiles whose kind does not have Action
	at      places   // tests of the scripts
	patient bool     // a person may confirm: no answer is certain before the time is over
}

// Result is how it ended.
type Result struct {
	// Outcome is one of event's outcomes: ok (dry-activate), changed, unchanged, rolled-back,
	// failed, interrupted, unreachable.
	Outcome event.Outcome
	// ID names the deployment on the host, in its record and its log.
	ID                   string
	OldSystem, NewSystem string
	// Running is what the host ran when last heard of; empty when not known.
	Running string
	// Profiles are all that were to be activated, in order; the fields above are about
	// the main one. Failed is the name of the one that did not come to run; "": none of
	// several.
	Profiles []Changed
	Failed   string
	// BootOnly tells that the host ran NewSystem already, and that only its boot
	// default was put right.
	BootOnly bool
	// ExitCode is switch-to-configuration's; -1 when there is none. Meaning
	// says it in words.
	ExitCode int
	Meaning  string
	// Reason says why it was not confirmed.
	Reason string
	// Log holds the last lines of the activation's log.
	Log []string
	// NewlyFailed are the units that failed and had not failed before, and parts of
	// the switch, such as "user activation for alice".
	NewlyFailed []string
	// NeedsReboot tells that kernel, initrd or their parameters differ from
	// what was booted; Differs lists the parts.
	NeedsReboot bool
	Differs     []string
	// Overrode is the lock that Request.OverrideLock went over, in words.
	Overrode string
	Drops    int // connections lost on the way
	Duration time.Duration
}

// Changed is what became of one profile.
type Changed struct {
	Name, Kind string
	// Old was active before, and empty when nothing was; Running is what was active
	// when last heard of, and empty when not known.
	Old, New, Running string
}

const logKept = 200

var failures = regexp.MustCompile(`^[A-Za-z0-9:_.@*?!\[\]\\$, -]+$`)

func (r *Request) normalize() error {
	r.at = r.at.or(hostPlaces)
	r.at.User = r.AsUser
	if r.ActivateTimeout <= 0 {
		r.ActivateTimeout = DefaultActivateTimeout
	}
	if r.ConfirmTimeout <= 0 {
		r.ConfirmTimeout = DefaultConfirmTimeout
	}
	r.patient = r.Silence >= r.ConfirmTimeout
	if r.Silence <= 0 {
		r.Silence = DefaultSilence
	}
	r.Silence = min(r.Silence, r.ConfirmTimeout)
	switch r.Action {
	case Switch, Boot, Test, DryActivate:
	default:
		return fault.New("unknown action %q", r.Action).On(r.Host).Hint("use switch, boot, test or dry-activate")
	}
	if err := r.settle(); err != nil {
		return fault.New("%w", err).On(r.Host)
	}
	if err := r.leaveOut(); err != nil {
		return fault.New("%w", err).On(r.Host)
	}
	for _, u := range r.IgnoreUnits {
		if !failures.MatchString(u) {
			return fault.New("not the name or pattern of a unit: %q", u).On(r.Host)
		}
	}
	if r.LastResort != "" && r.LastResort != "reboot" {
		return fault.New("unknown last resort %q", r.LastResort).On(r.Host).Hint("use reboot, or leave it empty")
	}
	return nil
}

func (p places) or(q places) places {
	if p == (places{}) {
		return q
	}
	return p
}

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// run is one deployment as the deployer sees it.
type run struct {
	r        host.Conn
	req      Request
	sc       event.Scope
	fr       frames
	id       string
	res      Result
	state    State
	begun    time.Time
	since    awake.Instant // when it began
	lastOK   awake.Instant // when the host was last heard
	lifeline *lifeline     // the connection that saw the activation end
	waits    waits         // what is said while nothing happens
	denied   refusals      // what new connections get after the activation
	// unheard is why the host could not be reached, when last tried in vain.
	unheard string
	// unreached: no new connection stood yet to the host that waits for its confirmation.
	unreached bool
	// cause are the lines of the log before the host began to go back, and backFrom
	// when that was; nil: it did not.
	cause    []string
	backFrom awake.Instant
	// dropped is how the connection that armed it was lost, if it was.
	dropped string
	// asked: a confirmation has reached the host, or may have.
	asked bool
	// unit of the limits: the same numbers that the host got
	activate, confirm, silence, stop, deadman, rollbackMax, commitMax time.Duration
}

// Run does what req says on the host behind r. It returns a Result in every
// case; the error is nil when the host runs (or will boot) the new system.
func Run(ctx context.Context, r host.Conn, req Request, sink event.Sink) (Result, error) {
	d := &run{r: r, req: req, sc: event.On(sink, req.Host, event.StepActivate), begun: time.Now(), since: awake.Now(), unreached: true}
	d.res = Result{Outcome: event.OutcomeFailed, NewSystem: req.NewSystem, ExitCode: -1}
	if err := d.req.normalize(); err != nil {
		return d.res, err
	}
	d.sc.Start(string(req.Action))
	for _, name := range d.req.leftOut {
		d.sc.Warn("profile '" + name + "' is left out: its kind has no " + string(req.Action))
	}
	err := d.run(ctx)
	d.res.Duration = time.Since(d.begun)
	d.sc.End(d.summary(), err)
	return d.res, err
}

func (d *run) summary() string {
	switch d.res.Outcome {
	case event.OutcomeChanged, event.OutcomeUnchanged, event.OutcomeOK:
		switch d.req.Action {
		case Boot:
			return "boots the new system from now on"
		case DryActivate:
			return "looked at what would change"
		case Test:
			return "runs the new system until the next boot"
		}
		if d.req.NoGuard {
			return "switched"
		}
		return "switched, confirmed"
	case event.OutcomeRolledBack:
		return "rolled back to the system it ran before"
	}
	return string(d.res.Outcome)
}

func (d *run) run(ctx context.Context) error {
	var err error
	d.state, err = Preflight(ctx, d.r, d.req)
	if err != nil {
		if ctx.Err() != nil {
			d.res.Outcome = event.OutcomeInterrupted
		}
		return err
	}
	if d.state.AsUser {
		d.req.AsUser, d.req.at.User = true, true
	}
	d.res.OldSystem, d.res.Running = d.state.Current, d.state.Current
	d.res.Differs, d.res.NeedsReboot = d.state.Differs, d.state.NeedsReboot()
	if err := d.state.allows(d.req); err != nil {
		return err
	}
	for _, w := range d.state.warnings(d.req) {
		d.sc.Warn(w)
	}
	if d.state.New != "" {
		d.req.Activation = d.state.New
		d.req.Profiles[d.req.main].Run = d.state.New
	}
	if d.req.Profiles = d.state.changing(d.req); len(d.req.Profiles) < len(d.state.Profiles) {
		for _, p := range d.state.Profiles {
			if !slices.ContainsFunc(d.req.Profiles, func(c Change) bool { return c.Name == p.Name }) {
				d.sc.Note("profile '" + p.Name + "' is as it should be")
			}
		}
		if err := d.req.settle(); err != nil {
			return fault.New("%w", err).On(d.req.Host)
		}
	}
	if len(d.req.Profiles) == 1 && d.state.unchanged(d.req) {
		d.res.Outcome, d.res.ExitCode, d.res.Meaning = event.OutcomeUnchanged, 0, "the host runs this system already"
		return nil
	}
	if d.req.Action == Switch && d.state.bootOnly(d.req) {
		d.sc.Note("it runs this system already, but boots " + d.state.BootsOther + " next time: that is corrected")
		d.req.Action, d.res.BootOnly = Boot, true
	}
	if err := Locked(d.state, d.req); err != nil {
		return err
	}
	if d.res.Overrode = Overrode(d.state, d.req.Action); d.res.Overrode != "" {
		d.sc.Warn("goes on although the host is locked by " + d.res.Overrode)
	}
	defer func() { d.lifeline.end() }()
	if err := d.arm(ctx); err != nil {
		return err
	}
	guarded := d.guarded()
	if err := d.follow(ctx, "activated"); err != nil {
		return d.broken(ctx, err)
	}
	if guarded && d.fr.fact("final") == "" && !d.fr.has("gone") {
		d.phase(Activated)
		if err := d.checkAndConfirm(ctx); err != nil {
			return d.broken(ctx, err)
		}
	}
	if d.req.LastResort == "reboot" && strings.HasPrefix(d.fr.fact("final"), "rollback-failed") {
		d.sc.Warn("three attempts to go back failed: the host reboots into the old system")
		d.awaitReboot(ctx)
	}
	return d.conclude()
}

// awaitReboot waits, within bounds, until the host forgot the deployment.
func (d *run) awaitReboot(ctx context.Context) {
	d.exits()
	for end := awake.Now().Add(3 * time.Minute); awake.Until(end) > 0 && pause(ctx, time.Second) == nil; {
		if d.attach(ctx, "facts", "", false) == nil && d.fr.has("gone") {
			return
		}
	}
}

func (d *run) phase(p Phase) {
	if d.req.OnPhase != nil {
		d.req.OnPhase(p)
	}
}

func (d *run) guarded() bool {
	return !d.req.NoGuard && (d.req.Action == Switch || d.req.Action == Test)
}

// limits computes what the host is told, once.
func (d *run) limits() {
	d.activate, d.confirm, d.silence = d.req.ActivateTimeout, d.req.ConfirmTimeout, d.req.Silence
	if d.req.Checks == nil { // nothing that would take longer than to be reached
		d.confirm = d.silence
	}
	// Also what PID 1 grants for what follows the activation (apply_ended): a host that is busy and emulated,
	// or waits for its disk, took more than 10 s for its two timers, and a healthy system was taken back.
	d.stop = between(10*time.Second, d.activate/10, 30*time.Second)
	d.rollbackMax = d.activate + between(5*time.Second, d.activate/2, time.Minute)
	d.commitMax = max(d.activate, 20*time.Second)
	d.deadman = d.activate + 2*d.stop + d.confirm + between(5*time.Second, d.activate/4, 30*time.Second)
}

func between(low, t, high time.Duration) time.Duration { return max(low, min(t, high)) }

func (d *run) variables() hostscript.Variables {
	mode, apply := "guard", "test"
	if !d.guarded() {
		mode, apply = "plain", string(d.req.Action)
		if d.state.Systemd == 0 || d.req.AsUser && !d.state.Linger {
			mode = "detached"
		}
	}
	override := ""
	if d.req.OverrideLock {
		override = "1"
	}
	keep := "" // a word of the log, too
	if d.req.KeepUnconfirmed {
		keep = "is kept"
	}
	var lasts []string
	for _, k := range lasting() {
		lasts = append(lasts, k.Name)
	}
	sec := func(t time.Duration) string { return strconv.Itoa(seconds(t)) }
	tick, ticks := d.ticks()
	v := d.req.profileVariables()
	maps.Copy(v, hostscript.Variables{
		"ID": d.id, "ACTION": string(d.req.Action), "NOTE_KIND": nixos.Kind.Name, // of a note that names none
		"LASTS": strings.Join(lasts, " "), "MODE": mode, "APPLY_ACTION": apply,
		"OVERRIDE": override, "KEEP": keep, "LAST_RESORT": d.req.LastResort, "ACTIVATE": sec(d.activate), "CONFIRM": sec(d.confirm), "SILENCE": sec(d.silence), "TICK": strconv.Itoa(tick), "TICKS": strconv.Itoa(ticks), "STOP": sec(d.stop),
		"DEADMAN": sec(d.deadman), "ROLLBACK_MAX": sec(d.rollbackMax), "COMMIT_MAX": sec(d.commitMax),
	})
	return v
}

func (d *run) meta() string {
	m := map[string]string{"host": d.req.Host}
	for k, v := range d.req.Meta {
		m[k] = v
	}
	if d.res.Overrode != "" {
		m["overrode"] = d.res.Overrode
	}
	b, _ := json.Marshal(m)
	return string(b)
}

func (d *run) line(s string) {
	d.heardLine()
	if d.cause == nil && goesBack.MatchString(s) {
		d.cause, d.backFrom = append([]string{}, d.res.Log...), awake.Now()
	}
	e := event.Event{Kind: event.Log, Text: s}
	if d.cause != nil {
		e.Data = map[string]string{event.Part: event.WayBack}
	}
	d.sc.Emit(e)
	d.res.Log = append(d.res.Log, s)
	if n := len(d.res.Log); n > logKept {
		d.res.Log = append(d.res.Log[:0:0], d.res.Log[n-logKept:]...)
	}
}

// arm sets the deadman and starts the activation; the same connection then
// follows it. When the answer is lost, the host is asked how far it came.
func (d *run) arm(ctx context.Context) error {
	d.id = hostscript.NewID()
	d.res.ID = d.id
	d.fr.line, d.fr.beaten = d.line, d.waiting
	d.fr.told = func(fact string) {
		if fact == "armed" { // once: the activation begins
			d.fr.told = nil
			d.phase(Armed)
		}
	}
	defer func() { d.fr.told = nil }()
	d.limits()
	script, err := d.req.at.armScript(d.variables(), d.req.kinds(), d.meta(), d.req.IgnoreUnits)
	if err != nil {
		return fault.New("%w", err).On(d.req.Host)
	}
	var last error
	for try := range 3 {
		if try > 0 {
			if err := pause(ctx, time.Second); err != nil {
				return d.interrupted(ctx, false)
			}
		}
		d.lastOK = awake.Now()
		last = d.call(ctx, script, calling{quiet: 45 * time.Second, hold: d.guarded()})
		if refused := d.fr.fact("refused"); refused != "" && !strings.HasPrefix(refused, "76 ") {
			return d.turnedDown(ctx, refused)
		}
		if last == nil && d.fr.fact("refused") == "" || d.fr.has("armed") {
			if last != nil {
				d.res.Drops++
				d.dropped = trimHost(last, d.req.Host)
			}
			return nil
		}
		if ctx.Err() != nil {
			return d.interrupted(ctx, true)
		}
		var f *fault.Error
		if errors.As(last, &f) && !connectionLost(last) {
			break // not reached, or no way to become root: the script did not run
		}
		// Was it armed? The host knows.
		d.res.Drops++
		for n := 1; ; n++ {
			err := d.attach(ctx, "facts", "", false)
			var exit *host.ExitError
			begun := d.fr.has("gone") || d.fr.has("waiting") || d.fr.has("started") || d.fr.has("phase") || d.fr.has("final")
			if err == nil && (begun || n > 3) {
				break // n > 3: cut between deadman and activation; nothing will come
			} else if ctx.Err() != nil {
				return d.interrupted(ctx, true)
			} else if errors.As(err, &exit) && n > 3 || awake.Since(d.lastOK) > d.deadman {
				return d.lost(err)
			}
			if pause(ctx, 500*time.Millisecond) != nil {
				return d.interrupted(ctx, true)
			}
		}
		if !d.fr.has("gone") {
			if !d.fr.has("waiting") && !d.fr.has("started") && d.fr.fact("final") == "" && d.fr.fact("phase") == "" {
				_ = d.attach(ctx, "cancel", "arming was interrupted", false)
			}
			return nil
		}
	}
	f := fault.New("could not arm the deployment; nothing was changed").On(d.req.Host).Because(last)
	if last != nil {
		f.Msg = "could not arm the deployment, nothing was changed: " + trimHost(last, d.req.Host)
	}
	return f.Detail(d.fr.noise...)
}

// turnedDown explains why arming was refused. Nothing was touched.
func (d *run) turnedDown(ctx context.Context, words string) error {
	code, why, _ := strings.Cut(words, " ")
	switch code {
	case "75":
		holder := d.state.Holder
		if d.state.Pending != why { // it began after the host was looked at
			ctx, stop := awake.WithTimeout(ctx, 10*time.Second)
			defer stop()
			holder, _, _ = deployment(ctx, d.r, d.req.Host, "current")
		}
		return busy(d.req.Host, why, holder)
	case "77":
		if l := lock.Read(why); l != nil { // set after the host was looked at
			return l.Err(d.req.Host)
		}
	case "66":
		f := fault.New("%s; nothing was changed", why).On(d.req.Host)
		if folder, ok := strings.CutPrefix(why, "users other than root can write to "); ok {
			return f.Hint("on the host, as root: ls -ld %s", shell.Join([]string{folder}))
		}
		return f.Hint("make room on the host: godwit gc %s", d.req.Host)
	}
	return fault.New("%s; nothing was changed", why).On(d.req.Host)
}

func pause(ctx context.Context, t time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(t):
		return nil
	}
}

// follow listens until the deployment is activated (or final), over as many
// connections as it takes, from the byte that was reached.
func (d *run) follow(ctx context.Context, until string) error {
	for {
		if d.fr.ended && (d.fr.fact("final") != "" || d.fr.has("gone") || (until == "activated" && d.fr.fact("phase") == "activated")) {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := d.expired(); err != nil {
			return err
		}
		if err := d.attach(ctx, "follow", until, false); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			d.res.Drops++
			d.unheard = trimHost(err, d.req.Host)
			if pause(ctx, 500*time.Millisecond) != nil {
				return ctx.Err()
			}
		}
	}
}

func connectionLost(err error) bool {
	var dropped *host.DroppedError
	return errors.As(err, &dropped)
}

var errLost = errors.New("lost")

// expired bounds the wait: the deadman, a commit that hangs and three attempts to
// roll back while the host answers, the deadman and one attempt while it does not.
func (d *run) expired() error {
	bound := d.deadman + 2*d.commitMax + 3*(d.rollbackMax+5*time.Second)
	if !d.guarded() {
		bound = d.activate + 2*d.stop + d.commitMax
	}
	if awake.Since(d.since) > bound+time.Minute || awake.Since(d.lastOK) > min(bound, d.deadman+d.rollbackMax)+30*time.Second {
		return errLost
	}
	return nil
}

// broken ends a run whose wait was broken off.
func (d *run) broken(ctx context.Context, err error) error {
	d.fr.flush()
	if ctx.Err() != nil {
		return d.interrupted(ctx, true)
	}
	if errors.Is(err, errLost) {
		return d.lost(nil)
	}
	return fault.New("%w", err).On(d.req.Host)
}

// interrupted is Ctrl-C: ask the host to go back now; if that does not reach
// it, it goes back by itself.
func (d *run) interrupted(ctx context.Context, armed bool) error {
	d.res.Outcome = event.OutcomeInterrupted
	f := fault.New("interrupted").On(d.req.Host).Because(context.Canceled)
	if !armed {
		f.Msg = "interrupted before anything was changed"
		return f
	}
	if !d.guarded() {
		f.Msg = "interrupted; the activation continues on the host, and no deployer watches it"
		return f.Hint("godwit status %s", d.req.Host)
	}
	ctx = context.WithoutCancel(ctx)
	ask := func(verb string, limit time.Duration) bool {
		ctx, stop := context.WithTimeout(ctx, limit)
		defer stop()
		return d.attach(ctx, verb, "interrupted by the deployer", false) == nil
	}
	// The answer to cancel is whole when the host has gone back, which may take
	// longer than a person waits; facts come at once.
	if !ask("cancel", 7*time.Second) && !ask("facts", 3*time.Second) {
		f.Msg = "interrupted; unless it was confirmed already, or somebody confirms, the host goes back by itself " + d.goesBack()
		return f.Hint("godwit status %s", d.req.Host)
	}
	d.fr.flush()
	if c := d.fr.fact("current"); c != "" {
		d.res.Running = c
	}
	final := d.fr.fact("final")
	switch word, _, _ := strings.Cut(final, " "); {
	case word == "rolled-back":
		f.Msg = "interrupted; the host went back to the system it ran before"
	case word == "aborted":
		f.Msg = "interrupted before anything was changed"
	case word == "committed":
		f.Msg = "interrupted, but the new system had been confirmed already"
	case word != "":
		var end *fault.Error
		if errors.As(d.final(final), &end) {
			f.Msg, f.Lines, f.Hints = "interrupted; "+end.Msg, end.Lines, end.Hints
		}
	case d.fr.has("gone") && d.fr.fact("boot-id") == d.state.BootID:
		f.Msg = fmt.Sprintf("interrupted before the host began; if it begins later, it goes back by itself within %ds", seconds(d.activate+d.stop+d.silence))
	case d.fr.has("gone"):
		f.Msg = "interrupted, and the host has rebooted meanwhile"
		f.Hint("godwit status %s", d.req.Host)
	case d.fr.fact("decision") == "commit" && !d.fr.has("commit-failed"):
		f.Msg = "interrupted, but the new system had been confirmed already; the host is making it permanent"
		f.Hint("godwit status %s", d.req.Host)
	default:
		f.Msg = "interrupted; the host is going back to the system it ran before"
	}
	return f
}

// lost is a host that did not come back in all the time that it had.
func (d *run) lost(err error) error {
	d.fr.flush()
	d.res.Outcome, d.res.Running = event.OutcomeUnreachable, ""
	silent := awake.Since(d.lastOK).Round(time.Second)
	f := fault.New("no answer since %s ago", silent).On(d.req.Host).Because(err)
	switch {
	case silent < time.Minute: // it answers, and nothing comes to an end there
		f.Msg = fmt.Sprintf("the deployment has not ended in %s; what it runs now is not known", time.Since(d.begun).Round(time.Second))
		d.lastLines(f)
		return f.Hint("godwit status %s", d.req.Host).Hint("a reboot leads to the system that the host boots by default")
	case d.asked:
		f.Detail("it was asked to keep the new system, and it is not known whether the request arrived: it runs and boots either",
			"  "+d.req.NewSystem, "or, as before,", "  "+d.res.OldSystem)
		d.lastLines(f)
		return f.Hint("power-cycle the host: it boots one of them").Hint("godwit status %s", d.req.Host)
	case d.guarded():
		f.Detail(
			"the activation was not confirmed, so the host must have gone back to",
			"  "+d.res.OldSystem,
			"by itself; every reboot starts that system, too")
	}
	d.lastLines(f)
	return f.Hint("power-cycle the host: it boots %s", d.res.OldSystem).Hint("godwit status %s", d.req.Host)
}

// goesBack are the lines with which the scripts begin to go back (rollback.sh,
// commit.sh). What follows them says nothing about why.
var goesBack = regexp.MustCompile(`^godwit: (rolling back: .*|.*: going back)$`)

// lastLines are those in which it failed.
func (d *run) lastLines(f *fault.Error) {
	lines, of := d.res.Log, "its activation log"
	if d.cause != nil {
		lines, of = d.cause, "the activation, before it went back"
	}
	if len(lines) > 8 {
		lines = lines[len(lines)-8:]
	}
	if len(lines) > 0 {
		f.Detail("last lines of " + of + ":")
		for _, l := range lines {
			f.Detail("  | " + l)
		}
	}
}

// wayBack says in a line how a host went back.
func (d *run) wayBack() string {
	how := ""
	if d.cause != nil {
		how = "in " + max(time.Second, round(awake.Since(d.backFrom))).String()
	}
	if n, err := strconv.Atoi(d.fr.fact("attempts")); err == nil && n > 0 {
		how += fmt.Sprintf(", at attempt %d", n+1)
	}
	return strings.TrimPrefix(how, ", ")
}

func trimHost(err error, host string) string {
	return strings.TrimPrefix(err.Error(), host+": ")
}
