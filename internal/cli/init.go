package cli

import (
	"context"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/newrepo"
)

func newInit(a *app) *cobra.Command {
	var flake, plain bool
	var from []string
	c := &cobra.Command{
		Use:   "init [DIR]",
		Short: "write a new repository, with an example host or with running hosts",
		Long: `init writes a small repository into DIR (default: this directory): hosts/, modules/ that
the hosts share, users/, a health check and a README. It overwrites nothing.

With --from it reads a running NixOS host: its hardware, boot loader, NixOS release,
system.stateVersion, host keys, name and address, and the keys of the login user. --from
may be given several times. No host is changed. init does not read services, network
settings and other users of the host: write them into the file of the host before the
first deploy. init says what it could not read.

On a terminal, init asks whether to write a flake or a plain deployment file. Elsewhere it
writes a flake if flakes are on in Nix. --dry-run lists the files.` + "\n" + exitStatusHelp,
		Example: `  godwit init
  godwit init fleet --plain
  godwit init fleet --from root@192.0.2.7 --from admin@db.example.org:2222`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			r := action.InitRequest{Dir: "."}
			if len(args) == 1 {
				r.Dir = args[0]
			}
			if flake {
				r.Form = newrepo.Flake
			}
			if plain {
				r.Form = newrepo.Plain
			}
			for _, to := range from {
				at, err := fleet.ParseDestination(to)
				if err != nil {
					return fault.New("--from %w", err).Hint("write user@host, or user@host:port")
				}
				r.From = append(r.From, at)
			}
			return a.run(c.Context(), nil, func(ctx context.Context, e *action.Env, _ *view) error {
				return action.Init(ctx, e, r)
			})
		},
	}
	// In place of the flag of all verbs that names a flake: there is none yet.
	c.Flags().BoolVar(&flake, "flake", false, "write a flake")
	c.Flags().BoolVar(&plain, "plain", false, "write a plain deployment file")
	c.Flags().StringArrayVar(&from, "from", nil, "read the running NixOS host `USER@HOST[:PORT]` into it; may be repeated")
	c.MarkFlagsMutuallyExclusive("flake", "plain")
	return c
}
