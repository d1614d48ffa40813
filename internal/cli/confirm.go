package cli

import (
	"context"

	"github.com/spf13/cobra"

	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/fleet"
	"godwit/internal/ssh"
)

func newConfirm(a *app) *cobra.Command {
	var sel fleet.Selection
	var p passwords
	c := &cobra.Command{
		Use:   "confirm DEPLOYMENT HOST...",
		Short: "make a pending deployment permanent",
		Long: `confirm makes the deployment that is pending on each host permanent: the system
that it runs now becomes the profile's and the boot default. It works from any
machine that may log in, over a connection of its own; health checks are not
run. Use it when the machine that deployed is gone and the hosts are fine.` + "\n" + exitStatusHelp,
		Example: `  godwit status network.nix
  godwit confirm network.nix web1`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			f, err := a.fleetArgs(c.Context(), c, args)
			if err == nil {
				err = f.needHosts(c, sel)
			}
			if err != nil {
				return err
			}
			return a.withSession(c.Context(), func(ctx context.Context, s *session) error {
				f.tell(s)
				return s.onHosts(ctx, f.file, f.selection(sel), &p, nil, func(ctx context.Context, h fleet.Host, conn *ssh.Host) deploy.Outcome {
					if a.globals.dryRun {
						return deploy.Outcome{State: deploy.Skipped, Detail: "dry run: would confirm what is pending"}
					}
					res, err := activate.Confirm(ctx, conn, h.Name, "", s.ui)
					s.afterwards(ctx, f.file, conn, h.Name, res)
					return pendingOutcome(res, err, deploy.Changed, "confirmed "+res.ID)
				})
			})
		},
	}
	selectFlags(c, &sel)
	passwordFlags(c, &p)
	return c
}

// pendingOutcome is the outcome of ending a pending deployment.
func pendingOutcome(res activate.Result, err error, state deploy.State, detail string) deploy.Outcome {
	o := deploy.Outcome{State: state, System: res.NewSystem, Activation: res, Err: err}
	if err != nil {
		o.State = deploy.Failed
		return o
	}
	o.Detail = detail
	return o
}
