package store

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/nar"
)

// The fan-out: how one reading of the source serves many hosts.
//
// An object is one path on its way. A lane is one connection to the source that
// reads objects one after another, with the requests far ahead. A feed is one
// host's view: the list of objects that it needs, and how far it has come.
//
// A lane keeps what its feeds have not taken yet: the last laneWindow bytes in
// memory. When the window is full there are two cases. Nobody waits for data:
// the lane waits too, which is all the back-pressure there is. Somebody waits,
// because some other host is slower: after a little patience, which keeps hosts
// of one speed together, the oldest chunk goes to the spool file; and when that
// is full as well, the hosts furthest behind are let go. A host that was let go
// continues from where it stands over a lane of its own.
//
// So a lane on which a feed waits always moves. A feed that does not wait for data
// is writing to its host, which ends by itself (conn.watch), or waits until paths
// have arrived that another feed of its host carries and that come earlier in
// compareInfo's order; it has no lane of its own then (feed.yield). Of all paths
// that are to go to a host the first in that order can always be sent. Nothing
// else blocks.

const (
	chunkSize  = 64 << 10
	laneWindow = 2 << 20
	maxLanes   = 8 // that hosts share, and as many again that one has alone

	// How long a feed that falls behind may hold up others before data goes to
	// the spool for it; from anew when it has caught up.
	patience     = 50 * time.Millisecond
	patienceStep = 5 * time.Millisecond

	// Requests ahead of the reading: enough to fill a long wire with small
	// paths, few enough to be no loss when they are not wanted any more.
	aheadRequests = 1024
	aheadBytes    = 32 << 20
)

type chunk struct {
	buf   []byte // nil once it is only in the spool
	n     int
	refs  int   // feeds that have yet to pass
	users int   // feeds that are writing buf right now
	slot  int64 // in the spool, or -1
	busy  bool  // is being written to the spool
	lane  *lane
	obj   *object
	off   int64 // in obj
	held  bool  // counted in lane.mem
}

type object struct {
	info   *Info
	lane   *lane
	chunks []*chunk // chunk k holds the bytes from k*chunkSize on
	got    int64
	tries  int
	gone   bool // its first bytes are gone: too late to join
	shared bool // is in Pusher.objects
	summed bool // sum is the SHA-256 of the first got bytes
	sum    Hash
	err    error
	subs   []*feed
}

func (o *object) unsubscribe(f *feed) {
	if k := slices.Index(o.subs, f); k >= 0 {
		o.subs = slices.Delete(o.subs, k, k+1)
	}
}

type lane struct {
	p        *Pusher
	queue    []*object // not requested yet
	sent     []*object // requested, in the order of the answers
	last     *Info     // of the last object queued
	mem      int64
	fifo     []*chunk // delivered, oldest first
	starving int      // feeds that wait for an object of this lane
	wake     chan struct{}
	private  bool
	stream   uint8 // of its objects, where they were dealt out
}

type feed struct {
	p       *Pusher
	need    []*Info
	objs    []*object
	at      int   // the object being taken
	off     int64 // bytes of it taken
	waiting *lane
	fallen  bool
	heldUp  time.Duration // others, since it last waited for data
	wake    chan struct{}
	using   *chunk
	scratch []byte
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// join makes a feed for need, which is in the order of compareInfo. What other
// feeds wait for already is shared; the rest is queued on a lane. Pusher.mu is
// held.
func (p *Pusher) join(need []*Info, stream uint8) *feed {
	f := &feed{p: p, need: need, wake: make(chan struct{}, 1)}
	f.objs = make([]*object, len(need))
	var fresh []*object
	for k, i := range need {
		o := p.objects[i.Path]
		if o == nil {
			o = &object{info: i, shared: true}
			p.objects[i.Path] = o
			fresh = append(fresh, o)
		}
		f.objs[k] = o
		o.subs = append(o.subs, f)
		for _, c := range o.chunks {
			c.refs++
		}
	}
	if len(fresh) > 0 {
		p.laneFor(fresh, stream)
	}
	return f
}

// laneFor queues objects on a lane that has not come as far yet, or a new one.
func (p *Pusher) laneFor(fresh []*object, stream uint8) {
	var l *lane
	for cand := range p.lanes {
		if cand.private {
			continue
		}
		if cand.stream == stream && compareInfo(cand.last, fresh[0].info) < 0 || len(p.lanes)-p.private >= maxLanes {
			if l == nil || compareInfo(l.last, cand.last) < 0 {
				l = cand
			}
		}
	}
	if l != nil {
		for _, o := range fresh {
			o.lane = l
		}
		l.queue = append(l.queue, fresh...)
		if last := fresh[len(fresh)-1].info; compareInfo(l.last, last) < 0 {
			l.last = last
		}
		signal(l.wake)
		return
	}
	p.newLane(fresh, false, stream)
}

func (p *Pusher) newLane(objs []*object, private bool, stream uint8) {
	l := &lane{p: p, queue: objs, last: objs[len(objs)-1].info, wake: make(chan struct{}, 1), private: private, stream: stream}
	if private {
		p.private++
	}
	for _, o := range objs {
		o.lane = l
	}
	p.lanes[l] = struct{}{}
	p.busy.Add(1)
	go func() { defer crash.Catch(); l.run() }()
}

// rejoin gives a feed that was let go a lane of its own.
func (f *feed) rejoin(ctx context.Context) error {
	p := f.p
	for {
		p.mu.Lock()
		if p.private < maxLanes {
			break
		}
		freed := p.laneFreed
		p.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
	}
	defer p.mu.Unlock()
	f.fallen = false
	var objs []*object
	for k := f.at; k < len(f.need); k++ {
		o := &object{info: f.need[k], subs: []*feed{f}}
		f.objs[k] = o
		objs = append(objs, o)
	}
	// What this host has of its path already is passed over.
	objs[0].got = f.off
	objs[0].chunks = make([]*chunk, f.off/chunkSize)
	objs[0].gone = f.off > 0
	p.newLane(objs, true, 0)
	p.rereads++
	return nil
}

// chunk gives the next bytes of the object that the feed stands at. pause is
// called before it waits. done must be called when the bytes are written.
func (f *feed) chunk(ctx context.Context, pause func() error) ([]byte, error) {
	p := f.p
	paused := false
	p.mu.Lock()
	for {
		if err := ctx.Err(); err != nil {
			f.quiet()
			p.mu.Unlock()
			return nil, context.Cause(ctx)
		}
		if f.fallen {
			p.mu.Unlock()
			if err := f.rejoin(ctx); err != nil {
				return nil, err
			}
			p.mu.Lock()
			continue
		}
		o := f.objs[f.at]
		if f.off < o.got {
			c := o.chunks[f.off/chunkSize]
			c.users++
			f.using = c
			if buf := c.buf; buf != nil {
				p.mu.Unlock()
				return buf, nil
			}
			slot, n := c.slot, c.n
			p.mu.Unlock()
			if f.scratch == nil {
				f.scratch = make([]byte, chunkSize)
			}
			return f.scratch[:n], p.spool.read(slot, f.scratch[:n])
		}
		if o.err != nil {
			p.mu.Unlock()
			return nil, o.err
		}
		if !paused {
			paused = true
			p.mu.Unlock()
			if err := pause(); err != nil {
				return nil, err
			}
			p.mu.Lock()
			continue
		}
		f.heldUp = 0
		if f.waiting == nil {
			f.waiting = o.lane
			o.lane.starving++
			signal(o.lane.wake)
		}
		p.mu.Unlock()
		select {
		case <-f.wake:
		case <-ctx.Done():
		}
		p.mu.Lock()
	}
}

// quiet says that the feed does not wait any more. Pusher.mu is held.
func (f *feed) quiet() {
	if f.waiting != nil {
		f.waiting.starving--
		f.waiting = nil
	}
}

// done says that n bytes that chunk gave are written.
func (f *feed) done(n int) {
	p := f.p
	p.mu.Lock()
	defer p.mu.Unlock()
	o, k := f.objs[f.at], f.off/chunkSize
	if c := f.using; c != nil {
		f.using = nil
		c.users--
		p.settleChunk(c)
	}
	at := f.at
	f.off += int64(n)
	if f.off == f.need[f.at].NarSize {
		f.at++
		f.off = 0
	}
	if f.fallen {
		return
	}
	p.pass(o, int(k))
	if f.off == 0 {
		o.unsubscribe(f)
		f.objs[at] = nil
		p.drop(o)
	}
}

// pass says that one feed less needs chunk k of o. Pusher.mu is held.
func (p *Pusher) pass(o *object, k int) {
	c := o.chunks[k]
	if c.refs--; c.refs == 0 {
		o.chunks[k] = nil
		o.gone = true
		p.unshare(o)
		p.settleChunk(c)
	}
}

// settleChunk frees what of c is not needed any more. Pusher.mu is held.
func (p *Pusher) settleChunk(c *chunk) {
	if c.busy {
		return
	}
	if c.held && (c.refs == 0 || c.slot >= 0) {
		c.held = false
		c.lane.mem -= int64(c.n)
		signal(c.lane.wake)
	}
	if c.buf != nil && c.users == 0 && (c.refs == 0 || c.slot >= 0) {
		p.putBuf(c.buf)
		c.buf = nil
	}
	if c.refs == 0 && c.slot >= 0 && c.users == 0 {
		p.spool.release(c.slot)
		c.slot = -1
	}
}

// unshare makes new feeds read o anew. Pusher.mu is held.
func (p *Pusher) unshare(o *object) {
	if o.shared {
		o.shared = false
		delete(p.objects, o.info.Path)
	}
}

// drop forgets an object that nobody wants any more. Pusher.mu is held.
func (p *Pusher) drop(o *object) {
	if len(o.subs) == 0 {
		p.unshare(o)
		signal(o.lane.wake)
	}
}

// leave takes the feed off all its objects: its host has failed, or it was too
// slow. Pusher.mu is held.
func (f *feed) leave() {
	if f.fallen {
		return
	}
	f.fallen = true
	f.quiet()
	for k := f.at; k < len(f.objs); k++ {
		o := f.objs[k]
		o.unsubscribe(f)
		first := 0
		if k == f.at {
			first = int(f.off / chunkSize)
		}
		for c := first; c < len(o.chunks); c++ {
			if o.chunks[c] != nil {
				f.p.pass(o, c)
			}
		}
		f.p.drop(o)
	}
	signal(f.wake)
}

// yield gives back what the feed alone holds, before it waits for something else
// than data: a lane of its own may be what others wait for.
func (f *feed) yield() {
	f.p.mu.Lock()
	defer f.p.mu.Unlock()
	if !f.fallen && f.at < len(f.objs) && f.objs[f.at].lane.private {
		f.leave()
	}
}

func (f *feed) close() {
	f.p.mu.Lock()
	defer f.p.mu.Unlock()
	if c := f.using; c != nil {
		f.using = nil
		c.users--
		f.p.settleChunk(c)
	}
	f.leave()
}

// fatalError is an error of the source that reading again does not mend.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

// run reads the lane's objects until there are none left.
func (l *lane) run() {
	p := l.p
	defer p.busy.Done()
	var (
		c        *conn
		requests chan []byte
		again    bool // the last connection broke: no old one now
	)
	hangUp := func(good bool) {
		if c == nil {
			return
		}
		close(requests)
		if good {
			p.putSource(c)
		} else {
			c.abandon()
		}
		c = nil
	}
	if p.src.Root != "" && !l.readFiles() {
		return
	}
	for {
		p.mu.Lock()
		var batch []*object
		outstanding := int64(0)
		for _, o := range l.sent {
			outstanding += o.info.NarSize
		}
		for len(l.queue) > 0 && len(l.sent) < aheadRequests && (outstanding < aheadBytes || len(l.sent) == 0) {
			o := l.queue[0]
			l.queue = l.queue[1:]
			if len(o.subs) == 0 {
				continue
			}
			l.sent = append(l.sent, o)
			batch = append(batch, o)
			outstanding += o.info.NarSize
		}
		if len(l.sent) == 0 {
			l.end()
			p.mu.Unlock()
			hangUp(true)
			return
		}
		if c == nil {
			// Everything is asked for anew.
			var keep []*object
			for _, o := range l.sent {
				if len(o.subs) > 0 {
					keep = append(keep, o)
				}
			}
			l.sent, batch = keep, keep
			p.mu.Unlock()
			if len(keep) == 0 {
				continue
			}
			var err error
			if c, err = p.source(again); err != nil {
				c = nil
				l.failAll(err)
				continue
			}
			requests = make(chan []byte, 4*aheadRequests)
			go func(c *conn, requests <-chan []byte) { defer crash.Catch(); sendRequests(c, requests) }(c, requests)
		} else {
			p.mu.Unlock()
		}
		if len(batch) > 0 {
			var b []byte
			if !c.greeted {
				b = greeting()
			}
			for _, o := range batch {
				b = putUint(b, opDumpStorePath)
				b = putString(b, o.info.Path)
			}
			requests <- b // never blocks: it holds more than can be outstanding
			if !c.greeted {
				c.owe(1)
				err := c.greet()
				c.owe(-1)
				if err != nil {
					hangUp(false)
					l.failAll(err)
					continue
				}
			}
		}
		p.mu.Lock()
		o := l.sent[0]
		wanted := len(o.subs) > 0
		p.mu.Unlock()
		if !wanted && o.info.NarSize > 4<<20 {
			// Cheaper to start again than to read it for nothing.
			hangUp(false)
			continue
		}
		if err := l.read(c.r.r, c, o); err != nil {
			err = c.explain(err, "while reading "+o.info.Path)
			hangUp(false)
			again = true
			o.tries++
			var fatal fatalError
			if errors.As(err, &fatal) || o.tries > 1 || p.ctx.Err() != nil {
				l.fail(o, err)
			} else {
				continue // once more
			}
		}
		p.mu.Lock()
		l.sent = l.sent[1:]
		p.mu.Unlock()
	}
}

// sendRequests writes requests while the answers are being read.
func sendRequests(c *conn, requests <-chan []byte) {
	var failed error
	for b := range requests {
		if failed == nil {
			failed = c.send(b) // the reader sees the end of the stream
		}
	}
}

// fail gives err to the feeds of o.
func (l *lane) fail(o *object, err error) {
	p := l.p
	p.mu.Lock()
	defer p.mu.Unlock()
	o.err = err
	p.unshare(o)
	for _, f := range o.subs {
		if f.at < len(f.objs) && f.objs[f.at] == o {
			f.quiet()
			signal(f.wake)
		}
	}
}

func (l *lane) failAll(err error) {
	l.p.mu.Lock()
	all := append(l.sent, l.queue...)
	l.sent, l.queue = nil, nil
	l.p.mu.Unlock()
	for _, o := range all {
		l.fail(o, err)
	}
}

// read reads one NAR, checks it, and hands it to the feeds. Its last chunk is
// held back until the whole is known to be right, so that a host never receives
// a complete NAR that is wrong.
// c is the connection behind r, and nil when r is this machine's disk.
func (l *lane) read(r io.Reader, c *conn, o *object) error {
	p := l.p
	check := nar.NewChecker()
	bad := func(err error) error {
		return fatalError{fault.New("%s: %s is damaged there: %w", p.src.Name, o.info.Path, err).
			Hint("on that machine: nix-store --verify-path %s, then nix-store --repair-path %s", o.info.Path, o.info.Path)}
	}
	size := o.info.NarSize
	var delivered Hash
	for off := int64(0); off < size; {
		n := int(min(chunkSize, size-off))
		fresh := off >= o.got
		held := false
		if fresh {
			var err error
			if held, err = l.reserve(c, o, n); err != nil {
				return err
			}
			if !held && c == nil {
				return errUnwanted
			}
		}
		buf := p.getBuf(n)
		if c != nil {
			c.owe(1)
		}
		_, err := io.ReadFull(r, buf)
		if c != nil {
			c.owe(-1)
		}
		if err == nil {
			if _, err = check.Write(buf); err != nil {
				err = bad(err)
			} else if !fresh && off+int64(n) == o.got && o.summed && check.Sum() != o.sum {
				err = bad(errors.New("it changed while it was read"))
			} else if off+int64(n) == size {
				if err = finishNAR(check, size, o.info.NarHash); err != nil {
					err = bad(err)
				}
			}
		} else {
			err = unexpected(err)
		}
		if err != nil {
			p.putBufLocked(buf)
			if c == nil && o.got > 0 && off == o.got {
				o.sum, o.summed = delivered, true
			}
			if held {
				p.mu.Lock()
				l.mem -= int64(n)
				p.mu.Unlock()
			}
			return err
		}
		off += int64(n)
		if c == nil {
			delivered = check.Sum()
		}
		p.mu.Lock()
		p.read += int64(n)
		if fresh {
			l.deliver(o, buf, held)
		} else {
			p.putBuf(buf)
		}
		p.mu.Unlock()
	}
	return nil
}

// deliver makes buf the next chunk of o. Pusher.mu is held.
func (l *lane) deliver(o *object, buf []byte, held bool) {
	c := &chunk{buf: buf, n: len(buf), refs: len(o.subs), slot: -1, lane: l, obj: o, off: o.got, held: held}
	o.got += int64(len(buf))
	if c.refs == 0 {
		o.chunks = append(o.chunks, nil)
		o.gone = true
		l.p.unshare(o)
		l.p.settleChunk(c)
		return
	}
	o.chunks = append(o.chunks, c)
	l.fifo = append(l.fifo, c)
	for _, f := range o.subs {
		if f.at < len(f.objs) && f.objs[f.at] == o {
			f.quiet()
			signal(f.wake)
		}
	}
}

// reserve waits until there is room for n bytes of o in the window. It makes
// room itself when a feed waits. held is false when nobody wants o.
func (l *lane) reserve(c *conn, o *object, n int) (held bool, err error) {
	p := l.p
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if err := p.ctx.Err(); err != nil {
			return false, context.Cause(p.ctx)
		}
		if len(o.subs) == 0 {
			return false, nil
		}
		for len(l.fifo) > 0 && !l.fifo[0].held {
			l.fifo = l.fifo[1:]
		}
		if l.mem+int64(n) <= laneWindow || l.mem <= 0 {
			l.mem += int64(n)
			return true, nil
		}
		if l.starving == 0 {
			p.mu.Unlock()
			if c != nil {
				c.paused.Store(true)
			}
			select {
			case <-l.wake:
			case <-p.ctx.Done():
			}
			if c != nil {
				c.moved()
				c.paused.Store(false)
			}
			p.mu.Lock()
			continue
		}
		if !l.wait() {
			l.makeRoom()
		}
	}
}

// wait gives hosts that have just fallen behind a moment. Pusher.mu is held.
func (l *lane) wait() bool {
	if len(l.fifo) == 0 {
		return false
	}
	behind := l.fifo[0].holders()
	if !slices.ContainsFunc(behind, func(f *feed) bool { return f.heldUp < patience }) {
		return false
	}
	t0 := time.Now()
	l.p.mu.Unlock()
	t := time.NewTimer(patienceStep)
	select {
	case <-l.wake:
	case <-t.C:
	case <-l.p.ctx.Done():
	}
	t.Stop()
	l.p.mu.Lock()
	for _, f := range behind {
		f.heldUp += time.Since(t0)
	}
	return true
}

// makeRoom moves the oldest chunk out of memory. Pusher.mu is held.
func (l *lane) makeRoom() {
	p := l.p
	if len(l.fifo) == 0 {
		// All that is counted is being read or written this moment.
		p.mu.Unlock()
		time.Sleep(time.Millisecond)
		p.mu.Lock()
		return
	}
	c := l.fifo[0]
	slot, ok := p.spool.alloc()
	for !ok && len(p.spool.fifo) > 0 {
		// Who holds the oldest of the spool is furthest behind, and goes on alone.
		old := p.spool.fifo[0]
		p.spool.fifo = p.spool.fifo[1:]
		for _, f := range old.holders() {
			f.leave()
		}
		slot, ok = p.spool.alloc()
	}
	if c.refs == 0 {
		if ok {
			p.spool.release(slot)
		}
		return
	}
	if ok {
		c.busy = true
		p.mu.Unlock()
		err := p.spool.write(slot, c.buf)
		p.mu.Lock()
		c.busy = false
		if err == nil {
			c.slot = slot
			p.spool.fifo = append(p.spool.fifo, c)
			p.spooled += int64(c.n)
			p.settleChunk(c)
			return
		}
		p.spool.release(slot)
		p.spool.dead = true // what is in it can still be read
		if c.refs == 0 {
			p.settleChunk(c)
			return
		}
	}
	// No spool: whoever holds the oldest chunk goes on alone.
	for _, f := range c.holders() {
		f.leave()
	}
}

// holders finds the feeds that have yet to pass c. Pusher.mu is held.
func (c *chunk) holders() []*feed {
	var out []*feed
	for _, f := range c.obj.subs {
		if f.objs[f.at] != c.obj || f.off <= c.off {
			out = append(out, f)
		}
	}
	return out
}
