package nixos

import (
	"cmp"
	"slices"
	"strings"

	"godwit/internal/profile"
	"godwit/internal/storepath"
)

// Report is what report.sh told.
func (s *Seen) Report() profile.Report {
	r := s.report
	r.RebootText = s.rebootText()
	return r
}

// rebootText is RebootParts for a person: another kernel brings initrd and modules along.
func (s *Seen) rebootText() string {
	r := s.report
	parts := slices.Clone(r.RebootParts)
	if slices.Contains(parts, profile.Kernel) && r.Kernel != s.bootedAs && r.Kernel != "" {
		runs := cmp.Or(s.bootedAs, "linux "+s.kernelRuns)
		for i, p := range parts {
			if p == profile.Kernel {
				parts[i] = "kernel " + strings.TrimPrefix(runs, "linux ") + " runs"
			}
		}
		parts = slices.DeleteFunc(parts, func(p string) bool { return p == profile.Modules || p == profile.Initrd })
	}
	return strings.Join(parts, ", ")
}

// kernelName makes "linux 6.6.51" of the path of a kernel.
func kernelName(file string) string {
	top, _, ok := storepath.Cut(file)
	if !ok {
		return ""
	}
	name := storepath.Name(top)
	if !strings.HasPrefix(name, "linux") {
		return "" // a kernel by another name has no version to show
	}
	if v := version(name); v != name {
		return strings.TrimSuffix(name, "-"+v) + " " + v
	}
	return name
}

// version is what follows the name in a store name: "6.12.55" of "linux-6.12.55".
func version(name string) string {
	for i := 0; i+1 < len(name); i++ {
		if name[i] == '-' && name[i+1] >= '0' && name[i+1] <= '9' {
			return name[i+1:]
		}
	}
	return name
}
