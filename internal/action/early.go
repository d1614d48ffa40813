package action

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"godwit/internal/builder"
	"godwit/internal/crash"
	"godwit/internal/deploy"
	"godwit/internal/fleet"
)

// intake takes hosts that are evaluated while others still are, and has them built and
// copied to. Before a host is changed everything waits for the last of them: checks that
// are about all hosts, the plan, batches. It does so only when evaluation takes long:
// else nothing is won, and hosts are asked about together.
type intake struct {
	s        *session
	ctx      context.Context
	profiles []string // of these names alone; none: all

	run     *deploy.Run
	refuse  func([]fleet.Host) error // what needs no other host to be refused
	chooser *builder.Chooser
	links   func(host string) string
	roots   string        // of derivations, a folder for each wave
	over    chan struct{} // closed when all are evaluated
	done    chan struct{} // closed when no more is begun; nil: not started
	wake    chan struct{}

	mu   sync.Mutex
	wait []fleet.Host
	jobs map[string]deploy.Job
}

func (s *session) newIntake(ctx context.Context, profiles []string) *intake {
	return &intake{s: s, ctx: ctx, profiles: profiles, over: make(chan struct{}), wake: make(chan struct{}, 1), jobs: map[string]deploy.Job{}}
}

// take is told of a host that was evaluated. It does not wait for anything.
func (t *intake) take(h fleet.Host) {
	if h.Platform.Guessed() { // the host is asked first what it is
		return
	}
	t.mu.Lock()
	t.wait = append(t.wait, h)
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// start begins with the hosts that it is told of, on their way through run. refuse gives
// an error for hosts that the run would be refused for.
func (t *intake) start(run *deploy.Run, refuse func([]fleet.Host) error, links func(host string) string) (err error) {
	s := t.s
	if t.chooser, err = s.builders(t.ctx); err != nil {
		return err
	}
	if t.roots, err = s.tempDir("drvs-"); err != nil {
		return err
	}
	t.run, t.refuse, t.links, s.early = s.run(run), refuse, links, t
	s.closers = append(s.closers, func() { t.run.Abandon(t.ctx) })
	t.done = make(chan struct{})
	go func() {
		defer crash.Catch()
		defer close(t.done)
		select {
		case <-time.After(longEvaluation):
		case <-t.over:
			return
		}
		for wave := 0; ; wave++ {
			select {
			case <-t.over:
				return
			case <-t.wake:
			}
			if !t.begin(filepath.Join(t.roots, strconv.Itoa(wave))) {
				return
			}
		}
	}()
	return nil
}

// begin begins with the hosts that wait. What goes wrong is met again when all hosts are
// there, by who can say so.
func (t *intake) begin(roots string) bool {
	t.mu.Lock()
	wait := t.wait
	t.wait = nil
	t.mu.Unlock()
	var hosts []fleet.Host
	var drvs []string
	for _, h := range wait {
		mine, err := onlyProfiles([]fleet.Host{h}, t.profiles)
		if err != nil || len(mine) == 0 || len(mine[0].Drvs()) == 0 {
			continue
		}
		if h, err = t.s.settled(mine[0]); err == nil {
			hosts, drvs = append(hosts, h), append(drvs, h.Drvs()...)
		}
	}
	if len(hosts) == 0 {
		return true
	}
	if t.refuse(hosts) != nil {
		return false
	}
	// The process that evaluated them keeps them from being collected until it ends.
	if t.s.tool.RootDerivations(t.ctx, roots, drvs) != nil {
		return false
	}
	chosen, err := t.chooser.Choose(t.ctx, hosts, nil)
	if err != nil {
		return false
	}
	for _, h := range hosts {
		if a := chosen.Of(h.Name); a != nil {
			j := jobOf(h, a, t.links)
			t.run.Begin(t.ctx, j)
			t.jobs[h.Name] = j
		}
	}
	return true
}

// end waits until nothing more is begun.
func (t *intake) end() {
	close(t.over)
	if t.done != nil {
		<-t.done
	}
}

// began is the job that was begun for a host; nil: none, or for something else than it
// is by now.
func (t *intake) began(h fleet.Host) *deploy.Job {
	if t == nil {
		return nil
	}
	j, ok := t.jobs[h.Name]
	if !ok || !slices.Equal(j.Host.Drvs(), h.Drvs()) {
		return nil
	}
	j.Host = h
	return &j
}

// run is the run of this session: the one that was begun early, if one was, with what is
// known by now.
func (s *session) run(r *deploy.Run) *deploy.Run {
	if s.early != nil {
		s.early.run.Options = r.Options
		return s.early.run
	}
	r.Pool, r.Here, r.Pushers = s.conns, s.ownStore(), s.pushers()
	return r
}
