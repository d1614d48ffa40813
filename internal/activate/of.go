package activate

import "godwit/internal/fleet"

// Plain tells whether a host has one profile alone, its NixOS system where NixOS has
// it: what the short ways are made for, which know one system.
func Plain(h fleet.Host) bool {
	if len(h.Profiles) != 1 {
		return len(h.Profiles) == 0
	}
	p := h.Profiles[0]
	return p.Kind == fleet.NixOS && p.Link == "" && owner(p) == ""
}

// owner is whose profile it is in the words of the guard, to which root is nobody.
func owner(p fleet.Profile) string {
	if p.User == "root" {
		return ""
	}
	return p.User
}

// Changes are a host's profiles for Request.Profiles; none for a plain host, whose
// system goes into NewSystem alone. path gives what a profile is to be; "" leaves it out.
func Changes(h fleet.Host, path func(fleet.Profile) string) []Change {
	if Plain(h) {
		return nil
	}
	var out []Change
	for _, p := range h.Profiles {
		if to := path(p); to != "" {
			out = append(out, Change{Name: p.Name, Kind: string(p.Kind), Owner: owner(p), Link: p.Link, New: to, Command: p.Activate})
		}
	}
	return out
}

// Known are a host's profiles as far as a configuration says them without a system: for
// looks at a host (Change.New is empty where there is no path). A plain host has none.
func Known(h fleet.Host) []Change {
	if Plain(h) {
		return nil
	}
	var out []Change
	for _, p := range h.Profiles {
		out = append(out, Change{Name: p.Name, Kind: string(p.Kind), Owner: owner(p), Link: p.Link, New: p.Path, Command: p.Activate})
	}
	return out
}

// PathOf is the path of a profile, for Changes.
func PathOf(p fleet.Profile) string { return p.Path }
