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
	c.Flags().BoolVar(to, "override-lock", false, "go on although somebody locked the host; the history says so")
}

func newLock(a *app) *cobra.Command {
	var r action.LockRequest
	var p passwords
	c := &cobra.Command{
		Use:   "lock [DEPLOYMENT] HOST... --message TEXT",
		Short: "keep hosts from being changed, and tell everybody why",
		Long: `lock keeps hosts from being changed until unlock. The lock is on the host: deploy,
rollback, upload-secrets and gc leave the host alone from any machine, and say who
locked it, why and since when. So does plan. A deployment that waits for its
confirmation still ends; push, exec and ssh go on.

--override-lock, of the verbs that a lock stops, goes on all the same; the history
here and on the host says so.` + "\n" + foundFileHelp + exitStatusHelp,
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
	c.Flags().StringVar(&r.Message, "message", "", "why, in one line of `TEXT`: whoever tries to change the host is told")
	c.Flags().BoolVar(&r.Replace, "replace", false, "set the lock also where there is one")
	return c
}

func newUnlock(a *app) *cobra.Command {
	var r action.HostsRequest
	var p passwords
	c := &cobra.Command{
		Use:   "unlock [DEPLOYMENT] HOST...",
		Short: "let hosts be changed again",
		Long: `unlock takes away the locks that godwit lock set, whoever set them, and says whose
they were.` + "\n" + foundFileHelp + exitStatusHelp,
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
