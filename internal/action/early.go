package action

import (
	"context"

	"godwit/internal/deploy"
	"godwit/internal/fleet"
	"godwit/internal/intake"
)

// startEarly begins with hosts that are evaluated, on their way through run. refuse gives
// an error for hosts that the run would be refused for.
func (s *session) startEarly(ctx context.Context, l *loadRequest, run *deploy.Run, refuse func([]fleet.Host) error, link func(host string) string) error {
	chooser, err := s.builders(ctx)
	if err != nil {
		return err
	}
	dir, err := s.tempDir("drvs-")
	if err != nil {
		return err
	}
	run = s.run(run)
	s.closers = append(s.closers, func() { run.Abandon(ctx) })
	s.early = l.early
	s.early.Start(ctx, intake.Options{
		Settle: func(h fleet.Host) (fleet.Host, bool) {
			mine, err := fleet.OnlyProfiles([]fleet.Host{h}, l.profiles)
			if err != nil || len(mine) == 0 {
				return h, false
			}
			h, err = s.settled(mine[0])
			return h, err == nil
		},
		Root: s.tool.RootDerivations, Dir: dir, Refuse: refuse, Chooser: chooser, Run: run, Link: link,
	})
	return nil
}

// run is the run of this session: the one that was begun early, if one was, with what is
// known by now.
func (s *session) run(r *deploy.Run) *deploy.Run {
	if s.early != nil {
		s.early.Run.Options = r.Options
		return s.early.Run
	}
	r.Pool, r.Here, r.Pushers = s.conns, s.ownStore(), s.pushers()
	return r
}
