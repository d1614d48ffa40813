// Package hosttest has the one stand-in for a host that tests of its callers use: a
// script of the calls that are expected, each with its answer. Anything else fails the
// test. What a real shell does with a script is not shown by it: that is for the tests
// that run the scripts (internal/activate, test/faults).
package hosttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/shell"
	"godwit/internal/ssh"
)

// Connect and Disconnect are what Call.Want is for these two.
const (
	Connect    = "<connect>"
	Disconnect = "<disconnect>"
)

// Call is one call that is expected, and what comes of it.
type Call struct {
	// Want is a regular expression on what runs (Text), or Connect, or Disconnect.
	Want string
	// Name is how Made calls it; empty: as Want.
	Name string
	// Root and Fresh are what the command must ask for; Fed, that it has an input.
	Root, Fresh, Fed bool
	// EitherWay takes a new connection and a shared one.
	EitherWay bool

	// Out and Stderr are what it prints, byte for byte.
	Out, Stderr string
	// Err is how it ends.
	Err error
	// Then, if not nil, is called when everything is printed. It may read the input.
	Then func(c host.Cmd)
	// Stays keeps it from ending before the context is cancelled.
	Stays bool
	// Serve is the whole of a command that is opened: it reads and writes its streams,
	// and what it returns is how the command ends.
	Serve func(stdin io.Reader, stdout io.Writer) error
	// Again tells that it may come as often as it likes, or not at all; in order: until
	// something else comes.
	Again bool
}

// Text is what Call.Want is matched with: a script, with its arguments in a line behind
// it, the line for the shell, or words.
func Text(c host.Cmd) string {
	switch {
	case c.Script != "" && len(c.Args) > 0:
		return c.Script + "\n-- " + shell.Join(c.Args)
	case c.Script != "":
		return c.Script
	case c.Shell != "":
		return c.Shell
	}
	return shell.Join(c.Argv)
}

// Host is a host that knows what will be asked. It is a host.Conn.
type Host struct {
	t     testing.TB
	name  string
	loose bool

	mu       sync.Mutex
	calls    []Call
	used     []bool
	next     int // in order: what came before it comes no more
	made     []string
	running  int
	greeting string
	greeted  time.Time
	where    *host.Where
}

// New is a host at which exactly these calls arrive, in this order: one that comes
// otherwise, or never, fails the test.
func New(t testing.TB, name string, calls ...Call) *Host {
	t.Helper()
	h := &Host{t: t, name: name, calls: calls, used: make([]bool, len(calls))}
	t.Cleanup(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		for i, c := range h.calls {
			if !h.used[i] && !c.Again {
				t.Errorf("%s: nothing asked for %s; there was: %q", name, c.name(), h.made)
			}
		}
	})
	return h
}

// AnyOrder lets the calls come in any order. Of several that fit, the first that has not
// come yet takes it.
func (h *Host) AnyOrder() *Host {
	h.loose = true
	return h
}

// Greets is what the host said of itself when it was connected to, just now.
func (h *Host) Greets(said string) *Host {
	h.greeting, h.greeted = said, time.Now()
	return h
}

// Goes is where the host is.
func (h *Host) Goes(w host.Where) *Host {
	h.where = &w
	return h
}

// Made are the names of the calls that came, in their order.
func (h *Host) Made() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.made)
}

// Running is how many commands run at this moment.
func (h *Host) Running() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running
}

func (h *Host) runs(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running += n
}

func (c Call) name() string {
	if c.Name != "" {
		return c.Name
	}
	return c.Want
}

// fits tells whether text is the command that c expects.
func (c Call) fits(text string) bool {
	if c.Want == Connect || c.Want == Disconnect || text == Connect || text == Disconnect {
		return c.Want == text
	}
	return regexp.MustCompile(c.Want).MatchString(text)
}

// take finds the call that is expected.
func (h *Host) take(text string) (Call, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, k := range h.calls {
		switch {
		case i < h.next || h.used[i] && !k.Again:
			continue
		case k.fits(text):
			h.used[i] = true
			if !h.loose {
				h.next = i
			}
			h.made = append(h.made, k.name())
			return k, nil
		case h.loose || k.Again:
			continue
		}
		break
	}
	err := fmt.Errorf("%s: nobody expects this call after %q:\n%.600s", h.name, h.made, text)
	h.t.Error(err)
	return Call{}, err
}

func (h *Host) command(c host.Cmd) (Call, error) {
	if err := c.Check(); err != nil {
		h.t.Error(err)
		return Call{}, err
	}
	k, err := h.take(Text(c))
	if err == nil && (c.Elevate != k.Root || c.Fresh != k.Fresh && !k.EitherWay || (c.Stdin != nil) != k.Fed) {
		err = fmt.Errorf("%s: %s comes with root %v, a new connection %v, an input %v", h.name, k.name(), c.Elevate, c.Fresh, c.Stdin != nil)
		h.t.Error(err)
	}
	return k, err
}

// Name is host.Conn's.
func (h *Host) Name() string { return h.name }

// Connect is host.Conn's.
func (h *Host) Connect(context.Context) error {
	k, err := h.take(Connect)
	if err != nil {
		return err
	}
	if k.Then != nil {
		k.Then(host.Cmd{})
	}
	return k.Err
}

// Disconnect is host.Conn's.
func (h *Host) Disconnect() { _, _ = h.take(Disconnect) }

// Run is host.Conn's.
func (h *Host) Run(ctx context.Context, c host.Cmd) error {
	k, err := h.command(c)
	if err != nil {
		return err
	}
	h.runs(1)
	defer h.runs(-1)
	for _, o := range []struct {
		w    io.Writer
		said string
	}{{c.Stdout, k.Out}, {c.Stderr, k.Stderr}} {
		if o.w == nil {
			continue
		}
		for _, b := range []byte(o.said) { // one byte at a time: any cut will do
			if _, err := o.w.Write([]byte{b}); err != nil {
				return err
			}
		}
	}
	if k.Then != nil {
		k.Then(c)
	}
	if k.Stays {
		<-ctx.Done()
	}
	return k.Err
}

// Output is host.Conn's.
func (h *Host) Output(ctx context.Context, c host.Cmd) (string, error) {
	var b strings.Builder
	c.Stdout = &b
	err := h.Run(ctx, c)
	return b.String(), err
}

// Open is host.Conn's.
func (h *Host) Open(ctx context.Context, c host.Cmd) (*host.Process, error) {
	k, err := h.command(c)
	if err != nil {
		return nil, err
	}
	if k.Serve == nil {
		return nil, k.Err
	}
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	done := make(chan struct{})
	var ended error
	go func() {
		defer crash.Catch()
		defer close(done)
		ended = k.Serve(inR, outW)
		_ = inR.Close()
		_ = outW.Close()
	}()
	kill := func() { _ = inW.CloseWithError(io.ErrClosedPipe); _ = outR.Close() }
	stop := context.AfterFunc(ctx, kill)
	return &host.Process{Stdin: inW, Stdout: outR, Stderr: func() string { return k.Stderr }, Kill: kill,
		Wait: func() error { _ = inW.Close(); <-done; stop(); return ended }}, nil
}

// Greeting is host.Conn's.
func (h *Host) Greeting() (string, time.Duration, bool) {
	return h.greeting, time.Since(h.greeted), !h.greeted.IsZero()
}

// Where is host.Conn's.
func (h *Host) Where(context.Context) (host.Where, error) {
	if h.where == nil {
		return host.Where{}, errors.New("nobody knows where that is")
	}
	return *h.where, nil
}

// Typed is host.Conn's.
func (h *Host) Typed(_ []string, words ...string) fault.Raw { return typed(h.name, words) }

func typed(name string, words []string) fault.Raw {
	return fault.Raw(shell.Join([]string{"ssh", "--", name}) + " " + ssh.Remote(words...))
}

// Pool is a pool of these hosts, by name.
type Pool map[string]*Host

// Conn is host.Pool's.
func (p Pool) Conn(h fleet.Host) host.Conn {
	if c, ok := p[h.Name]; ok {
		return c
	}
	panic("hosttest: nobody expects the host " + h.Name)
}

// Close is host.Pool's.
func (p Pool) Close() error { return nil }

// Says is a host that gives the same answer to everything, for fuzz targets.
func Says(name string, answer []byte) host.Conn { return Func{Host: name, Do: saying(answer)} }

func saying(answer []byte) func(context.Context, host.Cmd) error {
	return func(_ context.Context, c host.Cmd) error {
		if c.Stdout == nil {
			return nil
		}
		_, err := c.Stdout.Write(answer)
		return err
	}
}

// Func is a host that only runs commands, in the way of Do: for those that a real shell
// runs, and for what comes in no order that could be written down.
type Func struct {
	Host string
	Do   func(ctx context.Context, c host.Cmd) error
}

// Name is host.Conn's.
func (f Func) Name() string { return f.Host }

// Connect is host.Conn's: there is nothing to open.
func (f Func) Connect(context.Context) error { return nil }

// Disconnect is host.Conn's: there is nothing to close.
func (f Func) Disconnect() {}

// Run is host.Conn's.
func (f Func) Run(ctx context.Context, c host.Cmd) error { return f.Do(ctx, c) }

// Output is host.Conn's.
func (f Func) Output(ctx context.Context, c host.Cmd) (string, error) {
	var b strings.Builder
	c.Stdout = &b
	err := f.Do(ctx, c)
	return b.String(), err
}

// Open is host.Conn's: it cannot be done.
func (f Func) Open(context.Context, host.Cmd) (*host.Process, error) {
	return nil, errors.New("hosttest: nothing can be opened here")
}

// Greeting is host.Conn's: the host said nothing.
func (f Func) Greeting() (string, time.Duration, bool) { return "", 0, false }

// Where is host.Conn's.
func (f Func) Where(context.Context) (host.Where, error) {
	return host.Where{}, errors.New("nobody knows where that is")
}

// Typed is host.Conn's.
func (f Func) Typed(_ []string, words ...string) fault.Raw { return typed(f.Host, words) }
