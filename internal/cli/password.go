package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"godwit/internal/bounded"
	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/redact"
	"godwit/internal/shell"
	"godwit/internal/ui"
)

// passwords are how a sudo password is got.
type passwords struct {
	ask     bool
	command string
}

func passwordFlags(c *cobra.Command, p *passwords) {
	c.Flags().BoolVar(&p.ask, "passwd", false, "ask once for the sudo password of the hosts")
	c.Flags().StringVar(&p.command, "passcmd", "", "run `COMMAND` (words and quotes as in a shell, without one) and take the sudo password from its output")
}

func (v *view) password(ctx context.Context, p *passwords) (string, error) {
	if p.command != "" {
		words, err := shell.Split(p.command)
		if err != nil {
			return "", fault.New("--passcmd: %w", err)
		}
		if len(words) == 0 {
			return "", fault.New("--passcmd names no command")
		}
		cmd := exec.CommandContext(ctx, words[0], words[1:]...)
		cmd.Stderr = ui.Inherit(v.app.stderr)
		out, err := bounded.Output(cmd, "the password that --passcmd prints", 64<<10)
		if err != nil {
			return "", fault.New("--passcmd `%s` failed: %w", p.command, err)
		}
		redact.Know(bytes.TrimRight(out, "\r\n"))
		return strings.TrimRight(string(out), "\r\n"), nil
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", fault.New("there is no terminal to ask for the sudo password on").Hint("--passcmd 'COMMAND' takes it from a command")
	}
	var pw string
	v.Suspend(func() {
		fmt.Fprint(tty, "Please enter remote sudo password: ")
		pw, err = readSecret(ctx, tty)
	})
	redact.Know([]byte(pw))
	return pw, err
}

// readSecret reads a line from a terminal without showing it, and closes the
// terminal. When ctx ends first it does not wait for the line, and the terminal
// shows again what is typed.
func readSecret(ctx context.Context, tty *os.File) (string, error) {
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
