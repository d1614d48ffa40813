package cli

import (
	"context"
	"godwit/internal/action"

	"github.com/spf13/cobra"
)

func newConvert(a *app) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "convert [DEPLOYMENT]",
		Short: "write godwit's own flake output for a fleet of morph, colmena or deploy-rs",
		Long: `convert reads a configuration and writes godwit.nix beside it: the flake output
godwit with the same hosts. Before anything is written it reads what it would write,
and compares: each host must get the same derivations, settings, secrets and checks.
No host is contacted, nothing is built, and no file that exists is changed.

Where the systems are in no output of a flake, as those of network.nix and hive.nix,
it also writes godwit-fleet.nix, which says how they are made, and a flake.nix.
Nobody has to convert: godwit deploys all of these as they are.` + "\n" + whereHelp + exitStatusHelp,
		Example: `  godwit convert                      # in a directory with a flake, network.nix or hive.nix
  godwit convert network.nix --dry-run`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			f, err := a.whereArgs(c, args)
			if err != nil {
				return err
			}
			return a.run(c.Context(), nil, func(ctx context.Context, e *action.Env, _ *view) error {
				return action.Convert(ctx, e, action.ConvertRequest{Where: f, Dir: dir})
			})
		},
	}
	c.Flags().StringVarP(&dir, "output", "o", "", "write the files into `DIR` (default: where the configuration is)")
	return c
}
