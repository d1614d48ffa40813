package cli

import (
	"context"

	"github.com/spf13/cobra"

	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/reboot"
)

func newConfirm(a *app) *cobra.Command {
	var sel fleet.Selection
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
			f := a.fleetArgs(c.Context(), args)
			err := f.needHosts(c, sel)
			if err != nil {
				return err
			}
			return a.withSession(c.Context(), func(ctx context.Context, s *session) error {
				return s.onHosts(ctx, f, sel, &p, nil, nil, func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
					return s.wet(event.On(s.ui, h.Name, event.StepActivate), "confirm what is pending", func() deploy.Outcome {
						return s.endPending(ctx, h, conn, "confirmed", func(p *reboot.Pending) (activate.Result, error) {
							if p == nil {
								return activate.Confirm(ctx, conn, h.Name, "", s.ui)
							}
							sc := event.On(s.ui, h.Name, event.StepReboot)
							sc.Start("confirming " + p.ID)
							res, err := reboot.Confirm(ctx, conn, h.Name, sc)
							sc.End("confirmed", err)
							return onceResult(p, res), err
						})
					})
				})
			})
		},
	}
	selectFlags(c, &sel)
	passwordFlags(c, &p)
	return c
}

// endPending ends what is pending on a host, by end: a system that was booted
// once, or (nil) a deployment that the guard holds.
func (s *session) endPending(ctx context.Context, h fleet.Host, conn host.Conn, done string, end func(*reboot.Pending) (activate.Result, error)) deploy.Outcome {
	p, err := reboot.Find(ctx, conn, h.Name)
	if err != nil {
		return deploy.Outcome{State: deploy.Failed, Err: err}
	}
	res, err := end(p)
	s.afterwards(ctx, conn, h.Name, res)
	o := deploy.Outcome{State: deploy.Changed, Detail: done + " " + res.ID, System: res.NewSystem, Activation: res}
	if err != nil {
		o.State, o.Detail, o.Err = deploy.Failed, "", err
	}
	return o
}

// onceResult is how the reboot p ended, as the guard would say it.
func onceResult(p *reboot.Pending, res reboot.OnceResult) activate.Result {
	return activate.Result{ID: p.ID, OldSystem: p.Old, NewSystem: p.New, Outcome: res.Outcome, Running: res.Running, Reason: res.Reason, Duration: res.Took, ExitCode: -1}
}
