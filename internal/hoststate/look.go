// Package hoststate finds out what a host runs, boots and keeps, and what is
// wrong with that, and removes generations that are no longer wanted (Collect). Looking
// changes nothing on the host.
package hoststate

import (
	"context"
	_ "embed" // look.sh
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"godwit/internal/activate"
	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/hostscript"
	"godwit/internal/profile"
	"godwit/internal/profile/kinds"
	"godwit/internal/reboot"
	"godwit/internal/storepath"
)

//go:embed look.sh
var lookScript string

// Generation is one generation of the system profile.
type Generation struct {
	Number int       `json:"number"`
	System string    `json:"system"`
	Made   time.Time `json:"made"`
}

// Disk is the room on the file system of a folder.
type Disk struct {
	Folder string `json:"folder"`
	Device string `json:"device"`
	Total  int64  `json:"total"`
	Free   int64  `json:"free"`
	// Inodes are 0 where the file system has no bound for them.
	Inodes     int64 `json:"inodes,omitempty"`
	FreeInodes int64 `json:"freeInodes,omitempty"`
}

// Facts are what a host says of itself.
type Facts struct {
	activate.State
	// Deployment is the pending one, or the last since the host booted; may be nil.
	Deployment *activate.Deployment
	// Once is a system that was booted once and is not confirmed; may be nil.
	Once *reboot.Pending
	// Records are the end of the host's own history, oldest first.
	Records []activate.Record

	// Report is what the kind of the profile that stands for the host tells.
	profile.Report
	Clock time.Time // the host's clock, when it was asked
	// KernelRuns is the version of the kernel that runs.
	KernelRuns string
	// BootDefault is the system of the next boot; empty when the boot loader
	// cannot be asked. BootDefaultKnown is false when the profile stands for it.
	BootDefault      string
	BootDefaultKnown bool
	Disks            []Disk
	Generations      []Generation // by number
}

// recordsRead is how much of the host's history is read.
const recordsRead = 100

// Look asks a host for everything.
func Look(ctx context.Context, r host.Conn, h fleet.Host) (Facts, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	// One attempt for all: a host that is down should cost one time limit.
	if err := r.Connect(ctx); err != nil {
		return Facts{}, err
	}
	k, about, link := reporter(h)
	var wg sync.WaitGroup
	var state activate.State
	var dep *activate.Deployment
	var records []activate.Record
	var f Facts
	var errs [3]error
	wg.Add(3)
	go func() {
		defer crash.Catch()
		defer wg.Done()
		state, dep, errs[0] = activate.StatusOf(ctx, r, h.Name, about)
	}()
	go func() { defer crash.Catch(); defer wg.Done(); f, errs[1] = look(ctx, r, h.Name, k, link) }()
	go func() {
		defer crash.Catch()
		defer wg.Done()
		records, errs[2] = activate.History(ctx, r, h.Name, recordsRead)
	}()
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return f, err
		}
	}
	f.State, f.Deployment, f.Records = state, dep, records
	if f.Pending != "" && dep == nil {
		var err error
		if f.Once, err = reboot.Find(ctx, r, h.Name); err != nil {
			return f, err
		}
		if f.Once != nil && f.Once.ID == f.Interrupted {
			f.Interrupted = "" // it is what its note on the host is about
		}
	}
	f.settle()
	return f, nil
}

// kindOf is the kind of a profile of a host.
func kindOf(p fleet.Profile) profile.Kind {
	k, _ := kinds.Of(string(p.Kind))
	return k
}

// Reports tells whether the profile that stands for a host is of a kind that tells how the
// machine is: then Look and Assess are about it. So is the system of a host of which
// nothing is known.
func Reports(h fleet.Host) bool { return len(h.Profiles) == 0 || kindOf(h.Main()).Look.Report != "" }

// reporter is what tells how a host is: the profile that stands for it, else the system
// that a machine has where nobody says otherwise. about is that profile for the guard;
// none for such a system.
func reporter(h fleet.Host) (k profile.Kind, about []activate.Change, link string) {
	p, system := h.Main(), fleet.System("", "")
	if !Reports(h) || len(h.Profiles) == 0 || p.Kind == system.Kind {
		return kindOf(system), nil, activate.DefaultProfile
	}
	k = kindOf(p)
	h.Profiles = []fleet.Profile{p}
	about = activate.Known(h)
	if link = p.Link; link == "" {
		link = k.Link(about[0].Owner, p.Name)
	}
	return k, about, link
}

func look(ctx context.Context, r host.Conn, name string, k profile.Kind, link string) (Facts, error) {
	v, err := hostscript.Variables{"LINK": link, "REPORT": k.Name + "_report"}.Text()
	if err != nil {
		return Facts{}, fault.New("%w", err).On(name)
	}
	var out strings.Builder
	err = r.Run(ctx, host.Cmd{Script: hostscript.Compound(hostscript.Real, v, k.Look.Report, lookScript), Elevate: true, Stdout: &out, Name: "the inspection of the host"})
	f, ended := parse(out.String(), k)
	if ended {
		return f, nil
	}
	if err == nil {
		err = errors.New("the host's answer was incomplete")
	}
	var fe *fault.Error
	if errors.As(err, &fe) {
		return f, err
	}
	return f, fault.New("cannot look at the host: %s", strings.TrimPrefix(err.Error(), name+": ")).On(name).Because(err)
}

// parse reads the answer of look.sh, in which a kind tells, too.
func parse(out string, k profile.Kind) (f Facts, ended bool) {
	var told []profile.Line
	for name, value := range hostscript.Answer(out, &ended) {
		told = append(told, profile.Line{Name: name, Value: value})
		switch name {
		case "uname":
			f.KernelRuns = value
		case "clock":
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				f.Clock = time.Unix(n, 0)
			}
		case "disk":
			if d, ok := disk(value); ok {
				f.Disks = append(f.Disks, d)
			}
		case "generation":
			if g, ok := generation(value); ok {
				f.Generations = append(f.Generations, g)
			}
		}
	}
	f.Report = k.Read(told).Report()
	f.BootDefault, f.BootDefaultKnown = f.Boots, f.Boots != ""
	slices.SortFunc(f.Generations, func(a, b Generation) int { return a.Number - b.Number })
	return f, ended
}

// Runs tells whether system runs, itself or as one of its specialisations.
func (f Facts) Runs(system string) bool {
	if f.Wrapped != "" && system == f.Profile {
		system = f.Wrapped
	}
	return system == f.Current || f.Specialisation != "" && system == f.Profile
}

// settle fills in what the parts know only together.
func (f *Facts) settle() {
	if !f.BootDefaultKnown {
		f.BootDefault = f.Profile
	}
	if f.Clock.IsZero() {
		f.Clock = time.Now()
	}
}

// system is a path that a host gives as that of a system, or nothing: it is in the
// store, for a rollback takes it.
func system(p string) string {
	if _, _, ok := storepath.Cut(p); ok {
		return p
	}
	return ""
}

func disk(line string) (Disk, bool) {
	w := strings.Fields(line)
	if len(w) != 4 && len(w) != 6 {
		return Disk{}, false
	}
	total, err1 := strconv.ParseInt(w[2], 10, 64)
	free, err2 := strconv.ParseInt(w[3], 10, 64)
	d := Disk{Folder: w[0], Device: w[1], Total: total << 10, Free: free << 10}
	if len(w) == 6 { // of no more than it says: some file systems have no inodes to count
		d.Inodes, _ = strconv.ParseInt(w[4], 10, 64)
		d.FreeInodes, _ = strconv.ParseInt(w[5], 10, 64)
	}
	return d, err1 == nil && err2 == nil
}

// generation reads "system-41-link 1730628000.0000000000 /nix/store/...".
func generation(line string) (Generation, bool) {
	w := strings.Fields(line)
	if len(w) != 3 {
		return Generation{}, false
	}
	n, ok := generationNumber(w[0])
	if !ok {
		return Generation{}, false
	}
	seconds, _, _ := strings.Cut(w[1], ".")
	made, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || system(w[2]) == "" {
		return Generation{}, false
	}
	return Generation{Number: n, System: w[2], Made: time.Unix(made, 0).UTC()}, true
}

// generationNumber is 41 of "system-41-link".
func generationNumber(link string) (int, bool) {
	words := strings.Split(link, "-")
	if len(words) < 3 || words[len(words)-1] != "link" {
		return 0, false
	}
	n, err := strconv.Atoi(words[len(words)-2])
	return n, err == nil
}

// GenerationOf is the number of the generation that has system, the newest one
// up to the profile's own; 0 when there is none.
func (f Facts) GenerationOf(system string) int {
	current := f.CurrentGeneration()
	for i := len(f.Generations) - 1; i >= 0; i-- {
		if g := f.Generations[i]; g.System == system && (current == 0 || g.Number <= current) {
			return g.Number
		}
	}
	return 0
}

// CurrentGeneration is the number that the profile points to; 0 when not known.
func (f Facts) CurrentGeneration() int {
	n, _ := generationNumber(path.Base(f.State.Generation))
	return n
}

// Previous is the generation that a rollback goes to: the newest one before
// the profile's that has another system. A host on which a system is only being
// tried (deploy test) goes back to what its profile names.
func (f Facts) Previous() (Generation, bool) {
	current, ok := f.Find(f.CurrentGeneration())
	if ok && current.System != f.Current && (f.GenerationOf(f.Current) == 0 || f.tried()) {
		return current, true
	}
	system := f.Current
	if ok {
		system = current.System
	}
	return f.Before(f.CurrentGeneration(), system)
}

// tried tells whether the running system came by deploy test.
func (f Facts) tried() bool {
	for i := len(f.Records) - 1; i >= 0; i-- {
		r := f.Records[i]
		if word, _, _ := strings.Cut(r.Result, " "); word == "committed" || word == "done" {
			return r.Action == activate.Test && (r.New == f.Current || r.Toplevel == f.Current)
		}
	}
	return false
}

// Before is the newest generation below number n with another system.
func (f Facts) Before(n int, system string) (Generation, bool) {
	for i := len(f.Generations) - 1; i >= 0; i-- {
		if g := f.Generations[i]; g.Number < n && g.System != system {
			return g, true
		}
	}
	return Generation{}, false
}

// Find gives a generation by its number.
func (f Facts) Find(n int) (Generation, bool) {
	for _, g := range f.Generations {
		if g.Number == n {
			return g, true
		}
	}
	return Generation{}, false
}
