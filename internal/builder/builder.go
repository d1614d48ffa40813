// Package builder finds out who can build what, and has it built there.
//
// From the derivations themselves and what the substituters have follows which
// (system, features) pairs need a build (Needs). Choose assigns every host a
// builder: this machine, a builder that Nix is configured with, a container, an
// ssh store, or the host itself, always with the reason. A builder is a store,
// not a build hook: derivations are copied to it, built there, and the outputs
// are read from it by the hosts that need them (internal/store); nothing comes
// back to this machine on the way.
package builder

import (
	"context"
	"slices"
	"sort"
	"strings"

	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/store"
)

// ExitNoBuilder is the exit code of "nothing here can build it".
const ExitNoBuilder = 5

// Kind says what sort of builder one is.
type Kind string

// Kinds of builders.
const (
	KindLocal      Kind = "local"      // this machine's Nix
	KindConfigured Kind = "configured" // this machine's Nix with its own builders
	KindContainer  Kind = "container"
	KindSSH        Kind = "ssh" // a named ssh store
	KindTarget     Kind = "target"
)

// Builder builds derivations somewhere.
type Builder interface {
	// Name is such as "local", "container aarch64-linux", "ssh-ng://user@host".
	Name() string
	Kind() Kind
	// Ready starts what must be started and says hello, once. Build does it by itself.
	Ready(ctx context.Context, sink event.Sink) error
	// Build builds what req names as far as it goes. Failures of single items
	// are in the result; the error is for what concerns all of them.
	Build(ctx context.Context, req Request, sink event.Sink) (*Built, error)
	// Stores are where outputs may come to be. In which one each is, Built says.
	Stores() []store.Endpoint
	// Close ends what the builder holds open; a container keeps running.
	Close() error
}

// Request is a list of derivations to build.
type Request struct {
	Items []Item
	// Prepare are derivations that this machine builds first, because the
	// builder cannot; their outputs are copied to it.
	Prepare []string
}

// Item is one derivation.
type Item struct {
	Host string // that it is for; "" when it is for none in particular
	Drv  string
	Link string // GC root that stays on this machine, where the output is on this machine; "": none
}

// Built is what became of a request. Every derivation of the request is in one
// of the two maps.
type Built struct {
	Outputs map[string]Output // by derivation
	Failed  map[string]error  // derivation -> *fault.Error
}

// Output is what became of a derivation.
type Output struct {
	Path string
	In   store.Endpoint // the store that has it, to be read from
}

func newBuilt() *Built { return &Built{Outputs: map[string]Output{}, Failed: map[string]error{}} }

// drvs are the request's derivations, each once.
func (r Request) drvs() []string {
	var out []string
	seen := map[string]bool{}
	for _, it := range r.Items {
		if !seen[it.Drv] {
			seen[it.Drv] = true
			out = append(out, it.Drv)
		}
	}
	return out
}

// scope is where the events of a request belong: to its host when it has just one.
func (r Request) scope(sink event.Sink) event.Scope {
	host := ""
	for i, it := range r.Items {
		if i > 0 && it.Host != host {
			host = ""
			break
		}
		host = it.Host
	}
	return event.On(sink, host, event.StepBuild)
}

// Need is a kind of build that a host needs: derivations of one system that
// need the same features.
type Need struct {
	Host     string
	System   string // "builtin" for what Nix itself builds anywhere
	Features []string
	Drvs     []string
}

// What is the need in words: "aarch64-linux" or "aarch64-linux with kvm".
func (n Need) What() string {
	if len(n.Features) == 0 {
		return n.System
	}
	return n.System + " with " + strings.Join(n.Features, ", ")
}

// Needs sorts what is to be built (m.Build) by host, system and features. A
// derivation that several hosts need is named for each of them. read gives a
// derivation, normally nix.ReadDerivation.
func Needs(hosts []fleet.Host, m *nix.Missing, read func(string) (*nix.Derivation, error)) ([]Need, error) {
	build := make(map[string]bool, len(m.Build))
	for _, d := range m.Build {
		build[d] = true
	}
	read = nix.CachedReader(read)
	var out []Need
	for _, h := range hosts {
		index := map[string]int{}
		seen := map[string]bool{}
		var mine []Need
		for todo := h.Drvs(); len(todo) > 0; {
			drv := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if seen[drv] || !build[drv] {
				continue
			}
			seen[drv] = true
			d, err := read(drv)
			if err != nil {
				return nil, err
			}
			n := Need{Host: h.Name, System: d.System, Features: d.RequiredSystemFeatures()}
			if d.Builtin() {
				n.System = "builtin"
			}
			key := n.What()
			i, ok := index[key]
			if !ok {
				i = len(mine)
				index[key] = i
				mine = append(mine, n)
			}
			mine[i].Drvs = append(mine[i].Drvs, drv)
			for _, in := range d.InputDrvs {
				todo = append(todo, in.Path)
			}
		}
		for i := range mine {
			sort.Strings(mine[i].Drvs)
		}
		sort.Slice(mine, func(i, j int) bool { return mine[i].What() < mine[j].What() })
		out = append(out, mine...)
	}
	return out, nil
}

// Capability is what a machine builds.
type Capability struct {
	System   string
	Extra    []string
	Features []string
	// MaxJobs is Nix's setting; 0 keeps a machine from building anything but
	// builtins. -1 and less: not limited or not known.
	MaxJobs int
}

// Can tells whether the machine builds n. The rules are those of Nix's
// ParsedDerivation::canBuildLocally: the system (anything for builtins), then
// every required feature.
func (c Capability) Can(n Need) bool {
	if n.System != "builtin" {
		if c.MaxJobs == 0 || n.System != c.System && !slices.Contains(c.Extra, n.System) {
			return false
		}
	}
	return !slices.ContainsFunc(n.Features, func(f string) bool { return !slices.Contains(c.Features, f) })
}

// idle tells that the machine would build all of needs, were it not told to build
// nothing.
func (c Capability) idle(needs []Need) bool {
	if c.MaxJobs != 0 {
		return false
	}
	c.MaxJobs = -1
	return len(cannot(needs, c.Can)) == 0
}

// letBuild is how a machine that builds nothing does for once.
const letBuild = "let this machine build for once: --option max-jobs auto"

// cannotWords says why this machine does not build foreign: "which this machine
// (aarch64-darwin) cannot build".
func (c Capability) cannotWords(foreign []Need) string {
	if c.idle(foreign) {
		return "and this machine builds nothing itself (max-jobs = 0)"
	}
	var without []string
	for _, n := range foreign {
		if n.System != c.System && !slices.Contains(c.Extra, n.System) {
			return "which this machine (" + c.System + ") cannot build" // features are the least of it
		}
		for _, f := range n.Features {
			if !slices.Contains(c.Features, f) && !slices.Contains(without, f) {
				without = append(without, f)
			}
		}
	}
	if len(without) > 0 {
		return "which this machine (" + c.System + " without " + strings.Join(without, ", ") + ") cannot build"
	}
	return "which this machine (" + c.System + ") cannot build"
}

// ThisMachine is what Nix on this machine builds.
func ThisMachine(c *nix.Config) Capability {
	return Capability{System: c.System, Extra: c.ExtraPlatforms, Features: c.SystemFeatures, MaxJobs: c.MaxJobs}
}
