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

// names are those of the profiles of a host.
func names(h fleet.Host) []string {
	var out []string
	for _, p := range h.Profiles {
		out = append(out, p.Name)
	}
	return out
}

// LinkOf is the GC root of a further profile of a host whose own is link.
func LinkOf(link, profile string) string { return link + "-" + profile }

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
			it.Link = LinkOf(it.Link, p.Name)
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

// boots refuses to reboot hosts for profiles of which none is a system that boots.
func (r *Run) boots(h fleet.Host) error {
	if !r.Reboot || activate.Plain(h) || slices.ContainsFunc(h.Profiles, func(p fleet.Profile) bool { return p.Kind == fleet.NixOS }) {
		return nil
	}
	return fault.New("--reboot boots a system, and the host has the profiles %s alone", strings.Join(names(h), ", ")).On(h.Name).
		Hint("deploy it without --reboot, and reboot it afterwards: godwit exec --on %s -- systemctl reboot", h.Name)
}

// withBoot is a host with those of its profiles that a boot brings with it, or with the others.
func withBoot(h fleet.Host, bring bool) fleet.Host {
	h.Profiles = slices.DeleteFunc(slices.Clone(h.Profiles), func(p fleet.Profile) bool {
		return bring != (p.Kind == fleet.NixOS || p.Kind == fleet.Secrets)
	})
	return h
}

// at is a host with its profiles at other paths; those that have none are left out.
func at(h fleet.Host, path func(fleet.Profile) string) fleet.Host {
	var left []fleet.Profile
	for _, p := range h.Profiles {
		if p.Path = path(p); p.Path != "" {
			left = append(left, p)
		}
	}
	h.Profiles = left
	return h
}

// before are the profiles as they were before a deployment that ended well; none for a
// plain host.
func (o Outcome) before(h fleet.Host) []activate.Change { return activate.Changes(h, o.old()) }

// old gives the path that a profile had before.
func (o Outcome) old() func(fleet.Profile) string {
	old := map[string]string{}
	for _, p := range o.Activation.Profiles {
		old[p.Name] = p.Old
	}
	return func(p fleet.Profile) string { return old[p.Name] }
}
