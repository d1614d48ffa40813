package cli

import (
	"context"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/cli/show"
)

func newDoctor(a *app) *cobra.Command {
	var r action.DoctorRequest
	var p passwords
	c := &cobra.Command{
		Use:   "doctor [DEPLOYMENT] [HOST...]",
		Short: "find what would stop or hinder a deploy",
		Long: `doctor checks this machine: Nix and its settings, ssh and its keys, the container
engine, emulation, free space. With a deployment file, hosts or --on it also checks
hosts: login, becoming root, systemd, free space and inodes, boot loader, clock, locks
and pending deployments. Each finding says what to do about it. Nothing is changed.

The exit status is 3 if something would stop every deploy (to a host). If there are only
warnings it is 0.` + "\n" + foundFileHelp + exitStatusHelp,
		Example: `  godwit doctor
  godwit doctor network.nix
  godwit doctor web1 --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			r.Where = a.fleetArgs(c.Context(), args)
			r.Hosts = len(args) > 0 || c.Flags().Changed("on") || c.Flags().Changed("tagged") || !a.wish().Empty()
			return a.reporting(c.Context(), &p, func(ctx context.Context, e *action.Env, v *view) error {
				found, err := action.Doctor(ctx, e, r)
				switch {
				case interrupted(ctx):
					return silent{ExitInterrupted}
				case err != nil:
					return err
				}
				v.close()
				if a.globals.json {
					err = a.printJSON(found)
				} else {
					err = a.print(v.Plain(show.Checkup(found)))
				}
				if err == nil && !found.OK {
					err = silent{ExitHosts}
				}
				return err
			})
		},
	}
	selectFlags(c, &r.Selection)
	passwordFlags(c, &p)
	return c
}
