package nixos

import (
	"strconv"
	"strings"

	"godwit/internal/profile"
	"godwit/internal/storepath"
)

// System is what is known of one system.
type System struct {
	Path     string
	Known    bool              // it was looked at
	Parts    map[string]string // kernel, initrd, ...: where they are, or a sum
	Prints   map[string]string // of what a login over the network depends on
	Version  string
	Hostname string
	Firewall []string
	Units    map[string]string // unit -> its file, when asked for

	elsewhere bool // it is not on the host; only its parts are known
}

// Seen is what was found out about a host of NixOS, and the system that it is to get.
type Seen struct {
	Current, Booted, New System
	// Dry are the lines of the new system's dry-activate; DryExit its status,
	// -1 when it was not asked.
	Dry     []string
	DryExit int
	// BootBytes are those of the new kernel and initrd.
	BootBytes int64

	report               profile.Report
	kernelRuns, bootedAs string // the version of the kernel that runs; the booted system's kernel
}

// Read is Kind.Read: of what change.sh and report.sh tell.
func Read(lines []profile.Line) profile.Seen {
	s := &Seen{DryExit: -1}
	which := map[string]*System{"cur": &s.Current, "booted": &s.Booted, "new": &s.New}
	for _, l := range lines {
		if s.reads(l) {
			continue
		}
		word, value, _ := strings.Cut(l.Value, " ")
		if of := which[word]; of != nil {
			of.read(l.Name, value)
			continue
		}
		switch {
		case l.Name == "unit":
			if s.Current.Units == nil {
				s.Current.Units = map[string]string{}
			}
			s.Current.Units[word] = value
		case l.Name == "size":
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				s.BootBytes = n << 10
			}
		case l.Name == "dry" && word == "rc":
			s.DryExit, _ = strconv.Atoi(value)
		case l.Name == "dry" && word == "line":
			s.Dry = append(s.Dry, value)
		}
	}
	for _, of := range which {
		if of.Known {
			of.Prints["firewall"] = firewallPrint(of.Firewall)
		}
	}
	// Opening more ports takes nobody's access away.
	if s.New.Known && s.Current.Known && opensOnly(s.Current.Firewall, s.New.Firewall) {
		s.New.Prints["firewall"] = s.Current.Prints["firewall"]
	}
	return s
}

// read takes what is told of one system.
func (s *System) read(name, value string) {
	of, v, _ := strings.Cut(value, " ")
	switch {
	case name == "sys":
		s.Path, s.Known = value, true
		s.Parts, s.Prints = map[string]string{}, map[string]string{}
	case name == "part" && s.Parts != nil && of == "version":
		s.Version = v
	case name == "part" && s.Parts != nil && of == "hostname":
		s.Hostname = v
	case name == "part" && s.Parts != nil:
		s.Parts[of] = v
	case name == "print" && s.Prints != nil:
		s.Prints[of] = v
	case name == "line":
		s.Firewall = append(s.Firewall, v)
	}
}

// reads takes what report.sh tells.
func (s *Seen) reads(l profile.Line) bool {
	switch l.Name {
	case "version":
		s.report.Version = l.Value
	case "revision":
		s.report.Revision = l.Value
	case "uname":
		s.kernelRuns = l.Value
	case "differs":
		s.report.RebootParts = append(s.report.RebootParts, l.Value)
	case "kernel":
		s.report.Kernel = kernelName(l.Value)
	case "booted-kernel":
		s.bootedAs = kernelName(l.Value)
	case "boots":
		// In the store, for a rollback takes it.
		s.report.Boots = ""
		if _, _, ok := storepath.Cut(l.Value); ok {
			s.report.Boots = l.Value
		}
	default:
		return false
	}
	return true
}
