package hoststate

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"godwit/internal/activate"
	"godwit/internal/event"
	"godwit/internal/history"
	"godwit/internal/lock"
	"godwit/internal/reboot"
	"godwit/internal/shell"
	"godwit/internal/ui/text"
)

// Kinds of problems.
const (
	Unreachable    = "unreachable"     // no answer, or no login
	Drift          = "drift"           // runs another system than the configuration gives
	Evaluation     = "evaluation"      // the configuration of the host cannot be evaluated
	Pending        = "pending"         // a deployment waits for its confirmation
	CutOff         = "interrupted"     // a power cut interrupted the end of a deployment
	Rebuild        = "rebuild"         // nixos-rebuild switches the host right now
	ProfileDiffers = "profile-differs" // the profile names another system than runs
	BootDiffers    = "boot-differs"    // the next boot starts another system than runs
	RebootDue      = "reboot-due"
	FailedUnits    = "failed-units"
	LowSpace       = "low-space"
)

// Problem is one thing that keeps a host from being as it should.
type Problem struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
}

// System is a system and the generation that has it.
type System struct {
	Path       string `json:"path"`
	Generation int    `json:"generation,omitempty"`
	Version    string `json:"version,omitempty"`
}

// Deployed tells who brought the running system.
type Deployed struct {
	At         time.Time `json:"at"`
	Ago        float64   `json:"ago"` // seconds, by the host's clock
	By         string    `json:"by,omitempty"`
	Deployer   string    `json:"deployer,omitempty"`
	Deployment string    `json:"deployment,omitempty"`
	Commit     string    `json:"commit,omitempty"`
	Tree       string    `json:"tree,omitempty"` // clean, dirty
	// Behind is how many commits the repository has since; absent when unknown.
	Behind *int `json:"behind,omitempty"`
}

// PendingDeployment is one that can still be confirmed or rolled back.
type PendingDeployment struct {
	ID      string    `json:"id"`
	Phase   string    `json:"phase"`
	Since   time.Time `json:"since"`
	Ago     float64   `json:"ago"`
	Old     string    `json:"old"`
	New     string    `json:"new"`
	By      string    `json:"by,omitempty"`
	Commit  string    `json:"commit,omitempty"`
	Guarded bool      `json:"guarded"`
}

// Status is a host as `godwit status --json` shows it.
type Status struct {
	Host      string   `json:"host"`
	OK        bool     `json:"ok"`
	Answers   bool     `json:"answers"`
	Error     string   `json:"error,omitempty"`
	Hints     []string `json:"hints,omitempty"`
	Running   *System  `json:"running,omitempty"`
	Booted    *System  `json:"booted,omitempty"`
	Profile   *System  `json:"profile,omitempty"`
	Boots     *System  `json:"boots,omitempty"` // the boot default
	BootKnown bool     `json:"bootKnown"`       // false: boots is the profile's, by guess
	Wanted    string   `json:"wanted,omitempty"`
	InSync    *bool    `json:"inSync,omitempty"` // absent without evaluation
	// Profiles are all of a host that has others than its system.
	Profiles  []ProfileStatus    `json:"profiles,omitempty"`
	Kernel    string             `json:"kernel,omitempty"` // of the running system
	KernelNow string             `json:"kernelRuns,omitempty"`
	Reboot    []string           `json:"rebootParts,omitempty"`
	Failed    []string           `json:"failedUnits,omitempty"`
	Disks     []Disk             `json:"disks,omitempty"`
	Deployed  *Deployed          `json:"deployed,omitempty"`
	Last      *history.Entry     `json:"last,omitempty"` // the last deployment, however it ended
	Pending   *PendingDeployment `json:"pending,omitempty"`
	Problems  []Problem          `json:"problems"`
	Notes     []string           `json:"notes,omitempty"`
	Lock      *lock.Lock         `json:"lock,omitempty"` // who keeps it from being changed
}

func (s *Status) problem(kind, format string, args ...any) {
	s.Problems = append(s.Problems, Problem{kind, fmt.Sprintf(format, args...)})
}

// Wanted is what the repository says about a host.
type Wanted struct {
	System string // what the configuration gives; "" when it was not evaluated
	Err    error  // why it could not be evaluated
	Source history.Source
	// Behind counts commits from one to the repository's; may be nil.
	Behind func(commit string) (int, bool)
}

// Room that a host needs to be well: below it a deploy is likely to fail. A
// /boot of its own is small by nature: two kernels with initrd must fit.
const (
	lowStore  = 1 << 30
	lowBoot   = 64 << 20
	lowInodes = 2000
)

// NoAnswer is the status of a host that could not be asked.
func NoAnswer(host, why string, hints []string, want Wanted) Status {
	s := Status{Host: host, Error: why, Hints: hints, Wanted: want.System}
	s.problem(Unreachable, "%s", why)
	if want.Err != nil {
		s.problem(Evaluation, "cannot be evaluated")
	}
	return s
}

// NotAsked is the status of a host whose configuration cannot be evaluated so far
// that it would say where the host is.
func NotAsked(host string, want Wanted) Status {
	s := Status{Host: host, Error: event.Message(want.Err)}
	s.problem(Evaluation, "cannot be evaluated, so its address is not known: it was not asked")
	return s
}

// Assess judges what a host says.
func Assess(host string, f Facts, want Wanted) Status {
	s := Status{Host: host, Answers: true, Wanted: want.System, Problems: []Problem{}}
	system := func(path string) *System {
		if path == "" {
			return nil
		}
		return &System{Path: path, Generation: f.GenerationOf(path)}
	}
	s.Running, s.Booted, s.Profile, s.Boots = system(f.Current), system(f.Booted), system(f.Profile), system(f.BootDefault)
	s.BootKnown = f.BootDefaultKnown
	if s.Running != nil {
		s.Running.Version = f.Version
	}
	if s.Profile != nil {
		s.Profile.Generation = cmp.Or(f.CurrentGeneration(), s.Profile.Generation)
	}
	s.Kernel, s.KernelNow, s.Reboot = f.Kernel, f.KernelRuns, f.RebootParts
	s.Failed, s.Disks = f.FailedUnits, f.Disks
	s.deployments(f, want)
	if f.Rebuild != "" {
		s.problem(Rebuild, "nixos-rebuild is running (%s)", f.Rebuild)
	}
	s.drift(f, want)
	if s.Pending == nil && f.Current != "" {
		switch {
		case f.Profile != "" && !f.Runs(f.Profile) && f.BootDefault == f.Profile:
			s.problem(BootDiffers, "boots another system next time (generation %d)", s.Profile.Generation)
		case f.Profile != "" && !f.Runs(f.Profile):
			s.problem(ProfileDiffers, "the profile names another system (generation %d)", s.Profile.Generation)
		case f.BootDefault != "" && !f.Runs(f.BootDefault):
			s.problem(BootDiffers, "boots another system next time")
		}
	}
	if len(f.RebootParts) > 0 {
		s.problem(RebootDue, "reboot due (%s)", f.RebootText)
	}
	if n := len(f.FailedUnits); n > 0 {
		names := f.FailedUnits[:min(n, 3)]
		more := ""
		if n > len(names) {
			more = fmt.Sprintf(" and %d more", n-len(names))
		}
		s.problem(FailedUnits, "failed: %s%s", strings.Join(names, ", "), more)
	}
	s.space()
	s.notes(f)
	s.OK = len(s.Problems) == 0
	return s
}

// deployments is about the last one, and one that is under way.
func (s *Status) deployments(f Facts, want Wanted) {
	s.Deployed = deployed(f, want)
	if n := len(f.Records); n > 0 {
		e := history.FromRecord(s.Host, f.Records[n-1])
		s.Last = &e
	}

	if d := f.Deployment; d.Pending() && d.Action != activate.DryActivate {
		s.Pending = &PendingDeployment{ID: d.ID, Phase: d.Phase, Since: d.Started.UTC(), Ago: f.Clock.Sub(d.Started).Seconds(), Old: d.Old, New: d.New,
			By: d.Meta["user"], Commit: d.Meta["commit"], Guarded: d.Guarded}
		what := "a deployment is under way"
		switch d.Phase {
		case "activated":
			what = "a deployment waits for its confirmation"
		case "rolling-back", "failed":
			what = "a deployment is being rolled back"
		}
		if d.Meta["user"] != "" {
			what += " by " + d.Meta["user"]
		}
		what += " since " + text.Elapsed(f.Clock.Sub(d.Started))
		if d.Left > 0 && d.Phase == "activated" {
			what += ", and goes back in " + text.Elapsed(d.Left)
		}
		s.problem(Pending, "%s", what)
		if d.Guarded && d.Phase == "activated" {
			s.Hints = append(s.Hints, "godwit confirm DEPLOYMENT "+shell.Word(s.Host), "godwit rollback --pending DEPLOYMENT "+shell.Word(s.Host))
		} else if d.Guarded && d.Phase == "" {
			s.Hints = append(s.Hints, "godwit rollback --pending DEPLOYMENT "+shell.Word(s.Host))
		}
	}
	if p := f.Once; p != nil {
		s.once(f, p)
	}
	if f.Interrupted != "" {
		s.problem(CutOff, "deployment %s was interrupted by a reboot; the next deploy repairs what it left", f.Interrupted)
	}
}

// once is about a system that deploy --reboot booted one time.
func (s *Status) once(f Facts, p *reboot.Pending) {
	s.Pending = &PendingDeployment{ID: p.ID, Phase: "booted-once", Since: p.Started.UTC(), Ago: f.Clock.Sub(p.Started).Seconds(), Old: p.Old, New: p.New,
		By: p.Meta["user"], Commit: p.Meta["commit"], Guarded: true}
	what := "the new system was booted once and waits for its confirmation"
	switch {
	case p.GoingBack:
		s.Pending.Phase, what = "rolling-back", "a reboot leads back to the system that ran before"
	case !p.Booted:
		s.Pending.Phase, what = "rebooting", "it is rebooting into a new system"
	default:
		s.Hints = append(s.Hints, "godwit confirm DEPLOYMENT "+shell.Word(s.Host), "godwit rollback --pending DEPLOYMENT "+shell.Word(s.Host))
	}
	if s.Pending.By != "" {
		what += " by " + s.Pending.By
	}
	s.problem(Pending, "%s since %s", what, text.Elapsed(f.Clock.Sub(p.Started)))
}

func (s *Status) drift(f Facts, want Wanted) {
	switch {
	case want.Err != nil:
		s.problem(Evaluation, "cannot be evaluated")
	case want.System != "":
		same := f.Runs(want.System)
		s.InSync = &same
		if same {
			return
		}
		why := "differs from the repository"
		if d := s.Deployed; d != nil && d.Behind != nil {
			switch n := *d.Behind; {
			case n == 1:
				why = "1 commit behind"
			case n > 1:
				why = fmt.Sprintf("%d commits behind", n)
			case d.Tree == "dirty":
				why = "deployed from a dirty tree of this commit"
			case want.Source.Dirty:
				why = "differs from the repository (uncommitted changes)"
			}
		}
		s.problem(Drift, "%s", why)
	}
}

func (s *Status) space() {
	var store string
	for _, d := range s.Disks {
		low := int64(lowStore)
		if d.Folder == "/nix/store" {
			store = d.Device
		} else if d.Device == store {
			continue // /boot is no file system of its own
		} else {
			low = lowBoot
		}
		folder := strings.TrimSuffix(d.Folder, "/store")
		switch {
		case d.Total > 0 && d.Free < min(low, d.Total/4):
			s.problem(LowSpace, "%s free on %s", text.Size(d.Free), folder)
		case d.Inodes > 0 && d.FreeInodes < min(lowInodes, d.Inodes/4):
			s.problem(LowSpace, "%s (room for files) free on %s", text.Count(int(d.FreeInodes), "inode"), folder)
		}
	}
}

// notes are worth a word and no reason to act.
func (s *Status) notes(f Facts) {
	if s.Lock = f.Lock; s.Lock != nil {
		s.Notes = append(s.Notes, "locked by "+s.Lock.String())
	}
	if f.Specialisation != "" {
		s.Notes = append(s.Notes, "specialisation "+f.Specialisation)
	}
	if s.Last == nil || s.Last.Outcome == history.Changed || s.Pending != nil {
		return
	}
	ago := Ago(f.Clock.Sub(s.Last.Ended))
	switch s.Last.Outcome {
	case history.RolledBack:
		s.Notes = append(s.Notes, "rolled back "+ago)
	case history.Superseded:
		s.Notes = append(s.Notes, "switched by somebody else "+ago)
	default:
		s.Notes = append(s.Notes, "last deploy failed "+ago)
	}
}

// deployed finds the record of the deployment that brought the running system.
func deployed(f Facts, want Wanted) *Deployed {
	for i := len(f.Records) - 1; i >= 0; i-- {
		r := f.Records[i]
		if history.OutcomeOf(r.Result) != history.Changed || !f.Runs(r.New) && !f.Runs(r.Toplevel) {
			continue
		}
		at := time.Unix(r.Ended, 0)
		d := &Deployed{At: at.UTC(), Ago: f.Clock.Sub(at).Seconds(), By: r.Meta["user"], Deployer: r.Meta["deployer"], Deployment: r.ID,
			Commit: r.Meta["commit"], Tree: r.Meta["tree"]}
		if want.Behind != nil && d.Commit != "" {
			if n, ok := want.Behind(d.Commit); ok {
				d.Behind = &n
			}
		}
		return d
	}
	// Not by godwit: the generation's age is all there is.
	if g, ok := f.Find(f.GenerationOf(f.Current)); ok {
		return &Deployed{At: g.Made, Ago: f.Clock.Sub(g.Made).Seconds()}
	}
	return nil
}

// Summary is the last column of the table: one line, without a symbol.
func (s Status) Summary() string {
	var parts []string
	for _, p := range s.Problems {
		parts = append(parts, p.Text)
	}
	if s.OK {
		switch {
		case s.InSync != nil:
			parts = append(parts, "as in repository")
		default:
			parts = append(parts, "healthy")
		}
	}
	return strings.Join(append(parts, s.Notes...), " · ")
}

// Ago writes an age: "4 min ago", "2 hours ago", "12 days ago".
func Ago(d time.Duration) string {
	n, unit := 0, ""
	switch {
	case d < 0 || d < 10*time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		n, unit = int(d.Hours()), "hour"
	case d < 60*24*time.Hour:
		n, unit = int(d.Hours()/24), "day"
	default:
		n, unit = int(d.Hours()/24/30), "month"
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s ago", n, unit)
}
