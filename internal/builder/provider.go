package builder

import (
	"context"
	"strings"

	"godwit/internal/builder/machines"
	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// Provider is an origin of builders: this machine, ssh stores, what Nix is configured
// with, containers, the hosts themselves. A new origin is a Provider and a line in
// providers.
type Provider interface {
	// Means tells whether a word of a person (--builder, deployment.buildOn, the
	// default of the settings) asks for this origin.
	Means(word string, h fleet.Host) bool
	// Take is the builder that was asked for with such a word, after it was checked
	// that it can do it, as far as that is known beforehand.
	Take(ctx context.Context, q Question) (Offer, error)
	// Offer is a builder for a host for which nobody asked for one; without a
	// Builder when there is none.
	Offer(ctx context.Context, q Question) (Offer, error)
	// Why says why nothing was offered.
	Why(ctx context.Context, q Question) Why
}

// Question is what a host needs.
type Question struct {
	Host  fleet.Host
	Needs []Need
	// Foreign are the Needs that this machine does not build.
	Foreign []Need
	// Fetch is how many paths can be fetched from caches.
	Fetch int
	// Word is what a person asked for, and From where.
	Word, From string
}

// Offer is a builder.
type Offer struct {
	Builder Builder
	Kind    Kind
	// Prepare are derivations for Request.Prepare.
	Prepare []string
	// Words describe the builder in the line that says who builds.
	Words string
	// Plain says that this machine builds it and nobody would have expected
	// anything else.
	Plain bool
}

// Why are reasons: rows of a name and what about it, and hints that can be typed.
type Why struct {
	Rows  [][2]string
	Hints []string
}

// refused is the error when what a person asked for cannot be.
func (q Question) refused(e *fault.Error) *fault.Error { return e.On(q.Host.Name).Exit(ExitNoBuilder) }

// tooling is what makes builders, and what the providers ask: replaced in tests.
type tooling struct {
	here     Capability
	machines []machines.Machine
	problems []string // of the machines' lines
	stores   []SSHStore
	hosts    map[string]fleet.Host

	probe      func(context.Context, machines.Machine) error
	engine     func(context.Context) EngineFacts
	local      func() Builder
	configured func(uris []string) Builder
	container  func(system string) Builder
	ssh        func(uri string) (Builder, error)
	target     func(fleet.Host) (Builder, error)
}

// providers are all origins, in the order in which they are preferred.
func providers(t tooling) []Provider {
	here := &thisMachine{can: t.here, make: t.local}
	return []Provider{
		here,
		&sshStores{here: t.here, stores: t.stores, make: t.ssh},
		&configuredInNix{machines: t.machines, problems: t.problems, probe: t.probe, make: t.configured, local: here},
		&containers{here: t.here, engine: t.engine, make: t.container},
		&targets{here: t.here, hosts: t.hosts, make: t.target},
	}
}

// memo makes each builder once, so that hosts share it.
type memo map[string]Builder

func (m *memo) get(key string, f func() (Builder, error)) (Builder, error) {
	if b, ok := (*m)[key]; ok {
		return b, nil
	}
	b, err := f()
	if err != nil {
		return nil, err
	}
	if *m == nil {
		*m = memo{}
	}
	(*m)[key] = b
	return b, nil
}

// prepared names what can does not build and this machine does.
func (c Capability) prepared(needs []Need, can func(Need) bool) []string {
	var out []Need
	for _, n := range cannot(needs, can) {
		if c.Can(n) {
			out = append(out, n)
		}
	}
	return drvsOf(out)
}

// preparedFor is prepared for a builder of which only the system is known.
func (c Capability) preparedFor(needs []Need, system string) []string {
	if system == "" || system == c.System {
		return nil
	}
	there := func(n Need) bool {
		return n.System == system || n.System == "builtin" || sameFamily(n.System, system)
	}
	if len(cannot(needs, there)) == len(needs) {
		return nil // nothing would be left for the builder that was asked for
	}
	return c.prepared(needs, there)
}

// sameFamily tells that a machine of system normally runs programs of other.
func sameFamily(other, system string) bool {
	return system == "x86_64-linux" && other == "i686-linux" || system == "aarch64-linux" && other == "armv7l-linux" ||
		system == "aarch64-darwin" && other == "x86_64-darwin"
}

// isURI tells a store, or a user and a machine, from the name of a builder.
func isURI(word string) bool { return strings.Contains(word, "://") || strings.Contains(word, "@") }
