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
		Long: `confirm makes the pending deployment of each host permanent: the system that the host
runs now becomes the system of the profile and the boot default. It also confirms a
system that deploy --reboot has booted once. It works from any machine that may log in,
over a new connection, and runs no health checks.

Use it when the machine that deployed is gone and the hosts are fine. A host waits 45
seconds after it last heard from that machine, or as long as --confirm-timeout of the
deploy said. godwit status shows how much time is left.` + "\n" + foundFileHelp + exitStatusHelp,
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
