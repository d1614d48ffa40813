// Package intake takes hosts that are evaluated while others still are, and has them built
// and copied to.
package intake

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

// Options are what an Intake begins with.
type Options struct {
	// Settle makes of an evaluated host what it is in this run; false: it is nothing to
	// begin with.
	Settle func(fleet.Host) (fleet.Host, bool)
	// Root keeps derivations from being collected, with links in a directory below Dir.
	Root func(ctx context.Context, dir string, drvs []string) error
	Dir  string
	// Refuse gives an error for hosts that the run would be refused for.
	Refuse  func([]fleet.Host) error
	Chooser *builder.Chooser
	Run     *deploy.Run
	// Link is the root of what is built for a host (deploy.Job).
	Link func(host string) string
}

// Intake is told of hosts as they are evaluated. Before a host is changed everything waits for the last of them: checks that
// are about all hosts, the plan, batches. It does so only when evaluation takes long:
// else nothing is won, and hosts are asked about together.
type Intake struct {
	Options // of Start

	over chan struct{} // closed when all are evaluated
	done chan struct{} // closed when no more is begun; nil: not started
	wake chan struct{}

	mu   sync.Mutex
	wait []fleet.Host
	jobs map[string]deploy.Job
}

// long is when an evaluation takes long enough for hosts to be asked about in parts.
const long = time.Second

// New makes one that only takes hosts.
func New() *Intake {
	return &Intake{over: make(chan struct{}), wake: make(chan struct{}, 1), jobs: map[string]deploy.Job{}}
}

// Take is told of a host that was evaluated. It does not wait for anything.
func (t *Intake) Take(h fleet.Host) {
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

// Start begins with the hosts that it was told of, and with those that come.
func (t *Intake) Start(ctx context.Context, o Options) {
	t.Options = o
	t.done = make(chan struct{})
	go func() {
		defer crash.Catch()
		defer close(t.done)
		select {
		case <-time.After(long):
		case <-t.over:
			return
		}
		for wave := 0; ; wave++ {
			select {
			case <-t.over:
				return
			case <-t.wake:
			}
			if !t.begin(ctx, filepath.Join(t.Dir, strconv.Itoa(wave))) {
				return
			}
		}
	}()
}

// begin begins with the hosts that wait. What goes wrong is met again when all hosts are
// there, by who can say so.
func (t *Intake) begin(ctx context.Context, roots string) bool {
	t.mu.Lock()
	wait := t.wait
	t.wait = nil
	t.mu.Unlock()
	var hosts []fleet.Host
	var drvs []string
	for _, h := range wait {
		if h, ok := t.Settle(h); ok && len(h.Drvs()) > 0 {
			hosts, drvs = append(hosts, h), append(drvs, h.Drvs()...)
		}
	}
	if len(hosts) == 0 {
		return true
	}
	if t.Refuse(hosts) != nil {
		return false
	}
	// The process that evaluated them keeps them from being collected until it ends.
	if t.Root(ctx, roots, drvs) != nil {
		return false
	}
	chosen, err := t.Chooser.Choose(ctx, hosts, nil)
	if err != nil {
		return false
	}
	for _, h := range hosts {
		if a := chosen.Of(h.Name); a != nil {
			j := JobOf(h, a, t.Link)
			t.Run.Begin(ctx, j)
			t.jobs[h.Name] = j
		}
	}
	return true
}

// End waits until nothing more is begun.
func (t *Intake) End() {
	close(t.over)
	if t.done != nil {
		<-t.done
	}
}

// Began is the job that was begun for a host; nil: none, or for something else than it
// is by now.
func (t *Intake) Began(h fleet.Host) *deploy.Job {
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

// JobOf is the job of a host that has a builder.
func JobOf(h fleet.Host, a *builder.Assignment, link func(host string) string) deploy.Job {
	return deploy.Job{Host: h, Builder: a.Builder, Needs: a.Needs, Prepare: a.Prepare, Link: link(h.Name)}
}
