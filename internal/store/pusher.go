package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/fault"
)

// Dest is a store to copy to.
type Dest struct {
	Endpoint
	// Roots are the paths that must be there in the end, with all they refer to.
	Roots []string
	// Substitute lets the host fetch what it can from its own caches first.
	Substitute bool
	// Host is the name in events and results; Endpoint.Name if empty.
	Host string
	// GCRoot makes what was pushed a garbage collector root. It is called when
	// everything is there and before the temporary roots end. May be nil.
	GCRoot func(ctx context.Context) error
	// Direct, if not nil, is tried before sending through this machine.
	Direct *Direct
	// Begin is called before anything is copied, while the host is asked what it
	// has, unless in a dry run. May be nil: Room is asked then.
	Begin func(ctx context.Context) (Begun, error)
	// Mend is called when Begin says that an earlier copy was cut, without a
	// connection to the store. It gives the paths that it took out of the store, and
	// the copy has begun then.
	Mend func(ctx context.Context) ([]string, error)
	// Room tells how much room the host's store has. May be nil.
	Room func(ctx context.Context) (Room, error)
	// Wire chooses the way that missing bytes of NARs take: the Endpoint's own, or
	// where it gives a connection another one to the same store. May be nil.
	Wire func(ctx context.Context, missing int64) *Endpoint
}

// Options are the settings of a Pusher.
type Options struct {
	// DryRun only finds out what would be copied.
	DryRun bool
	// SpoolDir is where data waits for slow hosts; os.TempDir() if empty.
	SpoolDir string
	// SpoolBytes bounds it: 0 is 1 GiB, less than 0 no spool at all.
	SpoolBytes int64
	// Idle is how long a peer may be silent while it owes something;
	// DefaultIdle if 0.
	Idle time.Duration
	// SubstituteTimeout bounds the time a host may spend on one batch of paths
	// that it fetches from its caches; 10 minutes if 0.
	SubstituteTimeout time.Duration

	// For tests.
	grace  time.Duration // joinGrace if 0
	second time.Duration // secondConn if 0
	worth  time.Duration // worthGain if 0

	// Sink takes the events of Push; Copy has its own.
	Sink event.Sink
}

// Result is what became of one host.
type Result struct {
	Host string
	// Paths and Bytes (of NARs) have arrived; with DryRun they would be sent.
	Paths int
	Bytes int64
	// Direct is how much of Bytes did not pass through this machine.
	Direct int64
	// Substituted is how many paths the host fetched by itself.
	Substituted int
	// Skipped is how many paths were there before.
	Skipped  int
	Duration time.Duration
	Err      error
}

// Pusher copies closures from one source to many hosts. Pushes that run at the
// same time share the reading of the paths that they have in common.
type Pusher struct {
	src    Endpoint
	opt    Options
	ctx    context.Context
	cancel context.CancelCauseFunc
	busy   sync.WaitGroup

	// query is held while the source is asked about closures.
	query    chan struct{}
	infos    map[string]*Info    // under query
	complete map[string]struct{} // paths whose whole closure is in infos
	dealt    [streams]int64      // bytes of each stream: see deal
	visits   uint32              // of closures
	found    []*Info             // room for one

	mu        sync.Mutex
	conns     []*conn // idle ones
	objects   map[string]*object
	lanes     map[*lane]struct{}
	laneFreed chan struct{}
	spool     spool
	free      [][]byte
	private   int // lanes of one feed
	pushes    int // that run
	joining   int // pushes that will join soon
	pending   []*joiner
	closed    bool

	// For tests and measurements.
	read, spooled int64
	rereads       int
}

// NewPusher makes a Pusher for a source. Close it.
func NewPusher(src Endpoint, opt Options) *Pusher {
	if opt.SpoolDir == "" {
		opt.SpoolDir = os.TempDir()
	}
	if opt.SpoolBytes == 0 {
		opt.SpoolBytes = 1 << 30
	}
	if opt.Idle == 0 {
		opt.Idle = DefaultIdle
	}
	if opt.SubstituteTimeout == 0 {
		opt.SubstituteTimeout = 10 * time.Minute
	}
	if opt.grace == 0 {
		opt.grace = joinGrace
	}
	if opt.second == 0 {
		opt.second = secondConn
	}
	if opt.worth == 0 {
		opt.worth = worthGain
	}
	if opt.Sink == nil {
		opt.Sink = event.Discard
	}
	p := &Pusher{
		src:       src,
		opt:       opt,
		query:     make(chan struct{}, 1),
		infos:     make(map[string]*Info),
		complete:  make(map[string]struct{}),
		objects:   make(map[string]*object),
		lanes:     make(map[*lane]struct{}),
		laneFreed: make(chan struct{}),
		spool:     spool{dir: opt.SpoolDir, limit: max(0, opt.SpoolBytes/chunkSize)},
	}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// errPusherClosed is the cause of what Close interrupts.
var errPusherClosed = errors.New("the copy was stopped")

// Close ends the connections to the source. Pushes that still run fail.
func (p *Pusher) Close() error {
	p.mu.Lock()
	p.closed = true
	conns := p.conns
	p.conns = nil
	p.mu.Unlock()
	for _, c := range conns {
		c.leave()
	}
	p.cancel(errPusherClosed)
	p.busy.Wait()
	p.spool.close()
	return nil
}

// Copy copies to each of dests what it lacks, all at once, and gives one result
// for each in the same order. A host that fails does not stop the others.
func Copy(ctx context.Context, src Endpoint, dests []Dest, opt Options, sink event.Sink) []Result {
	if sink != nil {
		opt.Sink = sink
	}
	p := NewPusher(src, opt)
	defer p.Close()
	p.mu.Lock()
	p.joining += len(dests)
	p.pushes += len(dests)
	p.mu.Unlock()
	results := make([]Result, len(dests))
	var wg sync.WaitGroup
	for i, d := range dests {
		wg.Go(func() { defer crash.Catch(); results[i] = p.push(ctx, d) })
	}
	wg.Wait()
	return results
}

// Push copies to d what it lacks. It may be called by many goroutines at once.
func (p *Pusher) Push(ctx context.Context, d Dest) Result {
	p.mu.Lock()
	p.joining++
	p.pushes++
	p.mu.Unlock()
	return p.push(ctx, d)
}

// joinGrace is how long a push waits for others that are about to begin, so
// that one reading of the source serves all of them from the first byte on.
const joinGrace = 250 * time.Millisecond

// joiner is a push that waits for others to join with.
type joiner struct {
	need  [][]*Info // of each stream
	feeds []*feed
	done  chan struct{}
}

// ready says that a push that was counted in joining is not to be waited for.
func (p *Pusher) ready() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.joining--; p.joining == 0 {
		p.joinAll()
	}
}

// joinAll makes the feeds of all who wait, at one moment: no lane moves
// meanwhile. Pusher.mu is held.
func (p *Pusher) joinAll() {
	// Those with several streams first: they want more lanes.
	slices.SortStableFunc(p.pending, func(a, b *joiner) int { return len(b.need) - len(a.need) })
	for _, j := range p.pending {
		for k, need := range j.need {
			j.feeds = append(j.feeds, p.join(need, uint8(k)))
		}
		close(j.done)
	}
	p.pending = nil
}

// joinTogether makes a feed for each list of need, together with the feeds of
// other pushes that are about to begin. ready is called once the push waits.
func (p *Pusher) joinTogether(need [][]*Info, ready func()) []*feed {
	j := &joiner{need: need, done: make(chan struct{})}
	p.mu.Lock()
	p.pending = append(p.pending, j)
	p.mu.Unlock()
	ready()
	t := time.NewTimer(p.opt.grace)
	defer t.Stop()
	select {
	case <-j.done:
	case <-t.C:
		p.mu.Lock()
		p.joinAll()
		p.mu.Unlock()
	}
	return j.feeds
}

func (p *Pusher) push(ctx context.Context, d Dest) Result {
	t0 := time.Now()
	if d.Host == "" {
		d.Host = d.Name
	}
	defer func() {
		p.mu.Lock()
		p.pushes--
		p.mu.Unlock()
	}()
	r := Result{Host: d.Host}
	scope := event.On(p.opt.Sink, d.Host, event.StepCopy)
	scope.Start(fmt.Sprintf("copying from %s", p.src.Name))
	t := &transfer{p: p, d: d, scope: scope, res: &r}
	t.readyOnce = sync.OnceFunc(p.ready)
	defer t.readyOnce()
	err := t.run(ctx)
	r.Duration = time.Since(t0)
	if err != nil {
		var f *fault.Error
		switch {
		case errors.As(err, &f):
			c := *f // one error of the source may go to many hosts
			c.Host = d.Host
			c.Msg = strings.TrimPrefix(c.Msg, d.Host+": ")
			err = &c
		case ctx.Err() != nil:
			err = fault.New("the copy was interrupted").On(d.Host).Because(err)
		default:
			err = fault.New("%w", err).On(d.Host)
		}
		r.Err = err
		scope.End("copy failed", err)
		return r
	}
	switch {
	case r.Paths == 0 && r.Substituted == 0:
		scope.Emit(event.Event{Kind: event.Skipped, Text: fmt.Sprintf("everything is there (%d paths)", r.Skipped)})
	case p.opt.DryRun:
		scope.End(fmt.Sprintf("would copy %s, %s", count(r.Paths, "path"), size(r.Bytes)), nil)
	default:
		text := fmt.Sprintf("copied %s, %s in %s", count(r.Paths, "path"), size(r.Bytes), r.Duration.Round(10*time.Millisecond))
		if r.Substituted > 0 {
			text += fmt.Sprintf("; %s from its own caches", count(r.Substituted, "path"))
		}
		var data map[string]string
		switch {
		case r.Direct == r.Bytes && r.Bytes > 0:
			text += ", directly from " + p.src.Name
		case r.Direct > 0:
			text += fmt.Sprintf(", %s of it directly from %s", size(r.Direct), p.src.Name)
		}
		if r.Direct > 0 {
			data = map[string]string{"direct": fmt.Sprint(r.Direct), "relayed": fmt.Sprint(r.Bytes - r.Direct)}
		}
		scope.Emit(event.Event{Kind: event.Done, Text: text, Data: data, Done: r.Bytes, Total: r.Bytes, Unit: event.Bytes, Rate: float64(r.Bytes) / max(r.Duration.Seconds(), 1e-3)})
	}
	return r
}
