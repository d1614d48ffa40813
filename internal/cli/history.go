package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/cli/show"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/history"
)

// historyView is which of the known deployments are shown.
type historyView struct {
	timeline bool
	last     int
	profile  string
}

func newHistory(a *app) *cobra.Command {
	var r action.HistoryRequest
	var show historyView
	var p passwords
	var hosts []string
	var id string
	c := &cobra.Command{
		Use:   "history [DEPLOYMENT] [HOST...]",
		Short: "show what was deployed where, when and by whom",
		Long: `history shows the deployments of hosts, newest first. With a deployment file it asks the
hosts for the records that they keep. So it also shows what other machines did, and how a
deployment ended if its deployer was interrupted. Without a deployment file it shows the
history of this machine, and contacts no host.

Deployments that changed nothing are left out; --verbose and --json show them.
--timeline draws when each host was deployed, and with which result.` + "\n" + exitStatusHelp,
		Example: `  godwit history
  godwit history network.nix web1
  godwit history network.nix --tagged eu --last 5 --json
  godwit history --id 20261103T100412-4f2a91`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if show.last < 0 {
				return fault.New("--last cannot be negative")
			}
			if show.timeline && a.globals.json {
				return fault.New("--json and --timeline exclude each other")
			}
			if show.timeline && !c.Flags().Changed("last") {
				show.last = 0
			}
			r.Last, r.Where = show.last, action.Where{Wish: a.wish()}
			r.Where.Wish.Words, args = places(args)
			r.Where.Hosts = append(hosts, args...)
			return a.reporting(c.Context(), &p, func(ctx context.Context, e *action.Env, v *view) error {
				if id != "" {
					entries, err := history.Deployment(ctx, id)
					if err != nil {
						return err
					}
					v.close()
					return v.deployment(entries)
				}
				past, err := action.History(ctx, e, r)
				if err != nil {
					return err
				}
				v.close()
				if err := v.history(past.Entries, show); err != nil {
					return err
				}
				if interrupted(ctx) && r.Asks() {
					return silent{ExitInterrupted}
				}
				return a.lacking(past.Missing)
			})
		},
	}
	selectFlags(c, &r.Selection)
	passwordFlags(c, &p)
	f := c.Flags()
	f.StringArrayVar(&hosts, "host", nil, "only this `HOST` (may be repeated); the same as naming it after the deployment file")
	f.IntVarP(&show.last, "last", "n", 20, "at most the last `N` deployments (0: all)")
	f.BoolVar(&r.Local, "local", false, "only the history of this machine; contact no host")
	f.BoolVar(&show.timeline, "timeline", false, "draw a timeline of the deployments per host (of the last ones, with --last)")
	f.StringVar(&show.profile, "profile", "", "only deployments of this `PROFILE` of a host")
	f.StringVar(&id, "id", "", "everything about one deployment, by its `ID`, with the end of its log")
	return c
}

// history prints entries, newest first.
func (v *view) history(entries []history.Entry, o historyView) error {
	if !v.app.globals.json && !v.app.globals.verbose {
		entries = slices.DeleteFunc(entries, func(e history.Entry) bool {
			return e.Outcome == deploy.Unchanged || e.Outcome == deploy.Skipped || e.Outcome == deploy.NotStarted
		})
	}
	entries = show.OfProfile(entries, o.profile)
	if o.last > 0 && len(entries) > o.last {
		entries = entries[:o.last]
	}
	if v.app.globals.json {
		if entries == nil {
			entries = []history.Entry{}
		}
		return v.app.printJSON(entries)
	}
	if len(entries) == 0 {
		fmt.Fprintln(v.app.stderr, "this machine knows of no deployment")
		return nil
	}
	if o.timeline {
		return v.app.print(v.Plain(show.Timeline(v.width(), entries)))
	}
	return v.app.print(v.Plain(show.History(v.width(), entries)))
}

// deployment prints all about one deployment.
func (v *view) deployment(entries []history.Entry) error {
	if v.app.globals.json {
		return v.app.printJSON(entries)
	}
	for _, e := range entries {
		if err := v.app.print(v.Plain(show.Deployment(e))); err != nil {
			return err
		}
	}
	return nil
}
