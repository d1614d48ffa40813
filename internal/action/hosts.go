package action

import (
	"context"

	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/host"
)

// HostsRequest chooses hosts of a configuration, for actions that need nothing else.
type HostsRequest struct {
	Where     Where
	Selection fleet.Selection
}

// step is what an action does with hosts that need no build.
type step struct {
	// changes says that it changes hosts.
	changes bool
	// before may refuse the run when the hosts are known and none has been touched.
	before func([]fleet.Host) error
	// needs tells which hosts a connection is opened to; nil: to all.
	needs func(fleet.Host) bool
	// each is done with each host that is not only built.
	each func(context.Context, fleet.Host, host.Conn) deploy.Outcome
}

// onHosts is the frame of actions that need hosts and no build.
func (s *session) onHosts(ctx context.Context, r HostsRequest, do step) (*Summary, error) {
	if err := s.openPool(); err != nil {
		return nil, err
	}
	if err := s.load(ctx, loadRequest{where: r.Where, selection: r.Where.selection(r.Selection), header: true, call: !s.DryRun, change: do.changes}); err != nil {
		return nil, err
	}
	if do.before != nil {
		if err := do.before(s.hosts); err != nil {
			return nil, err
		}
	}
	outcomes := s.brokenOutcomes()
	reach := func(ctx context.Context, h fleet.Host) error {
		if h.BuildOnly || s.DryRun || do.needs != nil && !do.needs(h) {
			return nil
		}
		return s.conns.Conn(h).Connect(ctx)
	}
	outcomes = append(outcomes, deploy.Reached(ctx, s.hosts, s.Limits.Activate, s.View, reach, func(ctx context.Context, h fleet.Host) deploy.Outcome {
		if h.BuildOnly {
			return deploy.Outcome{State: deploy.Skipped, Detail: "build-only host: not touched"}
		}
		return do.each(ctx, h, s.conns.Conn(h))
	})...)
	return s.summary(ctx, outcomes), nil
}

// summary ends the session, and adds to the errors of hosts that do not answer when they
// were last deployed.
func (s *session) summary(ctx context.Context, outcomes []deploy.Outcome) *Summary {
	s.close()
	s.tellLast(ctx, outcomes)
	return &Summary{Outcomes: outcomes}
}

// outcomes of hosts that never came to their pipeline.
func (s *session) brokenOutcomes() []deploy.Outcome {
	var out []deploy.Outcome
	for _, b := range s.broken {
		out = append(out, deploy.Fail(s.View, b.Host, b.Err))
	}
	return out
}

// wet passes a change of a host through the choke point of all.
func (s *session) wet(sc event.Scope, would string, fn func() deploy.Outcome) deploy.Outcome {
	return deploy.Wet(s.DryRun, sc, would, fn)
}
