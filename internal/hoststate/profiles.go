package hoststate

import (
	"bytes"
	"context"
	"slices"
	"time"

	"godwit/internal/activate"
	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/host"
	"godwit/internal/hostscript"
)

// LookProfiles asks a machine whose system reports nothing (Reports): what it has of
// profiles, and of its deployments. Where nobody can become root these are the login user's own.
func LookProfiles(ctx context.Context, r host.Conn, name string, profiles []activate.Change) (Facts, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var f Facts
	var err error
	if f.State, f.Deployment, err = activate.StatusOf(ctx, r, name, profiles); err != nil {
		return f, err
	}
	if f.Records, err = activate.History(ctx, r, name, recordsRead); err != nil {
		return f, err
	}
	f.Clock = time.Now()
	return f, nil
}

// AssessOther judges what LookProfiles found: the deployments. The profiles are
// AssessProfiles's.
func AssessOther(host string, f Facts, want Wanted) Status {
	s := Status{Host: host, Answers: true, Problems: []Problem{}}
	s.deployments(f, want)
	if want.Err != nil {
		s.problem(Evaluation, "cannot be evaluated")
	}
	s.notes(f)
	s.OK = len(s.Problems) == 0
	return s
}

// Undone is what takes a host back to before its last deployment, or the last one that
// changed the profile of a name: the profiles that it changed, as they were. New names those
// that it was the first to have, which a rollback leaves. known are the profiles that the
// configuration names. Without a record that tells of several profiles ok is false.
func (f Facts) Undone(name string, known []activate.Change) (rec activate.Record, back []activate.Change, first []string, ok bool) {
	for _, rec := range slices.Backward(f.Records) {
		if history.OutcomeOf(rec.Result) != history.Changed || rec.Action == activate.DryActivate {
			continue
		}
		if name == "" && plain(rec.Profiles) {
			return rec, nil, nil, false
		}
		for _, p := range rec.Profiles {
			switch {
			case p.Old == p.New || name != "" && p.Name != name:
			case p.Old == "":
				first = append(first, p.Name)
			default:
				back = append(back, p.Change(p.Old, known))
			}
		}
		if len(back)+len(first) > 0 { // else it changed nothing
			return rec, back, first, true
		}
	}
	return activate.Record{}, nil, nil, false
}

// plain tells whether a record is about a system alone, as a host has one where nobody
// says otherwise.
func plain(profiles []activate.RecordProfile) bool {
	system := fleet.System("", "")
	return len(profiles) == 0 || len(profiles) == 1 && profiles[0].Name == system.Name && profiles[0].Kind == string(system.Kind)
}

// GenerationsOf lists the generations of a profile, by its link; asUser: as who logs in.
func GenerationsOf(ctx context.Context, r host.Conn, name, link string, asUser bool) ([]Generation, error) {
	var out bytes.Buffer
	script := hostscript.Compound(`find "${1%/*}/" -maxdepth 1 -name "${1##*/}-*-link" -printf '%f %T@ %l\n' 2>/dev/null` + "\ntrue")
	if err := r.Run(ctx, host.Cmd{Script: script, Args: []string{link}, Elevate: !asUser, Stdout: &out, Name: "the reading of its generations"}); err != nil {
		return nil, err
	}
	var all []Generation
	for line := range bytes.Lines(out.Bytes()) {
		if g, ok := generation(string(bytes.TrimSpace(line))); ok {
			all = append(all, g)
		}
	}
	slices.SortFunc(all, func(a, b Generation) int { return a.Number - b.Number })
	return all, nil
}

// ProfileStatus is one of several profiles of a host.
type ProfileStatus struct {
	Name    string     `json:"name"`
	Kind    fleet.Kind `json:"kind"`
	Running string     `json:"running,omitempty"` // empty: none is active
	Kept    string     `json:"kept,omitempty"`    // what its link on the host names
	Wanted  string     `json:"wanted,omitempty"`
	InSync  bool       `json:"inSync"`
}

// AssessProfiles adds what a host has of each of its profiles, by a look of the guard's
// at them. What Reports is about is Assess's.
func (s *Status) AssessProfiles(h fleet.Host, found activate.State) {
	reports, unknown := Reports(h), false
	for _, is := range found.Profiles {
		p, ok := h.Profile(is.Name)
		if !ok {
			continue
		}
		out := ProfileStatus{Name: p.Name, Kind: p.Kind, Running: is.Current, Kept: is.Profile, Wanted: p.Path}
		out.InSync = is.Current == p.Path && is.Profile == p.Path
		if p.Path == "" { // not evaluated
			unknown = true
			s.Profiles = append(s.Profiles, out)
			continue
		}
		s.Profiles = append(s.Profiles, out)
		if reports && p.Name == h.Main().Name {
			continue
		}
		switch {
		case out.InSync:
		case is.Current == "" && is.Profile == "":
			s.problem(Drift, "profile '%s' is not there", p.Name)
		default:
			s.problem(Drift, "profile '%s' differs from the repository", p.Name)
		}
	}
	if !reports && !unknown && len(s.Profiles) > 0 {
		all := true
		for _, p := range s.Profiles {
			all = all && p.InSync
		}
		s.InSync = &all
	}
	s.OK = len(s.Problems) == 0
}
