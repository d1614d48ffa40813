package deploy

import (
	"slices"
	"strings"

	"godwit/internal/activate"
	"godwit/internal/builder"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/store"
)

// plain tells whether a host has one profile alone, its NixOS system where NixOS has
// it: what the short ways are made for.
func plain(h fleet.Host) bool {
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

// changes are a host's profiles for the guard; none for a plain host, whose system
// it is told alone. path gives what a profile is to be; "" leaves it out.
func changes(h fleet.Host, path func(fleet.Profile) string) []activate.Change {
	if plain(h) {
		return nil
	}
	var out []activate.Change
	for _, p := range h.Profiles {
		if to := path(p); to != "" {
			out = append(out, activate.Change{Name: p.Name, Kind: string(p.Kind), Owner: owner(p), Link: p.Link, New: to, Command: p.Activate})
		}
	}
	return out
}

func pathOf(p fleet.Profile) string { return p.Path }

// names are those of the profiles of a host.
func names(h fleet.Host) []string {
	var out []string
	for _, p := range h.Profiles {
		out = append(out, p.Name)
	}
	return out
}

// items are what is to be built for a job. The root of a further profile has its name
// behind the host's: "web-ana".
func (j Job) items() []builder.Item {
	main := j.Host.Main()
	var out []builder.Item
	for _, p := range j.Host.Profiles {
		if p.Drv == "" {
			continue
		}
		it := builder.Item{Host: j.Host.Name, Drv: p.Drv, Link: j.Link}
		if it.Link != "" && p.Name != main.Name {
			it.Link += "-" + p.Name
		}
		out = append(out, it)
	}
	return out
}

// load is what goes to a host from one store.
type load struct {
	from  store.Endpoint
	roots []string
}

// loads are the pushes that a host's profiles take: one, but for a builder that leaves
// its outputs in several stores.
func loads(h fleet.Host, from []store.Endpoint) []load {
	var out []load
	for i, p := range h.Profiles {
		n := slices.IndexFunc(out, func(l load) bool { return l.from.Name == from[i].Name })
		if n < 0 {
			n = len(out)
			out = append(out, load{from: from[i]})
		}
		if !slices.Contains(out[n].roots, p.Path) {
			out[n].roots = append(out[n].roots, p.Path)
		}
	}
	return out
}

// oneBoot refuses to reboot hosts of which more than a system is deployed.
func (r *Run) oneBoot(h fleet.Host) error {
	if !r.Reboot || plain(h) {
		return nil
	}
	return fault.New("--reboot boots one system, and the host has the profiles %s", strings.Join(names(h), ", ")).On(h.Name).
		Hint("deploy it without --reboot, and reboot it afterwards: godwit exec --on %s -- systemctl reboot", h.Name)
}

// before are the profiles as they were before a deployment that ended well; none for a
// plain host.
func (o Outcome) before(h fleet.Host) []activate.Change {
	old := map[string]string{}
	for _, p := range o.Activation.Profiles {
		old[p.Name] = p.Old
	}
	return changes(h, func(p fleet.Profile) string { return old[p.Name] })
}
