package ui

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"godwit/internal/crash"
)

// ReadSecret writes a prompt to a terminal, reads a line without showing it, and closes the
// terminal. When ctx ends first it does not wait for the line, and the terminal shows again
// what is typed.
func ReadSecret(ctx context.Context, tty *os.File, prompt string) (string, error) {
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		tty.Close()
		return "", err
	}
	// Before the prompt: somebody who types at once, or pastes, is not to see it.
	if err = hide(fd); err == nil {
		_, err = tty.WriteString(prompt)
	}
	if err != nil {
		_ = term.Restore(fd, before)
		tty.Close()
		return "", err
	}
	type line struct {
		text []byte
		err  error
	}
	read := make(chan line, 1)
	forget := crash.OnExit(func() { _ = term.Restore(fd, before) })
	go func() {
		defer crash.Catch()
		defer tty.Close()
		text, err := term.ReadPassword(fd) // leaves the terminal as it found it: hiding
		_ = term.Restore(fd, before)
		fmt.Fprintln(tty)
		read <- line{text, err}
	}()
	select {
	case l := <-read:
		forget()
		return string(l.text), l.err
	case <-ctx.Done():
		_ = term.Restore(fd, before)
		forget()
		fmt.Fprintln(tty)
		return "", ctx.Err()
	}
}

// hide lets a terminal not show what is typed.
func hide(fd int) error {
	t, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return err
	}
	t.Lflag &^= unix.ECHO
	return unix.IoctlSetTermios(fd, setTermios, t)
}
