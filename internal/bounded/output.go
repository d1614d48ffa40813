package bounded

import (
	"errors"
	"io"
	"os"
	"os/exec"
)

// stderrTail is how much Output keeps of stderr for an *exec.ExitError, in bytes.
const stderrTail = 32 << 10

// Output runs c, as (*exec.Cmd).Output does, and gives its standard output. A program
// that prints more than limit bytes is ended, and the error is an *Error that calls
// its output what. Where c.Stderr is nil, the end of it is in the *exec.ExitError;
// nothing of it is lost (see Said).
func Output(c *exec.Cmd, what string, limit int) ([]byte, error) {
	out := NewBuffer(what, limit).OnFull(func() { end(c) })
	c.Stdout = out
	var tail *Tail
	if c.Stderr == nil {
		tail = NewTail(stderrTail)
		c.Stderr = tail
	}
	err := run(c)
	if full := out.Err(); full != nil {
		return out.Bytes(), full
	}
	var exit *exec.ExitError
	if tail != nil && errors.As(err, &exit) {
		exit.Stderr = []byte(tail.String())
	}
	return out.Bytes(), err
}

// run is c.Run that loses nothing of what goes to c.Stderr, if that is not a file.
func run(c *exec.Cmd) error {
	to := c.Stderr
	if _, direct := to.(*os.File); direct {
		return c.Run()
	}
	return Said(c, nil, func(stderr io.Reader) { _, _ = io.Copy(to, stderr) })
}

// end ends a program in the way that its context would.
func end(c *exec.Cmd) {
	if c.Cancel != nil {
		_ = c.Cancel()
	} else if c.Process != nil {
		_ = c.Process.Kill()
	}
}
