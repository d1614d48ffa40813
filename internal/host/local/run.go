package local

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"godwit/internal/crash"
	"godwit/internal/host"
)

// begin starts cmd, as root where it is to be. blocks is host.Sent's.
func (c *conn) begin(ctx context.Context, cmd host.Cmd, blocks bool) (*process, error) {
	if err := cmd.Check(); err != nil {
		return nil, err
	}
	w := &way{}
	if cmd.Elevate {
		var err error
		if w, err = c.becomeRoot(ctx); err != nil {
			return nil, err
		}
	}
	return c.start(ctx, cmd.Bounded(), blocks, w)
}

// Open is host.Conn's.
func (c *conn) Open(ctx context.Context, cmd host.Cmd) (*host.Process, error) {
	if cmd.Limit == 0 {
		cmd.Limit = host.NoLimit
	}
	p, err := c.begin(ctx, cmd, false)
	if err != nil {
		return nil, err
	}
	kill := func() {
		p.end(&host.DroppedError{Host: c.name, Command: cmd.String(), Killed: true, Stderr: p.err.tail()})
	}
	return &host.Process{Stdin: p.in, Stdout: p, Stderr: p.err.tail, Wait: p.wait, Kill: kill}, nil
}

// heldFor is how long the output of a command that has ended is read on: what it started
// may hold it open.
const heldFor = 2 * time.Second

// Run is host.Conn's.
func (c *conn) Run(ctx context.Context, cmd host.Cmd) error {
	p, err := c.begin(ctx, cmd, cmd.Blocks())
	if err != nil {
		return err
	}
	go func() {
		defer crash.Catch()
		if cmd.Stdin != nil {
			_, _ = io.Copy(p.in, cmd.Stdin)
		}
		_ = p.in.Close()
	}()
	out := cmd.Stdout
	if out == nil {
		out = io.Discard
	}
	copied := make(chan error, 1)
	go func() {
		defer crash.Catch()
		w := &sink{w: out}
		_, err := io.Copy(w, p)
		if w.err != nil {
			p.end(w.err) // nobody reads what it says
		}
		copied <- err
	}()
	select {
	case <-p.ended:
	case <-p.left:
	}
	var outErr error
	select {
	case outErr = <-copied:
	case <-time.After(heldFor):
		_ = p.out.SetReadDeadline(time.Now())
		outErr = <-copied
	}
	if err := p.wait(); err != nil || outErr == nil || errors.Is(outErr, os.ErrClosed) {
		return err
	}
	return outErr
}

// sink remembers that writing failed, as opposed to reading.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(b []byte) (int, error) {
	defer crash.Catch()
	n, err := s.w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	s.err = err
	return n, err
}
