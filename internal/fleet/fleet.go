// Package fleet holds what a configuration says about its hosts, as plain
// values: no I/O, no Nix, no ssh. Every dialect (internal/source/...) produces
// a Fleet, everything else reads one.
package fleet

import "time"

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

// Checks are health checks of one host.
type Checks struct {
	Cmd  []CmdCheck
	HTTP []HTTPCheck
}

// Len is the number of checks.
func (c Checks) Len() int { return len(c.Cmd) + len(c.HTTP) }

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
