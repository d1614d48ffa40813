// Package approve is the plan at the gate of a run: it shows what a deploy would change
// when every host is ready for it, asks, refuses, and holds all hosts back until somebody
// agreed. A Keeper asks about each host that runs the new system.
package approve

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"godwit/internal/crash"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/plan"
	"godwit/internal/store"
)

// ErrNobody is what Options.Ask gives where there is no terminal to answer on.
var ErrNobody = errors.New("there is no terminal to answer on")

// Options are what a gate is made of.
type Options struct {
	// Plan is the plan of this run, still without the hosts that are ready.
	Plan *plan.Plan
	// Saved is the plan that is applied, and File where it lies; nil: the plan is new.
	Saved *plan.Plan
	File  string
	// Accept are the risks that were accepted; Yes agrees to all else.
	Accept plan.Accept
	Yes    bool
	// Watched says that a person sees the plan and can be asked; Verbose shows all of it
	// to whoever reads.
	Watched, Verbose bool
	// Hosts are those of the run, in the order in which they are shown; Jobs is how many
	// of them the gate waits for.
	Hosts []fleet.Host
	Jobs  int
	// Meta is what the records of the hosts will say: the plan's hash goes there.
	Meta map[string]string

	// Look makes the part of a host that has what it is to run; brief looks for risks alone.
	Look func(ctx context.Context, h fleet.Host, system string, from store.Endpoint, brief bool) (plan.Host, error)
	// Remember adds to the part of a host that does not answer what is known of it.
	Remember func(ctx context.Context, h *plan.Host)
	// Show shows the plan; Ask asks whoever watches, with ErrNobody where nobody is.
	Show func(verbose bool)
	Ask  func(question string) (string, error)
	Sink event.Sink
}

// Gate is behind deploy.Run's hooks Admit and Settled.
type Gate struct {
	Options

	mu       sync.Mutex
	left     int // hosts that are neither ready nor done
	admitted map[string]bool
	decided  chan struct{}
	stopped  *fault.Error // why no host is changed
	no       bool         // somebody said so
	moves    []plan.Move  // hosts that are not as the saved plan has them
}

// New makes a gate.
func New(o Options) *Gate {
	return &Gate{Options: o, left: o.Jobs, admitted: map[string]bool{}, decided: make(chan struct{})}
}

// Before puts the gate before the changes of a run.
func (g *Gate) Before(ctx context.Context, run *deploy.Run) {
	run.Admit = g.admit
	before := run.Settled
	run.Settled = func(o deploy.Outcome) {
		g.settled(ctx, o)
		if before != nil {
			before(o)
		}
	}
}

// Stopped tells after the run why no host was changed, if the plan was turned down.
func (g *Gate) Stopped() *fault.Error {
	select {
	case <-g.decided:
		return g.stopped
	default:
		return nil // interrupted
	}
}

// brief: nobody reads the plan, so only the risks are looked for.
func (g *Gate) brief() bool { return !g.Watched && !g.Verbose }

// admit is deploy.Run's Admit.
func (g *Gate) admit(ctx context.Context, a deploy.Admission) error {
	part, err := g.Look(ctx, a.Host, a.System, a.Source, g.brief())
	if err != nil {
		return err // settled takes it into account
	}
	g.mu.Lock()
	g.admitted[a.Host.Name] = true
	g.mu.Unlock()
	event.On(g.Sink, a.Host.Name, event.StepPlan).Emit(event.Event{Kind: event.Waiting, Text: "ready, waits for the plan"})
	g.arrive(ctx, part)
	select {
	case <-g.decided:
	case <-ctx.Done():
		return ctx.Err()
	}
	// The first to go on names the plan; from then on meta is only read.
	g.mu.Lock()
	if g.Meta["plan"] == "" {
		g.Meta["plan"] = g.Plan.Hash
	}
	g.mu.Unlock()
	// What is decided about a host may depend on the others.
	if i := slices.IndexFunc(g.Plan.Hosts, func(h plan.Host) bool { return h.Name == part.Name }); i >= 0 {
		part = g.Plan.Hosts[i]
	}
	if g.stopped == nil && part.Status == plan.Blocked {
		return part.Err() // it was not among the hosts that were agreed to
	}
	if g.stopped != nil && part.Status != plan.Unchanged {
		return deploy.LeaveAlone(fault.New("not started: %s", g.whyNot(&part)).Because(g.stopped).Exit(plan.ExitStopped))
	}
	return nil
}

// settled is deploy.Run's Settled: a host that failed on the way is not waited for.
func (g *Gate) settled(ctx context.Context, o deploy.Outcome) {
	g.mu.Lock()
	ready := g.admitted[o.Host]
	g.mu.Unlock()
	if ready {
		return
	}
	h := plan.Host{Name: o.Host, System: o.System, Status: plan.BuildOnly}
	switch {
	case o.Err != nil:
		plan.Fail(&h, o.Err)
	case o.State == deploy.Skipped && !g.buildOnly(o.Host): // --unreachable=skip
		h.Status, h.Error = plan.Unreachable, o.Detail
	case o.State == deploy.Unchanged: // it ran the system, so nothing was to be agreed to
		h.Status = plan.Unchanged
	}
	g.Remember(ctx, &h)
	g.arrive(ctx, h)
}

func (g *Gate) buildOnly(name string) bool {
	for _, h := range g.Hosts {
		if h.Name == name {
			return h.BuildOnly
		}
	}
	return false
}

func (g *Gate) arrive(ctx context.Context, h plan.Host) {
	g.mu.Lock()
	g.Plan.Hosts = append(g.Plan.Hosts, h)
	g.left--
	last := g.left == 0
	g.mu.Unlock()
	if last {
		go func() {
			defer crash.Catch()
			defer close(g.decided)
			g.stopped = g.decide(ctx)
		}()
	}
}

// decide runs once, when every host is ready or out of it.
func (g *Gate) decide(ctx context.Context) *fault.Error {
	p := g.Plan
	p.Seal(names(g.Hosts))
	g.Accept.Apply(p)
	if g.Saved != nil {
		if err := g.same(); err != nil {
			return err
		}
		// What was planned and shown is what somebody agreed to by applying it;
		// risks that have come up since are not among that.
		known := plan.Accept{}
		for _, h := range g.Saved.Hosts {
			for _, r := range h.Risks {
				if r.Accepted != "" {
					known[r.Name] = true
				}
			}
		}
		known.Apply(p)
		p.Hash = g.Saved.Hash
	}
	question := p.Question()
	ask := g.Watched && !g.Yes && question != ""
	refusal := p.ErrRisks()
	if g.Watched && question != "" || g.Verbose || refusal != nil {
		g.Show(g.Verbose)
	}
	if !ask {
		return refusal
	}
	for {
		answer, err := g.Ask(question + " [y/N/d for details] ")
		switch {
		case errors.Is(err, ErrNobody): // nobody there after all
			return refusal
		case err != nil:
			answer = "no" // the end of input (Ctrl-D) agrees to nothing
		}
		switch strings.ToLower(answer) {
		case "y", "yes":
			return nil
		case "d", "details":
			g.Show(true)
			continue
		}
		g.no = true
		return fault.New("the answer was no; no host was changed").Exit(plan.ExitStopped)
	}
}

// same compares the hosts with the saved plan.
func (g *Gate) same() *fault.Error {
	planned := map[string]*plan.Host{}
	for i := range g.Saved.Hosts {
		planned[g.Saved.Hosts[i].Name] = &g.Saved.Hosts[i]
	}
	for _, h := range g.Plan.Hosts {
		was := planned[h.Name]
		if was == nil || h.Running == "" {
			continue // it failed: its own error says why
		}
		if how := was.Moved(&h); how != "" {
			g.moves = append(g.moves, plan.Move{Host: h.Name, How: how})
		}
	}
	if len(g.moves) == 0 {
		return nil
	}
	return plan.ErrMoved(g.Saved.File, g.File, g.moves)
}

// whyNot says why a host of a plan that was turned down was not started: for a
// reason of its own, or for another host's sake.
func (g *Gate) whyNot(h *plan.Host) string {
	if g.no {
		return g.stopped.Msg
	}
	var others []string
	for _, m := range g.moves {
		if m.Host == h.Name {
			return "it has changed since the plan was made: " + m.How
		}
		others = append(others, m.Host)
	}
	if open := h.Open(); len(open) > 0 && len(g.moves) == 0 {
		return "nobody accepted " + strings.Join(open, ", ")
	}
	if len(g.moves) == 0 {
		for _, o := range g.Plan.Hosts {
			if len(o.Open()) > 0 {
				others = append(others, o.Name)
			}
		}
	}
	if len(others) > 0 {
		return "the plan was rejected because of " + strings.Join(others, ", ")
	}
	return g.stopped.Msg
}

func names(hosts []fleet.Host) []string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.Name)
	}
	return out
}
