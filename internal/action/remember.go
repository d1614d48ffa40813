package action

import (
	"context"
	"errors"
	"os"
	"os/user"
	"strings"
	"time"

	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/host"
	"godwit/internal/hoststate"
	"godwit/internal/plan"
)

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
		ID: history.NewRunID(), Started: s.start, User: s.whoami(), Deployer: meta["deployer"], Godwit: meta["godwit"],
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
			event.On(s.View, "", event.StepEvaluate).Warn(event.Message(src.Refused), fault.Hints(src.Refused)...)
		})
	}
	return src
}

// warnHistory says that the database is of no use; nothing fails because of it.
func (s *session) warnHistory(err error) {
	event.On(s.View, "", "").Warn("this run is not remembered here: "+event.Message(err), fault.Hints(err)...)
}

// remembered writes an outcome into the record of its run.
func remembered(rec *history.Recorder, o deploy.Outcome) {
	r := history.Result{
		Host: o.Host, Deployment: o.Activation.ID, Old: o.Activation.OldSystem, New: o.System,
		Outcome: o.State, Overrode: o.Activation.Overrode, Log: strings.Join(o.Activation.Log, "\n"), Duration: o.Duration,
	}
	for _, p := range o.Activation.Profiles {
		r.Profiles = append(r.Profiles, history.Profile{Name: p.Name, Kind: p.Kind, Old: p.Old, New: p.New})
	}
	if o.Err != nil {
		r.Reason = event.Message(o.Err)
	}
	rec.Result(r)
}

// meta is what the record on the host says of this run.
func (s *session) meta() map[string]string {
	m := map[string]string{"godwit": s.Version}
	if who := s.Getenv("USER"); who != "" {
		m["user"] = who
	}
	if host, err := os.Hostname(); err == nil {
		m["deployer"] = host
	}
	if s.Message != "" {
		m["message"] = s.Message
	}
	return m
}

// lastSeen is history.LastSeen for the configuration of this run.
func (s *session) lastSeen(ctx context.Context, host string) *history.Entry {
	file := s.at.At.Key()
	if s.ready.Name != "" { // a store path says nothing of other deployments
		file = ""
	}
	return history.LastSeen(ctx, file, host)
}

// lastText is "last deployed 3 days ago by ana"; empty when nothing is known.
func (s *session) lastText(ctx context.Context, host string) string {
	e := s.lastSeen(ctx, host)
	if e == nil {
		return ""
	}
	text := "last deployed " + hoststate.Ago(time.Since(e.Ended))
	if e.User != "" {
		text += " by " + e.User
	}
	return text
}

// tellLast adds to the errors of hosts that do not answer when they last did.
func (s *session) tellLast(ctx context.Context, outcomes []deploy.Outcome) {
	for _, o := range outcomes {
		var no *host.ConnectError
		var f *fault.Error
		if o.Err == nil || !errors.As(o.Err, &no) || !host.Retryable(o.Err) || !errors.As(o.Err, &f) {
			continue
		}
		if last := s.lastText(ctx, o.Host); last != "" {
			f.Detail(last)
		}
	}
}

// rememberLast fills in who deployed last to a host that does not answer.
func (s *session) rememberLast(ctx context.Context, h *plan.Host) {
	if h.Status != plan.Unreachable {
		return
	}
	if e := s.lastSeen(ctx, h.Name); e != nil {
		h.Last = &plan.Last{ID: e.Deployment, Time: e.Ended, User: e.User, Deployer: e.Deployer, Commit: e.Commit, Tree: e.Tree,
			Action: e.Action, Result: string(e.Outcome), System: e.New}
	}
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
	if own, err := history.OfHost(ctx, conn, name, 3); err == nil {
		history.Keep(ctx, s.at.At.Key(), own)
	}
}

// whoami is the person who runs godwit.
func (s *session) whoami() string {
	for _, name := range []string{"USER", "LOGNAME"} {
		if who := s.Getenv(name); who != "" {
			return who
		}
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}
