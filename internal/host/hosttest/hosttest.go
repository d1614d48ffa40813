// Package hosttest has connections for tests that need no host.
package hosttest

import (
	"context"
	"errors"
	"time"

	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/shell"
	"godwit/internal/ssh"
)

// Stub is what fakes of one method embed: it knows its name, and that nothing else works.
type Stub struct{ Host string }

// Name is host.Conn's.
func (s Stub) Name() string { return s.Host }

// Connect is host.Conn's: there is nothing to open.
func (s Stub) Connect(context.Context) error { return nil }

// Run is host.Conn's.
func (s Stub) Run(_ context.Context, c host.Cmd) error {
	panic("hosttest: nobody expects " + c.String())
}

// Output is host.Conn's.
func (s Stub) Output(_ context.Context, c host.Cmd) (string, error) {
	panic("hosttest: nobody expects " + c.String())
}

// Open is host.Conn's.
func (s Stub) Open(_ context.Context, c host.Cmd) (*host.Process, error) {
	panic("hosttest: nobody expects " + c.String())
}

// Greeting is host.Conn's: the host said nothing.
func (s Stub) Greeting() (string, time.Duration, bool) { return "", 0, false }

// Disconnect is host.Conn's.
func (s Stub) Disconnect() {}

// Where is host.Conn's.
func (s Stub) Where(context.Context) (host.Where, error) {
	return host.Where{}, errors.New("nobody knows")
}

// Typed is host.Conn's.
func (s Stub) Typed(_ []string, words ...string) fault.Raw {
	return fault.Raw(shell.Join([]string{"ssh", "--", s.Host}) + " " + ssh.Remote(words...))
}
