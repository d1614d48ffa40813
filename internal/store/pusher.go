package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/storepath"
	"godwit/internal/ui/text"
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

// Room is what is free on the file system of a store.
type Room struct {
	Bytes int64
	// Inodes is how many more files and directories it takes; negative where there is no
	// bound.
	Inodes int64
}

// String is "1.2 GiB", and how many inodes where they are few.
func (r Room) String() string {
	if r.Inodes >= 0 && r.Inodes < fewInodes {
		return size(r.Bytes) + " and " + count(int(r.Inodes), "inode")
	}
	return size(r.Bytes)
}

// fewInodes is what a message names: a system update may have as many files.
const fewInodes = 50000

// Lacks says why paths of so many bytes do not fit; "" when they may. What files are
// in them is not known: each path takes one inode at least.
func (r Room) Lacks(paths int, bytes int64) string {
	switch {
	case r.Bytes < bytes:
		return fmt.Sprintf("needs %s for %s, and its store has %s free", size(bytes), count(paths, "path"), r)
	case r.Inodes >= 0 && r.Inodes < int64(paths):
		return fmt.Sprintf("needs an inode or more for each of %s, and its store has %s free", count(paths, "path"), r)
	}
	return ""
}

// Begun is what a host says when a copy to it begins.
type Begun struct {
	Room Room // in its store
	// Cut says that the host went down during an earlier copy, so that what it
	// holds for valid may not be.
	Cut bool
	// Rooted says that the roots were all there, and are garbage collector roots.
	Rooted bool
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

// transfer is one push.
type transfer struct {
	p         *Pusher
	d         Dest
	scope     event.Scope
	res       *Result
	readyOnce func()
}

func (t *transfer) run(ctx context.Context) error {
	p, d := t.p, t.d
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.ctx, func() { defer crash.Catch(); cancel(context.Cause(p.ctx)) })()

	// The host is called while the source is asked: both take round trips.
	type dialed struct {
		c   *conn
		err error
	}
	calls := make(chan dialed, 1)
	go func() {
		defer crash.Catch()
		c, err := dial(ctx, d.Endpoint, !p.opt.DryRun, p.opt.Idle)
		calls <- dialed{c, err}
	}()
	closure, err := p.Closure(ctx, d.Roots)
	if err != nil {
		cancel(err)
		go func() {
			defer crash.Catch()
			if call := <-calls; call.err == nil {
				call.c.abandon()
			}
		}()
		return err
	}
	call := <-calls
	c := call.c
	if call.err != nil {
		return call.err
	}
	defer func() {
		if c != nil {
			c.abandon()
		}
	}()

	paths := pathsOf(closure)
	room := t.askRoom(ctx)
	valid, err := c.queryValidPaths(paths, !p.opt.DryRun, false) // the first answer on that connection
	if err != nil {
		return t.unopened(ctx, err)
	}
	begun, roomErr := room()
	// A host that is silent there would be waited for again at each further step.
	var silent interface{ TimedOut() bool }
	if errors.As(roomErr, &silent) && silent.TimedOut() {
		return roomErr
	}
	if begun.Cut && d.Mend != nil {
		if c, valid, err = t.mend(ctx, c, paths); err != nil {
			return err
		}
	}
	need, total := lacking(closure, valid)
	if begun.Rooted && len(need) > 0 && d.Mend != nil {
		// Collected in that moment. What was asked here since then is locked.
		begun.Rooted = false
		if _, err := d.Mend(ctx); err != nil {
			return err
		}
	}
	t.res.Skipped = len(closure) - len(need)

	if d.Substitute && !p.opt.DryRun && len(need) > 0 {
		if c, err = t.substitute(ctx, c, need, paths, valid); err != nil {
			return err
		}
		before := len(need)
		need, total = lacking(closure, valid)
		t.res.Substituted = before - len(need)
	}
	if p.opt.DryRun {
		t.res.Paths, t.res.Bytes = len(need), total
	}
	if len(need) > 0 {
		if roomErr != nil {
			t.scope.Warn("cannot tell how much room the store there has: " + text.OneLine(roomErr.Error()))
		} else if why := begun.Room.Lacks(len(need), total); why != "" {
			return fault.New("%s", why).Because(ErrDiskFull).Hint("free space there with `nix-collect-garbage -d`")
		}
	}
	if !p.opt.DryRun {
		if d.Direct != nil && len(need) > 0 {
			if err := t.direct(ctx, c, need, total, valid); err != nil {
				return err
			}
			before, all := len(need), total
			need, total = lacking(closure, valid)
			t.res.Paths, t.res.Bytes = before-len(need), all-total
			t.res.Direct = t.res.Bytes
		}
		if len(need) > 0 {
			var err error
			if other := t.otherWay(ctx, total); other != nil {
				// The first connection keeps its locks until everything is there.
				defer c.leave()
				c = other
			}
			if c, err = t.send(ctx, c, need, total); err != nil {
				return err
			}
		}
		if d.GCRoot != nil && !begun.Rooted {
			if err := d.GCRoot(ctx); err != nil {
				return err
			}
		}
	}
	c.leave()
	c = nil
	return nil
}

// askRoom begins the copy at the host, or asks how much room there is, while other
// questions are under way, and gives what waits for the answer. A host that does
// not say has enough.
func (t *transfer) askRoom(ctx context.Context) func() (Begun, error) {
	ask := t.d.Begin
	if ask == nil || t.p.opt.DryRun {
		if t.d.Room == nil {
			return func() (Begun, error) { return Begun{Room: Room{Bytes: math.MaxInt64, Inodes: -1}}, nil }
		}
		ask = func(ctx context.Context) (Begun, error) {
			room, err := t.d.Room(ctx)
			return Begun{Room: room}, err
		}
	}
	type answer struct {
		begun Begun
		err   error
	}
	ch := make(chan answer, 1)
	go func() {
		defer crash.Catch()
		b, err := ask(ctx)
		ch <- answer{b, err}
	}()
	return func() (Begun, error) { a := <-ch; return a.begun, a.err }
}

// mend has the host look at what an earlier copy left there. The connection goes
// meanwhile, since it holds what it was asked about; a new one asks again.
func (t *transfer) mend(ctx context.Context, c *conn, paths []string) (*conn, pathSet, error) {
	_ = c.close() // and its process ends
	t.scope.Progress(0, 0, event.Paths, "the host lost power during a copy: looks at what came")
	mended, err := t.d.Mend(ctx)
	if err != nil {
		return nil, pathSet{}, err
	}
	if len(mended) > 0 {
		t.scope.Warn(fmt.Sprintf("the host lost power during an earlier copy, and %s came to harm: to be copied again", count(len(mended), "path")))
	}
	fresh, err := dial(ctx, t.d.Endpoint, true, t.p.opt.Idle)
	if err != nil {
		return nil, pathSet{}, err
	}
	valid, err := fresh.queryValidPaths(paths, true, false)
	return fresh, valid, err
}

// otherWay gives a connection of the kind that Wire chooses, or nil for the one
// that there is.
func (t *transfer) otherWay(ctx context.Context, missing int64) *conn {
	if t.d.Wire == nil {
		return nil
	}
	ep := t.d.Wire(ctx, missing)
	if ep == nil {
		return nil
	}
	c, err := dial(ctx, *ep, true, min(t.p.opt.Idle, t.p.opt.second))
	if err == nil {
		if err = c.hello(); err != nil {
			c.abandon()
		}
		c.idleFor(t.p.opt.Idle)
	}
	if err != nil {
		t.scope.Warn("no second connection, so everything goes over the first: " + text.OneLine(err.Error()))
		return nil
	}
	t.d.Endpoint = *ep
	return c
}

// lacking gives the part of closure that is not valid, in its order.
func lacking(closure []*Info, valid pathSet) (need []*Info, total int64) {
	missing := 0
	for _, i := range closure {
		if !valid.has(i.Path) {
			missing++
		}
	}
	need = make([]*Info, 0, missing)
	for _, i := range closure {
		if !valid.has(i.Path) {
			need = append(need, i)
			total += i.NarSize
		}
	}
	return need, total
}

// substituteBatch is how many paths a host is asked to fetch at a time: enough
// for it to work in parallel, few enough to show progress.
const substituteBatch = 128

// substitute lets the host fetch what it can. A host whose caches do not answer
// in time gets everything from us. valid is brought up to date.
func (t *transfer) substitute(ctx context.Context, c *conn, need []*Info, paths []string, valid pathSet) (*conn, error) {
	p := t.p
	c.idleFor(p.opt.SubstituteTimeout)
	done := 0
	for batch := range slices.Chunk(need, substituteBatch) {
		ask := pathsOf(batch)
		t.scope.Progress(int64(done), int64(len(need)), event.Paths, "the host asks its own caches")
		got, err := c.queryValidPaths(ask, true, true)
		if err != nil {
			if ctx.Err() != nil || !errors.Is(err, errSilent) {
				return c, err
			}
			t.scope.Warn(fmt.Sprintf("the host's caches did not answer within %s: sending everything from here", p.opt.SubstituteTimeout),
				"turn off substitution for this host, or look at its substituters and its clock")
			c.abandon()
			fresh, err := dial(ctx, t.d.Endpoint, true, p.opt.Idle)
			if err != nil {
				return c, err
			}
			// What did arrive counts, and the locks are taken anew.
			all, err := fresh.queryValidPaths(paths, true, false)
			copy(valid.in, all.in)
			return fresh, err
		}
		for k, s := range got.paths {
			if got.in[k] {
				valid.add(s)
			}
		}
		done += len(batch)
	}
	c.idleFor(p.opt.Idle)
	return c, nil
}

// Room that Nix itself needs to open a store: its database and its locks have
// files of their own, beside the paths.
const (
	openBytes  = 256 << 10
	openInodes = 10
)

// unopened says so when a store that does not open has no room for that.
func (t *transfer) unopened(ctx context.Context, err error) error {
	if t.d.Room == nil || ctx.Err() != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	room, roomErr := t.d.Room(ctx)
	if roomErr != nil || room.Bytes >= openBytes && (room.Inodes < 0 || room.Inodes >= openInodes) {
		return err
	}
	return fault.New("Nix there cannot open its store, which has %s free", room).Because(ErrDiskFull).
		Detail(text.OneLine(err.Error())).Hint("free space there with `nix-collect-garbage -d`")
}

// addRoom names the numbers when the host's disk is full.
func (t *transfer) addRoom(ctx context.Context, err error, left int64) error {
	var f *fault.Error
	if !errors.Is(err, ErrDiskFull) || !errors.As(err, &f) {
		return err
	}
	text := fmt.Sprintf("%s of %s have arrived, %s are missing", size(t.res.Bytes), size(t.res.Bytes+left), size(left))
	if t.d.Room != nil {
		if room, err := t.d.Room(ctx); err == nil {
			text += fmt.Sprintf(", and its store has %s free", room)
		}
	}
	f.Lines = append([]string{text}, f.Lines...)
	return f
}

// meter emits progress, at most ten times a second.
type meter struct {
	mu          sync.Mutex
	scope       event.Scope
	done, total int64
	last        time.Time
	lastDone    int64
	rate        float64
	name        string
}

func newMeter(s event.Scope, total int64) *meter {
	s.Progress(0, total, event.Bytes, "")
	return &meter{scope: s, total: total, last: time.Now()}
}

func (m *meter) add(n int64, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	m.name = name
	if d := time.Since(m.last); d >= 100*time.Millisecond {
		m.emit(d)
	}
}

func (m *meter) emit(d time.Duration) {
	// The rate follows the last two seconds or so.
	now := float64(m.done-m.lastDone) / d.Seconds()
	weight := min(1, d.Seconds()/2)
	if m.rate == 0 {
		weight = 1
	}
	m.rate += (now - m.rate) * weight
	m.last, m.lastDone = m.last.Add(d), m.done
	m.scope.Emit(event.Event{Kind: event.Progress, Done: m.done, Total: m.total, Unit: event.Bytes, Rate: m.rate, Text: m.name})
}

func (m *meter) finish() {
	m.scope.Emit(event.Event{Kind: event.Progress, Done: m.done, Total: m.total, Unit: event.Bytes, Rate: m.rate})
}

// Closure gives everything that roots refer to, the roots included, references
// before referrers. What was asked before is not asked again.
func (p *Pusher) Closure(ctx context.Context, roots []string) ([]*Info, error) {
	if len(roots) == 0 {
		return nil, nil
	}
	select {
	case p.query <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-p.query }()
	var ask []string
	for _, r := range roots {
		if err := storepath.Check(r); err != nil {
			return nil, fault.New("%w", err)
		}
		if _, ok := p.complete[r]; !ok {
			ask = append(ask, r)
		}
	}
	if len(ask) > 0 {
		if err := p.learn(ctx, ask); err != nil {
			return nil, err
		}
	}
	p.visits++
	out := p.found[:0]
	visit := func(s string) {
		if i := p.infos[s]; i.visit != p.visits {
			i.visit = p.visits
			out = append(out, i)
		}
	}
	for _, r := range roots {
		visit(r)
	}
	for k := 0; k < len(out); k++ {
		for _, r := range out[k].References {
			visit(r)
		}
	}
	slices.SortFunc(out, compareInfo)
	p.found = out
	return slices.Clone(out), nil
}

// learn asks the source about the closure of roots. p.query is held.
func (p *Pusher) learn(ctx context.Context, roots []string) error {
	for again := false; ; again = true {
		c, old, err := p.anySource(ctx, again)
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { defer crash.Catch(); c.fail(context.Cause(ctx)) })
		err = p.ask(c, roots)
		if !stop() && err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			p.putSource(c)
			return nil
		}
		c.abandon()
		// A connection that had been idle may have gone meanwhile.
		if !old || ctx.Err() != nil {
			return err
		}
	}
}

func (p *Pusher) ask(c *conn, roots []string) error {
	list, err := c.queryClosure(roots)
	if err != nil {
		return err
	}
	var unknown []string
	for _, s := range list {
		if p.infos[s] == nil {
			unknown = append(unknown, s)
		}
	}
	fresh, err := c.queryPathInfos(unknown)
	if err != nil {
		return err
	}
	if len(fresh) != len(unknown) {
		return fault.New("%s: knows %d of %d paths of the closure: something was deleted there", c.name, len(fresh), len(unknown)).
			Hint("build it again and keep a root of it")
	}
	all := make([]*Info, 0, len(list))
	got := make(map[string]*Info, len(fresh))
	for _, i := range fresh {
		got[i.Path] = i
	}
	dir := storeDir(roots[0])
	for _, s := range list {
		if storeDir(s) != dir {
			return fault.New("%s: %s is not in the store %s", c.name, s, dir)
		}
		i := got[s]
		if i == nil {
			i = p.infos[s]
		}
		all = append(all, i)
	}
	if err := order(all); err != nil {
		return fault.New("%s: %w", c.name, err)
	}
	p.deal(all)
	for _, i := range fresh {
		p.infos[i.Path] = i
	}
	for _, i := range all {
		p.complete[i.Path] = struct{}{}
	}
	return nil
}

// source gives a connection to the source: an idle one, unless fresh is asked
// for.
func (p *Pusher) source(fresh bool) (*conn, error) {
	c, _, err := p.anySource(p.ctx, fresh)
	return c, err
}

// anySource does the same and tells whether it was an idle one. The connection
// outlives ctx, which only bounds the wait for it.
func (p *Pusher) anySource(ctx context.Context, fresh bool) (*conn, bool, error) {
	p.mu.Lock()
	var c *conn
	if n := len(p.conns); n > 0 && !fresh {
		c = p.conns[n-1]
		p.conns = p.conns[:n-1]
	}
	p.mu.Unlock()
	if c != nil {
		return c, true, nil
	}
	type dialed struct {
		c   *conn
		err error
	}
	call := make(chan dialed, 1)
	go func() {
		defer crash.Catch()
		c, err := dial(p.ctx, p.src, false, p.opt.Idle)
		call <- dialed{c, err}
	}()
	select {
	case d := <-call:
		return d.c, false, d.err
	case <-ctx.Done():
		go func() {
			defer crash.Catch()
			if d := <-call; d.err == nil {
				d.c.abandon()
			}
		}()
		return nil, false, context.Cause(ctx)
	}
}

// putSource keeps a connection for later.
func (p *Pusher) putSource(c *conn) {
	p.mu.Lock()
	keep := !p.closed && len(p.conns) < 2
	if keep {
		p.conns = append(p.conns, c)
	}
	p.mu.Unlock()
	if !keep {
		_ = c.close()
	}
}

// getBuf gives a buffer of n bytes.
func (p *Pusher) getBuf(n int) []byte {
	if n < chunkSize {
		return make([]byte, n)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := len(p.free); k > 0 {
		b := p.free[k-1]
		p.free = p.free[:k-1]
		return b
	}
	return make([]byte, n)
}

// putBuf takes a buffer back. Pusher.mu is held.
func (p *Pusher) putBuf(b []byte) {
	if cap(b) == chunkSize && len(p.free) < 2*laneWindow/chunkSize {
		p.free = append(p.free, b[:chunkSize])
	}
}

func (p *Pusher) putBufLocked(b []byte) {
	p.mu.Lock()
	p.putBuf(b)
	p.mu.Unlock()
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// size writes a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
