// Package awake measures time for waits whose end means "nobody answered".
//
// Go's clock runs on while this process is stopped (SIGSTOP, a paused container,
// a virtual machine that was frozen), and on some systems while a laptop sleeps.
// A wait by that clock ends the moment the process wakes, although the other side
// had no chance to be heard. Here a stretch in which this process did not run
// counts as a second at most, so whoever waits gets the rest of its time.
package awake

import (
	"context"
	"sync"
	"time"

	"godwit/internal/crash"
)

const (
	beat = 200 * time.Millisecond // how often the clock looks
	most = time.Second            // what a stretch between two looks counts at most
)

// clock sums up the time in which this process ran.
type clock struct {
	mu    sync.Mutex
	total time.Duration
	last  time.Time
}

func (c *clock) now(t time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if gap := t.Sub(c.last); gap > 0 {
		c.total += min(gap, most)
		c.last = t
	}
	return c.total
}

var running = sync.OnceValue(func() *clock {
	c := &clock{last: time.Now()}
	go func() {
		defer crash.Catch()
		for t := range time.Tick(beat) {
			c.now(t)
		}
	}()
	return c
})

// Instant is a moment of the process's own time.
type Instant time.Duration

// Now is the present moment.
func Now() Instant { return Instant(running().now(time.Now())) }

// Since is how long this process has run since t.
func Since(t Instant) time.Duration { return time.Duration(Now() - t) }

// Add is the moment d after t.
func (t Instant) Add(d time.Duration) Instant { return t + Instant(d) }

// Until is how long this process still has to run until t.
func Until(t Instant) time.Duration { return time.Duration(t - Now()) }

// Timer calls a function once, when this process has run for some time.
type Timer struct {
	f    func()
	mu   sync.Mutex
	end  Instant
	done bool
	t    *time.Timer
}

// AfterFunc calls f, in a goroutine of its own, when this process has run for d.
func AfterFunc(d time.Duration, f func()) *Timer {
	t := &Timer{f: f, end: Now().Add(d)}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.t = time.AfterFunc(d, func() { defer crash.Catch(); t.fire() })
	return t
}

func (t *Timer) fire() {
	t.mu.Lock()
	if t.done {
		t.mu.Unlock()
		return
	}
	if left := Until(t.end); left > 0 { // the process slept
		t.t.Reset(left)
		t.mu.Unlock()
		return
	}
	t.done = true
	t.mu.Unlock()
	t.f()
}

// Reset gives the timer d from now on. One that has called its function, or was
// stopped, stays that way.
func (t *Timer) Reset(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return
	}
	t.end = Now().Add(d)
	t.t.Reset(d)
}

// Stop keeps the timer from calling its function.
func (t *Timer) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done = true
	t.t.Stop()
}

// WithTimeout is context.WithTimeout for time in which this process ran. The
// context's Deadline is its parent's: when its own will come is not known.
func WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	c := &timed{Context: ctx, done: make(chan struct{})}
	t := AfterFunc(d, func() { c.end(context.DeadlineExceeded) })
	stop := context.AfterFunc(ctx, func() { defer crash.Catch(); c.end(ctx.Err()) })
	return c, func() { t.Stop(); stop(); c.end(context.Canceled) }
}

type timed struct {
	context.Context // the parent
	done            chan struct{}
	mu              sync.Mutex
	err             error
}

func (c *timed) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		close(c.done)
	}
}

func (c *timed) Done() <-chan struct{} { return c.done }
func (c *timed) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
