package cli

import (
	"context"
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/fault"
	"godwit/internal/history"
)

func newRollback(a *app) *cobra.Command {
	var r action.RollbackRequest
	var p passwords
	var pending bool
	var activateTimeout, confirmTimeout int
	var mayFail []string
	var message string
	c := &cobra.Command{
		Use:   "rollback [DEPLOYMENT] HOST... [GENERATION]",
		Short: "take hosts back to an earlier system",
		Long: `rollback activates the system of an earlier generation on each host. That is the
generation before the one of the profile (so rollback also undoes deploy boot and deploy
test), or the one that --to names (with one host: a number after the host). On a host
with several profiles, all profiles that the last deployment changed go back, in one
activation. --profile NAME takes only that profile back, to before its last change or to
its generation --to.

A rollback is guarded like a deploy: a host that does not come back goes to what it ran
before the rollback. Nothing is evaluated or built. Health checks are not run, because
they belong to another configuration. The profile gets a new generation with the old
system, so a second rollback undoes the first.

--pending ends a deployment that waits for its confirmation, no matter who began it: the
host goes back to what it ran when that deployment began. If deploy --reboot has booted
the new system once, this takes another reboot.` + "\n" + foundFileHelp + exitStatusHelp,
		Example: `  godwit rollback network.nix web1
  godwit rollback network.nix web1 --to 41
  godwit rollback fleet.nix web1 --profile app
  godwit rollback --pending network.nix --on 'web*'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if err := errors.Join(exclusive(c, "to", "pending"), exclusive(c, "profile", "pending")); err != nil {
				return err
			}
			r.Where = a.fleetArgs(c.Context(), args)
			err := needHosts(r.Where, c, r.Selection)
			if err != nil {
				return err
			}
			// `rollback HOST 41`, as the errors of the guard say it.
			if hosts := r.Where.Hosts; len(hosts) == 2 && !c.Flags().Changed("to") && !pending {
				if to, err := strconv.Atoi(hosts[1]); err == nil && to > 0 {
					r.To, r.Where.Hosts = to, hosts[:1]
				}
			}
			if c.Flags().Changed("to") && r.To < 1 {
				return fault.New("--to %d is not the number of a generation", r.To)
			}
			if activateTimeout < 0 || confirmTimeout < 0 {
				return errNegative
			}
			r.ActivateTimeout, r.ConfirmTimeout = seconds(activateTimeout), seconds(confirmTimeout)
			if message, err = history.CheckMessage(message); err != nil {
				return err
			}
			if r.AcceptFailed, err = acceptFailed(mayFail); err != nil {
				return err
			}
			return a.overHosts(c.Context(), &p, func(ctx context.Context, e *action.Env) (*action.Summary, error) {
				if pending {
					return action.RollbackPending(ctx, e, r.HostsRequest)
				}
				e.Message = message
				return action.Rollback(ctx, e, r)
			})
		},
	}
	selectFlags(c, &r.Selection)
	passwordFlags(c, &p)
	messageFlag(c, &message)
	overrideLockFlag(c, &r.OverrideLock)
	fl := c.Flags()
	fl.IntVar(&r.To, "to", 0, "the `GENERATION` to go to (godwit diff shows them)")
	fl.StringVar(&r.Profile, "profile", "", "only this `PROFILE` of a host")
	fl.BoolVar(&pending, "pending", false, "end the pending deployment, no matter who began it")
	fl.IntVar(&activateTimeout, "activate-timeout", 0, "`SECONDS` that an activation may take (0: 300)")
	acceptFailedFlag(c, &mayFail)
	fl.IntVar(&confirmTimeout, "confirm-timeout", 0, "`SECONDS` between activation and confirmation (0: 45)")
	return c
}
