// Package custom is the kind of profile that has an activation of its own, as deploy-rs
// defines it, and the one that has none.
package custom

import (
	_ "embed" // now.sh, guard.sh
	"strings"

	"godwit/internal/profile"
)

//go:embed now.sh
var now string

//go:embed guard.sh
var guard string

// Kind is a profile whose link is set, and whose command is then run: below the link,
// as its owner, with the folder of the profile for a working directory and PROFILE in
// the environment. A command named deploy-rs-activate also gets DRY_ACTIVATE and BOOT.
var Kind = kind("custom")

// Noop is a profile that is kept, and not activated.
var Noop = kind("noop")

func kind(name string) profile.Kind {
	own := func(script string) string { return strings.ReplaceAll(script, "custom_", name+"_") }
	return profile.Kind{
		Name:    name,
		Link:    func(string, string) string { return "" },
		Actions: []profile.Action{profile.Switch, profile.Boot, profile.DryActivate},
		Lasts:   true,
		Now:     own(now),
		Look:    profile.Look{Guard: own("custom_look() { look_plain; }")},
		Guard:   own(guard),
		Meaning: profile.PlainMeaning,
		ByHand:  func(string, profile.Action) []string { return nil },
	}
}
