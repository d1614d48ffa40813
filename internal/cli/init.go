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
		Short: "write a new repository, with an example or with running hosts in it",
		Long: `init writes a small repository into DIR (default: this directory): hosts/, modules/
that they share, users/, a health check, a README. It overwrites nothing.

With --from it reads a running NixOS host: its hardware, boot loader, NixOS release,
system.stateVersion, host keys, name and address, and the keys of the user that logs in.
It may be given several times. No host is changed. Services, network settings and other
users of the host are not read: write them into its file before the first deploy. What
could not be read is said.

A flake is written where Nix has flakes on, else a plain deployment file; a person at a
terminal is asked. --dry-run lists the files.` + "\n" + exitStatusHelp,
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
