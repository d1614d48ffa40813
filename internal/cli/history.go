package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/host"
	"godwit/internal/hoststate"
	"godwit/internal/ui"
)

type historyOptions struct {
	selection fleet.Selection
	passwords passwords
	hosts     []string
	last      int
	local     bool
	id        string
	profile   string
}

func newHistory(a *app) *cobra.Command {
	var o historyOptions
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
			if o.last < 0 {
				return fault.New("--last cannot be negative")
			}
			where := fleetArgs{wish: a.wish()}
			where.wish.Words, args = places(args)
			o.hosts = append(o.hosts, args...)
			return a.withReport(c.Context(), func(ctx context.Context, s *session) error {
				if o.id != "" {
					return s.historyOf(ctx, o.id)
				}
				if where.wish.Empty() || o.local {
					return s.localHistory(ctx, where, o)
				}
				return s.fleetHistory(ctx, where, o)
			})
		},
	}
	selectFlags(c, &o.selection)
	passwordFlags(c, &o.passwords)
	f := c.Flags()
	f.StringArrayVar(&o.hosts, "host", nil, "only this `HOST` (may be repeated); the same as naming it after the deployment file")
	f.IntVarP(&o.last, "last", "n", 20, "at most the last `N` deployments (0: all)")
	f.BoolVar(&o.local, "local", false, "only what this machine remembers; ask no host")
	f.StringVar(&o.profile, "profile", "", "only deployments of this `PROFILE` of a host")
	f.StringVar(&o.id, "id", "", "everything about one deployment, by its `ID`, with the end of its log")
	return c
}

// localHistory reads the database alone.
func (s *session) localHistory(ctx context.Context, where fleetArgs, o historyOptions) error {
	db, err := history.Open(ctx, "")
	if err != nil {
		return err
	}
	defer db.Close()
	f := history.Filter{}
	if !where.wish.Empty() {
		if err := s.find(ctx, where); err != nil {
			return err
		}
		f.File = s.at.At.Key()
	}
	entries, err := db.Entries(ctx, f)
	if err != nil {
		return err
	}
	entries, err = byHost(entries, append(slices.Clone(o.hosts), o.selection.On...))
	if err != nil {
		return err
	}
	return s.showHistory(entries, o)
}

// byHost keeps the entries of hosts that match one of the patterns.
func byHost(entries []history.Entry, patterns []string) ([]history.Entry, error) {
	if len(patterns) == 0 {
		return entries, nil
	}
	expr, err := fleet.ParseExpr(patterns, nil)
	if err != nil {
		return nil, err
	}
	if expr.Tags() {
		return nil, fault.New("the history does not know which tags a host had").Hint("name hosts: --on 'web*'")
	}
	return slices.DeleteFunc(entries, func(e history.Entry) bool {
		return !expr.Match(e.Host, nil)
	}), nil
}

// fleetHistory asks hosts for their records and merges them with the database.
func (s *session) fleetHistory(ctx context.Context, where fleetArgs, o historyOptions) error {
	l, err := s.app.globals.limits()
	if err != nil {
		return err
	}
	where.hosts = o.hosts
	if err := s.load(ctx, loadRequest{where: where, selection: where.selection(o.selection)}); err != nil {
		return err
	}
	if err := s.openPool(&o.passwords); err != nil {
		return err
	}
	n := 1000
	if o.last > 0 {
		n = max(50, 2*o.last)
	}
	var mu sync.Mutex
	var records []history.Entry
	outcomes := s.brokenOutcomes()
	reach := func(ctx context.Context, h fleet.Host) error {
		if h.BuildOnly {
			return nil
		}
		return s.conns.Conn(h).Connect(ctx)
	}
	outcomes = append(outcomes, deploy.Reached(ctx, s.hosts, l.Look, event.Discard, reach, func(ctx context.Context, h fleet.Host) deploy.Outcome {
		if h.BuildOnly {
			return deploy.Outcome{State: deploy.Skipped}
		}
		own, err := recordsOf(ctx, s.conns.Conn(h), h.Name, n)
		mu.Lock()
		defer mu.Unlock()
		records = append(records, own...)
		return deploy.Outcome{Err: err}
	})...)
	entries := records
	if db, err := history.Open(ctx, ""); err != nil {
		s.warnHistory(err)
	} else {
		defer db.Close()
		names := make([]string, 0, len(s.hosts))
		for _, h := range s.hosts {
			names = append(names, h.Name)
		}
		local, err := db.Entries(ctx, history.Filter{Hosts: names, File: s.at.At.Key()})
		if err != nil {
			s.warnHistory(err)
		}
		entries = history.Merge(local, records)
	}
	if len(entries) > 0 && len(records) == len(entries) {
		entries = history.Merge(nil, entries) // sorted
	}
	s.importRecords(ctx, records)
	if err := s.showHistory(entries, o); err != nil {
		return err
	}
	return s.unanswered(ctx, outcomes)
}

// unanswered tells which hosts a report lacks, and gives the exit code.
func (s *session) unanswered(ctx context.Context, outcomes []deploy.Outcome) error {
	if errors.Is(context.Cause(ctx), errInterrupted) {
		return silent{ExitInterrupted}
	}
	bad := false
	for _, o := range outcomes {
		if o.Err != nil {
			bad = true
			fmt.Fprint(s.app.stderr, fault.Render(o.Err))
		}
	}
	if bad {
		return silent{ExitHosts}
	}
	return nil
}

// showHistory prints entries, newest first.
func (s *session) showHistory(entries []history.Entry, o historyOptions) error {
	s.close()
	if !s.app.globals.json && !s.app.globals.verbose {
		entries = slices.DeleteFunc(entries, func(e history.Entry) bool {
			return e.Outcome == deploy.Unchanged || e.Outcome == deploy.Skipped || e.Outcome == deploy.NotStarted
		})
	}
	entries = ofProfile(entries, o.profile)
	if o.last > 0 && len(entries) > o.last {
		entries = entries[:o.last]
	}
	if s.app.globals.json {
		if entries == nil {
			entries = []history.Entry{}
		}
		return s.app.printJSON(entries)
	}
	if len(entries) == 0 {
		fmt.Fprintln(s.app.stderr, "nothing was deployed, as far as is known here")
		return nil
	}
	return s.app.print(s.ui.Plain(historyTable(s.width(), entries)))
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
	if e.Reason != "" && e.Message != "" {
		return e.Reason + " (" + e.Message + ")"
	}
	return e.Reason + e.Message
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// historyOf prints all about one deployment.
func (s *session) historyOf(ctx context.Context, id string) error {
	db, err := history.Open(ctx, "")
	if err != nil {
		return err
	}
	defer db.Close()
	entries, err := db.Entries(ctx, history.Filter{Deployment: id, Logs: true})
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return fault.New("no deployment %s is known here", id).Hint("godwit history DEPLOYMENT asks the hosts, and remembers what they say")
	}
	s.close()
	if s.app.globals.json {
		return s.app.printJSON(entries)
	}
	for _, e := range entries {
		if err := s.app.print(s.ui.Plain(entryText(e))); err != nil {
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

// afterwards does what the deployer of a deployment that was ended from here
// may not be able to do any more: it takes the root of its push away, and reads
// the host's record into the database.
func (s *session) afterwards(ctx context.Context, conn host.Conn, name string, res activate.Result) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if res.ID == "" {
		return
	}
	if res.NewSystem != "" {
		_ = deploy.ReleasePushed(ctx, conn, res.NewSystem)
	}
	if own, err := recordsOf(ctx, conn, name, 3); err == nil {
		s.importRecords(ctx, own)
	}
}
