package cli

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/fault"
)

func newGC(a *app) *cobra.Command {
	var r action.GCRequest
	var p passwords
	var timeout int
	var olderThan string
	c := &cobra.Command{
		Use:   "gc [DEPLOYMENT] [HOST...]",
		Short: "delete old systems of hosts and collect garbage there",
		Long: `gc deletes old generations of the system profile of each selected host, and then
collects the garbage in its store. It keeps the systems that the host runs, was booted
with and boots next, the system that a rollback would go to, and the newest --keep
generations. It does not change hosts that have a pending deployment. --dry-run shows
which generations would be deleted, and about how much space that frees.` + "\n" + foundFileHelp + exitStatusHelp,
		Example: `  godwit gc network.nix --dry-run
  godwit gc network.nix --keep 3 --older-than 30d
  godwit gc network.nix --on 'pi*' --keep 1`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if r.Keep.Newest < 1 {
				return fault.New("--keep must be 1 or more, not %d", r.Keep.Newest)
			}
			if timeout < 0 {
				return errNegative
			}
			r.Timeout = seconds(timeout)
			var err error
			if r.Keep.OlderThan, err = parseAge(olderThan); err != nil {
				return err
			}
			r.Where = a.fleetArgs(c.Context(), args)
			return a.overHosts(c.Context(), &p, func(ctx context.Context, e *action.Env) (*action.Summary, error) {
				return action.GC(ctx, e, r)
			})
		},
	}
	selectFlags(c, &r.Selection)
	passwordFlags(c, &p)
	overrideLockFlag(c, &r.OverrideLock)
	f := c.Flags()
	f.IntVar(&r.Keep.Newest, "keep", 5, "keep the newest `N` generations")
	f.StringVar(&olderThan, "older-than", "", "delete only generations older than `AGE`, such as 30d, 2w, 12h")
	f.IntVar(&timeout, "timeout", 0, "`SECONDS` that a host may take (0: 3600)")
	return c
}

// parseAge reads 30d, 2w, 12h.
func parseAge(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	units := map[string]time.Duration{"h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}
	unit, ok := units[s[len(s)-1:]]
	n, err := strconv.Atoi(s[:len(s)-1])
	if !ok || err != nil || n < 0 || n > 10000 {
		return 0, fault.New("--older-than %s is not an age", s).Hint("for instance 30d, 2w or 12h")
	}
	return time.Duration(n) * unit, nil
}
