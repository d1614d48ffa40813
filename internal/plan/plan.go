// Package plan says what a deploy would change before it changes anything: for
// every host the system it runs, boots and would run, the packages and units
// that differ, what a reboot is needed for, how much is to be copied, who
// deployed last, and the risks, each with a name that it is accepted by.
//
// A Plan is a value. It is made from facts (facts.go reads them, Build and the
// functions beside it judge them without any I/O), printed (text.go), saved as
// JSON, and compared with the world before it is applied (moved.go).
package plan

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"godwit/internal/activate"
	"godwit/internal/closure"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/paths"
	"godwit/internal/profile"
	"godwit/internal/regular"
	"godwit/internal/secrets"
	"godwit/internal/storepath"
)

// Schema and Version name the JSON form of a Plan. Version grows when a field
// changes its meaning or goes away.
const (
	Schema  = "godwit-plan"
	Version = 3
)

// Plan is what a deploy would do.
type Plan struct {
	Schema  string `json:"schema"`
	Version int    `json:"version"`
	Hash    string `json:"hash"` // over what matters; see Sum
	// Whole is over everything else in the file of a saved plan; see whole.
	Whole   string    `json:"sum,omitempty"`
	Created time.Time `json:"created"`
	Godwit  string    `json:"godwit,omitempty"` // version of the program
	File    string    `json:"file"`             // absolute path of the configuration
	Source  Source    `json:"source"`
	Options Options   `json:"options"`
	Hosts   []Host    `json:"hosts"`
	// NixConfig are Nix settings that the configuration asks for.
	NixConfig map[string]string `json:"nixConfig,omitempty"`
	// Rolling is how the configuration rolls a deploy out; nil in plans of versions 1
	// and 2, which do not say it.
	Rolling *Rolling `json:"rolling,omitempty"`
	// Roots keep the systems of a saved plan on this machine from being collected.
	Roots []string `json:"roots,omitempty"`
}

// Options are the choices of the command line that the plan was made with.
type Options struct {
	Action           string `json:"action"`
	Reboot           bool   `json:"reboot,omitempty"`
	NoGuard          bool   `json:"noGuard,omitempty"`
	UploadSecrets    bool   `json:"uploadSecrets,omitempty"`
	SkipHealthChecks bool   `json:"skipHealthChecks,omitempty"`
	SkipPreChecks    bool   `json:"skipPreDeployChecks,omitempty"`
	OverrideLock     bool   `json:"overrideLock,omitempty"`
}

// Rolling are the settings of the configuration that have a say in how a plan is
// applied, so that nothing is evaluated then. The command line stands above them.
type Rolling struct {
	Batch       string   `json:"batch,omitempty"`
	MaxFailures string   `json:"maxFailures,omitempty"`
	OnFailure   string   `json:"onFailure,omitempty"`
	Together    bool     `json:"together,omitempty"`
	Unreachable string   `json:"unreachable,omitempty"`
	AcceptRisks []string `json:"acceptRisks,omitempty"`
}

// RollingOf is what settings say of it.
func RollingOf(s fleet.Settings) *Rolling {
	return &Rolling{s.Batch, s.MaxFailures, s.OnFailure, s.Together, s.Unreachable, s.AcceptRisks}
}

// Settings are the same as a configuration says them.
func (r Rolling) Settings() fleet.Settings {
	return fleet.Settings{Batch: r.Batch, MaxFailures: r.MaxFailures, OnFailure: r.OnFailure, Together: r.Together,
		Unreachable: r.Unreachable, AcceptRisks: r.AcceptRisks}
}

// Source is the state of the configuration.
type Source struct {
	Commit string `json:"commit,omitempty"` // empty outside git
	Dirty  bool   `json:"dirty,omitempty"`
	// Unknown says why git does not tell Commit and Dirty of a work tree.
	Unknown string `json:"unknown,omitempty"`
	// Content is a fingerprint of the files, so that a saved plan notices
	// changes also where there is no commit to tell.
	Content string `json:"content,omitempty"`
}

// String is "4f2a91c (clean)".
func (s Source) String() string {
	if s.Commit == "" {
		return ""
	}
	state := "clean"
	if s.Dirty {
		state = "dirty"
	}
	return s.Commit[:min(7, len(s.Commit))] + " (" + state + ")"
}

// Status says what a deploy would do with a host.
type Status string

// Statuses of a host.
const (
	Change      Status = "change"      // takes another system, or other secrets
	Unchanged   Status = "unchanged"   // runs (and boots) the system already; still checked
	Unreachable Status = "unreachable" // does not answer
	Blocked     Status = "blocked"     // answers, and cannot take the system as things are
	Failed      Status = "failed"      // its system could not be evaluated or built
	BuildOnly   Status = "build-only"
)

// Host is one host's part of a plan.
type Host struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Error and Hints say why a host is not ready.
	Error string   `json:"error,omitempty"`
	Hints []string `json:"hints,omitempty"`

	Drv    string `json:"drv,omitempty"`
	System string `json:"system,omitempty"` // would run

	Running    string `json:"running,omitempty"`
	Booted     string `json:"booted,omitempty"`
	Profile    string `json:"profile,omitempty"` // what the system profile names: boots next
	Generation string `json:"generation,omitempty"`
	BootID     string `json:"bootId,omitempty"`

	// Profiles are all of a host that has others than its system, in order; the fields
	// above and below are about the one that stands for the host. Closure and Copy are
	// of all together.
	Profiles []Profile `json:"profiles,omitempty"`

	// Closure is how the new closure differs from the running one; nil: not known.
	Closure *closure.Difference `json:"closure,omitempty"`

	Units *profile.Units `json:"units,omitempty"` // nil: not known

	// Parts are kernel, initrd, kernel modules and parameters as far as they
	// differ from what is booted, systemd and boot loader as far as they differ
	// from what runs.
	Parts      []profile.Part `json:"parts,omitempty"`
	NeedReboot bool           `json:"needReboot,omitempty"`

	Secrets []Secret `json:"secrets,omitempty"` // that would be uploaded

	// SecretsRelease is the ID of the release of secrets that would rest on the host;
	// RestingSecrets are those of it that change.
	SecretsRelease string    `json:"secretsRelease,omitempty"`
	RestingSecrets []Resting `json:"restingSecrets,omitempty"`

	Copy *Copy `json:"copy,omitempty"` // nil: not known

	Free        map[string]int64 `json:"free,omitempty"`       // bytes in /nix and /boot
	FreeInodes  map[string]int64 `json:"freeInodes,omitempty"` // there, too, where there is a bound
	FailedUnits []string         `json:"failedUnits,omitempty"`
	Checks      int              `json:"checks,omitempty"` // health checks

	Last  *Last  `json:"last,omitempty"`
	Notes []Note `json:"notes,omitempty"`
	Risks []Risk `json:"risks,omitempty"`

	// Config is what the configuration says about the host, for applying a
	// saved plan without an evaluation. Secrets are named by their files; what they
	// are made of else is in no plan.
	Config *fleet.Host `json:"config,omitempty"`

	err     error
	machine string // activate.State.Machine
	boots   string // what it boots next, when only that is to be put right
	same    bool   // it runs and boots System already; only secrets may change
}

// Err is why a host is blocked, as it was found; nil after a plan was loaded.
func (h *Host) Err() error { return h.err }

// Profile is one of several profiles of a host.
type Profile struct {
	Name    string     `json:"name"`
	Kind    fleet.Kind `json:"kind"`
	User    string     `json:"user,omitempty"`
	Drv     string     `json:"drv,omitempty"`
	New     string     `json:"new,omitempty"`
	Running string     `json:"running,omitempty"`
	Kept    string     `json:"kept,omitempty"` // what its link on the host names
	// Same tells that nothing would be activated.
	Same bool `json:"same,omitempty"`
}

// profilesOf are the profiles of a host that has others than its system.
func profilesOf(h fleet.Host, action string, s activate.State) []Profile {
	var out []Profile
	for _, c := range activate.Changes(h, activate.PathOf) {
		of, _ := h.Profile(c.Name)
		p := Profile{Name: c.Name, Kind: of.Kind, User: of.User, Drv: of.Drv, New: c.New}
		for _, is := range s.Profiles {
			if is.Name == c.Name {
				p.Running, p.Kept = is.Current, is.Profile
			}
		}
		p.Same = p.Running == p.New && (action == "test" || p.Kept == p.New)
		out = append(out, p)
	}
	return out
}

// Secret is one that would be uploaded.
type Secret struct {
	Name        string `json:"name"`
	Destination string `json:"destination"`
	// State is what secrets.Compare found: "new", "changed", "unchanged"; empty
	// when it could not be compared. Nothing of the content is in a plan.
	State string `json:"state,omitempty"`
	// Differs says in what a changed one differs: content, owner, mode, kind.
	Differs []string `json:"differs,omitempty"`
}

// writes tells whether uploading it would, or might, change the host.
func (s Secret) writes() bool { return s.State != secrets.Unchanged }

// Copy is what the host lacks of the new system.
type Copy struct {
	Paths int   `json:"paths"`
	Bytes int64 `json:"bytes"`
}

// Last is the deployment that the host's own record ends with. Of a host that
// does not answer it is the last one that the deployer knows of.
type Last struct {
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`
	User     string    `json:"user,omitempty"`
	Deployer string    `json:"deployer,omitempty"`
	Commit   string    `json:"commit,omitempty"`
	Tree     string    `json:"tree,omitempty"` // clean, dirty
	Action   string    `json:"action"`
	Message  string    `json:"message,omitempty"` // why, in the words of who deployed
	Result   string    `json:"result"`
	System   string    `json:"system"`
}

// Note is a fact worth a line that asks for nothing.
type Note struct {
	Text string `json:"text"`
	Warn bool   `json:"warn,omitempty"`
}

// Sum computes the plan's hash: of what would be done to which hosts and how, of
// the state they are in and of the named risks, not of sizes, times and free space.
// Two plans with the same hash do the same.
func (p *Plan) Sum() string {
	configs := make([]any, len(p.Hosts))
	for i, h := range p.Hosts {
		if h.Config != nil {
			configs[i] = h.Config
		}
	}
	return p.sum(Version, configs)
}

// sum is the hash of a version of plans, whose hosts' configuration is as given.
func (p *Plan) sum(version int, configs []any) string {
	type host struct {
		Name, Drv, System, Running, Booted, Profile string
		Status                                      Status
		Risks                                       []string
		Config                                      any
		Profiles                                    []Profile `json:",omitempty"`
		SecretsRelease                              string    `json:",omitempty"`
		RestingSecrets                              []Resting `json:",omitempty"`
	}
	v := struct {
		Version   int
		Options   Options
		Source    Source
		NixConfig map[string]string `json:",omitempty"` // the file does not tell none from an empty one
		Rolling   *Rolling          `json:",omitempty"`
		Hosts     []host
	}{version, p.Options, p.Source, p.NixConfig, p.Rolling, nil}
	for i, h := range p.Hosts {
		x := host{Name: h.Name, Drv: h.Drv, System: h.System, Running: h.Running, Booted: h.Booted, Profile: h.Profile, Status: h.Status, Config: configs[i], Profiles: h.Profiles,
			SecretsRelease: h.SecretsRelease, RestingSecrets: h.RestingSecrets}
		for _, r := range h.Risks {
			x.Risks = append(x.Risks, r.Name)
		}
		v.Hosts = append(v.Hosts, x)
	}
	b, _ := json.Marshal(v)
	return digest(b)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])[:32]
}

// whole is the sum of a saved plan's file: of all that is in it but the sum
// itself, also of fields that this godwit does not know. How the text is laid out
// does not count.
func whole(file []byte) (string, error) {
	d := json.NewDecoder(bytes.NewReader(file))
	d.UseNumber()
	var all map[string]any
	if err := d.Decode(&all); err != nil {
		return "", err
	}
	delete(all, "sum")
	b, err := json.Marshal(all)
	return digest(b), err
}

// separate blocks hosts that turned out to be one machine: the last of them
// would win.
func (p *Plan) separate() {
	by := map[string][]string{}
	for _, h := range p.Hosts {
		if h.machine != "" {
			by[h.machine] = append(by[h.machine], h.Name)
		}
	}
	for i := range p.Hosts {
		h := &p.Hosts[i]
		all := by[h.machine]
		if h.Status != Change || len(all) < 2 {
			continue
		}
		others := slices.DeleteFunc(slices.Clone(all), func(n string) bool { return n == h.Name })
		slices.Sort(others)
		Fail(h, fault.New("it is the same machine as %s, and the last of them would win; it was not changed", strings.Join(others, ", ")).On(h.Name).
			Hint("give each host its own deployment.targetHost, or choose one of them with --on"))
		h.Status = Blocked
	}
}

// Seal completes a plan: hosts in the order given (others behind them, by
// name), schema and hash. Hosts that are one machine are blocked.
func (p *Plan) Seal(order []string) {
	p.separate()
	at := map[string]int{}
	for i, n := range order {
		at[n] = i + 1
	}
	place := func(h Host) int { return cmp.Or(at[h.Name], len(order)+1) }
	slices.SortStableFunc(p.Hosts, func(a, b Host) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a.Name, b.Name))
	})
	p.Schema, p.Version = Schema, Version
	p.Hash = p.Sum()
}

// With gives the names of the hosts in a status.
func (p *Plan) With(s Status) []string {
	var out []string
	for _, h := range p.Hosts {
		if h.Status == s {
			out = append(out, h.Name)
		}
	}
	return out
}

// JSON is the plan as one indented object.
func (p *Plan) JSON() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	_ = e.Encode(p)
	return b.Bytes()
}

// Public is the plan without what the configuration says of each host: checks
// may name passwords in their headers, and only a saved plan needs them.
func (p *Plan) Public() *Plan {
	q := *p
	q.Hosts = slices.Clone(p.Hosts)
	for i := range q.Hosts {
		q.Hosts[i].Config = nil
	}
	return &q
}

// Save writes the plan to a file that only its owner can read, in one step.
func (p *Plan) Save(file string) error {
	q := *p
	sum, err := whole(q.JSON())
	if err == nil {
		q.Whole = sum
		err = paths.Write(file, q.JSON())
	}
	if err != nil {
		return fault.New("cannot save the plan as %s: %w", file, err)
	}
	return nil
}

// IsPlan tells a saved plan from a configuration, by its content.
func IsPlan(file string) bool {
	f, err := regular.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 4096)
	n, _ := io.ReadFull(f, head)
	head = bytes.TrimSpace(head[:n])
	return len(head) > 0 && head[0] == '{' && bytes.Contains(head, []byte(`"`+Schema+`"`)) && bytes.Contains(head, []byte(`"schema"`))
}

// maxPlan is in bytes: thousands of hosts fit.
const maxPlan = 256 << 20

// Load reads a saved plan, also one of an earlier version, and checks that it is
// whole. The Version of what it gives is that of the file.
func Load(file string) (*Plan, error) {
	b, err := regular.Read(file, maxPlan)
	if err != nil {
		return nil, fault.New("cannot read the plan: %w", err)
	}
	p := new(Plan)
	anew := func(format string, args ...any) error {
		return fault.New(format, args...).Hint("godwit plan -o %s makes it again", file)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	err = d.Decode(p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends too early")
	}
	if err == nil && d.Decode(new(any)) != io.EOF {
		err = errors.New("something follows its end")
	}
	if err != nil {
		return nil, anew("%s is not a whole plan: %w", file, err)
	}
	whole, err := whole(b)
	var sum, doubt string
	switch {
	case err != nil:
	case p.Version == 1:
		sum, doubt, err = p.readFirst(b)
		whole = ""
	case p.Version == 2:
		sum, err = p.readOlder(b)
	default:
		sum = p.Sum()
	}
	switch {
	case p.Schema != Schema:
		return nil, fault.New("%s is not a godwit plan", file)
	case p.Version > Version || p.Version < 1:
		return nil, anew("%s was made by a newer godwit (version %d of plans); this one reads versions 1 to %d", file, p.Version, Version)
	case !slices.ContainsFunc(p.Hosts, func(h Host) bool { return h.Config != nil }):
		return nil, fault.New("%s says too little about its hosts to be applied", file).Hint("godwit plan -o FILE saves a plan; --json only shows it")
	case err != nil || p.Whole != whole || p.Hash != sum:
		return nil, anew("%s was changed after it was made", file)
	case doubt != "":
		return nil, anew("%s was made by an older godwit (version 1 of plans), whose plans do not tell whether %s changed since", file, doubt)
	}
	seen := map[string]bool{}
	for _, h := range p.Hosts {
		if why := h.unusable(); why != nil || seen[h.Name] {
			return nil, anew("%s cannot be applied: %w", file, cmp.Or(why, fmt.Errorf("it has two parts about %s", h.Name)))
		}
		seen[h.Name] = true
	}
	return p, nil
}

// unusable says why a part of a saved plan cannot be applied. Its paths go to Nix
// and to hosts as they are.
func (h *Host) unusable() error {
	if h.Status != Change && h.Status != Unchanged {
		return nil
	}
	if h.Config == nil || h.Drv == "" || h.System == "" {
		return fmt.Errorf("it says too little about %s", h.Name)
	}
	err := cmp.Or(storepath.CheckDrv(h.Drv), storepath.Check(h.System))
	if out := h.Config.Main().Path; err == nil && out != "" {
		err = storepath.Check(out)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", h.Name, err)
	case h.Config.Name != h.Name || h.Config.Main().Drv != h.Drv:
		return fmt.Errorf("its part about %s contradicts itself", h.Name)
	}
	for _, p := range h.Config.Profiles {
		err := storepath.CheckDrv(p.Drv)
		if err == nil && p.Path != "" {
			err = storepath.Check(p.Path)
		}
		if err != nil {
			return fmt.Errorf("%s, profile %s: %w", h.Name, p.Name, err)
		}
	}
	return nil
}
