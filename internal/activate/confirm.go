package activate

import (
	"context"
	"time"

	"godwit/internal/hostscript"
	"godwit/internal/reboot"
)

// checkAndConfirm runs the caller's checks, then confirms over new connections
// until the host says how it ended or the time for it is over.
func (d *run) checkAndConfirm(ctx context.Context) error {
	until := time.Now().Add(d.confirm)
	if d.req.Checks != nil {
		checkCtx, cancel := context.WithDeadline(ctx, until.Add(-min(3*time.Second, d.confirm/4)))
		checkCtx, stop := reboot.Watch(checkCtx, d.r, d.state.BootID)
		err := d.req.Checks(checkCtx, Activated)
		rebooted := stop()
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if rebooted { // the old system runs; what the checks say is not about the new one
			return d.follow(ctx, "final")
		}
		if err != nil {
			d.res.Reason = "checks failed: " + trimHost(err, d.req.Host)
			d.sc.Warn("the checks failed: going back to the system that ran before")
			return d.cancel(ctx, "the checks failed")
		}
	}
	wait := 300 * time.Millisecond
	for {
		err := d.attach(ctx, "confirm", "", true)
		d.asked = d.asked || connectionLost(err) || err == nil && d.fr.fact("decision") != "rollback"
		if err == nil && d.fr.fact("phase") != "activated" {
			return d.follow(ctx, "final")
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if d.res.Drops++; time.Now().Before(until) {
				d.sc.Note("no confirmation yet: " + trimHost(err, d.req.Host))
			}
			d.unheard = trimHost(err, d.req.Host)
		}
		if time.Now().After(until) {
			return d.follow(ctx, "final")
		}
		if pause(ctx, wait) != nil {
			return ctx.Err()
		}
		wait = min(2*wait, 3*time.Second)
	}
}

// cancel asks the host to go back now and waits until it has.
func (d *run) cancel(ctx context.Context, reason string) error {
	for {
		err := d.attach(ctx, "cancel", hostscript.Words(reason), false)
		if err == nil {
			return d.follow(ctx, "final")
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if d.expired() != nil {
			return errLost
		}
		if pause(ctx, time.Second) != nil {
			return ctx.Err()
		}
	}
}
