package history

import (
	"context"
	"sync"
	"time"

	"godwit/internal/crash"
	"godwit/internal/redact"
)

// Recorder writes a run while it happens. Its methods come back at once and
// never fail: writing is done by a goroutine of its own, and what goes wrong
// is told once to Warn. A nil Recorder does nothing.
type Recorder struct {
	run  Run
	work chan func(context.Context, *DB) error
	done chan struct{}

	mu     sync.Mutex
	closed bool
	seen   map[string]Result
}

// closeLimit bounds the wait for the last writes at the end of a run.
const closeLimit = 7 * time.Second

// Record starts the record of a run over hosts, in the database in file ("" is
// the usual place). warn is called at most once, from another goroutine.
func Record(file string, run Run, hosts []string, warn func(error)) *Recorder {
	if run.ID == "" {
		run.ID = NewRunID()
	}
	if run.Started.IsZero() {
		run.Started = time.Now()
	}
	r := &Recorder{
		run: run, seen: map[string]Result{}, done: make(chan struct{}),
		// Room for every host, so that nobody ever waits here.
		work: make(chan func(context.Context, *DB) error, 4*len(hosts)+16),
	}
	go func() {
		defer crash.Catch()
		defer close(r.done)
		ctx := context.Background()
		db, err := Open(ctx, file)
		if err == nil {
			defer db.Close()
			err = db.Begin(ctx, run, hosts)
		}
		for fn := range r.work {
			if err == nil {
				err = fn(ctx, db)
			}
		}
		if err != nil && warn != nil {
			warn(err)
		}
	}()
	return r
}

func (r *Recorder) do(fn func(context.Context, *DB) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	select {
	case r.work <- fn:
	default: // the disk hangs: the record is lost, the run goes on
	}
}

// Result notes how a host ended; the last word on a host counts.
func (r *Recorder) Result(res Result) {
	res.Log, res.Reason = redact.String(res.Log), redact.String(res.Reason)
	if r == nil {
		return
	}
	r.mu.Lock()
	seen, again := r.seen[res.Host]
	r.seen[res.Host] = res
	r.mu.Unlock()
	if again && seen.Outcome == res.Outcome && seen.Reason == res.Reason && seen.Deployment == res.Deployment {
		return
	}
	if res.Ended.IsZero() {
		res.Ended = time.Now()
	}
	r.do(func(ctx context.Context, db *DB) error { return db.Result(ctx, r.run.ID, res) })
}

// Plan notes the hash of the plan that was applied.
func (r *Recorder) Plan(hash string) {
	if r == nil || hash == "" {
		return
	}
	r.do(func(ctx context.Context, db *DB) error { return db.Plan(ctx, r.run.ID, hash) })
}

// Discard forgets a run that was stopped before it touched anything.
func (r *Recorder) Discard() {
	if r == nil {
		return
	}
	r.do(func(ctx context.Context, db *DB) error { return db.Forget(ctx, r.run.ID) })
}

// Close ends the run and waits, not for ever, until all is written.
func (r *Recorder) Close() {
	if r == nil {
		return
	}
	now := time.Now()
	r.do(func(ctx context.Context, db *DB) error { return db.End(ctx, r.run.ID, now) })
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.work)
	}
	r.mu.Unlock()
	select {
	case <-r.done:
	case <-time.After(closeLimit):
	}
}
