package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/host"
	"godwit/internal/source"
	"godwit/internal/ui"
)

// whoami is the person who runs godwit.
func (a *app) whoami() string {
	for _, name := range []string{"USER", "LOGNAME"} {
		if who := a.getenv(name); who != "" {
			return who
		}
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// messageFlag says why a run is started.
func messageFlag(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "message", "", "why, in one line of `TEXT`: it stays in the history here and on each host")
}

// recordDeploy starts the record of a deploy; nil for what changes no host.
func (s *session) recordDeploy(ctx context.Context, d deploy.Options, hosts []fleet.Host) *history.Recorder {
	if d.Goal != deploy.GoalActivate || d.DryRun || d.Action == activate.DryActivate {
		return nil
	}
	return s.remember(ctx, string(d.Action), hosts, d.Meta)
}

// remember starts the record of a run that changes hosts, and completes what
// the hosts' own records will say of it. It ends with the session.
func (s *session) remember(ctx context.Context, action string, hosts []fleet.Host, meta map[string]string) *history.Recorder {
	var src history.Source
	if meta["verb"] != "rollback" { // which brings back what other commits made
		src = s.sourceOf(ctx)
	}
	key := s.at.At.Key()
	run := history.Run{
		ID: history.NewRunID(), Started: s.start, User: s.app.whoami(), Deployer: meta["deployer"], Godwit: meta["godwit"],
		File: key, Source: src, Plan: meta["plan"], Action: action, Message: meta["message"],
	}
	for name, value := range map[string]string{
		"run": run.ID, "user": run.User, "file": key, "commit": src.Commit, "tree": src.State(),
	} {
		if value != "" {
			meta[name] = value
		}
	}
	var names []string
	for _, h := range hosts {
		if !h.BuildOnly {
			names = append(names, h.Name)
		}
	}
	rec := history.Record("", run, names, s.warnHistory)
	s.closers = append(s.closers, rec.Close)
	return rec
}

// sourceOf is the state of the configuration. That git does not tell it is said
// once: what hangs on it (commits, the risk dirty-tree) is off then.
func (s *session) sourceOf(ctx context.Context) history.Source {
	at := s.at.At
	if at.Path() == "" { // not of this machine: what was locked is a commit
		if at.Locked != nil {
			return history.Source{Commit: at.Locked.Rev}
		}
		return history.Source{}
	}
	src := history.SourceOf(ctx, at.Path())
	if src.Refused != nil && ctx.Err() == nil {
		s.sourceOnce.Do(func() {
			event.On(s.ui, "", event.StepEvaluate).Warn(event.Message(src.Refused), fault.Hints(src.Refused)...)
		})
	}
	return src
}

// warnHistory says that the database is of no use; nothing fails because of it.
func (s *session) warnHistory(err error) {
	event.On(s.ui, "", "").Warn("this run is not remembered here: "+event.Message(err), fault.Hints(err)...)
}

// remembered writes an outcome into the record of its run.
func remembered(rec *history.Recorder, o deploy.Outcome) {
	r := history.Result{
		Host: o.Host, Deployment: o.Activation.ID, Old: o.Activation.OldSystem, New: o.System,
		Outcome: o.State, Log: strings.Join(o.Activation.Log, "\n"), Duration: o.Duration,
	}
	for _, p := range o.Activation.Profiles {
		r.Profiles = append(r.Profiles, history.Profile{Name: p.Name, Kind: p.Kind, Old: p.Old, New: p.New})
	}
	if o.Err != nil {
		r.Reason = event.Message(o.Err)
	}
	rec.Result(r)
}

// withReport is the frame of verbs that print a report on stdout: the view shows
// how it comes about, --json is about the report and not about events.
func (a *app) withReport(ctx context.Context, body func(ctx context.Context, s *session) error) error {
	s := a.open(ui.Options{})
	defer s.close()
	return body(ctx, s)
}

// print writes a report.
func (a *app) print(text string) error {
	_, err := fmt.Fprint(a.stdout, text)
	return err
}

func (a *app) printJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return a.print(string(b) + "\n")
}

// width is that of the terminal which stdout is; 0 when it is none.
func (s *session) width() int {
	if ui.IsTerminal(s.app.stdout) {
		return s.ui.Width()
	}
	return 0
}

// globQuoter makes a name a pattern that matches nothing else.
var globQuoter = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `{`, `\{`)

// unevaluated are hosts that fail to evaluate, with the little of them that can
// still be evaluated: where to reach them.
func (s *session) unevaluated(ctx context.Context) map[string]fleet.Host {
	out := map[string]fleet.Host{}
	var on []string
	for _, b := range s.broken {
		on = append(on, globQuoter.Replace(b.Host))
	}
	if len(on) == 0 {
		return out
	}
	res, err := s.source.Load(ctx, source.Request{Selection: fleet.Selection{On: on, Every: 1}})
	if err == nil {
		for _, h := range res.Fleet.Hosts {
			out[h.Name] = h
		}
	}
	return out
}

// importRecords reads the hosts' own records into the database, so that what
// other machines did is known here, too. It is best effort.
func (s *session) importRecords(ctx context.Context, entries []history.Entry) {
	db, err := history.Open(ctx, "")
	if err != nil {
		return
	}
	defer db.Close()
	own := make([]history.Entry, len(entries))
	for i, e := range entries {
		e.File = s.at.At.Key()
		own[i] = e
	}
	_ = db.Import(ctx, own)
}

// recordsOf reads a host's own record.
func recordsOf(ctx context.Context, conn host.Conn, name string, n int) ([]history.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	records, err := activate.History(ctx, conn, name, n)
	if err != nil {
		return nil, err
	}
	out := make([]history.Entry, len(records))
	for i, r := range records {
		out[i] = history.FromRecord(name, r)
	}
	return out, nil
}

var errNegative = fault.New("a time limit cannot be negative")

// seconds is a number of seconds from a flag.
func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
