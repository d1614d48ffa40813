package activate

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"godwit/internal/awake"
	"godwit/internal/crash"
	"godwit/internal/hostscript"
	"godwit/internal/reboot"
)

// errTakenBack is why checks end whose host does not wait for them any more.
var errTakenBack = errors.New("the host went back meanwhile")

// checkAndConfirm runs the caller's checks, then confirms over new connections
// until the host says how it ended or the time for it is over.
func (d *run) checkAndConfirm(ctx context.Context) error {
	until := awake.Now().Add(d.confirm)
	if d.req.Checks != nil {
		if over, err := d.checks(ctx, until); over || err != nil {
			return err
		}
	}
	last := awake.Now().Add(min(awake.Until(until), d.silence))
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
			d.res.Drops++
			if d.refusedAgain(err, awake.Until(last)) {
				d.retreat(ctx)
				return d.follow(ctx, "final")
			}
		}
		if awake.Until(last) <= 0 {
			return d.follow(ctx, "final")
		}
		if pause(ctx, wait) != nil {
			return ctx.Err()
		}
		wait = min(2*wait, 2*time.Second)
	}
}

// checks runs the caller's checks, when a first new connection has shown that the
// host can be reached, and keeps it waiting meanwhile. over: the host has not
// waited, or need not.
func (d *run) checks(ctx context.Context, until awake.Instant) (over bool, err error) {
	var mu sync.Mutex
	gaveUp := make(chan struct{})
	giveUp := sync.OnceFunc(func() { close(gaveUp) })
	first := awake.Now().Add(d.silence)
	seat := d.present(ctx, func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			d.denied, d.unheard, first = refusals{}, "", awake.Now().Add(d.silence)
			return
		}
		if left := awake.Until(first); d.refusedAgain(err, left) || left <= -5*time.Second {
			giveUp()
		}
	})
	leave := func() { seat.stop(); <-seat.done; d.res.Drops += seat.drops; d.fr.beat = cmp.Or(seat.beat, d.fr.beat) }
	select {
	case <-seat.first:
	case <-gaveUp:
	case <-ctx.Done():
	}
	if !seat.ok.Load() {
		leave()
		if ctx.Err() != nil {
			return true, ctx.Err()
		}
		select {
		case <-gaveUp:
			if awake.Until(first) > 0 {
				d.retreat(ctx)
			}
		default:
		}
		return true, d.follow(ctx, "final")
	}
	d.unreached = false
	d.lifeline.end()
	d.lifeline = nil

	checkCtx, cancel := context.WithCancelCause(ctx)
	timed, end := awake.WithTimeout(checkCtx, awake.Until(until.Add(-min(3*time.Second, d.confirm/4))))
	go func() {
		defer crash.Catch()
		select {
		case <-seat.lost:
			cancel(seat.why)
		case <-checkCtx.Done():
		}
	}()
	watched, stop := reboot.Watch(timed, d.r, d.state.BootID)
	err = d.req.Checks(watched, Activated)
	rebooted := stop()
	end()
	cause := context.Cause(checkCtx)
	taken := errors.Is(cause, errTakenBack) || errors.Is(cause, reboot.ErrRebooted)
	cancel(nil)
	leave()
	switch {
	case ctx.Err() != nil:
		return true, ctx.Err()
	case rebooted, taken: // the old system runs; what the checks say is not about the new one
		return true, d.follow(ctx, "final")
	case err != nil:
		d.res.Reason = "checks failed: " + trimHost(err, d.req.Host)
		d.sc.Warn("the checks failed: going back to the system that ran before")
		return true, d.cancel(ctx, "the checks failed")
	}
	return false, nil
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
