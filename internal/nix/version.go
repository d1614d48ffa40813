package nix

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Version is the version of Nix's interfaces, whoever made the program.
type Version struct {
	Major, Minor, Patch int
	// Vendor is "Nix", "Lix" or "Determinate Nix".
	Vendor string
	// Text is the version as the program wrote it, such as "2.34.0pre20251101_1234567".
	Text string
}

// oldest is the first version of Nix that godwit works with here. Hosts and builders
// may have an older one (store.serveOldest).
var oldest = Version{Major: 2, Minor: 8}

// The spellings in use:
//
//	nix (Nix) 2.8.0
//	nix (Nix) 2.34.0pre20251101_1234567
//	nix (Lix, like Nix) 2.93.0
//	nix (Determinate Nix 3.6.2) 2.29.0
var versionLine = regexp.MustCompile(`(?m)^\S+ \(([^)]*)\) ((\d+)\.(\d+)(?:\.(\d+))?\S*)\s*$`)

// ParseVersion reads the output of `nix --version`.
func ParseVersion(out string) (Version, error) {
	m := versionLine.FindStringSubmatch(out)
	if m == nil {
		return Version{}, fmt.Errorf("no version in %q", strings.TrimSpace(out))
	}
	v := Version{Vendor: "Nix", Text: m[2]}
	switch name := strings.ToLower(m[1]); {
	case strings.HasPrefix(name, "lix"):
		v.Vendor = "Lix"
	case strings.HasPrefix(name, "determinate"):
		v.Vendor = "Determinate Nix"
	}
	v.Major, _ = strconv.Atoi(m[3])
	v.Minor, _ = strconv.Atoi(m[4])
	v.Patch, _ = strconv.Atoi(m[5])
	return v, nil
}

// AtLeast says whether v is major.minor or later. Lix counts on from Nix 2.18
// (its 2.90 is a fork of that), so for Lix everything after 2.18 is only true
// from what Lix itself has: ask IsLix where it matters.
func (v Version) AtLeast(major, minor int) bool {
	if v.IsLix() && (v.Major > 2 || v.Minor >= 90) {
		return major < 2 || major == 2 && minor <= 18
	}
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// IsLix says whether this is Lix.
func (v Version) IsLix() bool { return v.Vendor == "Lix" }

// String is such as "Nix 2.8.0".
func (v Version) String() string { return v.Vendor + " " + v.Text }
