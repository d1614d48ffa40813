package cli

import (
	"context"
	"errors"
	"time"

	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/history"
	"godwit/internal/host"
	"godwit/internal/hoststate"
	"godwit/internal/plan"
)

// lastSeen is the newest deploy of a host that this machine knows to have ended
// on it: what is left to say of a host that does not answer. nil: none.
func (s *session) lastSeen(ctx context.Context, host string) *history.Entry {
	db, err := history.Open(ctx, "")
	if err != nil {
		return nil
	}
	defer db.Close()
	f := history.Filter{Hosts: []string{host}, Limit: 20}
	if s.at != nil && s.ready.Name == "" { // a store path says nothing of other deployments
		f.File = s.at.At.Key()
	}
	entries, err := db.Entries(ctx, f)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if !e.Ended.IsZero() && (e.Outcome == history.Changed || e.Outcome == history.RolledBack || e.Outcome == history.Unchanged) {
			return &e
		}
	}
	return nil
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
