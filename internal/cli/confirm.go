package cli

import (
	"context"
	"godwit/internal/action"

	"github.com/spf13/cobra"
)

func newConfirm(a *app) *cobra.Command {
	var r action.HostsRequest
	var p passwords
	c := &cobra.Command{
		Use:   "confirm [DEPLOYMENT] HOST...",
		Short: "make a pending deployment permanent",
		Long: `confirm makes the deployment that is pending on each host permanent: the system
that it runs now becomes the profile's and the boot default. That may be one that
deploy --reboot has booted once. It works from any machine that may log in, over a
connection of its own; health checks are not run. Use it when the machine that
deployed is gone and the hosts are fine. They wait 45 seconds without a word from it,
and for as long as deploy's --confirm-timeout says where that was given; status tells
what is left.` + "\n" + foundFileHelp + exitStatusHelp,
		Example: `  godwit status network.nix
  godwit confirm network.nix web1`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			r.Where = a.fleetArgs(c.Context(), args)
			if err := needHosts(r.Where, c, r.Selection); err != nil {
				return err
			}
			return a.overHosts(c.Context(), &p, func(ctx context.Context, e *action.Env) (*action.Summary, error) {
				return action.Confirm(ctx, e, r)
			})
		},
	}
	selectFlags(c, &r.Selection)
	passwordFlags(c, &p)
	return c
}
