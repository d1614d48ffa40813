package reboot

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/hostscript"
)

// Loader is what boots a host.
type Loader struct {
	// Kind can boot an entry once: "sdboot", "grub", "lab". Empty: nothing there can.
	Kind string
	// Why says why nothing can.
	Why string
}

// NoMagicOnce is why a host of which the configuration says magicRollback = false does not
// boot a system once: one that nobody confirms would not be kept.
const NoMagicOnce = "the configuration keeps a system that nobody confirms"

// Once tells whether the loader can boot an entry once.
func (l Loader) Once() bool { return l.Kind != "" }

// Probe looks which boot loader a host has. It changes nothing.
func Probe(ctx context.Context, r host.Conn, name string) (Loader, error) {
	script, err := places().probe()
	if err != nil {
		return Loader{}, err
	}
	var out strings.Builder
	if err := r.Run(ctx, host.Cmd{Script: script, Elevate: true, Stdout: &out, Name: "the inspection of the boot loader"}); err != nil {
		return Loader{}, fault.New("cannot look at its boot loader: %w", plain(err, name)).On(name).Because(err)
	}
	word := strings.TrimSpace(out.String())
	if why, none := strings.CutPrefix(word, "- "); none {
		return Loader{Why: why}, nil
	}
	if word == "" || strings.ContainsAny(word, " \n") {
		return Loader{}, fault.New("cannot look at its boot loader: it says %q", word).On(name)
	}
	return Loader{Kind: word}, nil
}

// Request is a system to be booted once.
type Request struct {
	Host string
	// New is booted once; Old is the boot default until New is confirmed.
	New, Old string
	// Profile is the system profile, Link the generation's link that it names
	// now ("system-41-link").
	Profile, Link string
	Loader        Loader
	Action        string // for the record
	// Limit is how long New may run before it is confirmed; after that the host
	// reboots into Old by itself.
	Limit time.Duration
	// Failed are the units that had failed before.
	Failed []string
	// Ignore tells of a unit whether its failure does not matter; may be nil.
	Ignore func(unit string) bool
	Meta   map[string]string
	// Beside makes the script that lays what goes with New: the host's other profiles
	// (activate.Beside). They are tried when New is up, within BesideMax, and kept and taken
	// back with it. nil: there are none.
	Beside    func(id string) (string, error)
	BesideMax time.Duration
	// Checks is run when New is up; an error takes the host back to Old. Its
	// context ends in time for that.
	Checks func(ctx context.Context) error
}

// loaderMax is how long a host waits for `switch-to-configuration boot` before it
// kills it: some write many kernels to a slow disk.
const loaderMax = 10 * time.Minute

// Outcomes of BootOnce.
const (
	Changed    = event.OutcomeChanged    // New runs, and is the boot default
	RolledBack = event.OutcomeRolledBack // Old runs, and is the boot default
	Untouched  = event.OutcomeUntouched  // nothing was changed
	Failed     = event.OutcomeFailed     // not known, or neither
)

// Beside is a profile that goes with the system; Old is empty where there was none.
type Beside struct{ Name, Kind, Old, New string }

// BesideFolder is where a host keeps, over reboots, what goes with a system that is booted
// once: run.sh with the verbs of internal/activate/scripts/beside.sh, and a folder for each
// profile.
const BesideFolder = "/var/lib/godwit/beside"

// OnceResult is how BootOnce ended.
type OnceResult struct {
	Outcome event.Outcome
	ID      string
	Running string // what the host ran when last heard of; empty: not known
	Reason  string
	Took    time.Duration
	// Beside is what became of the profiles beside the system, in their order, without
	// those that were as they should be.
	Beside []Beside
}

// once is one such reboot.
type once struct {
	r    host.Conn
	req  Request
	opts Options
	sc   event.Scope
	vars variables
	// script is what is sent for a verb.
	script func(verb, reason string) (string, error)
	res    OnceResult
	boot   string // boot id before
	watch  bool   // a deadman waits on the other side
}

// facts are what the host says.
type facts struct {
	boot, booted, current, profile, state, decision, final, reason string
	refused                                                        string
	id, new, old, action, meta                                     string // of somebody else's reboot
	going, unwatched, pending, ended                               bool
	tried                                                          string // "STATUS NAME"
	beside                                                         []Beside
	left, limit                                                    time.Duration
	started                                                        time.Time
	units, log                                                     []string
}

func parseFacts(text string) facts {
	var f facts
	for name, value := range hostscript.Answer(text, &f.ended) {
		switch name {
		case "boot":
			f.boot = value
		case "booted":
			f.booted = value
		case "current":
			f.current = value
		case "profile":
			f.profile = value
		case "state":
			f.state = value
		case "decision":
			f.decision = value
		case "final":
			f.final = value
		case "reason":
			f.reason = value
		case "refused":
			f.refused = value
		case "id":
			f.id = value
		case "new":
			f.new = value
		case "old":
			f.old = value
		case "action":
			f.action = value
		case "meta":
			f.meta = value
		case "tried":
			f.tried = value
		case "of":
			if w := strings.Fields(value); len(w) == 4 {
				f.beside = append(f.beside, Beside{Name: w[0], Kind: w[1], Old: strings.TrimPrefix(w[2], "-"), New: w[3]})
			}
		case "limit":
			n, _ := strconv.Atoi(value)
			f.limit = time.Duration(n) * time.Second
		case "started":
			n, _ := strconv.ParseInt(value, 10, 64)
			f.started = time.Unix(n, 0)
		case "going":
			f.going = true
		case "unwatched":
			f.unwatched = true
		case "pending":
			f.pending = true
		case "left":
			n, _ := strconv.Atoi(value)
			f.left = time.Duration(n) * time.Second
		case "unit":
			f.units = append(f.units, value)
		case "log":
			f.log = append(f.log, value)
		}
	}
	return f
}

func (o Options) or() Options {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Poll <= 0 {
		o.Poll = 2 * time.Second
	}
	if o.TryTimeout <= 0 {
		o.TryTimeout = 20 * time.Second
	}
	return o
}

// BootOnce reboots a host into a system that is not the boot default, and makes
// it that when it is up and well. Whatever happens to the host or to this
// machine before, the host ends in the old system: at the next power cycle, or
// by itself when the new system came as far as its systemd. Notes go to scope;
// the step's start and end are the caller's to emit.
func BootOnce(ctx context.Context, r host.Conn, req Request, opts Options, scope event.Scope) (OnceResult, error) {
	d := &once{r: r, req: req, opts: opts.or(), sc: scope, watch: true}
	start := time.Now()
	d.res = OnceResult{Outcome: Untouched, ID: hostscript.NewID(), Running: req.Old}
	meta := map[string]string{"host": req.Host}
	for k, v := range req.Meta {
		meta[k] = v
	}
	b, err := json.Marshal(meta)
	if err != nil {
		return d.res, err
	}
	d.vars = places()
	d.vars["ASKED"], d.vars["BESIDE_SH"], d.vars["BESIDE_MAX"] = "", "", strconv.Itoa(int((req.BesideMax+time.Second-1)/time.Second))
	if req.Beside != nil {
		lay, err := req.Beside(d.res.ID)
		if err != nil {
			return d.res, err
		}
		d.vars["BESIDE_SH"] = base64.StdEncoding.EncodeToString([]byte(lay))
	}
	for k, v := range map[string]string{"ID": d.res.ID, "NEW": req.New, "OLD": req.Old, "PROFILE": req.Profile, "LINK": req.Link,
		"LOADER": req.Loader.Kind, "ACTION": req.Action, "LIMIT": strconv.Itoa(int((req.Limit + time.Second - 1) / time.Second)),
		"LOADER_MAX": strconv.Itoa(int(loaderMax / time.Second)),
		"STARTED":    strconv.FormatInt(start.Unix(), 10), "META": base64.StdEncoding.EncodeToString(b)} {
		d.vars[k] = v
	}
	d.script = d.vars.send
	err = d.run(ctx)
	d.res.Took = time.Since(start)
	return d.res, err
}

func (d *once) fail(format string, args ...any) *fault.Error {
	return fault.New(format, args...).On(d.req.Host)
}

// ask sends a verb and reads the facts. Without the end of the answer there is
// an error.
func (d *once) ask(ctx context.Context, verb, reason string, limit time.Duration, fresh bool) (facts, error) {
	script, err := d.script(verb, hostscript.Words(reason))
	if err != nil {
		return facts{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out, errs strings.Builder
	err = d.r.Run(ctx, host.Cmd{Script: script, Elevate: true, Fresh: fresh, Stdout: &out, Stderr: &errs, Limit: limit})
	f := parseFacts(out.String())
	if f.ended {
		if len(f.beside) > 0 {
			d.res.Beside = f.beside
		}
		return f, nil
	}
	if err == nil {
		err = errors.New("the host's answer was incomplete")
	}
	return f, err
}

func (d *once) run(ctx context.Context) error {
	f, err := d.ask(ctx, "look", "", d.opts.TryTimeout, false)
	if err != nil {
		return d.fail("not rebooted: cannot look at it: %w", plain(err, d.req.Host)).Because(err)
	}
	d.boot = f.boot
	d.vars["ASKED"] = f.boot
	d.sc.Note("Booting the new system once; the old one stays the boot default")
	f, err = d.start(ctx)
	if err != nil {
		return err
	}
	d.watch = !f.unwatched
	if f.unwatched {
		d.sc.Warn("no deadman could be left for the time after the reboot: only a power cycle leads back to the old system by itself")
	}
	d.res.Outcome, d.res.Running = Failed, ""
	d.sc.Note("Waiting for host to come online")
	if f, err = d.back(ctx, d.boot, true); err != nil {
		return err
	}
	if f.booted == d.req.New {
		return d.judge(ctx, f)
	}
	return d.wrong(ctx, f, "")
}

// start asks for it, again when the connection is lost: the host knows.
func (d *once) start(ctx context.Context) (facts, error) {
	var last error
	// A host that answers is still at it: its boot loader may take its time, also to be undone.
	end := time.Now().Add(2*loaderMax + time.Minute)
	for try := 0; try < 5 || last == nil && time.Now().Before(end); try++ {
		if try > 0 {
			if err := pause(ctx, time.Second); err != nil {
				break
			}
		}
		f, err := d.ask(ctx, "go", "", 3*time.Minute, false)
		if code, why, _ := strings.Cut(f.refused, " "); f.refused != "" {
			if code == "75" {
				return f, d.fail("another deployment is under way on this host (%s)", why).Exit(75).Hint("godwit status %s shows it", d.req.Host)
			}
			return f, d.fail("%s; nothing was changed", why)
		}
		switch {
		case f.final != "":
			e := d.fail("not rebooted: %s; the host is as before", f.reason)
			for _, l := range f.log {
				e.Detail("  | " + l)
			}
			if strings.Contains(f.reason, "boot loader could not be set") {
				e.Msg = fmt.Sprintf("not rebooted: %s; the old system still runs and stays the boot default", f.reason)
				e.Hint("on the host, run %s/bin/switch-to-configuration boot and see what delays it; then deploy again", d.req.Old)
			}
			return f, e
		case f.boot != "" && f.boot != d.boot || f.going:
			return f, nil
		}
		last = err
		var dropped *host.DroppedError
		var e *fault.Error
		if err != nil && errors.As(err, &e) && !errors.As(err, &dropped) && try == 0 {
			return f, d.fail("not rebooted: %w", plain(err, d.req.Host)).Because(err) // it never reached the host
		}
		if errors.As(err, &dropped) || host.Retryable(err) {
			// Going down already? back finds out, within its limits.
			if try > 0 {
				return facts{}, nil
			}
		}
	}
	d.res.Outcome, d.res.Running = Failed, ""
	if ctx.Err() != nil {
		return facts{}, d.interrupted(ctx)
	}
	return facts{}, d.fail("not known whether it reboots: %v", last).Because(last).Hint("godwit status %s", d.req.Host)
}

func pause(ctx context.Context, t time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(t):
		return nil
	}
}

func (d *once) interrupted(ctx context.Context) error {
	f := d.fail("interrupted while it reboots into the new system").Because(context.Cause(ctx))
	if d.watch {
		f.Detail(fmt.Sprintf("no deployer confirms that now: %s after its boot the host goes back to", d.req.Limit), "  "+d.req.Old)
	} else {
		f.Detail("no deployer confirms that now: the next reboot leads back to", "  "+d.req.Old)
	}
	return f.Hint("godwit status %s", d.req.Host)
}

// givenUp is Ctrl-C when the new system is up: it says what the host decided. The
// verb back asks it to go back, unless it was confirmed already.
func (d *once) givenUp(ctx context.Context, verb string) error {
	f, err := d.ask(context.WithoutCancel(ctx), verb, "interrupted by the deployer", 8*time.Second, false)
	e := d.fail("interrupted").Because(context.Cause(ctx)).Hint("godwit status %s", d.req.Host)
	switch {
	case err == nil && strings.HasPrefix(f.final, "done"):
		d.res.Running = f.current
		e.Msg = "interrupted, but the new system had been confirmed already"
	case err == nil && f.decision == "keep" && f.reason == "":
		e.Msg = "interrupted, but the new system had been confirmed already; the host is making it permanent"
	case err == nil && f.decision != "":
		e.Msg = "interrupted; the host is rebooting into the system that ran before"
	default:
		return d.interrupted(ctx)
	}
	return e
}

// back waits until the host runs another boot than before. On the way there,
// with the new system silent, the host may need the deadman's time as well.
func (d *once) back(ctx context.Context, before string, deadman bool) (facts, error) {
	limit := time.Now().Add(d.opts.Timeout)
	down, warned := false, false
	var last error
	for {
		f, err := d.ask(ctx, "look", "", d.opts.TryTimeout, true)
		switch {
		case err == nil && f.boot != before:
			d.r.Disconnect() // what it had belongs to the old boot
			d.res.Running = f.current
			return f, nil
		case err == nil && strings.HasPrefix(f.final, "done"): // the answer to keep was lost
			d.res.Outcome, d.res.Running = Changed, f.current
			return f, d.fail("the new system was confirmed after all: it runs and boots").Detail("running now   " + f.current)
		case err == nil && f.final != "" && deadman: // undone after all
			d.res.Outcome, d.res.Running = Untouched, d.req.Old
			return f, d.fail("not rebooted: %s; the host is as before", f.reason).Detail(f.log...)
		case err != nil && ctx.Err() == nil:
			if !down {
				down = true
				d.sc.Log("the host does not answer any more")
			}
			last = err
			if host.WrongKey(err) {
				e := d.fail("rebooted, but something other than before answers: %w", plain(err, d.req.Host)).Because(err)
				return f, d.hopeless(e)
			}
		}
		if ctx.Err() == nil && time.Now().After(limit) {
			if !down || warned || !deadman || !d.watch {
				break
			}
			warned = true
			limit = time.Now().Add(d.req.Limit + min(d.opts.Timeout, time.Minute))
			d.sc.Warn(fmt.Sprintf("no answer for %s: waiting until it goes back to the old system by itself", d.opts.Timeout.Round(time.Second)))
		}
		if pause(ctx, d.opts.Poll) != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return facts{}, d.interrupted(ctx)
	}
	wait := d.opts.Timeout.Round(time.Second)
	if !down {
		return facts{}, d.hopeless(d.fail("was asked to reboot, but %s later it still runs the same boot", wait).
			Hint("look for what delays it: systemd-inhibit --list; systemctl list-jobs"))
	}
	e := d.fail("went down to reboot and did not come back within %s", wait).Because(last)
	if last != nil {
		e.Detail("the last try said: " + plain(last, d.req.Host).Error())
	}
	return facts{}, d.hopeless(e)
}

// hopeless says what becomes of a host that is not heard any more.
func (d *once) hopeless(f *fault.Error) error {
	d.res.Outcome, d.res.Running = Failed, ""
	if d.watch {
		f.Detail(fmt.Sprintf("if its systemd runs, the host goes back by itself %s after its boot", d.req.Limit))
	}
	return f.Hint("power-cycle the host: it boots %s", d.req.Old).Hint("godwit status %s; wait longer with --reboot-timeout SECONDS", d.req.Host)
}

// judge is about a host that runs the new system, unconfirmed.
func (d *once) judge(ctx context.Context, f facts) error {
	left := d.req.Limit
	if f.left > 0 {
		left = f.left
	}
	until := time.Now().Add(left)
	d.sc.Note(fmt.Sprintf("The new system is up; it goes back in %s unless confirmed", left.Round(time.Second)))
	reason := ""
	var cause error
	// Units may still be starting.
	for f.state == "starting" || f.state == "initializing" {
		if pause(ctx, d.opts.Poll) != nil || time.Until(until) < left/2 {
			break
		}
		if g, err := d.ask(ctx, "look", "", d.opts.TryTimeout, false); err == nil {
			f = g
		}
	}
	if d.req.Beside != nil {
		var rebooted bool
		if reason, rebooted = d.tryBeside(ctx, f.boot); rebooted {
			g, err := d.back(ctx, f.boot, false)
			if err != nil {
				return err
			}
			return d.wrong(ctx, g, "it rebooted before it was confirmed")
		}
	}
	if d.req.Checks != nil && reason == "" && ctx.Err() == nil {
		checks, cancel := context.WithDeadline(ctx, until.Add(-min(10*time.Second, left/4)))
		checks, stop := Watch(checks, d.r, f.boot)
		err := d.req.Checks(checks)
		rebooted := stop()
		cancel()
		if rebooted && ctx.Err() == nil {
			g, err := d.back(ctx, f.boot, false)
			if err != nil {
				return err
			}
			return d.wrong(ctx, g, "it rebooted before it was confirmed")
		}
		if err != nil && ctx.Err() == nil {
			reason, cause = "checks failed: "+plain(err, d.req.Host).Error(), err
		}
	}
	if reason == "" && ctx.Err() == nil {
		if g, err := d.ask(ctx, "look", "", d.opts.TryTimeout, true); err == nil {
			f = g
		}
		failed := slices.DeleteFunc(f.units, func(u string) bool {
			return slices.Contains(d.req.Failed, u) || d.req.Ignore != nil && d.req.Ignore(u)
		})
		if len(failed) > 0 {
			reason = "units failed that had not failed before: " + strings.Join(failed, ", ")
		}
	}
	switch {
	case ctx.Err() != nil:
		return d.givenUp(ctx, "back")
	case reason != "":
		return d.goBack(ctx, f.boot, reason, cause)
	}
	return d.keep(ctx, f.boot, until)
}

// tryBeside makes the other profiles run on a host that runs the new system, and says why
// they do not. The host bounds it.
func (d *once) tryBeside(ctx context.Context, boot string) (reason string, rebooted bool) {
	told := map[string]bool{}
	for end := time.Now().Add(d.req.BesideMax + time.Minute); ; {
		f, err := d.ask(ctx, "trying", "", 2*time.Minute, false)
		for _, l := range f.log {
			if !told[l] {
				told[l] = true
				d.sc.Log(l)
			}
		}
		status, name, _ := strings.Cut(f.tried, " ")
		switch {
		case ctx.Err() != nil:
			return "", false
		case err == nil && f.boot != boot:
			return "", true
		case err == nil && status == "0":
			d.sc.Note("the other profiles run, too")
			return "", false
		case err == nil && f.tried != "":
			return strings.TrimSpace(fmt.Sprintf("profile %s could not be activated, exit %s", name, status)), false
		case err == nil && f.reason != "":
			return f.reason, false
		case time.Now().After(end):
			return fmt.Sprintf("the other profiles were not activated within %s", d.req.BesideMax), false
		}
		_ = pause(ctx, time.Second)
	}
}

// keep makes the new system the boot default.
func (d *once) keep(ctx context.Context, boot string, until time.Time) error {
	wait := 300 * time.Millisecond
	for {
		f, err := d.ask(ctx, "keep", "", 2*time.Minute, true)
		switch {
		case err == nil && strings.HasPrefix(f.final, "done"):
			d.res.Outcome, d.res.Running = Changed, f.current
			return nil
		case err == nil && f.boot != boot:
			return d.wrong(ctx, f, "it rebooted before it was confirmed")
		case err == nil && f.reason != "":
			return d.goBack(ctx, boot, f.reason, nil)
		case ctx.Err() != nil:
			return d.givenUp(ctx, "look")
		case err != nil && time.Now().Before(until):
			d.sc.Note("no confirmation yet: " + plain(err, d.req.Host).Error())
		}
		end := until.Add(time.Minute)
		if f.decision == "keep" {
			end = end.Add(loaderMax) // it is at it, and ends it by itself
		}
		if time.Now().After(end) {
			return d.goBack(ctx, boot, "the new system could not be confirmed", err)
		}
		if pause(ctx, wait) != nil {
			return d.givenUp(ctx, "look")
		}
		wait = min(2*wait, 3*time.Second)
	}
}

// goBack reboots into the old system and waits for it.
func (d *once) goBack(ctx context.Context, boot, reason string, cause error) error {
	d.res.Reason = reason
	d.sc.Warn(reason + ": rebooting into the system that ran before")
	for try := 0; ; try++ {
		f, err := d.ask(ctx, "back", reason, time.Minute, false)
		if err == nil || f.boot != "" && f.boot != boot || try >= 3 || ctx.Err() != nil {
			break
		}
		_ = pause(ctx, time.Second)
	}
	f, err := d.back(ctx, boot, false)
	if err != nil {
		return err
	}
	err = d.wrong(ctx, f, reason)
	var why, e *fault.Error
	if errors.As(cause, &why) && errors.As(err, &e) {
		e.Lines = slices.Concat(why.Lines, e.Lines)
	}
	return err
}

// wrong is about a host that came up with another system than the new one.
func (d *once) wrong(ctx context.Context, f facts, reason string) error {
	if f.booted != d.req.Old {
		d.res.Outcome = Failed
		return d.fail("after the reboot it runs neither the new system nor the one from before").
			Detail("running now   "+f.current, "new           "+d.req.New, "before        "+d.req.Old).Hint("godwit status %s", d.req.Host)
	}
	// Profile and boot menu are put back by the host itself, after its boot.
	for end := time.Now().Add(90*time.Second + d.req.BesideMax); f.pending && time.Now().Before(end); {
		if pause(ctx, d.opts.Poll) != nil {
			break
		}
		if g, err := d.ask(ctx, "look", "", d.opts.TryTimeout, false); err == nil {
			f = g
		}
	}
	d.res.Outcome, d.res.Running = RolledBack, f.current
	var e *fault.Error
	if reason == "" {
		reason = "the host came back with the old system"
		e = d.fail("the new system did not come up: the host came back with the system that ran before")
		e.Detail("the boot loader did not take the entry, or the new system was not reached and the host went back")
	} else {
		e = d.fail("%s; the host was rebooted into the system that ran before", reason)
	}
	d.res.Reason = reason
	e.Detail(fmt.Sprintf("running now   %s (as before the deploy)", f.current))
	if f.pending {
		e.Detail("its profile still names the new system; the next deploy corrects that")
	}
	return e.Exit(3).Hint("journalctl -b -1 on %s shows the boot of the new system", d.req.Host)
}
