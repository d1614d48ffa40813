package plan

import (
	"fmt"
	"slices"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/storepath"
)

// ExitStopped is the exit code of a run that its plan stopped: a risk that
// nobody accepted, a saved plan that is out of date, or the answer no. No host
// was changed.
const ExitStopped = 4

// Moved says in what a host differs from what was planned; empty: in nothing
// that matters. A host that the plan was applied to already has not moved.
func (h *Host) Moved(now *Host) string {
	if now.System != h.System {
		return "its system was built as " + now.System + ", not as " + h.System
	}
	if now.SecretsRelease != h.SecretsRelease {
		return "the secrets that rest on it have changed in the repository"
	}
	if now.Status == Unchanged {
		return ""
	}
	var out []string
	say := func(what, now, was string) {
		if now != was {
			out = append(out, fmt.Sprintf("it %s %s, not %s", what, orNothing(now), orNothing(was)))
		}
	}
	if !now.same {
		say("runs", now.Running, h.Running)
		say("was booted with", now.Booted, h.Booted)
		say("would boot", now.Profile, h.Profile)
	}
	for _, was := range h.Profiles {
		i := slices.IndexFunc(now.Profiles, func(p Profile) bool { return p.Name == was.Name })
		switch {
		case i < 0:
			out = append(out, "its profile "+was.Name+" is gone")
		case now.Profiles[i].New != was.New:
			out = append(out, "its profile "+was.Name+" was built as "+now.Profiles[i].New+", not as "+was.New)
		case !now.Profiles[i].Same && now.Profiles[i].Running != was.Running:
			out = append(out, fmt.Sprintf("its profile %s is %s, not %s", was.Name, orNothing(now.Profiles[i].Running), orNothing(was.Running)))
		}
	}
	for _, was := range h.Secrets {
		for _, is := range now.Secrets {
			if was.Name == is.Name && !was.writes() && is.writes() {
				out = append(out, fmt.Sprintf("its secret %s was to stay as it is, and would change now", was.Name))
			}
		}
	}
	return strings.Join(out, "; ")
}

func orNothing(path string) string {
	if path == "" {
		return "nothing"
	}
	return storepath.Short(path)
}

// Move is in what a host differs from what was planned.
type Move struct{ Host, How string }

// ErrMoved is the refusal of a plan that the world has moved away from.
func ErrMoved(config, file string, moves []Move) *fault.Error {
	f := fault.New("%d hosts have changed since the plan was made; no host was changed", len(moves)).Exit(ExitStopped)
	for _, m := range moves {
		f.Detail(m.Host + "  " + m.How)
	}
	if len(moves) == 1 {
		f = fault.New("the host has changed since the plan was made: %s; no host was changed", moves[0].How).On(moves[0].Host).Exit(ExitStopped)
	}
	return f.Hint("godwit plan %s -o %s makes a new plan", config, file)
}

// Moved says in what the configuration differs from the planned one.
func (s Source) Moved(now Source) string {
	switch {
	case s.Commit != now.Commit:
		return fmt.Sprintf("it is at %s now, not at %s", orGit(now), orGit(s))
	case s.Content != now.Content: // Dirty is in it; a plan saved in the tree makes that dirty, too
		return "its files have changed"
	}
	return ""
}

func orGit(s Source) string {
	if s.Commit == "" {
		return "no commit"
	}
	return "commit " + s.Commit[:min(7, len(s.Commit))]
}

// ErrRisks is the refusal of a plan with risks that nobody accepted.
func (p *Plan) ErrRisks() *fault.Error {
	open := p.Open()
	if len(open) == 0 {
		return nil
	}
	f := fault.New("the plan has %s that nobody accepted: %s; no host was changed", pluralWord(len(open), "a risk", "risks"), strings.Join(open, ", ")).Exit(ExitStopped)
	for _, h := range p.Hosts {
		if h.Status != Change {
			continue
		}
		for _, r := range h.Risks {
			if r.Accepted == "" {
				f.Detail(h.Name + "  " + r.Name + ": " + r.Text)
			}
		}
	}
	return f.Hint("--accept-risk=%s goes on", fault.Raw(strings.Join(open, ",")))
}

func pluralWord(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
