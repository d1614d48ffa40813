package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"godwit/internal/ui/text"
)

// Kind is why a host could not be reached.
type Kind string

// Kinds of connection errors.
const (
	Unreachable    Kind = "unreachable"      // no route, network or host down
	NameNotFound   Kind = "name not found"   // the name has no address
	Refused        Kind = "refused"          // nothing listens there
	Timeout        Kind = "timeout"          // no answer in time
	HostKeyUnknown Kind = "host key unknown" // never seen this host
	HostKeyChanged Kind = "host key changed" // another machine, or a new key
	HostKeyRevoked Kind = "host key revoked" // a key that is marked as one nobody may trust
	AuthFailed     Kind = "authentication"   // our keys are not accepted
	Dropped        Kind = "dropped"          // closed while connecting
	BadConfig      Kind = "configuration"    // ssh does not understand its options
	NoLogin        Kind = "no login"         // logged in, but no shell to be had
	Other          Kind = "other"
)

// ConnectError is the cause of a *fault.Error about a connection.
type ConnectError struct {
	Kind   Kind
	Stderr string // what ssh said
	// Early tells that ssh says Timeout, and less than the time has passed.
	Early bool
}

func (e *ConnectError) Error() string { return string(e.Kind) }

// KindOf is the kind of a connection error; empty when err is none.
func KindOf(err error) Kind {
	var c *ConnectError
	if errors.As(err, &c) {
		return c.Kind
	}
	return ""
}

// Retryable tells whether trying again can help: the host may be booting or
// the network in trouble. A wrong host key, a refused login or a wrong
// configuration stays what it is.
func Retryable(err error) bool {
	var d *DroppedError
	if errors.As(err, &d) {
		return !d.Killed && d.Limit == 0
	}
	switch KindOf(err) {
	case Unreachable, NameNotFound, Refused, Timeout, Dropped:
		return true
	}
	return false
}

// WrongKey tells whether a host showed a key that is not the one to be trusted: no
// waiting changes that.
func WrongKey(err error) bool {
	k := KindOf(err)
	return k == HostKeyChanged || k == HostKeyRevoked
}

// ExitError is a command that ran to its end with a status other than 0.
type ExitError struct {
	Host    string
	Command string
	Code    int
	Stderr  string // the tail
}

func (e *ExitError) Error() string { return e.Host + ": " + e.Bare() }

// Bare is the message without its host.
func (e *ExitError) Bare() string {
	msg := fmt.Sprintf("%s ended with status %d", e.Command, e.Code)
	if last := LastLines(e.Stderr, 1); len(last) == 1 {
		msg += ": " + last[0]
	}
	return msg
}

// DroppedError is a command whose connection went away, or which did not end in its
// time. Whether it ran to its end is not known.
type DroppedError struct {
	Host    string
	Command string
	Stderr  string        // the tail
	Killed  bool          // by us
	Limit   time.Duration // its time, when that was over; else 0
	Err     error
}

func (e *DroppedError) Error() string { return e.Host + ": " + e.Bare() }

// TimedOut tells that the command's time was over.
func (e *DroppedError) TimedOut() bool { return e.Limit > 0 }

// Bare is the message without its host.
func (e *DroppedError) Bare() string {
	if e.Killed {
		return e.Command + " was broken off"
	}
	if e.Limit > 0 {
		return e.Command + " did not end within " + e.Limit.String()
	}
	msg := "the connection was lost during " + e.Command
	for _, l := range LastLines(e.Stderr, 3) {
		if ofSSH(l) {
			return msg + ": " + l
		}
	}
	return msg
}

func (e *DroppedError) Unwrap() error { return e.Err }

// HintLines says what to do next.
func (e *DroppedError) HintLines() []string {
	return []string{"it may or may not have finished; look at the host before running it again"}
}

// ofSSH tells whether a line looks like one of ssh's own.
func ofSSH(l string) bool {
	for _, p := range []string{"client_loop: ", "Timeout, server ", "Connection to ", "Connection closed", "Connection reset", "mux_client_", "Control master ", "Shared connection"} {
		if strings.HasPrefix(l, p) {
			return true
		}
	}
	return false
}

// ElevateError is the cause of errors that say that root was not to be had.
type ElevateError struct {
	Stderr string // what sudo or doas said
}

func (e *ElevateError) Error() string { return "cannot become root" }

// Lines are the last of what sudo or doas said.
func (e *ElevateError) Lines() []string { return LastLines(e.Stderr, 4) }

// Interrupted is the error of a cancelled command.
type Interrupted struct {
	Host, Cmd string
	Err       error // the context's cause
}

func (e *Interrupted) Error() string { return e.Host + ": " + e.Bare() }

// Bare is the message without its host.
func (e *Interrupted) Bare() string {
	what := "interrupted"
	if errors.Is(e.Err, context.DeadlineExceeded) {
		what = "timed out"
	}
	return e.Cmd + " " + what
}

func (e *Interrupted) Unwrap() error { return e.Err }

// LastLines are the last n lines of s that are not blank, cleaned.
func LastLines(s string, n int) []string {
	var out []string
	for _, l := range strings.Split(s, "\n") {
		if l = strings.TrimSpace(text.Clean(l)); l != "" {
			out = append(out, l)
		}
	}
	if len(out) > n {
		out = out[len(out)-n:]
	}
	return out
}
