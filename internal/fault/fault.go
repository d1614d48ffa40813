// Package fault is the error that a person reads: what failed, on which host,
// why, and what to do next.
package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"godwit/internal/shell"
	"godwit/internal/ui/text"
)

// Error is a failure with a way out. Its message is lower case and has no
// final period; hints are things that can be typed.
type Error struct {
	Host  string   // the host it happened on; may be empty
	Msg   string   // what failed and why, one line
	Lines []string // further facts, one a line (for instance the last lines of a log)
	Hints []string // what to do next
	Err   error    // the cause, for errors.Is and errors.As; not printed
	Code  int      // exit code that it asks for; 0 leaves it to the caller
	Whole bool     // somebody asked for all of Lines, however many they are
}

// New makes an Error from a format.
func New(format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Msg: err.Error(), Err: errors.Unwrap(err)}
}

// On names the host. A message made of an error that names it already does not do so
// twice.
func (e *Error) On(host string) *Error {
	if host != "" {
		e.Msg = strings.TrimPrefix(e.Msg, host+": ")
	}
	e.Host = host
	return e
}

// Raw is a text that Hint takes as it is: several words, or prose.
type Raw string

// Command is a command of these words, for Hint.
func Command(words ...string) Raw { return Raw(shell.Join(words)) }

// Hint adds a line that says what to do. People type it, so a string of args is one
// word of a shell wherever %s or %v puts it, quoted if it must be; a Raw is not.
func (e *Error) Hint(format string, args ...any) *Error {
	e.Hints = append(e.Hints, Hint(format, args...))
	return e
}

// Hint is a hint of (*Error).Hint, for those who give it to somebody else.
func Hint(format string, args ...any) string {
	typed := make([]any, len(args))
	for i, a := range args {
		if s, ok := a.(string); ok {
			a = word(s)
		}
		typed[i] = a
	}
	return fmt.Sprintf(format, typed...)
}

// word is one word of a shell. With %q it is what it would be otherwise.
type word string

func (w word) Format(f fmt.State, verb rune) {
	s := string(w)
	if verb == 's' || verb == 'v' {
		s = shell.Word(s)
	}
	fmt.Fprintf(f, fmt.FormatString(f, verb), s)
}

// Detail adds lines of facts.
func (e *Error) Detail(lines ...string) *Error {
	e.Lines = append(e.Lines, lines...)
	return e
}

// Exit sets the exit code.
func (e *Error) Exit(code int) *Error { e.Code = code; return e }

// Because sets the cause.
func (e *Error) Because(err error) *Error { e.Err = err; return e }

// Error is the message with its host, without lines and hints.
func (e *Error) Error() string {
	if e.Host != "" {
		return e.Host + ": " + e.Msg
	}
	return e.Msg
}

// Bare is the message without its host.
func (e *Error) Bare() string { return e.Msg }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hints are what err, or what it wraps, says to do next.
func Hints(err error) []string {
	var h interface{ HintLines() []string }
	if errors.As(err, &h) {
		return h.HintLines()
	}
	return nil
}

// HintLines are the hints; Hints and event.Scope.End read them.
func (e *Error) HintLines() []string { return e.Hints }

// MostLines bounds the facts of an error that are shown; of more the first and the
// last are. A trace that somebody asked for may have more (Whole).
const (
	MostLines = 100
	mostWhole = 5000
)

// Render writes err as a person reads it: the message, the facts indented, the
// hints last. Any error will do; joined errors are written one after another.
// What others put into it (a host, a builder, Nix, a name) is cleaned, and bounded
// in lines and in their length.
func Render(err error) string {
	var b strings.Builder
	for _, e := range split(err) {
		var f Error
		if p := (*Error)(nil); errors.As(e, &p) {
			f = *p
		}
		// A message of many lines is one that somebody else wrote.
		for i, l := range text.Lines(e.Error(), MostLines) {
			if i == 0 {
				fmt.Fprintf(&b, "error: %s\n", l)
				continue
			}
			fmt.Fprintf(&b, "  %s\n", l)
		}
		most := MostLines
		if f.Whole {
			most = mostWhole
		}
		for _, l := range text.Most(f.Lines, most) {
			fmt.Fprintf(&b, "  %s\n", l)
		}
		for _, h := range text.Most(f.Hints, MostLines) {
			fmt.Fprintf(&b, "hint: %s\n", h)
		}
	}
	return b.String()
}

func split(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range j.Unwrap() {
			out = append(out, split(e)...)
		}
		return out
	}
	return []error{err}
}

// Reason is the cause of an error about a file, without the operation and the path
// that os repeats in it.
func Reason(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
