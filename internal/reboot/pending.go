package reboot

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"time"

	"godwit/internal/event"
	"godwit/internal/host"
)

// Pending is a system that is booted once and that nobody has confirmed yet, as
// anybody finds it on the host.
type Pending struct {
	ID, New, Old, Action string
	// Booted tells that the host runs New. Else it is on the way there or, when
	// it is GoingBack, to Old.
	Booted, GoingBack bool
	Started           time.Time
	// Left is how long New may still run unconfirmed; 0 when it does not run.
	Left time.Duration
	Meta map[string]string
}

// Find looks for a reboot that waits for its confirmation; nil: there is none.
// It works from any machine, as Confirm and GoBack do, because the script of the
// deadman lies on the host. Where none could be left nothing is found.
func Find(ctx context.Context, r host.Conn, host string) (*Pending, error) {
	_, f, err := find(ctx, r, host, Options{}, event.Scope{})
	if err != nil || f.id == "" {
		return nil, err
	}
	p := &Pending{ID: f.id, New: f.new, Old: f.old, Action: f.action, Booted: f.booted == f.new, Started: f.started, Left: max(0, f.left)}
	p.GoingBack = f.decision == "back" || !p.Booted && !f.going
	if b, err := base64.StdEncoding.DecodeString(f.meta); err == nil {
		_ = json.Unmarshal(b, &p.Meta)
	}
	return p, nil
}

func find(ctx context.Context, r host.Conn, host string, opts Options, sc event.Scope) (*once, facts, error) {
	d := &once{r: r, req: Request{Host: host}, opts: opts.or(), sc: sc, watch: true}
	d.script = func(verb, reason string) (string, error) { return places().attach(verb, reason, d.res.ID) }
	d.res = OnceResult{Outcome: Failed}
	f, err := d.ask(ctx, "look", "", d.opts.TryTimeout, false)
	if err != nil {
		return d, f, d.fail("cannot look for a pending reboot: %w", plain(err, host)).Because(err)
	}
	d.res.ID, d.res.Running = f.id, f.current
	d.req.New, d.req.Old, d.req.Limit, d.boot = f.new, f.old, f.limit, f.boot
	return d, f, nil
}

// Confirm makes the system that was booted once the boot default.
func Confirm(ctx context.Context, r host.Conn, host string, sc event.Scope) (OnceResult, error) {
	began := time.Now()
	d, f, err := find(ctx, r, host, Options{}, sc)
	switch {
	case err != nil:
	case f.id == "":
		err = d.fail("no reboot waits for its confirmation")
	case f.booted != f.new && f.going:
		err = d.fail("it has not booted the new system yet, so there is nothing to confirm").Hint("godwit status %s shows when it has", host)
	case f.booted != f.new:
		err = d.fail("it booted the system that ran before, so there is nothing to confirm")
	case f.decision == "back":
		err = d.fail("too late: it is going back to the system that ran before")
	default:
		err = d.keep(ctx, f.boot, began.Add(f.left))
	}
	d.res.Took = time.Since(began)
	return d.res, err
}

// GoBack reboots a host from the system that was booted once into the one that
// ran before, and waits for it.
func GoBack(ctx context.Context, r host.Conn, host, reason string, opts Options, sc event.Scope) (OnceResult, error) {
	began := time.Now()
	d, f, err := find(ctx, r, host, opts, sc)
	switch {
	case err != nil:
	case f.id == "":
		err = d.fail("no reboot waits for its confirmation")
	case f.booted != f.new && f.going:
		err = d.fail("it is rebooting into the new system, which cannot be stopped any more").
			Hint("again when it is up; or leave it: %s after its boot it goes back by itself", f.limit)
	case f.booted != f.new:
		err = d.wrong(ctx, f, "")
	default:
		err = d.goBack(ctx, f.boot, reason, nil)
	}
	if d.res.Outcome == RolledBack {
		err = nil
	}
	d.res.Took = time.Since(began)
	return d.res, err
}
