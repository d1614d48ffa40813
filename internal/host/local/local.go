// Package local reaches the machine that godwit runs on as a host of the fleet, without
// ssh: what colmena calls apply-local.
//
// A command runs in a session of its own, without a terminal, in the user's home, as one
// that came over ssh would. It arrives on standard input (host.Cmd.Line), so it shows in
// nobody's process list either. What another machine proves with a new connection (that
// one can still log in after a change) cannot be proved from here: Cmd.Fresh means nothing.
package local

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/shell"
)

// Options are what all hosts of a Pool have in common.
type Options struct {
	// Elevate is how to become root: "auto" (or empty), "sudo", "doas", "none".
	Elevate string
	// Password is asked for at most once, when sudo wants one; nil: there is nobody.
	Password func(ctx context.Context) (string, error)
	// PasswordOnRequest leaves that to hosts whose configuration says that their sudo
	// wants one (fleet.Address.AskPassword).
	PasswordOnRequest bool
	// Greeting is a script of sh that Connect runs as the user, for Conn.Greeting.
	Greeting string
	// Sh is the shell that runs commands; empty means /bin/sh.
	Sh string
}

// Pool reaches hosts that are this machine itself, and leaves all others to Rest.
type Pool struct {
	opts Options
	here func(fleet.Host) bool
	rest host.Pool

	ctx    context.Context
	cancel context.CancelFunc
	procs  sync.WaitGroup

	mu    sync.Mutex
	conns map[string]*conn

	root elevation
}

// NewPool is a pool in which here tells which hosts are this machine. rest has the others;
// nil: there are none.
func NewPool(opts Options, here func(fleet.Host) bool, rest host.Pool) *Pool {
	if opts.Sh == "" {
		opts.Sh = "/bin/sh"
	}
	p := &Pool{opts: opts, here: here, rest: rest, conns: map[string]*conn{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Conn is host.Pool's.
func (p *Pool) Conn(h fleet.Host) host.Conn {
	if p.rest != nil && !p.here(h) {
		return p.rest.Conn(h)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.conns[h.Name]
	if c == nil {
		c = &conn{pool: p, name: h.Name, asks: h.At.AskPassword}
		p.conns[h.Name] = c
	}
	return c
}

// closeWait is how long Close waits for commands to end.
const closeWait = 5 * time.Second

// Close is host.Pool's; it closes the rest, too.
func (p *Pool) Close() error {
	p.cancel()
	done := make(chan struct{})
	go func() { defer crash.Catch(); p.procs.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(closeWait):
	}
	if p.rest != nil {
		return p.rest.Close()
	}
	return nil
}

// errClosed is what a closed pool answers.
var errClosed = errors.New("the connections of this run are closed")

// conn is this machine under the name of one host: a host.Conn.
type conn struct {
	pool *Pool
	name string
	asks bool // its sudo wants a password

	mu     sync.Mutex
	said   string
	saidAt time.Time
}

// Name is host.Conn's.
func (c *conn) Name() string { return c.name }

// Connect is host.Conn's: it only hears the greeting.
func (c *conn) Connect(ctx context.Context) error {
	if c.pool.ctx.Err() != nil {
		return fault.New("%w", errClosed).On(c.name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pool.opts.Greeting == "" || !c.saidAt.IsZero() {
		return nil
	}
	said, err := c.Output(ctx, host.Cmd{Script: "{\n:\n" + c.pool.opts.Greeting + "\n} </dev/null 2>/dev/null", Name: "the greeting"})
	var exit *host.ExitError
	if err != nil && !errors.As(err, &exit) { // a greeting that fails says less
		return err
	}
	c.said, c.saidAt = strings.TrimSpace(said), time.Now()
	return nil
}

// Greeting is host.Conn's.
func (c *conn) Greeting() (said string, age time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said, time.Since(c.saidAt), !c.saidAt.IsZero()
}

// Disconnect is host.Conn's: what was said is old now.
func (c *conn) Disconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said, c.saidAt = "", time.Time{}
}

// Where is host.Conn's.
func (c *conn) Where(context.Context) (host.Where, error) { return host.Where{Host: "localhost"}, nil }

// Typed is host.Conn's: a person types the words as they are.
func (c *conn) Typed(_ []string, words ...string) fault.Raw { return fault.Raw(shell.Join(words)) }

// Output is host.Conn's.
func (c *conn) Output(ctx context.Context, cmd host.Cmd) (string, error) {
	var b strings.Builder
	cmd.Stdout = &b
	err := c.Run(ctx, cmd)
	return b.String(), err
}

// home is where commands run: where a login would be.
func home() string {
	if dir, err := os.UserHomeDir(); err == nil {
		if fi, err := os.Stat(dir); err == nil && fi.IsDir() {
			return dir
		}
	}
	return "/"
}
