package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"godwit/internal/crash"
	"godwit/internal/fault"
)

// The sending. One connection of ssh carries 2 MiB for each round trip and no
// more, and a host registers one path at a time while nothing behind it moves.
// So a host gets several connections where that pays: the first takes the small
// paths, the others the large ones. A path is sent when all that it refers to was
// sent before it over the same connection or has arrived over another.

const (
	// fewStreams is how many connections a host gets where that pays, and streams
	// where that many pay over again.
	fewStreams = 3
	streams    = 5
	// sshWindow is what a channel of OpenSSH has on the way at most.
	sshWindow = 2 << 20
	// largePath is what the connections behind the first carry.
	largePath = 512 << 10
	// largeFirst bounds the large path with which the first begins.
	largeFirst = 16 << 20
	// With more pushes than this one connection each is enough: they fill the
	// wire among themselves.
	maxDivided = 4
	// secondConn is how long a further connection to a host may take.
	secondConn = 20 * time.Second
)

// deal gives every large path to one of the streams behind the first, the same
// for all hosts, so that they read in one order. p.query is held; infos are in
// order.
func (p *Pusher) deal(infos []*Info) {
	for _, i := range infos {
		if i.stream != 0 || i.NarSize < largePath {
			continue
		}
		to := 1
		for k := 2; k < streams; k++ {
			if p.dealt[k] < p.dealt[to] {
				to = k
			}
		}
		p.dealt[to] += i.NarSize
		i.stream = uint8(to)
	}
}

// worthGain is how much time several connections must save: each is a session and
// a nix-store that the host has to start, and several at work take turns on its
// database.
var worthGain = 200 * time.Millisecond

// divide gives the parts of need that go over n connections, and how many round
// trips that saves; or need alone when one is as good. Everything counts in round
// trips: a window is one, and so is every change of the connection on the way up
// from what has no references.
func divide(need []*Info, n int) (parts [][]*Info, gain int64) {
	whole := [][]*Info{need}
	parts = make([][]*Info, n)
	streamOf := func(i *Info) uint8 {
		if i.stream == 0 {
			return 0
		}
		return 1 + (i.stream-1)%uint8(n-1)
	}
	var bytes, most int64
	var sum [streams]int64
	depth := make(map[string]int, len(need))
	stream := make(map[string]uint8, len(need))
	deepest := 0
	for _, i := range need {
		to := streamOf(i)
		parts[to] = append(parts[to], i)
		bytes += i.NarSize
		sum[to] += i.NarSize
		most = max(most, sum[to])
		d := 0
		for _, r := range i.References {
			if s, ok := stream[r]; ok {
				k := depth[r]
				if s != to {
					k++
				}
				d = max(d, k)
			}
		}
		depth[i.Path], stream[i.Path] = d, to
		deepest = max(deepest, d)
	}
	gain = (bytes-most)/sshWindow - int64(2*deepest)
	if gain < 3 {
		return whole, 0
	}
	if len(parts[0]) == 0 {
		parts = parts[1:]
	} else if k := slices.IndexFunc(need, func(i *Info) bool {
		return i.stream > 0 && i.NarSize <= largeFirst && !slices.ContainsFunc(i.References, func(r string) bool {
			_, ok := stream[r]
			return ok && r != i.Path
		})
	}); k >= 0 {
		// Something for the wire to do while the other connections are made.
		first := need[k]
		parts[0] = slices.Insert(parts[0], 0, first)
		of := streamOf(first)
		parts[of] = slices.DeleteFunc(parts[of], func(i *Info) bool { return i == first })
	}
	parts = slices.DeleteFunc(parts, func(part []*Info) bool { return len(part) == 0 })
	return parts, gain
}

// errDivided is the cause when a further connection could not be made.
var errDivided = errors.New("no further connection")

// send sends need to the host and waits until all of it is registered there. It
// gives the connection that sent: c, or one in its place, which holds all of the closure.
func (t *transfer) send(ctx context.Context, c *conn, need []*Info, total int64) (*conn, error) {
	parts := [][]*Info{need}
	t.p.mu.Lock()
	few := t.p.pushes <= maxDivided
	t.p.mu.Unlock()
	if few {
		if divided, gain := divide(need, fewStreams); gain > 0 {
			trip, err := c.roundTrip()
			if err != nil {
				return c, err
			}
			if time.Duration(gain)*trip >= t.p.opt.worth {
				parts = divided
				more, all := divide(need, streams)
				if all > gain && time.Duration(all-gain)*trip >= t.p.opt.worth {
					parts = more
				}
			}
		}
	}
	err := t.sendParts(ctx, c, parts, total)
	if !errors.Is(err, errDivided) || ctx.Err() != nil {
		return c, err
	}
	// A host that takes one connection only. What has arrived stays.
	c.abandon()
	c, rest, left, err := t.renew(ctx, t.wire)
	if err != nil || len(rest) == 0 {
		return c, err
	}
	return c, t.sendParts(ctx, c, [][]*Info{rest}, left)
}

// sending is what the streams of one host share.
type sending struct {
	t      *transfer
	ctx    context.Context
	cancel context.CancelCauseFunc
	meter  *meter
	// stream is which one carries a path, when there are several.
	stream map[string]int

	mu      sync.Mutex
	here    map[string]bool // what has arrived, when there are several
	waiters int
	wake    chan struct{} // closed when something arrives
	paths   int
	bytes   int64
}

// stream is one connection to the host.
type stream struct {
	g    *sending
	k    int
	c    *conn
	need []*Info
	feed *feed

	// Under g.mu.
	sent, acked int
	ackErr      error
}

func (t *transfer) sendParts(parent context.Context, c *conn, parts [][]*Info, total int64) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	g := &sending{t: t, ctx: ctx, cancel: cancel, wake: make(chan struct{})}
	if len(parts) > 1 {
		g.stream, g.here = make(map[string]int), make(map[string]bool)
		for k, part := range parts {
			for _, i := range part {
				g.stream[i.Path] = k
			}
		}
	}
	feeds := t.p.joinTogether(parts, t.readyOnce)
	g.meter = newMeter(t.scope, total)
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for k, part := range parts {
		s := &stream{g: g, k: k, c: c, need: part, feed: feeds[k]}
		wg.Go(func() {
			defer crash.Catch()
			defer s.feed.close()
			if errs[k] = s.run(parent); errs[k] != nil {
				cancel(errs[k])
			}
		})
	}
	wg.Wait()
	t.res.Paths += g.paths
	t.res.Bytes += g.bytes
	// Why the first of them stopped is why the others did.
	if err := context.Cause(ctx); err != nil {
		if parent.Err() != nil {
			return context.Cause(parent)
		}
		return t.addRoom(parent, err, total-g.bytes)
	}
	g.meter.finish()
	return nil
}

// run is one stream from its connection to its last answer.
func (s *stream) run(parent context.Context) error {
	g := s.g
	if s.k > 0 {
		if err := s.open(parent); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(g.ctx)
	defer cancel(nil)
	acks := make(chan struct{})
	go func() {
		defer crash.Catch()
		defer close(acks)
		if err := s.count(); err != nil {
			cancel(err)
			_ = s.c.st.Stdin.Close() // unblocks the writing
		}
	}()
	err := s.write(ctx)
	stop := func() bool { return true }
	if err != nil {
		// No more will come. What was sent whole may still be answered.
		_ = s.c.st.Stdin.Close()
		stop = time.AfterFunc(5*time.Second, crash.Func(s.c.st.Kill)).Stop
	}
	<-acks
	stop()
	g.mu.Lock()
	acked, ackErr := s.acked, s.ackErr
	g.mu.Unlock()
	if err == nil && ackErr == nil {
		if s.k > 0 {
			s.c.leave()
		}
		return nil
	}
	if s.k > 0 {
		defer s.c.abandon()
	}
	var known *fault.Error
	if (errors.As(err, &known) || errors.Is(err, errDivided)) && s.c.reason() == nil {
		return err // the source failed, or another stream: not this one
	}
	if parent.Err() != nil {
		return context.Cause(parent)
	}
	if ackErr != nil {
		err = ackErr
	}
	at := min(acked, len(s.need)-1)
	doing := "while copying " + s.need[at].Path
	if g.stream == nil {
		doing += fmt.Sprintf(" (path %d of %d)", at+1, len(s.need))
	}
	return s.c.explain(err, doing)
}

// open makes the connection of a stream behind the first.
func (s *stream) open(parent context.Context) (err error) {
	s.c, err = s.g.t.further(parent, s.g.ctx, s.g.t.wire)
	switch {
	case err == nil:
		return nil
	case s.g.ctx.Err() != nil:
		return context.Cause(s.g.ctx)
	}
	return fmt.Errorf("%w: %w", errDivided, err)
}

// further makes a connection beside the first, until while ends at most.
func (t *transfer) further(ctx, while context.Context, ep Endpoint) (*conn, error) {
	c, err := dial(ctx, ep, true, min(t.p.opt.Idle, t.p.opt.second))
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(while, func() { defer crash.Catch(); c.fail(context.Cause(while)) })
	if err = c.hello(); !stop() && err == nil {
		err = context.Cause(while)
	}
	if err != nil {
		c.abandon()
		return nil, err
	}
	c.idleFor(t.p.opt.Idle)
	return c, nil
}

// roundTrip asks for nothing and takes the time.
func (c *conn) roundTrip() (time.Duration, error) {
	t0 := time.Now()
	_, err := c.queryValidPaths(nil, false, false)
	return time.Since(t0), err
}

// hello sends the greeting alone and reads the answer.
func (c *conn) hello() error {
	return c.request(nil, nil, "", func() error { return nil })
}

// count counts the answers, apart from the sending: the host answers 1 for
// every path that it has registered.
func (s *stream) count() error {
	g := s.g
	for _, i := range s.need {
		s.c.r.begin()
		n, err := s.c.r.uint()
		g.mu.Lock()
		switch {
		case err != nil:
			err = unexpected(err)
		case n != 1:
			err = fmt.Errorf("answered %d where 1 belongs", n)
		case s.acked >= s.sent:
			err = errors.New("answered before it had a path")
		default:
			s.c.owe(-1)
			s.acked++
			g.paths++
			g.bytes += i.NarSize
			if g.here != nil {
				g.here[i.Path] = true
				if g.waiters > 0 {
					close(g.wake)
					g.wake = make(chan struct{})
				}
			}
		}
		if err != nil {
			s.ackErr = err
			g.mu.Unlock()
			return err
		}
		g.mu.Unlock()
	}
	return nil
}

// connWriter writes to a connection under its deadline.
type connWriter struct{ c *conn }

func (w connWriter) Write(b []byte) (int, error) {
	defer crash.Catch()
	if err := w.c.send(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// write sends the paths.
func (s *stream) write(ctx context.Context) error {
	g := s.g
	w := bufio.NewWriterSize(connWriter{s.c}, chunkSize)
	for _, i := range s.need {
		if err := s.wait(ctx, i, w); err != nil {
			return err
		}
		name := baseName(i.Path)
		for off := int64(0); off < i.NarSize; {
			b, err := s.feed.chunk(ctx, w.Flush)
			if err != nil {
				if ctx.Err() == nil {
					_ = w.Flush() // what was read before arrives
				}
				return err
			}
			if off == 0 {
				writeHeader(w, i)
			}
			off += int64(len(b))
			if off == i.NarSize {
				// From now on the host owes an answer.
				g.mu.Lock()
				s.sent++
				g.mu.Unlock()
				s.c.owe(1)
			}
			if len(b) == chunkSize {
				// Not by way of the buffer, which costs a copy.
				if err := w.Flush(); err != nil {
					return err
				}
			}
			if _, err := w.Write(b); err != nil {
				return err
			}
			s.feed.done(len(b))
			g.meter.add(int64(len(b)), name)
		}
	}
	return w.Flush()
}

// wait waits until what i refers to and other streams carry has arrived.
func (s *stream) wait(ctx context.Context, i *Info, w *bufio.Writer) error {
	g := s.g
	if g.stream == nil {
		return nil
	}
	var open []string
	for _, r := range i.References {
		if k, ok := g.stream[r]; ok && k != s.k {
			open = append(open, r)
		}
	}
	for first := true; ; first = false {
		g.mu.Lock()
		open = slices.DeleteFunc(open, func(r string) bool { return g.here[r] })
		if len(open) == 0 {
			g.mu.Unlock()
			return nil
		}
		if first {
			g.mu.Unlock()
			// The answers to what is still here may be what another waits for.
			if err := w.Flush(); err != nil {
				return err
			}
			s.feed.yield()
			continue
		}
		wake := g.wake
		g.waiters++
		g.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
		}
		g.mu.Lock()
		g.waiters--
		g.mu.Unlock()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}
