package cli

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"godwit/internal/bounded"
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
		pw, err = ui.ReadSecret(ctx, tty, "Please enter remote sudo password: ")
	})
	redact.Know([]byte(pw))
	return pw, err
}
