package bounded

import (
	"errors"
	"os/exec"
)

// stderrTail is how much Output keeps of stderr for an *exec.ExitError, in bytes.
const stderrTail = 32 << 10

// Output runs c, as (*exec.Cmd).Output does, and gives its standard output. A program
// that prints more than limit bytes is ended, and the error is an *Error that calls
// its output what. Where c.Stderr is nil, the end of it is in the *exec.ExitError.
func Output(c *exec.Cmd, what string, limit int) ([]byte, error) {
	out := NewBuffer(what, limit).OnFull(func() { end(c) })
	c.Stdout = out
	var tail *Tail
	if c.Stderr == nil {
		tail = NewTail(stderrTail)
		c.Stderr = tail
	}
	err := c.Run()
	if full := out.Err(); full != nil {
		return out.Bytes(), full
	}
	var exit *exec.ExitError
	if tail != nil && errors.As(err, &exit) {
		exit.Stderr = []byte(tail.String())
	}
	return out.Bytes(), err
}

// end ends a program in the way that its context would.
func end(c *exec.Cmd) {
	if c.Cancel != nil {
		_ = c.Cancel()
	} else if c.Process != nil {
		_ = c.Process.Kill()
	}
}
