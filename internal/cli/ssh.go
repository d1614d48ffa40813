package cli

import (
	"context"
	"errors"
	"os/exec"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/fault"
	"godwit/internal/shell"
)

func newSSH(a *app) *cobra.Command {
	var tty bool
	c := &cobra.Command{
		Use:   "ssh [flags] [DEPLOYMENT] HOST [COMMAND...]",
		Short: "a shell, or a command, on one host",
		Long: `ssh connects to a host as a deploy does: to the address in the configuration, with the
user, port and options from there, and with --user, --target and the environment
variables. It runs the ssh of this machine, with a terminal if there is one. ssh joins
the words of COMMAND with blanks for the login shell of the host. Flags of godwit go
before HOST. The exit status is that of ssh.` + "\n" + whereHelp + exitStatusHelp,
		Example: `  godwit ssh web1
  godwit ssh network.nix web1 journalctl -fu nginx`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			words, rest := places(args)
			if len(rest) == 0 {
				return fault.New("ssh takes a host").Hint("godwit ssh HOST")
			}
			r := action.LoginRequest{Where: action.Where{Wish: a.wish(), Hosts: rest[:1]}, TTY: tty, Words: rest[1:]}
			r.Where.Wish.Words = words
			var argv []string
			err := a.run(c.Context(), nil, func(ctx context.Context, e *action.Env, _ *view) (err error) {
				argv, err = action.Login(ctx, e, r)
				return err
			})
			if err != nil || a.dry("run "+shell.Join(argv)) {
				return err
			}
			cmd := exec.CommandContext(c.Context(), argv[0], argv[1:]...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stdout, a.stderr
			err = cmd.Run()
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				return silent{exit.ExitCode()}
			}
			return err
		},
	}
	c.Flags().BoolVarP(&tty, "tty", "t", false, "use a terminal for COMMAND, too")
	c.Flags().SetInterspersed(false)
	return c
}
