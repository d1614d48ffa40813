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
		Short: "write godwit's own flake output for a morph, colmena or deploy-rs fleet",
		Long: `convert reads a configuration and writes godwit.nix beside it: the flake output godwit
with the same hosts. Before convert writes anything, it evaluates the new files and
compares: each host must get the same derivations, settings, secrets and checks. It
contacts no host, builds nothing and changes no existing file.

If no flake output contains the systems, as with network.nix and hive.nix, convert also
writes godwit-fleet.nix, which says how the systems are made, and a flake.nix. You do
not have to convert: godwit deploys all these forms as they are.` + "\n" + whereHelp + exitStatusHelp,
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
