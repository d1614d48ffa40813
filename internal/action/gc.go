package action

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/gc"
	"godwit/internal/host"
	"godwit/internal/hoststate"
	"godwit/internal/ui/text"
)

// GCRequest asks for old generations of hosts to be deleted, with what nothing needs any
// more.
type GCRequest struct {
	HostsRequest
	Keep gc.KeepRule
	// Timeout is what a host may take; 0: an hour.
	Timeout time.Duration
	// OverrideLock goes on over a lock of the host.
	OverrideLock bool
}

// GC deletes old generations and collects garbage.
func GC(ctx context.Context, e *Env, r GCRequest) (*Summary, error) {
	s := e.open()
	defer s.close()
	limit := cmp.Or(r.Timeout, time.Hour)
	return s.onHosts(ctx, r.HostsRequest, step{each: func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
		ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("took longer than %s", limit))
		defer cancel()
		if err := unlocked(ctx, conn, h, r.OverrideLock); err != nil {
			return deploy.Outcome{State: deploy.Failed, Err: err}
		}
		return s.collect(ctx, h, conn, r.Keep)
	}})
}

// collect deletes what a host does not need any more.
func (s *session) collect(ctx context.Context, h fleet.Host, conn host.Conn, rule gc.KeepRule) deploy.Outcome {
	sc := event.On(s.View, h.Name, event.StepGC)
	sc.Start("")
	fail := func(err error) deploy.Outcome {
		if cause := context.Cause(ctx); ctx.Err() == context.DeadlineExceeded && cause != nil {
			err = fault.New("collecting garbage %s; what was deleted stays deleted, the rest is unchanged", cause).On(h.Name).Because(err)
		}
		sc.End("", err)
		return deploy.Outcome{State: deploy.Failed, Err: err}
	}
	facts, err := hoststate.Look(ctx, conn, h)
	if err == nil {
		err = gc.MayCollect(facts, h.Name)
	}
	if err != nil {
		return fail(err)
	}
	drop, keep := gc.Sweep(facts, rule)
	for _, k := range keep {
		if s.Verbose {
			sc.Note(fmt.Sprintf("generation %d stays: it %s", k.Number, k.Why))
		}
	}
	would := "delete " + gc.Numbers(drop)
	if s.DryRun && len(drop) > 0 {
		if n, ok := gc.Freeable(ctx, deploy.HostStore(conn), drop, keep); ok {
			would += ", about " + text.Size(n)
		}
	}
	return s.wet(sc, would, func() deploy.Outcome {
		res, err := gc.Collect(ctx, conn, h.Name, facts, drop, sc)
		if err != nil {
			return fail(err)
		}
		return collected(res, sc)
	})
}

// collected is the outcome of a host whose garbage was collected.
func collected(res gc.Collected, sc event.Scope) deploy.Outcome {
	detail := text.Count(res.Generations, "generation") + " and " + text.Count(res.Paths, "path") + " deleted"
	if res.Bytes >= 0 {
		detail += ", " + text.Size(res.Bytes) + " freed"
	}
	sc.Emit(event.Event{Kind: event.Done, Text: detail, Data: map[string]string{
		"generations": strconv.Itoa(res.Generations), "paths": strconv.Itoa(res.Paths), "bytes": strconv.FormatInt(res.Bytes, 10),
	}})
	state := deploy.Changed
	if res.Generations == 0 && res.Paths == 0 {
		state = deploy.Unchanged
	}
	return deploy.Outcome{State: state, Detail: detail}
}
