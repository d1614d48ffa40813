package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/hoststate"
	"godwit/internal/ui"
)

// historyView is which of the known deployments are shown.
type historyView struct {
	last    int
	profile string
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
		Long: `history shows the deployments of hosts, newest first. With a deployment file it
asks the hosts for the records that they keep themselves, so that it knows what
other machines did, too, and how a deployment ended whose deployer died. Without
one it shows what this machine remembers, and asks nobody.

Deployments that changed nothing are left out; --verbose and --json show them.` + "\n" + exitStatusHelp,
		Example: `  godwit history
  godwit history network.nix web1
  godwit history network.nix --tagged eu --last 5 --json
  godwit history --id 20261103T100412-4f2a91`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if show.last < 0 {
				return fault.New("--last cannot be negative")
			}
			r.Last, r.Where = show.last, action.Where{Wish: a.wish()}
			r.Where.Wish.Words, args = places(args)
			r.Where.Hosts = append(hosts, args...)
			return a.reporting(c.Context(), &p, func(ctx context.Context, e *action.Env, v *view) error {
				if id != "" {
					entries, err := action.Deployment(ctx, id)
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
	f.BoolVar(&r.Local, "local", false, "only what this machine remembers; ask no host")
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
	entries = ofProfile(entries, o.profile)
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
		fmt.Fprintln(v.app.stderr, "nothing was deployed, as far as is known here")
		return nil
	}
	return v.app.print(v.Plain(historyTable(v.width(), entries)))
}

// ofProfile are the entries that a profile is part of, with its paths. "": all, as they are.
func ofProfile(entries []history.Entry, name string) []history.Entry {
	if name == "" {
		return entries
	}
	var out []history.Entry
	for _, e := range entries {
		i := slices.IndexFunc(e.Profiles, func(p history.Profile) bool { return p.Name == name })
		switch {
		case i >= 0:
			e.Old, e.New, e.Profiles = e.Profiles[i].Old, e.Profiles[i].New, e.Profiles[i:i+1]
		case len(e.Profiles) > 0 || name != fleet.SystemProfile:
			continue
		}
		out = append(out, e)
	}
	return out
}

func historyTable(width int, entries []history.Entry) string {
	rows := make([][]string, len(entries))
	for i, e := range entries {
		commit := dash("")
		if e.Commit != "" {
			commit = history.Short(e.Commit)
			if e.Tree == "dirty" {
				commit += "+"
			}
		}
		took := ""
		if e.Seconds > 0 {
			took = ui.Elapsed(e.Duration())
		}
		rows[i] = []string{
			e.Started.Local().Format("2006-01-02 15:04:05"), e.Host, e.Action, string(e.Outcome), took, dash(e.User), commit, dash(e.Deployment), endOf(e),
		}
	}
	return ui.Table(width, []string{"WHEN", "HOST", "ACTION", "RESULT", "TIME", "BY", "COMMIT", "ID", ""}, rows)
}

// endOf is the last column: why it did not go as asked, and why it was done.
func endOf(e history.Entry) string {
	var parts []string
	if e.Reason != "" {
		parts = append(parts, e.Reason)
	}
	if e.Message != "" {
		parts = append(parts, "message: "+e.Message)
	}
	if e.Overrode != "" {
		parts = append(parts, "overrode the lock of "+e.Overrode)
	}
	return strings.Join(parts, " · ")
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// deployment prints all about one deployment.
func (v *view) deployment(entries []history.Entry) error {
	if v.app.globals.json {
		return v.app.printJSON(entries)
	}
	for _, e := range entries {
		if err := v.app.print(v.Plain(entryText(e))); err != nil {
			return err
		}
	}
	return nil
}

func entryText(e history.Entry) string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-11s %s\n", name, value)
		}
	}
	line("host", e.Host)
	line("result", strings.TrimSuffix(string(e.Outcome)+": "+e.Reason, ": "))
	line("action", e.Action)
	line("message", e.Message)
	line("overrode", e.Overrode)
	line("started", e.Started.Local().Format(time.RFC1123)+" ("+hoststate.Ago(time.Since(e.Started))+")")
	if e.Seconds > 0 {
		line("took", ui.Elapsed(e.Duration()))
	}
	line("by", strings.TrimPrefix(e.User+" on "+e.Deployer, " on "))
	line("file", e.File)
	if e.Commit != "" {
		line("commit", e.Commit+" ("+e.Tree+")")
	}
	line("plan", e.Plan)
	if len(e.Profiles) == 0 {
		line("old", e.Old)
		line("new", e.New)
	}
	for _, p := range e.Profiles {
		line("profile", fmt.Sprintf("%s (%s): %s → %s", p.Name, p.Kind, dash(p.Old), dash(p.New)))
	}
	line("deployment", e.Deployment)
	line("run", e.Run)
	line("told by", map[string]string{history.FromDeployer: "this machine", history.FromHost: "the host", history.FromBoth: "this machine and the host"}[e.From])
	if e.Log != "" {
		b.WriteString("log\n")
		for l := range strings.Lines(e.Log) {
			b.WriteString("  | " + strings.TrimRight(l, "\n") + "\n")
		}
	}
	return b.String()
}
