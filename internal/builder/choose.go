package builder

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
)

// Assignment is where one host is built.
type Assignment struct {
	Host    string
	Builder Builder
	Kind    Kind
	// Reason is one line for a person, such as "router needs aarch64-linux,
	// which this machine (aarch64-darwin) cannot build: container aarch64-linux
	// in Docker, native speed".
	Reason string
	// Plain says that this machine builds it and nobody would have expected
	// anything else.
	Plain bool
	Needs []Need
	// Prepare are derivations for Request.Prepare.
	Prepare []string
}

// Plan is who builds what.
type Plan struct {
	Missing     *nix.Missing
	Assignments []Assignment // in the order of the hosts
	// Failed are the hosts that nothing can build, with *fault.Error (exit code 5).
	Failed map[string]error
}

// Of is the assignment of a host, or nil.
func (p *Plan) Of(host string) *Assignment {
	for i := range p.Assignments {
		if p.Assignments[i].Host == host {
			return &p.Assignments[i]
		}
	}
	return nil
}

// SSHStore is an ssh store that a person named, with what it builds.
type SSHStore struct {
	URI      string
	Systems  []string // empty: not known, asked for when it is used
	Features []string
}

// Can tells whether the store says that it builds n. One that names no
// features is taken to have those that Nix gives every Linux machine.
func (s SSHStore) Can(n Need) bool {
	if n.System != "builtin" && !slices.Contains(s.Systems, n.System) {
		return false
	}
	have := s.Features
	if have == nil {
		have = defaultFeatures
	}
	return !slices.ContainsFunc(n.Features, func(f string) bool { return !slices.Contains(have, f) })
}

// defaultFeatures are the system-features that Nix has without configuration,
// kvm excepted.
var defaultFeatures = []string{"benchmark", "big-parallel", "nixos-test"}

// EngineFacts is what Choose wants to know of container engines.
type EngineFacts struct {
	Usable bool
	Name   string // "Docker", "Podman"
	Arch   string // of the engine: "x86_64" or "aarch64"
	// Lines are facts for a person when it is not usable: name, what is the matter.
	Lines [][2]string
	Hints []string
}

// chooser decides between providers.
type chooser struct {
	here      Capability
	providers []Provider // in order of preference
	wanted    string     // command line
	standard  string     // user file
}

// decide assigns a builder to h, which needs needs.
func (c *chooser) decide(ctx context.Context, h fleet.Host, needs []Need, fetch int) (Assignment, error) {
	q := Question{Host: h, Needs: needs, Foreign: cannot(needs, c.here.Can), Fetch: fetch}
	a := Assignment{Host: h.Name, Needs: needs}
	take := func(o Offer) Assignment {
		a.Builder, a.Kind, a.Prepare, a.Plain = o.Builder, o.Kind, o.Prepare, o.Plain
		return a
	}
	if q.Word, q.From = c.wish(h); q.Word != "" {
		for _, p := range c.providers {
			if p.Means(q.Word, h) {
				o, err := p.Take(ctx, q)
				a.Reason = o.Words + ": " + q.From
				return take(o), err
			}
		}
		return a, fault.New("there is no builder %q (%s)", q.Word, q.From).On(h.Name).
			Hint("use auto, local, nix, container, target, the name of a host, or a store such as ssh-ng://user@host")
	}
	for _, p := range c.providers {
		o, err := p.Offer(ctx, q)
		if err != nil || o.Builder != nil {
			if a.Reason = o.Words; !o.Plain {
				a.Reason = fmt.Sprintf("%s needs %s, %s: %s", h.Name, whats(q.Foreign), c.here.cannotWords(q.Foreign), o.Words)
			}
			return take(o), err
		}
	}
	return a, c.nobody(ctx, q)
}

// wish is what was asked for h, strongest first, and who asked.
func (c *chooser) wish(h fleet.Host) (what, from string) {
	for _, w := range []struct{ what, from string }{
		{c.wanted, "asked for on the command line"},
		{h.BuildOn, "the host's own setting"},
		{c.standard, "the default of the configuration file"},
	} {
		if w.what == "auto" {
			return "", ""
		}
		if w.what != "" {
			return w.what, w.from
		}
	}
	return "", ""
}

// nobody is the error when nothing can build.
func (c *chooser) nobody(ctx context.Context, q Question) error {
	e := q.refused(fault.New("needs %s, and nothing here can build it", whats(q.Foreign)))
	var rows [][2]string
	for _, p := range c.providers {
		w := p.Why(ctx, q)
		rows = append(rows, w.Rows...)
		_ = withHints(e, w.Hints)
	}
	return e.Detail(table(rows)...).Hint("or name a machine that can: --builder ssh-ng://user@host")
}

// cannot are the needs that can does not do.
func cannot(needs []Need, can func(Need) bool) []Need {
	return slices.DeleteFunc(slices.Clone(needs), can)
}

func drvsOf(needs []Need) []string {
	var out []string
	for _, n := range needs {
		out = append(out, n.Drvs...)
	}
	return out
}

// whats joins what is needed: "aarch64-linux and x86_64-linux with kvm".
func whats(needs []Need) string {
	var out []string
	only := len(needs) > 0 && len(cannot(needs, func(n Need) bool { return n.System == "builtin" })) == 0
	for _, n := range needs {
		if n.System == "builtin" && !only {
			continue
		}
		// "aarch64-linux" goes without saying beside "aarch64-linux with big-parallel".
		if !slices.Contains(out, n.What()) {
			out = append(out, n.What())
		}
	}
	out = slices.DeleteFunc(out, func(s string) bool {
		return slices.ContainsFunc(out, func(o string) bool { return strings.HasPrefix(o, s+" with ") })
	})
	if len(out) > 1 {
		return strings.Join(out[:len(out)-1], ", ") + " and " + out[len(out)-1]
	}
	return strings.Join(out, "")
}

// table aligns pairs; a name is written once.
func table(rows [][2]string) []string {
	width := 12
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	var out []string
	last := ""
	for _, r := range rows {
		name := r[0]
		if name == last {
			name = ""
		}
		last = r[0]
		out = append(out, fmt.Sprintf("%-*s   %s", width, name, r[1]))
	}
	return out
}

func withHints(e *fault.Error, hints []string) *fault.Error {
	e.Hints = append(e.Hints, hints...)
	return e
}

// say emits where a host is built.
func say(sink event.Sink, a Assignment) {
	kind := event.Note
	if a.Plain {
		kind = event.Log
	}
	event.On(sink, a.Host, event.StepBuilder).Emit(event.Event{Kind: kind, Text: strings.TrimPrefix(a.Reason, a.Host+" "), Data: map[string]string{"builder": a.Builder.Name(), "kind": string(a.Kind)}})
}
