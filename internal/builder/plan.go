package builder

import (
	"context"
	"os"
	"slices"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/ssh"
)

// Inputs are what the choice depends on.
type Inputs struct {
	Tool  *nix.Tool
	Hosts []fleet.Host // evaluated: with DrvPath
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
	// Rooted waits until the derivations of Hosts are safe from the garbage
	// collector. May be nil.
	Rooted func() error
	// Wait bounds the waiting for substituters; 0: nix.DefaultMissingWait.
	Wait time.Duration
}

// Choose finds out what is to be built for the hosts, and where. The error is
// for what concerns the whole run; hosts that nothing can build are in
// Plan.Failed. Nothing is started yet.
func Choose(ctx context.Context, in Inputs) (*Plan, error) {
	if in.Sink == nil {
		in.Sink = event.Discard
	}
	config, err := in.Tool.Config(ctx)
	if err != nil {
		return nil, err
	}
	held, err := hold(ctx, in)
	if err != nil {
		return nil, err
	}
	var drvs []string
	seen := map[string]bool{}
	for _, h := range in.Hosts {
		for _, drv := range h.Drvs() {
			if !seen[drv] && held[drv] == "" {
				seen[drv] = true
				drvs = append(drvs, drv)
			}
		}
	}
	if in.Rooted != nil {
		if err := in.Rooted(); err != nil {
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
	needs, err := Needs(in.Hosts, m, nix.ReadDerivation)
	if err != nil {
		return nil, err
	}
	if m.Silent && len(m.Warnings) > 0 {
		event.On(in.Sink, "", event.StepBuilder).Warn("a cache does not answer, so more may be built than is needed: " + m.Warnings[0])
	}

	machines, problems := ParseMachines(config.Builders, config.System)
	engines, here := &Engines{}, ThisMachine(config)
	t := tooling{
		here: here, machines: machines, problems: problems, stores: in.Settings.SSH, hosts: map[string]fleet.Host{},
		probe:      func(ctx context.Context, m Machine) error { return answersNix(ctx, in.Tool, m) },
		engine:     func(ctx context.Context) EngineFacts { return engines.Facts(ctx, in.Settings.Engine) },
		local:      func() Builder { return &local{tool: in.Tool, roots: in.Roots, held: held} },
		configured: func(uris []string) Builder { return &local{tool: in.Tool, roots: in.Roots, via: uris} },
		container:  func(system string) Builder { return NewContainer(in.Tool, engines, in.Settings, system) },
		ssh:        func(uri string) (Builder, error) { return NewSSH(in.Tool, in.SSH, uri) },
		target:     func(h fleet.Host) (Builder, error) { return NewTarget(in.Tool, in.SSH, h) },
	}
	for _, h := range in.Hosts {
		t.hosts[h.Name] = h
	}
	c := &chooser{here: here, providers: providers(t), wanted: in.Wanted, standard: in.Settings.Default}

	p := &Plan{Missing: m, Failed: map[string]error{}}
	for _, h := range in.Hosts {
		var mine []Need
		for _, n := range needs {
			if n.Host == h.Name {
				mine = append(mine, n)
			}
		}
		fetch := len(m.Fetch)
		if !slices.ContainsFunc(h.Drvs(), func(drv string) bool { return held[drv] == "" }) {
			fetch = 0
		}
		a, err := c.decide(ctx, h, mine, fetch)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			p.Failed[h.Name] = err
			continue
		}
		p.Assignments = append(p.Assignments, a)
		say(in.Sink, a)
	}
	return p, nil
}

// hold finds the profiles that are in this machine's store already, as
// after a deploy that changed other hosts or none, and makes GC roots for them:
// derivation -> output path. One process does for all of them what would be a
// question to the substituters and a process for each host.
func hold(ctx context.Context, in Inputs) (map[string]string, error) {
	if in.Roots == "" {
		return nil, nil
	}
	held := map[string]string{}
	var paths []string
	for _, h := range in.Hosts {
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
