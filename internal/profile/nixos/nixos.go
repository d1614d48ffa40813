// Package nixos is the kind of profile that a NixOS system is, and what else godwit
// does with a switch-to-configuration.
package nixos

import (
	"embed"
	"strings"

	"godwit/internal/hostscript"
	"godwit/internal/profile"
)

// Profile is the link of a NixOS system's generations.
const Profile = "/nix/var/nix/profiles/system"

// SwitchLock is the file that every switch-to-configuration locks, whatever its
// action, and that none since 25.05 waits for.
const SwitchLock = "/run/nixos/switch-to-configuration.lock"

//go:embed scripts/*.sh
var scripts embed.FS

func parts(names ...string) string {
	var all []string
	for _, name := range names {
		b, err := scripts.ReadFile("scripts/" + name + ".sh")
		if err != nil {
			panic(err) // embedded: cannot happen outside a broken build
		}
		all = append(all, string(b))
	}
	return strings.Join(all, "\n")
}

// Switching defines what runs a switch-to-configuration (switch.sh) and boot_loader
// SYSTEM SECONDS, which makes a system the boot default, within bounds. It needs
// the variables D (a folder with the file log that their output goes to), CURRENT
// (the link of the running system) and SWITCH_LOCK, and hostscript.Uptime.
var Switching = parts("switch", "bootloader")

// Kind is a NixOS system. Its functions need CURRENT and SWITCH_LOCK, too.
var Kind = profile.Kind{
	Name:    "nixos",
	Link:    func(string, string) string { return Profile },
	Actions: []profile.Action{profile.Switch, profile.Boot, profile.Test, profile.DryActivate},
	Needs:   []string{"bin/switch-to-configuration"},
	Boots:   true,
	Now:     parts("now"),
	Look: profile.Look{
		Guard:  strings.Join([]string{hostscript.Foreign, parts("switch"), hostscript.BootDefault, parts("look")}, "\n"),
		Change: parts("change"),
		Report: hostscript.BootDefault + parts("report"),
	},
	Read:    Read,
	Whose:   whose,
	Guard:   parts("switch", "bootloader", "failures", "known", "turn", "guard"),
	Meaning: Meaning,
	ByHand: func(path string, a profile.Action) []string {
		return []string{path + "/bin/switch-to-configuration", string(a)}
	},
}
