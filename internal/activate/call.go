package activate

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"godwit/internal/awake"
	"godwit/internal/crash"
	"godwit/internal/host"
)

// calling says how a script is to be run.
type calling struct {
	fresh bool          // over a new connection
	quiet time.Duration // how long it may say nothing at first
	// hold leaves the connection open when its answer is whole, to say one thing
	// more over it (scripts/lease.sh, hold).
	hold bool
}

// patience is how long a connection that was heard may then be silent: the
// scripts speak every two seconds.
const patience = 15 * time.Second

// call runs a script and reads its frames. An answer that ended is no error,
// whatever became of the connection after it. A connection that says nothing
// for a while is cut, and so are those that it shares a master with: it is dead,
// or its ssh is stopped.
func (d *run) call(ctx context.Context, script string, c calling) error {
	ctx, cancel := context.WithCancel(ctx)
	bound := awake.AfterFunc(2*time.Minute, crash.Func(cancel))
	silent := make(chan struct{})
	alarm := awake.AfterFunc(c.quiet, func() { defer crash.Catch(); close(silent); cancel() })
	defer func() { bound.Stop(); alarm.Stop() }()
	d.fr.begin()
	d.fr.heard = func() {
		d.lastOK = awake.Now()
		alarm.Reset(min(c.quiet, patience))
	}
	cmd := host.Cmd{Script: script, Elevate: !d.req.AsUser, Fresh: c.fresh, Stdout: &d.fr,
		Limit: host.NoLimit, MaxOutput: host.NoMaxOutput} // ctx bounds the time; of the log nothing is kept
	var err error
	if c.hold {
		err = d.hold(ctx, cancel, cmd)
	} else {
		err = d.r.Run(ctx, cmd)
		cancel()
	}
	if d.fr.ended || d.fr.has("refused") {
		return nil
	}
	select {
	case <-silent:
		if !c.fresh {
			d.r.Disconnect()
		}
	default:
	}
	if err == nil {
		err = errors.New("the host's answer was incomplete")
	}
	return err
}

// attach runs a verb of the deployment.
func (d *run) attach(ctx context.Context, verb, a2 string, fresh bool) error {
	script, err := d.req.at.attachScript(d.id, verb, strconv.FormatInt(d.fr.received, 10), a2)
	if err != nil {
		return err
	}
	return d.call(ctx, script, calling{fresh: fresh, quiet: 30 * time.Second, hold: verb == "follow" && a2 == "activated" && d.guarded()})
}

// lifeline is a connection that stays open after its answer.
type lifeline struct {
	in     *io.PipeWriter
	cancel context.CancelFunc
	done   chan error
}

// hold runs cmd until its answer is whole, and keeps the connection.
func (d *run) hold(ctx context.Context, cancel context.CancelFunc, cmd host.Cmd) error {
	go crash.Func(d.lifeline.end)()
	in, feed := io.Pipe()
	h := &lifeline{in: feed, cancel: cancel, done: make(chan error, 1)}
	ended := make(chan struct{})
	d.fr.whole = func() { close(ended) }
	tap := &tap{w: cmd.Stdout}
	cmd.Stdin, cmd.Answers, cmd.Stdout = in, true, tap
	go func() {
		defer crash.Catch()
		var err error
		defer func() { _ = in.Close(); h.done <- err }()
		err = d.r.Run(ctx, cmd)
	}()
	select {
	case err := <-h.done:
		tap.close()
		d.fr.whole = nil
		cancel()
		_ = feed.Close()
		return err
	case <-ended:
		tap.close()
		d.lifeline = h
		return nil
	}
}

// say sends a line over a connection that was held; false when it is gone.
func (h *lifeline) say(line string) bool {
	if h == nil {
		return false
	}
	sent := make(chan error, 1)
	go func() { defer crash.Catch(); _, err := io.WriteString(h.in, line+"\n"); sent <- err }()
	select {
	case err := <-sent:
		_ = h.in.Close()
		if err != nil {
			return false
		}
		select { // the host acts on it and hangs up
		case <-h.done:
			h.done <- nil
			return true
		case <-time.After(5 * time.Second):
			return true
		}
	case <-time.After(2 * time.Second):
		return false
	}
}

// end hangs up. It may be called again, and of none.
func (h *lifeline) end() {
	if h == nil {
		return
	}
	_ = h.in.Close()
	select {
	case err := <-h.done:
		h.done <- err
	case <-time.After(time.Second):
		h.cancel()
		select {
		case err := <-h.done:
			h.done <- err
		case <-time.After(5 * time.Second):
		}
	}
	h.cancel()
}

// tap is a writer that can be closed while others still write to it.
type tap struct {
	mu sync.Mutex
	w  io.Writer
}

func (t *tap) Write(p []byte) (int, error) {
	defer crash.Catch()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.w == nil {
		return len(p), nil
	}
	return t.w.Write(p)
}

func (t *tap) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.w = nil
}
