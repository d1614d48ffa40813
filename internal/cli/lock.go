package cli

import (
	"context"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/fault"
	"godwit/internal/history"
)

// overrideLockFlag lets a verb change hosts that somebody locked.
func overrideLockFlag(c *cobra.Command, to *bool) {
	c.Flags().BoolVar(to, "override-lock", false, "go on although the host is locked; the history records that")
}

func newLock(a *app) *cobra.Command {
	var r action.LockRequest
	var p passwords
	c := &cobra.Command{
		Use:   "lock [DEPLOYMENT] HOST... --message TEXT",
		Short: "prevent changes to hosts, and tell everybody why",
		Long: `lock prevents changes to hosts until godwit unlock. The lock is on the host: from any
machine, deploy, rollback, upload-secrets and gc do not change the host, and say who
locked it, why and since when. plan shows it, too. A deployment that waits for its
confirmation still ends; push, exec and ssh still work.

With --override-lock, the verbs that a lock stops ignore it. The history here and on the
host records that.` + "\n" + foundFileHelp + exitStatusHelp,
		Example: `  godwit lock network.nix db1 --message 'disk is being replaced, OPS-412'
  godwit lock --on @eu --message 'freeze until Monday'
  godwit unlock network.nix db1`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			r.Where = a.fleetArgs(c.Context(), args)
			err := needHosts(r.Where, c, r.Selection)
			if err != nil {
				return err
			}
			if r.Message, err = history.CheckMessage(r.Message); err != nil {
				return err
			}
			if r.Message == "" {
				return fault.New("a lock says why: --message is missing").Hint("--message 'disk is being replaced'")
			}
			return a.overHosts(c.Context(), &p, func(ctx context.Context, e *action.Env) (*action.Summary, error) {
				return action.Lock(ctx, e, r)
			})
		},
	}
	selectFlags(c, &r.Selection)
	passwordFlags(c, &p)
	c.Flags().StringVar(&r.Message, "message", "", "the reason, one line of `TEXT`, which everybody sees who tries to change the host")
	c.Flags().BoolVar(&r.Replace, "replace", false, "replace a lock that is there")
	return c
}

func newUnlock(a *app) *cobra.Command {
	var r action.HostsRequest
	var p passwords
	c := &cobra.Command{
		Use:   "unlock [DEPLOYMENT] HOST...",
		Short: "allow changes to hosts again",
		Long: `unlock removes the locks that godwit lock has set, of every person, and says whose they
were.` + "\n" + foundFileHelp + exitStatusHelp,
		Example: `  godwit unlock network.nix db1`,
		Args:    cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			r.Where = a.fleetArgs(c.Context(), args)
			if err := needHosts(r.Where, c, r.Selection); err != nil {
				return err
			}
			return a.overHosts(c.Context(), &p, func(ctx context.Context, e *action.Env) (*action.Summary, error) {
				return action.Unlock(ctx, e, r)
			})
		},
	}
	selectFlags(c, &r.Selection)
	passwordFlags(c, &p)
	return c
}
