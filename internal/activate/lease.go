package activate

import (
	"cmp"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"godwit/internal/awake"
	"godwit/internal/crash"
	"godwit/internal/host"
	"godwit/internal/hostscript"
	"godwit/internal/reboot"
)

// The host bears only so much silence while it waits for its confirmation
// (scripts/lease.sh). This is the deployer's side: a connection that was opened
// after the activation, and a line over it every few seconds.

// ticks divides the silence into what the host counts: so many ticks of so many
// seconds. No ticks: nothing to renew.
func (d *run) ticks() (each, count int) {
	silence := seconds(d.silence)
	if silence >= seconds(d.confirm) {
		return 0, 0
	}
	each = max(1, silence/15)
	return each, (silence + each - 1) / each
}

// renewEvery is how often the deployer gives a sign of life.
func (d *run) renewEvery() time.Duration {
	return between(100*time.Millisecond, d.silence/15, 3*time.Second)
}

// attendance is the deployer's presence on the host during its checks.
type attendance struct {
	first chan struct{} // closed when the host was reached, or has decided
	lost  chan struct{} // closed when the host has decided, or is gone
	stop  context.CancelFunc
	done  chan struct{}
	why   error       // after lost: errTakenBack, or reboot.ErrRebooted
	ok    atomic.Bool // it was reached while it waited
	drops int
	beat  beat
}

// present keeps the host waiting, from its first new connection on, until stop is
// called. tried gets the error of every connection that failed, nil of one that
// stands.
func (d *run) present(ctx context.Context, tried func(error)) *attendance {
	ctx, stop := context.WithCancel(ctx)
	a := &attendance{first: make(chan struct{}), lost: make(chan struct{}), why: errTakenBack, stop: stop, done: make(chan struct{})}
	script, err := d.req.at.attachScript(d.id, "attend", "0", "")
	first, lost := sync.OnceFunc(func() { close(a.first) }), sync.OnceFunc(func() { close(a.lost) })
	go func() {
		defer crash.Catch()
		defer close(a.done)
		defer lost()
		defer first()
		wait := 300 * time.Millisecond
		for ctx.Err() == nil {
			stood := false
			var fr frames
			if err == nil {
				fr, err = d.attendOnce(ctx, script, func(b beat) {
					if !stood {
						stood, wait = true, 300*time.Millisecond
						a.ok.Store(true)
						tried(nil)
						first()
					}
					a.beat = b
				})
			}
			if fr.ended { // it has decided, or has forgotten the deployment
				if fr.has("gone") && fr.fact("boot-id") != d.state.BootID {
					a.why = reboot.ErrRebooted
				}
				return
			}
			if ctx.Err() != nil {
				return
			}
			if a.drops++; !stood {
				tried(err)
			}
			err = nil
			_ = pause(ctx, wait)
			wait = min(2*wait, 2*time.Second)
		}
	}()
	return a
}

// attendOnce holds one connection for as long as it can, or as the host waits.
func (d *run) attendOnce(ctx context.Context, script string, stands func(beat)) (frames, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, feed := io.Pipe()
	defer in.Close()
	fr := frames{}
	fr.begin()
	alarm := awake.AfterFunc(30*time.Second, crash.Func(cancel))
	defer alarm.Stop()
	every := d.renewEvery()
	fr.beaten = func(b beat) {
		alarm.Reset(max(3*every, min(10*time.Second, d.silence/4)))
		stands(b)
	}
	fr.whole = func() { _ = feed.Close() } // or it waits for more of us
	go func() {
		defer crash.Catch()
		for pause(ctx, every) == nil {
			if _, err := io.WriteString(feed, "\n"); err != nil {
				return
			}
		}
		_ = feed.Close()
	}()
	err := d.r.Run(ctx, host.Cmd{Script: script, Elevate: !d.req.AsUser, Fresh: true, Stdin: in, Stdout: &fr, Limit: host.NoLimit})
	if !fr.ended && err == nil {
		err = errors.New("the host's answer was incomplete")
	}
	return fr, err
}

// refusals are what new connections get for an answer, one after the other.
type refusals struct {
	limit time.Duration // after so long nothing else is expected; 0: it may change
	why   string        // the answer that says so
	since awake.Instant // when the first of them came
	said  string        // the last line about it
	at    awake.Instant // when that was
}

// certain is how long the same answer must come until nothing else is expected:
// an ssh server may be on its way up. 0: never.
func certain(kind string) time.Duration {
	switch kind {
	case "root", string(host.AuthFailed), string(host.HostKeyChanged), string(host.NoLogin):
		return 8 * time.Second
	case string(host.Refused), string(host.Dropped):
		return 20 * time.Second
	}
	return 0
}

func kindOf(err error) string {
	var root *host.ElevateError
	if errors.As(err, &root) {
		return "root"
	}
	return string(host.KindOf(err))
}

// refusedAgain notes that a new connection failed, says so when there is something
// new to say, and tells whether it will go on like that.
func (d *run) refusedAgain(err error, left time.Duration) bool {
	r := &d.denied
	kind, text := kindOf(err), trimHost(err, d.req.Host)
	d.unheard = text
	// A server that refuses our key may then refuse to talk to us for a while.
	switch limit := min(certain(kind), d.silence/2); {
	case limit == 0 || r.limit == 0:
		r.limit, r.since, r.why = limit, awake.Now(), text
	case limit <= r.limit:
		r.limit, r.why = limit, text
	default:
		d.unheard = r.why
	}
	if left > 0 && (text != r.said || awake.Since(r.at) >= 15*time.Second) {
		r.said, r.at = text, awake.Now()
		d.sc.Note("no confirmation yet: " + text + "; the host goes back in " + round(left).String() + " unless it is reached")
	}
	return !d.req.patient && r.limit > 0 && awake.Since(r.since) >= r.limit
}

// retreat asks the host over an old connection to go back, because no new one can
// be made. When that one is gone, too, it goes back when the silence is over.
func (d *run) retreat(ctx context.Context) {
	reason := "not reached: " + cmp.Or(d.unheard, "no new connection")
	if d.req.KeepUnconfirmed {
		d.sc.Warn("the new system accepts no login: it is kept anyway")
	} else {
		d.sc.Warn("the new system accepts no login: going back to the system that ran before")
	}
	d.denied = refusals{}
	if d.lifeline.say("back " + hostscript.Words(reason)) {
		d.lifeline = nil
		return
	}
	if d.req.KeepUnconfirmed { // it decides by itself when the silence is over
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	_ = d.attach(ctx, "cancel", hostscript.Words(reason), false)
}
