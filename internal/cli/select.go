package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// everyHost selects all.
var everyHost = fleet.Selection{Every: 1}

// selectFlags adds the selection of hosts to a verb.
func selectFlags(c *cobra.Command, s *fleet.Selection) {
	f := c.Flags()
	f.StringArrayVar(&s.On, "on", nil, "hosts: names, globs, @TAG, a,b any, a&b both, !a not (may be repeated): --on 'web*,!@canary'")
	f.StringSliceVar(&s.Tagged, "tagged", nil, "comma-separated tags that a host must all have")
	f.IntVar(&s.Every, "every", 1, "keep each `N`th host")
	f.IntVar(&s.Skip, "skip", 0, "skip the first `N` hosts")
	f.IntVar(&s.Limit, "limit", 0, "at most `N` hosts (0: no limit)")
	f.StringSliceVar(&s.OrderByTags, "order-by-tags", nil, "comma-separated tags; hosts with the first come first")
}

// profileFlag adds the choice of profiles to a verb.
func profileFlag(c *cobra.Command, names *[]string) {
	c.Flags().StringSliceVar(names, "profile", nil, "only the profile `NAME` of each host that has it (may be repeated)")
}

// onlyProfiles leaves hosts the profiles of these names, and leaves out the hosts that
// have none of them. No names: all is left as it is. A name that no host has is an error.
func onlyProfiles(hosts []fleet.Host, names []string) ([]fleet.Host, error) {
	if len(names) == 0 {
		return hosts, nil
	}
	var out []fleet.Host
	var all []string
	found := map[string]bool{}
	for _, h := range hosts {
		var mine []fleet.Profile
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
		if near := fleet.Nearest(n, all); near != "" {
			f.Hint("did you mean --profile %s?", near)
		}
		if len(all) > 0 {
			f.Hint("profiles: %s", strings.Join(all, ", "))
		}
		return nil, f
	}
	return out, nil
}
