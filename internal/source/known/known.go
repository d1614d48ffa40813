// Package known is a fleet whose hosts are known already: those that a person typed with
// a store path, those of a saved plan. Nothing is evaluated.
package known

import (
	"context"
	"slices"

	"godwit/internal/fleet"
	"godwit/internal/source"
)

// Source is such a fleet.
type Source struct {
	about  source.About
	hosts  []fleet.Host
	header string
}

// New makes a fleet of hosts. about.Names may be empty where nothing is known of the fleet
// that the hosts belong to. header are the first lines of its runs.
func New(about source.About, hosts []fleet.Host, header string) *Source {
	return &Source{about, hosts, header}
}

// About is what New was told.
func (s *Source) About() source.About { return s.about }

// Header is what New was told.
func (s *Source) Header([]fleet.Host, fleet.Counts) string { return s.header }

// Load selects hosts. What the hosts get is what it is: there are no targets and no
// profiles left out.
func (s *Source) Load(_ context.Context, r source.Request) (*source.Result, error) {
	f := &fleet.Fleet{
		Description: s.about.Description, Hosts: slices.Clone(s.hosts), OrderingTags: s.about.OrderingTags,
		NixConfig: s.about.NixConfig, Settings: s.about.Settings,
	}
	chosen, counts, err := fleet.Select(f, r.Selection)
	if err != nil {
		return nil, err
	}
	f.Hosts = chosen
	for _, h := range chosen {
		if r.OnHost != nil {
			r.OnHost(h)
		}
	}
	return &source.Result{Fleet: f, Counts: counts, Targets: map[string][]source.Target{}}, nil
}
