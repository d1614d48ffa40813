package cli

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/shell"
	"godwit/internal/ssh"
)

func newSSH(a *app) *cobra.Command {
	var tty bool
	c := &cobra.Command{
		Use:   "ssh [flags] [DEPLOYMENT] HOST [COMMAND...]",
		Short: "a shell, or a command, on one host",
		Long: `ssh connects to a host as a deploy does: to the address of the configuration, with its
user, its port and its options, with --user, --target and the variables of the
environment. It is the system's own ssh, with a terminal where there is one; the
words of COMMAND are joined by blanks for the login shell there, as ssh does it.
Flags of godwit's go before HOST. When ssh was started, the exit status is its own.` + "\n" + whereHelp + exitStatusHelp,
		Example: `  godwit ssh web1
  godwit ssh network.nix web1 journalctl -fu nginx`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			words, rest := places(args)
			if len(rest) == 0 {
				return fault.New("ssh takes a host").Hint("godwit ssh HOST")
			}
			f := fleetArgs{wish: a.wish(), hosts: rest[:1]}
			f.wish.Words = words
			var argv []string
			err := a.withSession(c.Context(), func(ctx context.Context, s *session) error {
				if err := s.openPool(nil); err != nil {
					return err
				}
				if err := s.load(ctx, loadRequest{where: f, selection: f.selection(fleet.Selection{Every: 1})}); err != nil {
					return err
				}
				switch {
				case len(s.broken) > 0:
					return s.broken[0].Err
				case len(s.hosts) != 1:
					return fault.New("%s are %d hosts, and ssh takes one", rest[0], len(s.hosts)).Hint("godwit exec runs a command on several")
				}
				argv = s.login(s.hosts[0], tty, rest[1:])
				return nil
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
	c.Flags().BoolVarP(&tty, "tty", "t", false, "a terminal for COMMAND, too")
	c.Flags().SetInterspersed(false)
	return c
}

// login are the words that connect a person to a host.
func (s *session) login(h fleet.Host, tty bool, words []string) []string {
	line := strings.Join(words, " ")
	if s.here(h) {
		sh := cmp.Or(os.Getenv("SHELL"), "/bin/sh")
		if line == "" {
			return []string{sh}
		}
		return []string{sh, "-c", line}
	}
	var flags []string
	if tty {
		flags = append(flags, "-t")
	}
	argv := s.pool.Host(ssh.TargetOf(s.reached(h))).Words(flags...)
	if line != "" {
		argv = append(slices.Clone(argv), line)
	}
	return argv
}
