// Package host says how a machine is reached: what a connection can do, what a command
// is, and in which ways both fail. Whoever looks at a host or changes one takes a Conn
// and does not know whether ssh is behind it (package ssh), this machine itself (package
// local) or a test (package hosttest).
package host

import (
	"context"
	"io"
	"time"

	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// Conn runs commands on one machine. Its methods may be called from many goroutines.
type Conn interface {
	// Name is the host's name in the configuration, for messages.
	Name() string
	// Connect opens the connection, if there is none.
	Connect(ctx context.Context) error
	// Run runs cmd to its end, for as long as cmd.Limit lets it. The error is nil for
	// status 0, an *ExitError for another one, a *DroppedError when the connection went
	// away under it or its time was over, a *fault.Error when it could not be started or
	// said too much, that of cmd.Stdout when it could not be written to (which ends the
	// command), and ctx's error, wrapped, when it was cancelled.
	Run(ctx context.Context, cmd Cmd) error
	// Output is Run, and gives what the command prints.
	Output(ctx context.Context, cmd Cmd) (string, error)
	// Open starts cmd with its streams in the caller's hands; cmd.Stdin and cmd.Stdout
	// are not used. The caller reads Stdout to its end and calls Wait. Nothing bounds its
	// time unless cmd.Limit does.
	Open(ctx context.Context, cmd Cmd) (*Process, error)
	// Greeting is what the host said of itself when the last connection to it was
	// opened, and how long ago that was; false where it said nothing yet.
	Greeting() (said string, age time.Duration, ok bool)
	// Disconnect ends the shared connections; the next command opens new ones. It is for
	// a host that was rebooted, and for connections that are dead.
	Disconnect()
	// Where is where connections to the host go.
	Where(ctx context.Context) (Where, error)
	// Typed is what a person types to run a command there: flags are ssh's, the words
	// arrive as they are.
	Typed(flags []string, words ...string) fault.Raw
}

// Pool has the connections of one run.
type Pool interface {
	// Conn is the connection to h. The same host always gives the same one.
	Conn(h fleet.Host) Conn
	// Close ends all commands and connections. It may be called more than once.
	Close() error
}

// Process is a running command whose streams are in the caller's hands.
type Process struct {
	Stdin  io.WriteCloser
	Stdout io.Reader
	// Stderr is the tail of what the command wrote to stderr so far.
	Stderr func() string
	// Wait waits for the end of the command, with Run's errors. Stdout must have been
	// read to its end before, or not be of interest any more. It may be called again.
	Wait func() error
	// Kill ends this side of the command; Wait then says that it was broken off.
	Kill func()
}
