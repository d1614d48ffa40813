package cli

import (
	"github.com/spf13/cobra"

	"godwit/internal/fleet"
)

// selectFlags adds the selection of hosts to a verb.
func selectFlags(c *cobra.Command, s *fleet.Selection) {
	f := c.Flags()
	f.StringArrayVar(&s.On, "on", nil, "`HOSTS`: names, globs, @TAG, a,b any, a&b both, !a not (may be repeated): --on 'web*,!@canary'")
	f.StringSliceVar(&s.Tagged, "tagged", nil, "`TAGS` with commas between them; a host must have all of them")
	f.IntVar(&s.Every, "every", 1, "keep each `N`th host")
	f.IntVar(&s.Skip, "skip", 0, "skip the first `N` hosts")
	f.IntVar(&s.Limit, "limit", 0, "at most `N` hosts (0: no limit)")
	f.StringSliceVar(&s.OrderByTags, "order-by-tags", nil, "`TAGS` with commas between them; hosts with the first come first")
}

// profileFlag adds the choice of profiles to a verb.
func profileFlag(c *cobra.Command, names *[]string) {
	c.Flags().StringSliceVar(names, "profile", nil, "only the profile `NAME` of each host that has it (may be repeated)")
}
