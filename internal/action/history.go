package action

import (
	"context"
	"slices"
	"sync"

	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/history"
)

// HistoryRequest asks what was deployed where.
type HistoryRequest struct {
	Where     Where
	Selection fleet.Selection
	// Last is about how many deployments of each host are of interest; 0: all.
	Last int
	// Local asks no host: the answer is what this machine remembers.
	Local bool
}

// Asks tells whether hosts are asked: those of a configuration that was named.
func (r HistoryRequest) Asks() bool { return !r.Local && !r.Where.Wish.Empty() }

// Past is what is known of deployments, the newest first.
type Past struct {
	Entries []history.Entry
	// Missing are errors of hosts that were not asked, or did not answer.
	Missing []error
}

// History reads what this machine remembers. Where a configuration is named, it merges
// that with what the hosts have recorded themselves, and remembers it.
func History(ctx context.Context, e *Env, r HistoryRequest) (*Past, error) {
	s := e.open()
	defer s.close()
	if !r.Asks() {
		entries, err := s.localHistory(ctx, r)
		return &Past{Entries: entries}, err
	}
	return s.fleetHistory(ctx, r)
}

// localHistory reads the database alone.
func (s *session) localHistory(ctx context.Context, r HistoryRequest) ([]history.Entry, error) {
	db, err := history.Open(ctx, "")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	f := history.Filter{}
	if !r.Where.Wish.Empty() {
		if err := s.find(ctx, r.Where); err != nil {
			return nil, err
		}
		f.File = s.at.At.Key()
	}
	entries, err := db.Entries(ctx, f)
	if err != nil {
		return nil, err
	}
	return history.ByHost(entries, append(slices.Clone(r.Where.Hosts), r.Selection.On...))
}

// fleetHistory asks hosts for their records and merges them with the database.
func (s *session) fleetHistory(ctx context.Context, r HistoryRequest) (*Past, error) {
	if err := s.load(ctx, loadRequest{where: r.Where, selection: r.Where.selection(r.Selection)}); err != nil {
		return nil, err
	}
	if err := s.openPool(); err != nil {
		return nil, err
	}
	n := 1000
	if r.Last > 0 {
		n = max(50, 2*r.Last)
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
	outcomes = append(outcomes, deploy.Reached(ctx, s.hosts, s.Limits.Look, event.Discard, reach, func(ctx context.Context, h fleet.Host) deploy.Outcome {
		if h.BuildOnly {
			return deploy.Outcome{State: deploy.Skipped}
		}
		own, err := history.OfHost(ctx, s.conns.Conn(h), h.Name, n)
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
	history.Keep(ctx, s.at.At.Key(), records)
	out := &Past{Entries: entries}
	for _, o := range outcomes {
		if o.Err != nil {
			out.Missing = append(out.Missing, o.Err)
		}
	}
	return out, nil
}
