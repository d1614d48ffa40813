package builder

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"godwit/internal/builder/machines"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/ssh"
)

// Inputs are what the choice depends on.
type Inputs struct {
	Tool *nix.Tool
	// Wanted is the command line's --builder or --build-on; "" and "auto" leave
	// the choice to the hosts, the user's file, and godwit.
	Wanted   string
	Settings Settings // of the user's file, with the command line's on top
	// SSH reaches ssh stores and targets; nil: neither can be used.
	SSH  *ssh.Pool
	Sink event.Sink
	// Roots is a directory for GC roots on this machine that last as long as the
	// run; empty: none are made (a dry run).
	Roots string
	// Wait bounds the waiting for substituters; 0: nix.DefaultMissingWait.
	Wait time.Duration
}

// Chooser chooses for the hosts of a run one part after another, as they become known.
// The parts share their builders.
type Chooser struct {
	in      Inputs
	held    *sync.Map  // derivations whose outputs are here, with GC roots -> output
	mu      sync.Mutex // one part at a time
	hosts   map[string]fleet.Host
	choose  chooser
	offered []Builder
}

// NewChooser makes a Chooser.
func NewChooser(ctx context.Context, in Inputs) (*Chooser, error) {
	if in.Sink == nil {
		in.Sink = event.Discard
	}
	config, err := in.Tool.Config(ctx)
	if err != nil {
		return nil, err
	}
	configured, problems := machines.Parse(config.Builders, config.System)
	engines, here := &Engines{}, ThisMachine(config)
	c := &Chooser{in: in, held: &sync.Map{}, hosts: map[string]fleet.Host{}}
	t := tooling{
		here: here, machines: configured, problems: problems, stores: in.Settings.SSH, hosts: c.hosts,
		probe:      func(ctx context.Context, m machines.Machine) error { return answersNix(ctx, in.Tool, m) },
		engine:     func(ctx context.Context) EngineFacts { return engines.Facts(ctx, in.Settings.Engine) },
		local:      func() Builder { return &local{tool: in.Tool, roots: in.Roots, held: c.held} },
		configured: func(uris []string) Builder { return &local{tool: in.Tool, roots: in.Roots, via: uris} },
		container:  func(system string) Builder { return NewContainer(in.Tool, engines, in.Settings, system) },
		ssh:        func(uri string) (Builder, error) { return NewSSH(in.Tool, in.SSH, uri) },
		target:     func(h fleet.Host) (Builder, error) { return NewTarget(in.Tool, in.SSH, h) },
	}
	c.choose = chooser{here: here, providers: providers(t), wanted: in.Wanted, standard: in.Settings.Default}
	return c, nil
}

// Choose finds out what is to be built for the hosts, and where. rooted waits until
// their derivations are safe from the garbage collector; it may be nil. The error is for
// what concerns all of them; hosts that nothing can build are in Plan.Failed. Nothing is
// started yet.
func (c *Chooser) Choose(ctx context.Context, hosts []fleet.Host, rooted func() error) (*Plan, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.in
	for _, h := range hosts {
		c.hosts[h.Name] = h
	}
	held, err := hold(ctx, in, hosts)
	if err != nil {
		return nil, err
	}
	for drv, out := range held {
		c.held.Store(drv, out)
	}
	var drvs []string
	for _, h := range hosts {
		for _, drv := range h.Drvs() {
			if held[drv] == "" && !slices.Contains(drvs, drv) {
				drvs = append(drvs, drv)
			}
		}
	}
	if rooted != nil {
		if err := rooted(); err != nil {
			return nil, err
		}
	}
	m, err := in.Tool.MissingFor(ctx, drvs, in.Wait)
	if err != nil {
		return nil, err
	}
	if len(m.Unknown) > 0 {
		return nil, fault.New("not in this machine's store: %s", m.Unknown[0]).Hint("evaluate again: it may have been garbage collected")
	}
	needs, err := Needs(hosts, m, nix.ReadDerivation)
	if err != nil {
		return nil, err
	}
	if m.Silent && len(m.Warnings) > 0 {
		event.On(in.Sink, "", event.StepBuilder).Warn("a cache does not answer, so more may be built than is needed: " + m.Warnings[0])
	}

	p := &Plan{Missing: m, Failed: map[string]error{}}
	for _, h := range hosts {
		mine := slices.DeleteFunc(slices.Clone(needs), func(n Need) bool { return n.Host != h.Name })
		fetch := len(m.Fetch)
		if !slices.ContainsFunc(h.Drvs(), func(drv string) bool { return held[drv] == "" }) {
			fetch = 0
		}
		a, err := c.choose.decide(ctx, h, mine, fetch)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			p.Failed[h.Name] = err
			continue
		}
		if !slices.Contains(c.offered, a.Builder) {
			c.offered = append(c.offered, a.Builder)
		}
		p.Assignments = append(p.Assignments, a)
		say(in.Sink, a)
	}
	return p, nil
}

// Close closes all builders that were chosen.
func (c *Chooser) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.offered {
		_ = b.Close()
	}
	c.offered = nil
}

// hold finds the profiles that are in this machine's store already, as
// after a deploy that changed other hosts or none, and makes GC roots for them:
// derivation -> output path. One process does for all of them what would be a
// question to the substituters and a process for each host.
func hold(ctx context.Context, in Inputs, hosts []fleet.Host) (map[string]string, error) {
	if in.Roots == "" {
		return nil, nil
	}
	held := map[string]string{}
	var paths []string
	for _, h := range hosts {
		for _, p := range h.Profiles {
			// A look first: most systems that were never built would make Nix say no
			// for the others, too. What is there may still not be valid.
			if _, err := os.Lstat(p.Path); p.Path == "" || err != nil || p.Drv == "" || held[p.Drv] != "" {
				continue
			}
			held[p.Drv] = p.Path
			paths = append(paths, p.Path)
		}
	}
	ok, err := in.Tool.Hold(ctx, in.Roots, paths)
	if !ok {
		return nil, err
	}
	return held, nil
}
