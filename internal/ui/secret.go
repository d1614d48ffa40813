package ui

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/term"

	"godwit/internal/crash"
)

// ReadSecret reads a line from a terminal without showing it, and closes the
// terminal. When ctx ends first it does not wait for the line, and the terminal
// shows again what is typed.
func ReadSecret(ctx context.Context, tty *os.File) (string, error) {
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
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
		text, err := term.ReadPassword(fd)
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
