package hoststate

import (
	"godwit/internal/activate"
	"godwit/internal/fleet"
)

// Profile is one of several profiles of a host.
type Profile struct {
	Name    string     `json:"name"`
	Kind    fleet.Kind `json:"kind"`
	Running string     `json:"running,omitempty"` // empty: none is active
	Kept    string     `json:"kept,omitempty"`    // what its link on the host names
	Wanted  string     `json:"wanted,omitempty"`
	InSync  bool       `json:"inSync"`
}

// AssessProfiles adds what a host has of each of its profiles, by a look of the guard's
// at them. The operating system itself is Assess's, where it is NixOS.
func (s *Status) AssessProfiles(h fleet.Host, found activate.State) {
	nixos := h.Main().Kind == fleet.NixOS
	for _, is := range found.Profiles {
		p, ok := h.Profile(is.Name)
		if !ok {
			continue
		}
		out := Profile{Name: p.Name, Kind: p.Kind, Running: is.Current, Kept: is.Profile, Wanted: p.Path}
		out.InSync = is.Current == p.Path && is.Profile == p.Path
		s.Profiles = append(s.Profiles, out)
		if nixos && p.Name == h.Main().Name {
			continue
		}
		switch {
		case out.InSync:
		case is.Current == "" && is.Profile == "":
			s.problem(Drift, "profile '%s' is not there", p.Name)
		default:
			s.problem(Drift, "profile '%s' differs from the repository", p.Name)
		}
	}
	if !nixos && len(s.Profiles) > 0 {
		all := true
		for _, p := range s.Profiles {
			all = all && p.InSync
		}
		s.InSync = &all
	}
	s.OK = len(s.Problems) == 0
}
