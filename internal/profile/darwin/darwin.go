// Package darwin is the kind of profile that a system of nix-darwin is.
//
// No Mac has run it yet: its scripts are tested with stand-ins for what a Mac has.
package darwin

import (
	_ "embed" // now.sh, guard.sh

	"godwit/internal/profile"
)

//go:embed now.sh
var now string

//go:embed guard.sh
var guard string

// Kind is a nix-darwin system. Its functions need CURRENT.
var Kind = profile.Kind{
	Name:    "darwin",
	Link:    func(string, string) string { return "/nix/var/nix/profiles/system" },
	Actions: []profile.Action{profile.Switch, profile.Test, profile.Boot},
	Needs:   []string{"activate"},
	Boots:   true,
	Now:     now,
	Look:    profile.Look{Guard: "darwin_look() { look_plain; }"},
	Guard:   guard,
	Meaning: profile.PlainMeaning,
	ByHand: func(path string, a profile.Action) []string {
		if a == profile.Boot {
			return []string{"nix-env", "-p", "/nix/var/nix/profiles/system", "--set", path}
		}
		return []string{path + "/activate"}
	},
}
