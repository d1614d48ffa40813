// Package home is the kind of profile that home-manager makes: the home of a user, on
// any Linux.
package home

import (
	_ "embed" // now.sh, guard.sh

	"godwit/internal/profile"
)

//go:embed now.sh
var now string

//go:embed guard.sh
var guard string

// Kind is the home of a user, by home-manager's activate.
var Kind = profile.Kind{
	Name:    "home",
	Link:    func(string, string) string { return "" },
	Actions: []profile.Action{profile.Switch, profile.Test, profile.Boot, profile.DryActivate},
	Needs:   []string{"activate"},
	Lasts:   true,
	Now:     now,
	Look:    profile.Look{Guard: "home_look() { look_plain; }"},
	Guard:   guard,
	Meaning: profile.PlainMeaning,
	ByHand: func(path string, a profile.Action) []string {
		if a != profile.Switch && a != profile.Test {
			return nil
		}
		return []string{path + "/activate"}
	},
}
