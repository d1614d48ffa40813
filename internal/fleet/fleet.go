// Package fleet holds what a configuration says about its hosts, as plain
// values: no I/O, no Nix, no ssh. Every dialect (internal/source/...) produces
// a Fleet, everything else reads one.
package fleet

import (
	"slices"
	"time"
)

// Fleet is a set of hosts that one configuration describes.
type Fleet struct {
	// Description is free text of the configuration.
	Description string
	// Hosts are in the configuration's own order (for morph: by name).
	Hosts []Host
	// OrderingTags order the hosts: those with the first tag come first.
	OrderingTags []string
	// NixConfig are Nix settings (`--option name value`) that the configuration asks for.
	NixConfig map[string]string
	// Settings are what the fleet says to godwit alone.
	Settings Settings
}

// Host is one machine of a fleet.
type Host struct {
	// Name is the attribute name in the configuration.
	Name string
	// TargetHost is what ssh connects to; TargetUser and TargetPort are empty
	// or 0 when the configuration leaves them to ssh.
	TargetHost string
	TargetUser string
	TargetPort int
	// BuildOnly hosts are built and listed, never touched.
	BuildOnly bool
	// SubstituteOnDestination lets the host fetch what its own substituters have.
	SubstituteOnDestination bool
	Tags                    []string
	Secrets                 []Secret // sorted by name
	HealthChecks            Checks
	PreDeployChecks         Checks
	// System is the platform of the host, such as "aarch64-linux".
	System string
	// SystemFrom says where System comes from: "hostPlatform", "localSystem",
	// "system", "pkgs", or "fallback" when the configuration does not say and
	// the evaluator had to be told.
	SystemFrom string
	// BuildOn is the host's own choice of builder: "", "auto", "local",
	// "target", "container" or a store URI.
	BuildOn string
	// DrvPath and OutPath are the host's toplevel derivation and its output.
	// They are empty until the host has been evaluated as a whole.
	DrvPath string
	OutPath string
	// Release is system.nixos.release, such as "24.05".
	Release string
}

// Secret is a file that goes to a host outside the Nix store.
type Secret struct {
	Name        string
	Source      string // absolute path on the deployer
	SourceGiven string // as the configuration wrote it
	Destination string
	User, Group string
	Permissions string   // octal, such as "0400"
	Action      []string // command run on the host after a change; may be empty
	MkDirs      bool
	UploadAt    string // "pre-activation" or "post-activation"
}

// Upload points of a secret.
const (
	PreActivation  = "pre-activation"
	PostActivation = "post-activation"
)

// Checks are health checks of one host. Cmd and HTTP are morph's.
type Checks struct {
	Cmd         []CmdCheck
	HTTP        []HTTPCheck
	TCP         []TCPCheck
	Unit        []UnitCheck
	FailedUnits []FailedUnitsCheck
	Local       []LocalCheck
	// Accepted are what a person lets fail in this run, beside what failedUnits
	// checks ignore (--accept-failed). The configuration knows nothing of it.
	Accepted UnitPatterns `json:"-"`
}

// Len is the number of checks.
func (c Checks) Len() int {
	return len(c.Cmd) + len(c.HTTP) + len(c.TCP) + len(c.Unit) + len(c.FailedUnits) + len(c.Local)
}

// With is c and more.
func (c Checks) With(more Checks) Checks {
	return Checks{
		Cmd:         slices.Concat(c.Cmd, more.Cmd),
		HTTP:        slices.Concat(c.HTTP, more.HTTP),
		TCP:         slices.Concat(c.TCP, more.TCP),
		Unit:        slices.Concat(c.Unit, more.Unit),
		FailedUnits: slices.Concat(c.FailedUnits, more.FailedUnits),
		Local:       slices.Concat(c.Local, more.Local),
	}
}

// CmdCheck runs a command on the host over ssh; exit status 0 is healthy.
type CmdCheck struct {
	Description string
	Cmd         []string
	Period      time.Duration // pause between tries
	Timeout     time.Duration // of one try; 0 means none
}

// HTTPCheck asks the host for a page from the deployer; 2xx is healthy.
type HTTPCheck struct {
	Description string
	Scheme      string
	Host        string // empty: the host's TargetHost
	Port        int
	Path        string
	Headers     map[string]string
	InsecureSSL bool
	Period      time.Duration
	Timeout     time.Duration
}

// TCPCheck opens a connection from the deployer; one that opens is healthy.
type TCPCheck struct {
	Description string
	Host        string // empty: the host's TargetHost
	Port        int
	Period      time.Duration
	Timeout     time.Duration
}

// UnitCheck wants a systemd unit of the host to be active.
type UnitCheck struct {
	Description string
	Unit        string
	Period      time.Duration
	Timeout     time.Duration
}

// FailedUnitsCheck wants no unit of the host to have failed that had not failed
// before the deploy. Without a deploy there is no before: then no unit may have
// failed.
type FailedUnitsCheck struct {
	Description string
	Ignore      []string // names and shell patterns of units that do not matter
	Period      time.Duration
	Timeout     time.Duration
}

// LocalCheck runs a command on the deployer; exit status 0 is healthy.
type LocalCheck struct {
	Description string
	Cmd         []string
	Dir         string // where it runs; empty: where godwit does
	Period      time.Duration
	Timeout     time.Duration
}
