// Package history remembers what was deployed where: in a database on the
// deployer, and by reading the record that the guard (internal/activate) writes
// on every host. The two are merged by the guard's deployment ID, so the story
// is whole whichever machine deployed, and also when the deployer died.
//
// Nothing here may fail a deploy: a database that cannot be used costs a
// warning, and writing to it happens beside the run.
package history

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"godwit/internal/activate"
	"godwit/internal/event"
	"godwit/internal/fleet"
)

// Outcomes of an entry that this package knows of (event.Outcome).
const (
	Changed     = event.OutcomeChanged
	Unchanged   = event.OutcomeUnchanged
	RolledBack  = event.OutcomeRolledBack
	Failed      = event.OutcomeFailed
	Interrupted = event.OutcomeInterrupted
	Superseded  = event.OutcomeSuperseded // somebody else switched the host meanwhile
	Unknown     = event.OutcomeUnknown    // the deployer ended without a result
)

// Sources of an entry.
const (
	FromDeployer = "deployer"
	FromHost     = "host"
	FromBoth     = "both"
)

// Run is one run of godwit over some hosts.
type Run struct {
	ID       string // of this run alone; it sorts by time
	Started  time.Time
	Ended    time.Time // zero while it runs, and when it died
	User     string    // who ran it
	Deployer string    // the machine it ran on
	Godwit   string    // its version
	File     string    // the deployment file
	Source   Source    // the state of the configuration
	Plan     string    // hash of the plan that was applied; may be empty
	Action   string    // switch, boot, test, rollback, ...
	Message  string    // why, in the words of whoever ran it; see CheckMessage
}

// Result is how one host of a run ended.
type Result struct {
	Host       string
	Deployment string // ID of the guard's deployment; empty when none was armed
	// Old and New are the systems before and as asked for: those of the profile that
	// stands for the host, where it has several.
	Old, New string
	// Profiles are all of the host's, in order; none: there is the system alone.
	Profiles []Profile
	// Overrode is the lock of the host that was gone over, in words; "": there was none.
	Overrode string
	Outcome  event.Outcome
	Reason   string // one line, when it did not go as asked
	Log      string // the end of the activation's log
	Ended    time.Time
	Duration time.Duration
}

// Profile is what happened to one profile of a host.
type Profile struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// worthTelling are the profiles of an entry: none when the system is the only one, of
// which the entry says all already.
func worthTelling(profiles []Profile) []Profile {
	if len(profiles) == 1 && profiles[0].Name == fleet.SystemProfile && profiles[0].Kind == string(fleet.NixOS) {
		return nil
	}
	return profiles
}

// Entry is a host's part of a run, from whatever tells of it.
type Entry struct {
	Run        string    `json:"run,omitempty"`
	Host       string    `json:"host"`
	Deployment string    `json:"deployment,omitempty"`
	Started    time.Time `json:"started"`
	Ended      time.Time `json:"ended,omitzero"`
	User       string    `json:"user,omitempty"`
	Deployer   string    `json:"deployer,omitempty"`
	Godwit     string    `json:"godwit,omitempty"`
	File       string    `json:"file,omitempty"`
	Commit     string    `json:"commit,omitempty"`
	// Tree is "clean" or "dirty", and empty when that is not known.
	Tree   string `json:"tree,omitempty"`
	Plan   string `json:"plan,omitempty"`
	Action string `json:"action"`
	// Message says why, in the words of whoever ran it.
	Message string `json:"message,omitempty"`
	// Overrode is the lock of the host that the run went over, in words.
	Overrode string `json:"overrode,omitempty"`
	Old      string `json:"old,omitempty"`
	New      string `json:"new,omitempty"`
	// Profiles are all of the host's, in order; Old and New are those of the one that
	// stands for the host. None: the system is the only one.
	Profiles []Profile     `json:"profiles,omitempty"`
	Outcome  event.Outcome `json:"outcome"`
	Reason   string        `json:"reason,omitempty"`
	Log      string        `json:"log,omitempty"`
	// Seconds is how long the host took: as the deployer saw it, from its first
	// step to its last, or else the activation alone, as the host saw it.
	Seconds float64 `json:"seconds"`
	// From is deployer, host or both.
	From string `json:"from"`
}

// Duration is Seconds as a duration.
func (e Entry) Duration() time.Duration { return time.Duration(e.Seconds * float64(time.Second)) }

// FromRecord makes an entry of a record that a host keeps.
func FromRecord(host string, r activate.Record) Entry {
	e := Entry{
		Run: r.Meta["run"], Host: host, Deployment: r.ID,
		Started: time.Unix(r.Started, 0).UTC(), Ended: time.Unix(r.Ended, 0).UTC(),
		User: r.Meta["user"], Deployer: r.Meta["deployer"], Godwit: r.Meta["godwit"], File: r.Meta["file"],
		Commit: r.Meta["commit"], Tree: r.Meta["tree"], Plan: r.Meta["plan"],
		Message: r.Meta["message"], Overrode: r.Meta["overrode"], Action: string(r.Action), Old: r.Old, New: r.Toplevel, Reason: r.Reason,
		Seconds: float64(r.Ended - r.Started), From: FromHost,
	}
	for _, p := range r.Profiles {
		e.Profiles = append(e.Profiles, Profile{Name: p.Name, Kind: p.Kind, Old: p.Old, New: p.New})
	}
	e.Profiles = worthTelling(e.Profiles)
	if verb := r.Meta["verb"]; verb != "" {
		e.Action = verb
	}
	e.Outcome = OutcomeOf(r.Result)
	if e.Outcome == Changed {
		e.Reason = ""
	}
	return e
}

// OutcomeOf translates the guard's word for how a deployment ended.
func OutcomeOf(result string) event.Outcome {
	word, _, _ := strings.Cut(result, " ")
	switch word {
	case "committed", "done":
		return Changed
	case "rolled-back":
		return RolledBack
	case "superseded":
		return Superseded
	case "":
		return Unknown
	}
	return Failed // aborted, failed, rollback-failed, abandoned
}

// Merge joins what the deployer knows with what hosts tell, newest first. A
// host's word on how a deployment ended is the truth: it knows also when the
// deployer was gone by then. The deployer knows the rest better.
func Merge(deployer, hosts []Entry) []Entry {
	out := slices.Clone(deployer)
	type key struct{ host, id string }
	byID, byRun := map[key]int{}, map[key]int{}
	for i, e := range out {
		if e.Deployment != "" {
			byID[key{e.Host, e.Deployment}] = i
		} else if e.Run != "" {
			byRun[key{e.Host, e.Run}] = i
		}
	}
	for _, h := range hosts {
		i, ok := byID[key{h.Host, h.Deployment}]
		if !ok && h.Run != "" {
			i, ok = byRun[key{h.Host, h.Run}]
		}
		if !ok {
			byID[key{h.Host, h.Deployment}] = len(out)
			out = append(out, h)
			continue
		}
		out[i] = join(out[i], h)
	}
	slices.SortStableFunc(out, func(a, b Entry) int {
		return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(a.Host, b.Host), cmp.Compare(b.Deployment, a.Deployment))
	})
	return out
}

func join(local, host Entry) Entry {
	e := local
	if local.From != FromHost {
		e.From = FromBoth
	}
	e.Deployment = cmp.Or(host.Deployment, e.Deployment)
	if e.Outcome == Unknown {
		e.Reason = "" // which was about the deployer
	}
	e.Old, e.New = cmp.Or(host.Old, e.Old), cmp.Or(host.New, e.New)
	if len(host.Profiles) > 0 {
		e.Profiles = host.Profiles
	}
	e.User, e.Deployer = cmp.Or(e.User, host.User), cmp.Or(e.Deployer, host.Deployer)
	e.Commit, e.Tree = cmp.Or(e.Commit, host.Commit), cmp.Or(e.Tree, host.Tree)
	e.Message, e.Overrode = cmp.Or(e.Message, host.Message), cmp.Or(e.Overrode, host.Overrode)
	if e.Ended.IsZero() {
		e.Ended, e.Seconds = host.Ended, host.Seconds
	}
	if host.Outcome == Changed || host.Outcome == RolledBack || e.Outcome == Unknown || e.Outcome == "" {
		// A deploy can still fail after the guard was done (a check after a
		// reboot): then the deployer's word stays.
		if host.Outcome != Changed || e.Outcome != Failed {
			e.Outcome = host.Outcome
		}
	}
	if e.Outcome == Changed {
		e.Reason = ""
	} else {
		e.Reason = cmp.Or(e.Reason, host.Reason)
	}
	return e
}
