package fleet

import (
	"slices"
	"strings"

	"godwit/internal/fault"
)

// OnlyProfiles leaves hosts the profiles of these names, and leaves out the hosts that
// have none of them. No names: all is left as it is. A name that no host has is an error.
func OnlyProfiles(hosts []Host, names []string) ([]Host, error) {
	if len(names) == 0 {
		return hosts, nil
	}
	var out []Host
	var all []string
	found := map[string]bool{}
	for _, h := range hosts {
		var mine []Profile
		for _, p := range h.Profiles {
			if !slices.Contains(all, p.Name) {
				all = append(all, p.Name)
			}
			if slices.Contains(names, p.Name) {
				found[p.Name] = true
				mine = append(mine, p)
			}
		}
		if h.Profiles = mine; len(mine) > 0 {
			out = append(out, h)
		}
	}
	for _, n := range names {
		if found[n] || len(hosts) == 0 {
			continue
		}
		f := fault.New("none of the hosts has a profile '%s'", n)
		if near := Nearest(n, all); near != "" {
			f.Hint("did you mean --profile %s?", near)
		}
		if len(all) > 0 {
			f.Hint("profiles: %s", strings.Join(all, ", "))
		}
		return nil, f
	}
	return out, nil
}
