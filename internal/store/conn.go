package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"godwit/internal/awake"
	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/ui/text"
)

// The handshake of the serve protocol.
const (
	serveMagic1  = 0x390c9deb
	serveMagic2  = 0x5452eecb
	serveVersion = 2<<8 | 7
	serveOldest  = 2<<8 | 5
)

// Operations of the serve protocol.
const (
	opQueryValidPaths = 1
	opQueryPathInfos  = 2
	opDumpStorePath   = 3
	opQueryClosure    = 7
	opAddToStoreNar   = 9
)

// conn is one client of one `nix-store --serve`. Reading and writing may go on
// at the same time in two goroutines.
type conn struct {
	name  string
	write bool
	st    *Stream
	r     *wireReader
	idle  atomic.Int64 // time.Duration
	// greeted is set once the server's greeting has been read.
	greeted bool
	version uint64

	// owed counts what the peer has to do before we can go on: while it is not
	// zero, silence for longer than idle ends the connection.
	owed atomic.Int64
	last atomic.Int64 // awake.Instant of the last byte moved
	// paused is set while we do not read on purpose: the hosts are slower than
	// the source.
	paused atomic.Bool

	mu     sync.Mutex
	cause  error // why we ended the connection ourselves
	closed bool
	exit   error // what the process said when it ended
	exited chan struct{}
	reap   sync.Once
	done   chan struct{} // stops the watchdog
	unhook func() bool
	// release ends what lives as long as the process.
	release context.CancelCauseFunc
}

// errSilent is the cause when a peer does not answer in time.
var errSilent = errors.New("no answer")

// dial opens a connection; its greeting is sent with the first request.
func dial(ctx context.Context, ep Endpoint, write bool, idle time.Duration) (*conn, error) {
	if ep.Dial == nil {
		return nil, fault.New("%s: no way to reach this store", ep.Name)
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	// The process outlives ctx when the connection ends in good order.
	life, release := context.WithCancelCause(context.WithoutCancel(ctx))
	calling := context.AfterFunc(ctx, func() { defer crash.Catch(); release(context.Cause(ctx)) })
	st, err := ep.Dial(life, write)
	calling()
	if err != nil {
		release(err)
		return nil, err
	}
	c := &conn{name: ep.Name, write: write, st: st, release: release, done: make(chan struct{}), exited: make(chan struct{})}
	c.idle.Store(int64(idle))
	c.moved()
	size := 64 << 10
	if write {
		size = 8 << 10 // answers only, and there are many hosts
	}
	c.r = newWireReader((*connReader)(c), size)
	c.unhook = context.AfterFunc(ctx, func() { defer crash.Catch(); c.fail(context.Cause(ctx)) })
	go func() { defer crash.Catch(); c.watch() }()
	return c, nil
}

// greeting is what a client sends first.
func greeting() []byte { return putUint(putUint(nil, serveMagic1), serveVersion) }

// fail ends the connection for a reason of ours. The first reason counts.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.cause == nil && !c.closed {
		c.cause = err
	}
	c.mu.Unlock()
	c.st.Kill()
}

func (c *conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// watch ends the connection when the peer owes us something and is silent.
func (c *conn) watch() {
	t := time.NewTicker(watchTick)
	defer t.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-t.C:
			idle := time.Duration(c.idle.Load())
			if c.owed.Load() > 0 && !c.paused.Load() && awake.Since(awake.Instant(c.last.Load())) > idle {
				c.fail(fmt.Errorf("%w for %s", errSilent, idle))
				return
			}
		}
	}
}

// moved says that the peer was not silent. The time is this process's own: neither a
// clock that is set nor a laptop that slept makes a peer silent.
func (c *conn) moved() { c.last.Store(int64(awake.Now())) }

const watchTick = 100 * time.Millisecond

// idleFor changes how long the peer may be silent.
func (c *conn) idleFor(d time.Duration) { c.idle.Store(int64(d)) }

// owe says that the peer has n more (or less) things to do for us.
func (c *conn) owe(n int64) {
	if c.owed.Add(n) == n && n > 0 {
		c.moved()
	}
}

type connReader conn

func (c *connReader) Read(p []byte) (int, error) {
	n, err := c.st.Stdout.Read(p)
	if n > 0 {
		(*conn)(c).moved()
	}
	return n, err
}

// send writes b whole.
func (c *conn) send(b []byte) error {
	c.owe(1)
	defer c.owe(-1)
	for len(b) > 0 {
		n, err := c.st.Stdin.Write(b[:min(len(b), 2*chunkSize)])
		if err != nil {
			return err
		}
		c.moved()
		b = b[n:]
	}
	return nil
}

// greet reads the server's greeting, once.
func (c *conn) greet() error {
	if c.greeted {
		return nil
	}
	head := make([]byte, 8)
	n, err := io.ReadFull(c.r.r, head)
	if err != nil {
		if n > 0 && c.reason() == nil {
			return c.notNix(head[:n])
		}
		return c.explain(unexpected(err), "before the connection was ready")
	}
	if !bytes.Equal(head, putUint(nil, serveMagic2)) {
		return c.notNix(head)
	}
	c.r.begin()
	v, err := c.r.uint()
	if err != nil {
		return c.explain(unexpected(err), "before the connection was ready")
	}
	if v>>8 != serveOldest>>8 || v < serveOldest || v > 0xffff {
		return fault.New("%s: its nix-store speaks version %d.%d of the serve protocol, and 2.%d or newer is needed", c.name, v>>8, v&0xff, serveOldest&0xff).
			Hint("install Nix 2.3 or newer there")
	}
	c.version = min(v, serveVersion)
	c.greeted = true
	return nil
}

// notNix reports what was printed where the greeting belongs.
func (c *conn) notNix(head []byte) error {
	_ = c.st.Stdin.Close()
	t := time.AfterFunc(2*time.Second, crash.Func(c.st.Kill))
	rest, _ := io.ReadAll(io.LimitReader(c.r.r, 4<<10))
	t.Stop()
	c.st.Kill()
	if i := bytes.Index(append(head, rest...), putUint(nil, serveMagic2)); i >= 0 {
		rest = rest[:max(0, i-len(head))]
	}
	text := cleanLines(string(head) + string(rest))
	e := fault.New("%s: something other than Nix answered", c.name)
	e.Lines = append(text, cleanLines(c.stderr())...)
	return e.Hint("a start-up file of the shell there must print nothing when it is not interactive").
		Hint("check that `nix-store --version` works there over the same connection")
}

func (c *conn) stderr() string {
	if c.st.Stderr == nil {
		return ""
	}
	return c.st.Stderr()
}

// wait waits for the process, for at most d, and gives what it said.
func (c *conn) wait(d time.Duration) error {
	c.reap.Do(func() {
		go func() {
			defer crash.Catch()
			var err error
			if c.st.Wait != nil {
				err = c.st.Wait()
			}
			c.mu.Lock()
			c.exit = err
			c.mu.Unlock()
			c.release(nil)
			close(c.exited)
		}()
	})
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c.exited:
	case <-t.C:
		c.st.Kill()
		select {
		case <-c.exited:
		case <-time.After(2 * time.Second):
			return errors.New("the process does not end")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exit
}

// explain turns an error of reading or writing into one that a person reads.
// doing is what was going on, for instance "while copying /nix/store/…".
func (c *conn) explain(err error, doing string) error {
	if f := (*fault.Error)(nil); errors.As(err, &f) {
		return err
	}
	cause := c.reason()
	if cause != nil && !errors.Is(cause, errSilent) {
		c.abandon()
		return cause
	}
	ended := cause == nil && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isClosed(err))
	var exit error
	if ended {
		// The process is ending by itself: its last words are on their way.
		_ = c.st.Stdin.Close()
		go func() { defer crash.Catch(); io.Copy(io.Discard, io.LimitReader(c.st.Stdout, 1<<20)) }()
		exit = c.wait(3 * time.Second)
	} else {
		c.abandon()
	}
	said := cleanLines(c.stderr())
	if len(said) > 12 {
		said = said[len(said)-12:]
	}
	if doing != "" {
		doing = ", " + doing
	}
	var e *fault.Error
	switch {
	case cause != nil:
		e = fault.New("%s: %w%s", c.name, cause, doing).
			Hint("check the network and the load of the host; what has arrived stays, so run the same again")
	case ended:
		why := "the connection ended"
		if exit != nil {
			why = "nix-store there ended: " + text.OneLine(exit.Error())
		}
		if m := lastError(said); m != "" {
			why = m
		}
		e = fault.New("%s: %s%s", c.name, why, doing).Because(err)
	default:
		e = fault.New("%s: %w%s", c.name, err, doing)
	}
	e.Lines = said
	classify(e, strings.Join(said, "\n"))
	return e
}

// abandon kills the connection and reaps the process in the background.
func (c *conn) abandon() {
	c.mu.Lock()
	was := c.closed
	c.closed = true
	c.mu.Unlock()
	c.st.Kill()
	if !was {
		c.unhook()
		close(c.done)
	}
	go func() {
		defer crash.Catch()
		_, _ = io.Copy(io.Discard, io.LimitReader(c.st.Stdout, 1<<20))
		_ = c.wait(5 * time.Second)
	}()
}

// leave ends the connection in good order without waiting for it: every answer
// is here, and the end is a round trip away.
func (c *conn) leave() {
	c.unhook()
	_ = c.st.Stdin.Close()
	go func() { defer crash.Catch(); _ = c.close() }()
}

// close ends the connection in good order: end of file where an operation is
// expected makes the server exit.
func (c *conn) close() error {
	c.mu.Lock()
	was := c.closed
	c.closed = true
	c.mu.Unlock()
	if was {
		return nil
	}
	_ = c.st.Stdin.Close()
	t := time.AfterFunc(5*time.Second, crash.Func(c.st.Kill))
	_, _ = io.Copy(io.Discard, io.LimitReader(c.st.Stdout, 1<<16))
	t.Stop()
	err := c.wait(5 * time.Second)
	c.unhook()
	close(c.done)
	return err
}
