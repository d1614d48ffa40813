package profile

import "strings"

// Part is a part of an operating system that only a boot, or PID 1, takes up.
type Part struct {
	Name string `json:"name"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Waiting tells that the running system has it already: an earlier deploy
	// brought it, and the host was not rebooted since.
	Waiting bool `json:"waiting,omitempty"`
}

// Names of parts. They are API. PID 1 and the boot loader take effect without a reboot.
const (
	Kernel  = "kernel"
	Initrd  = "initrd"
	Modules = "kernel-modules"
	Params  = "kernel-params"
	Init    = "systemd"
	Loader  = "boot-loader"
)

// Parts are those names.
var Parts = []string{Kernel, Initrd, Modules, Params, Init, Loader}

// String is "linux 6.6.51 → 6.6.54".
func (p Part) String() string {
	name := p.Name
	if name == Kernel {
		name = "linux"
	}
	switch {
	case p.From == "" && p.To == "":
		return name
	case p.From == p.To:
		return name + " " + p.To + " (another build)"
	case p.From == "":
		return name + " " + p.To
	case p.To == "":
		return name + " " + p.From + " goes away"
	}
	return name + " " + p.From + " → " + p.To
}

// Headline is what of some parts belongs into one line about the system: those that
// people know by name, the others only where there is none of these.
func Headline(parts []Part) []string {
	var words []string
	for _, p := range parts {
		switch {
		case p.Waiting:
		case p.Name == Kernel, p.Name == Params, p.Name == Loader:
			words = append(words, p.String())
		case p.Name == Initrd && len(words) == 0:
			words = append(words, p.Name)
		}
	}
	return words
}

// Told tells whether a package, by its name, is what a headline of parts says already.
func Told(parts []Part, pkg string) bool {
	for _, p := range parts {
		if p.Name == Kernel && !p.Waiting {
			return pkg == "linux" || strings.HasPrefix(pkg, "linux-") || strings.HasPrefix(pkg, "initrd-")
		}
	}
	return false
}
