// Package secrets is the kind of profile that a release of secrets is: ciphertext in a
// folder of the host, which the program that came with it opens into memory. It comes
// first among the profiles of its host, so that what follows finds its secrets.
package secrets

import (
	_ "embed" // now.sh, guard.sh

	"godwit/internal/profile"
)

//go:embed now.sh
var now string

//go:embed guard.sh
var guard string

// Kind is a release of secrets (internal/secrets).
var Kind = profile.Kind{
	Name:    "secrets",
	Link:    func(string, string) string { return "/var/lib/godwit/secrets/secrets" },
	Actions: []profile.Action{profile.Switch, profile.Test, profile.Boot, profile.DryActivate},
	Always:  true, // a user that it is for may be made anew, and it goes with another system
	Now:     now,
	Look:    profile.Look{Guard: "secrets_look() { look_plain; }"},
	Guard:   guard,
	Meaning: profile.PlainMeaning,
	ByHand: func(path string, a profile.Action) []string {
		if a != profile.Switch && a != profile.Test {
			return nil
		}
		return []string{path + "/godwit-secrets", "deliver", path}
	},
}
