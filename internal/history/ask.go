package history

import (
	"context"
	"slices"
	"time"

	"godwit/internal/activate"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
)

// Deployment is all that this machine remembers of one deployment, by its ID.
func Deployment(ctx context.Context, id string) ([]Entry, error) {
	db, err := Open(ctx, "")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	entries, err := db.Entries(ctx, Filter{Deployment: id, Logs: true})
	if err == nil && len(entries) == 0 {
		err = fault.New("no deployment %s is known here", id).Hint("godwit history DEPLOYMENT asks the hosts, and remembers what they say")
	}
	return entries, err
}

// ByHost keeps the entries of hosts that match one of the patterns.
func ByHost(entries []Entry, patterns []string) ([]Entry, error) {
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
	return slices.DeleteFunc(entries, func(e Entry) bool {
		return !expr.Match(e.Host, nil)
	}), nil
}

// OfHost reads the end of a host's own record: n deployments.
func OfHost(ctx context.Context, conn host.Conn, name string, n int) ([]Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	records, err := activate.History(ctx, conn, name, n)
	if err != nil {
		return nil, err
	}
	out := make([]Entry, len(records))
	for i, r := range records {
		out[i] = FromRecord(name, r)
	}
	return out, nil
}

// Keep reads what hosts have recorded into the database, so that what other machines did
// to the fleet of a file is known here, too. It is best effort.
func Keep(ctx context.Context, file string, entries []Entry) {
	db, err := Open(ctx, "")
	if err != nil {
		return
	}
	defer db.Close()
	own := slices.Clone(entries)
	for i := range own {
		own[i].File = file
	}
	_ = db.Import(ctx, own)
}

// LastSeen is the newest deploy of a host that this machine knows to have ended
// on it: what is left to say of a host that does not answer. nil: none. With file
// empty any deployment counts.
func LastSeen(ctx context.Context, file, host string) *Entry {
	db, err := Open(ctx, "")
	if err != nil {
		return nil
	}
	defer db.Close()
	entries, err := db.Entries(ctx, Filter{Hosts: []string{host}, File: file, Limit: 20})
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if !e.Ended.IsZero() && (e.Outcome == Changed || e.Outcome == RolledBack || e.Outcome == Unchanged) {
			return &e
		}
	}
	return nil
}
