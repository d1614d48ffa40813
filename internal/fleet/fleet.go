// Package fleet holds what a configuration says about its hosts, as plain
// values: no I/O, no Nix, no ssh. Every dialect (internal/source/...) produces
// a Fleet, everything else reads one.
package fleet

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
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

// Host is one machine of a fleet: an address, and what is deployed to it. Its JSON
// form is part of saved plans (internal/plan): a name in it is never changed, and
// durations are nanoseconds.
type Host struct {
	// Name is the attribute name in the configuration.
	Name string `json:"name"`
	// At is how the host is reached.
	At Address `json:"at"`
	// Platform is what the host runs on; its name is empty until that is known.
	Platform Platform `json:"platform,omitzero"`
	Tags     []string `json:"tags,omitempty"`
	// BuildOnly hosts are built and listed, never touched.
	BuildOnly bool `json:"buildOnly,omitempty"`
	// BuildOn is the host's own choice of builder: "", "auto", "local",
	// "target", "container" or a store URI.
	BuildOn string `json:"buildOn,omitempty"`
	// SubstituteOnDestination lets the host fetch what its own substituters have.
	SubstituteOnDestination bool `json:"substituteOnDestination,omitempty"`
	// Profiles are activated in this order, kept in this order, and taken back in
	// the opposite one. They have no Drv and no Path until the host has been
	// evaluated as a whole.
	Profiles        []Profile `json:"profiles,omitempty"`
	Secrets         []Secret  `json:"secrets,omitempty"` // sorted by name
	HealthChecks    Checks    `json:"healthChecks,omitzero"`
	PreDeployChecks Checks    `json:"preDeployChecks,omitzero"`
	Guard           Guard     `json:"guard,omitzero"`
	// KnownOnly says that what the host boots is only to be replaced when this machine
	// put it there, or has it (colmena's replaceUnknownProfiles = false).
	KnownOnly bool `json:"knownOnly,omitempty"`
}

// Address is how a host is reached.
type Address struct {
	// Host is what ssh connects to; User and Port are empty or 0 when the
	// configuration leaves them to ssh.
	Host string `json:"host,omitempty"`
	User string `json:"user,omitempty"`
	Port int    `json:"port,omitempty"`
	// Also are further addresses, [user@]host[:port], in the order in which they are
	// tried where nobody answers at Host. What one leaves open is as above.
	Also []string `json:"also,omitempty"`
	// Options are further arguments of ssh.
	Options []string `json:"options,omitempty"`
	// Become are the words before a command that make it root's; none: find out.
	Become []string `json:"become,omitempty"`
	// AskPassword says that becoming root wants a password, for which a person is asked.
	AskPassword bool `json:"askPassword,omitempty"`
	// ForwardAgent lets sudo on the host ask the agent of this machine (pam_ssh_agent_auth).
	ForwardAgent bool `json:"forwardAgent,omitempty"`
	// Local says that the host may be deployed to from itself, without ssh.
	Local bool `json:"local,omitempty"`
}

// Platform is what a host runs on.
type Platform struct {
	// Name is Nix's word for it, such as "aarch64-linux".
	Name string `json:"name,omitempty"`
	// From says where Name comes from: "hostPlatform", "localSystem", "system",
	// "pkgs", or Fallback when the configuration does not say and the evaluator
	// had to be told.
	From string `json:"from,omitempty"`
}

// Fallback is the Platform.From of a host whose configuration does not say its platform.
const Fallback = "fallback"

// Guessed says whether nobody said the platform.
func (p Platform) Guessed() bool { return p.From == Fallback }

// Profile is one thing that is built for a host and activated on it.
type Profile struct {
	// Name tells the profiles of a host apart.
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// User is whose profile it is; "" is root.
	User string `json:"user,omitempty"`
	// Link is the profile on the host; "" is its kind's own.
	Link string `json:"link,omitempty"`
	// Drv is the derivation to be built; "" when Path exists already.
	Drv string `json:"drv,omitempty"`
	// Path is the store path that the host gets. It is empty until Drv is built
	// when only building tells it.
	Path string `json:"path,omitempty"`
	// Version is what people call it, such as "24.05".
	Version string `json:"version,omitempty"`
	// Activate is the command of a custom profile, below Path.
	Activate []string `json:"activate,omitempty"`
	// Sealed are secrets that the machine decrypts when the profile is activated. Saved
	// plans do not have them: they are looked at when the configuration is read.
	Sealed []Sealed `json:"-"`
	// Declared are secrets that are to rest on the machine, by godwit.secrets of its
	// configuration, sorted by name.
	Declared []Declared `json:"declared,omitempty"`
}

// Declared is a secret that rests on its machine because the configuration says so
// (internal/secrets/onhost/module.nix).
type Declared struct {
	Name string `json:"name"`
	// File is its ciphertext, on this machine; "": the repository's own secret of this name.
	File string `json:"file,omitempty"`
	// Path is where the machine has it; Mode is octal, Phase one of package bundle.
	Path    string   `json:"path"`
	Owner   string   `json:"owner"`
	Group   string   `json:"group"`
	Mode    string   `json:"mode"`
	Phase   string   `json:"phase"`
	Restart []string `json:"restart,omitempty"` // units
	// KeyFile is the file on the machine that opens it; "": as the repository says, or else
	// the ssh host key.
	KeyFile string `json:"keyFile,omitempty"`
}

// Sealed is a secret that a tool in the configuration decrypts on the machine.
type Sealed struct {
	Tool string // "agenix" or "sops-nix"
	Name string
	File string // on this machine
	// Format ("yaml", "json", "dotenv", "ini", "binary") and Key, with "/" between its
	// parts, are sops's.
	Format, Key string
	// Only says that no other key than the machine's ssh host keys opens it.
	Only bool
}

// Kind is a sort of profile. What godwit knows of each is in internal/profile.
type Kind string

// The kinds of profiles.
const (
	NixOS  Kind = "nixos"
	Darwin Kind = "darwin"
	Home   Kind = "home"
	Custom Kind = "custom"
	Noop   Kind = "noop"
	// Secrets is what a deployment adds itself: no configuration has it.
	Secrets Kind = "secrets"
)

// SystemProfile is the name of the profile that is the whole system of a host.
const SystemProfile = "system"

// System is the profile of a NixOS host's toplevel.
func System(drv, path string) Profile {
	return Profile{Name: SystemProfile, Kind: NixOS, Drv: drv, Path: path}
}

// Main is the profile that stands for its host where there is room for one only:
// the operating system, or the first. A host without profiles has an empty one.
func (h Host) Main() Profile {
	for _, p := range h.Profiles {
		if p.Kind == NixOS || p.Kind == Darwin {
			return p
		}
	}
	if len(h.Profiles) > 0 {
		return h.Profiles[0]
	}
	return Profile{}
}

// Profile is the profile of that name.
func (h Host) Profile(name string) (Profile, bool) {
	i := slices.IndexFunc(h.Profiles, func(p Profile) bool { return p.Name == name })
	if i < 0 {
		return Profile{}, false
	}
	return h.Profiles[i], true
}

// Drvs are the derivations of the host's profiles, in their order.
func (h Host) Drvs() []string {
	var out []string
	for _, p := range h.Profiles {
		if p.Drv != "" {
			out = append(out, p.Drv)
		}
	}
	return out
}

// Guard is what a configuration says of how a deployment of the host is guarded.
// The zero value is godwit's own way.
type Guard struct {
	// NoAutoRollback leaves a host whose activation failed as it is.
	NoAutoRollback bool `json:"noAutoRollback,omitempty"`
	// NoMagicRollback keeps what was activated without a confirmation over a new
	// connection.
	NoMagicRollback bool `json:"noMagicRollback,omitempty"`
	// ConfirmTimeout and ActivationTimeout are the longest times that a host waits
	// for a confirmation, and that an activation takes; 0: godwit's own.
	ConfirmTimeout    time.Duration `json:"confirmTimeout,omitempty"`
	ActivationTimeout time.Duration `json:"activationTimeout,omitempty"`
}

// Secret is a file that goes to a host outside the Nix store.
type Secret struct {
	Name        string   `json:"name"`
	From        Content  `json:"from"`
	FileGiven   string   `json:"fileGiven,omitempty"` // From.File as the configuration wrote it
	Destination string   `json:"destination"`
	User        string   `json:"user,omitempty"`
	Group       string   `json:"group,omitempty"`
	Permissions string   `json:"permissions,omitempty"` // octal, such as "0400"
	Action      []string `json:"action,omitempty"`      // command run on the host after a change; may be empty
	MkDirs      bool     `json:"mkDirs,omitempty"`
	// LateOwner says that User and Group may come with the activation that the secret
	// is uploaded before; until then the file is root's, and the activation gives it away.
	LateOwner bool `json:"lateOwner,omitempty"`
	// Options are how the configuration spells settings of the secret, by their names
	// here, where that is not deployment.secrets.NAME.SETTING: for hints.
	Options  map[string]string `json:"-"`
	UploadAt string            `json:"uploadAt,omitempty"` // "pre-activation" or "post-activation"
	// Rest says that it is not pushed: it is encrypted for the machine and rests there, as
	// part of its release of secrets (Settings.RestSecrets).
	Rest bool `json:"rest,omitempty"`
}

// Restarts are the units that its action restarts; ok is false for an action that does
// something else.
func (s Secret) Restarts() (units []string, ok bool) {
	words := s.Action
	if len(words) > 0 && words[0] == "sudo" {
		words = words[1:]
	}
	if len(words) == 0 {
		return nil, len(s.Action) == 0
	}
	if len(words) < 3 || words[0] != "systemctl" || !slices.Contains([]string{"restart", "try-restart", "reload-or-restart", "try-reload-or-restart"}, words[1]) {
		return nil, false
	}
	for _, u := range words[2:] {
		if strings.HasPrefix(u, "-") {
			return nil, false
		}
		if !strings.Contains(u, ".") {
			u += ".service"
		}
		units = append(units, u)
	}
	return units, true
}

// Option is how the configuration spells a setting of the secret: "destination",
// "owner.user", "owner.group", "permissions", "action", "mkDirs", "uploadAt".
func (s Secret) Option(setting string) string {
	if o := s.Options[setting]; o != "" {
		return o
	}
	return fmt.Sprintf("deployment.secrets.%q.%s", s.Name, setting)
}

// Content is where the plaintext of a secret comes from; one of File, Text and
// Command is set. Text and Command may hold what nobody else is to know: they are
// in no JSON and in no printed form, which say only that there is one.
type Content struct {
	File    string   // absolute path on the deployer
	Text    string   // the plaintext itself
	Command []string // prints it, on the deployer
	// Withheld says what was left out when the value was written as JSON: "text" or "command".
	Withheld string
}

type contentJSON struct {
	File     string `json:"file,omitempty"`
	Withheld string `json:"withheld,omitempty"`
}

// MarshalJSON leaves Text and Command out.
func (c Content) MarshalJSON() ([]byte, error) {
	return json.Marshal(contentJSON{c.File, c.withheld()})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *Content) UnmarshalJSON(data []byte) error {
	var j contentJSON
	err := json.Unmarshal(data, &j)
	*c = Content{File: j.File, Withheld: j.Withheld}
	return err
}

func (c Content) withheld() string {
	switch {
	case c.Text != "":
		return "text"
	case len(c.Command) > 0:
		return "command"
	}
	return c.Withheld
}

// String says where the plaintext comes from without saying what it is.
func (c Content) String() string {
	if w := c.withheld(); w != "" {
		return "a " + w
	}
	return c.File
}

// GoString keeps Text and Command out of %#v.
func (c Content) GoString() string { return c.String() }

// Upload points of a secret.
const (
	PreActivation  = "pre-activation"
	PostActivation = "post-activation"
)

// Checks are health checks of one host. Cmd and HTTP are morph's.
type Checks struct {
	Cmd         []CmdCheck         `json:"cmd,omitempty"`
	HTTP        []HTTPCheck        `json:"http,omitempty"`
	TCP         []TCPCheck         `json:"tcp,omitempty"`
	Unit        []UnitCheck        `json:"unit,omitempty"`
	FailedUnits []FailedUnitsCheck `json:"failedUnits,omitempty"`
	Local       []LocalCheck       `json:"local,omitempty"`
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
	Description string        `json:"description,omitempty"`
	Cmd         []string      `json:"cmd,omitempty"`
	Period      time.Duration `json:"period,omitempty"`  // pause between tries
	Timeout     time.Duration `json:"timeout,omitempty"` // of one try; 0 means none
}

// HTTPCheck asks the host for a page from the deployer; 2xx is healthy.
type HTTPCheck struct {
	Description string            `json:"description,omitempty"`
	Scheme      string            `json:"scheme,omitempty"`
	Host        string            `json:"host,omitempty"` // empty: the host's address
	Port        int               `json:"port,omitempty"`
	Path        string            `json:"path,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	InsecureSSL bool              `json:"insecureSSL,omitempty"`
	Period      time.Duration     `json:"period,omitempty"`
	Timeout     time.Duration     `json:"timeout,omitempty"`
}

// TCPCheck opens a connection from the deployer; one that opens is healthy.
type TCPCheck struct {
	Description string        `json:"description,omitempty"`
	Host        string        `json:"host,omitempty"` // empty: the host's address
	Port        int           `json:"port,omitempty"`
	Period      time.Duration `json:"period,omitempty"`
	Timeout     time.Duration `json:"timeout,omitempty"`
}

// UnitCheck wants a systemd unit of the host to be active.
type UnitCheck struct {
	Description string        `json:"description,omitempty"`
	Unit        string        `json:"unit,omitempty"`
	Period      time.Duration `json:"period,omitempty"`
	Timeout     time.Duration `json:"timeout,omitempty"`
}

// FailedUnitsCheck wants no unit of the host to have failed that had not failed
// before the deploy. Without a deploy there is no before: then no unit may have
// failed.
type FailedUnitsCheck struct {
	Description string        `json:"description,omitempty"`
	Ignore      []string      `json:"ignore,omitempty"` // names and shell patterns of units that do not matter
	Period      time.Duration `json:"period,omitempty"`
	Timeout     time.Duration `json:"timeout,omitempty"`
}

// LocalCheck runs a command on the deployer; exit status 0 is healthy.
type LocalCheck struct {
	Description string        `json:"description,omitempty"`
	Cmd         []string      `json:"cmd,omitempty"`
	Dir         string        `json:"dir,omitempty"` // where it runs; empty: where godwit does
	Period      time.Duration `json:"period,omitempty"`
	Timeout     time.Duration `json:"timeout,omitempty"`
}
