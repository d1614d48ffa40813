package host

import (
	"errors"
	"io"
	"strings"
	"time"

	"godwit/internal/shell"
)

// Cmd is one command on a host: exactly one of Argv, Shell and Script.
type Cmd struct {
	// Argv are words, each of which arrives as it is.
	Argv []string
	// Shell is a raw line for the login shell; elevated, for root's /bin/sh.
	Shell string
	// Script is run by /bin/sh with Args as $1, $2, ... It is never run in part.
	Script string
	Args   []string
	// Elevate runs the command as root, in the way that the connection was told.
	Elevate bool
	// Fresh takes a new connection with an authentication of its own.
	Fresh bool
	// Stdin is the command's input; nil is an empty one. Answers tells that it says nothing
	// before the command has said something.
	Stdin   io.Reader
	Answers bool
	// Stdout and Stderr get the command's output; nil drops it. Run has
	// written everything when it returns.
	Stdout, Stderr io.Writer
	// KillOnCancel also ends what runs on the host when the context is
	// cancelled: its process group, and after 2 s what that has started in
	// sessions of its own. Without it only the connection's end of it goes away.
	KillOnCancel bool

	// Name says in messages what the command is for ("the preflight"); empty: its
	// words.
	Name string
	// Limit is how long the command may run: 0 is DefaultLimit for Run and NoLimit for
	// Open. How long a host may take until the command runs is bounded in any case
	// (ssh.Options.LoginLimit).
	Limit time.Duration
	// MaxOutput is how many bytes it may write to each of its outputs: 0 is
	// DefaultMaxOutput where the command has a limit in time, and no bound elsewhere.
	// What is more ends it with a *bounded.Error.
	MaxOutput int64
}

const (
	// DefaultLimit is for scripts that look at something or make a small change: on a
	// slow host they take seconds.
	DefaultLimit = time.Minute
	// NoLimit is for commands that something else ends: the caller's context, a
	// protocol with limits of its own, a person.
	NoLimit = time.Duration(-1)
	// DefaultMaxOutput is some ten times the longest honest answer, in bytes.
	DefaultMaxOutput = 4 << 20
	// NoMaxOutput is for what is not kept in memory.
	NoMaxOutput = int64(-1)
)

// Blocks tells whether nothing comes behind the text of a command that Run runs before
// it has said something: then a host may read it in blocks (Sent).
func (c Cmd) Blocks() bool { return c.Stdin == nil || c.Answers }

// Bounded is c with the limits that it gets where it names none.
func (c Cmd) Bounded() Cmd {
	if c.Limit == 0 {
		c.Limit = DefaultLimit
	}
	if c.MaxOutput == 0 && c.Limit > 0 {
		c.MaxOutput = DefaultMaxOutput
	}
	return c
}

// String is the command in one line, for messages.
func (c Cmd) String() string {
	switch {
	case c.Name != "":
		return c.Name
	case c.Script != "":
		return "script"
	case c.Shell != "":
		return clip(strings.Join(strings.Fields(c.Shell), " "), 120)
	}
	return clip(strings.ReplaceAll(shell.Join(c.Argv), "\n", " "), 120)
}

func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

// Check refuses what is no command.
func (c Cmd) Check() error {
	n := 0
	for _, given := range []bool{len(c.Argv) > 0, c.Shell != "", c.Script != ""} {
		if given {
			n++
		}
	}
	if n != 1 {
		return errors.New("a command needs exactly one of argv, shell and script")
	}
	for _, s := range append(append([]string{c.Shell, c.Script}, c.Argv...), c.Args...) {
		if strings.IndexByte(s, 0) >= 0 {
			return errors.New("a command cannot hold a NUL byte")
		}
	}
	return nil
}
