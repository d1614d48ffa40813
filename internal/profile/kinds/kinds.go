// Package kinds lists the kinds of profiles. It is the only place that knows them all.
package kinds

import (
	"slices"

	"godwit/internal/profile"
	"godwit/internal/profile/custom"
	"godwit/internal/profile/darwin"
	"godwit/internal/profile/home"
	"godwit/internal/profile/nixos"
	"godwit/internal/profile/secrets"
)

// All are the kinds of profiles.
func All() []profile.Kind {
	return []profile.Kind{nixos.Kind, custom.Kind, custom.Noop, home.Kind, darwin.Kind, secrets.Kind}
}

// Of finds a kind by its name.
func Of(name string) (profile.Kind, bool) {
	all := All()
	i := slices.IndexFunc(all, func(k profile.Kind) bool { return k.Name == name })
	if i < 0 {
		return profile.Kind{}, false
	}
	return all[i], true
}
