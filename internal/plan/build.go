package plan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"godwit/internal/activate"
	"godwit/internal/closure"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/profile"
	"godwit/internal/profile/kinds"
	"godwit/internal/storepath"
)

// Input is everything that a host's part of a plan is made of.
type Input struct {
	Host   fleet.Host
	System string // new
	Facts  *Facts
	// Closure is how the closures differ; nil: not known.
	Closure *closure.Difference
	Copy    *Copy
	// Secrets that would be uploaded, and why they could not be compared.
	Secrets    []Secret
	SecretsErr error
	// Rests are the secrets that rest there; nil where there are none to think of.
	Rests *Rests
}

// Build makes a host's part of a plan. It does no I/O.
func Build(o Options, src Source, in Input) Host {
	f, s := in.Facts, in.Facts.State
	h := Host{
		Name: in.Host.Name, Status: Change, Drv: in.Host.Main().Drv, System: in.System,
		Running: s.Current, Booted: s.Booted, Profile: s.Profile, Generation: s.Generation, BootID: s.BootID,
		Closure: in.Closure, Copy: in.Copy,
		FailedUnits: s.FailedUnits, Free: map[string]int64{}, FreeInodes: map[string]int64{}, Secrets: in.Secrets, Checks: in.Host.HealthChecks.Len(),
	}
	h.machine = s.Machine
	config := in.Host
	h.Config = &config
	h.Profiles = profilesOf(in.Host, o.Action, s)
	others := slices.ContainsFunc(h.Profiles, func(p Profile) bool { return !p.Same })
	for _, place := range []string{"/nix", "/boot"} {
		if room, ok := s.Free[place]; ok {
			h.Free[place] = room.Bytes
			if room.Inodes >= 0 {
				h.FreeInodes[place] = room.Inodes
			}
		}
	}
	if l := f.Last; l != nil {
		h.Last = &Last{ID: l.ID, Time: time.Unix(l.Ended, 0).UTC(), User: l.Meta["user"], Deployer: l.Meta["deployer"],
			Commit: l.Meta["commit"], Tree: l.Meta["tree"], Action: string(l.Action), Message: l.Meta["message"], Result: l.Result, System: l.Toplevel}
	}
	if !o.Reboot && !others && isUnchanged(o.Action, in.System, s) {
		h.same = true
		h.Closure = &closure.Difference{Changes: []closure.Change{}}
		if o.Action != "test" {
			h.boots = s.BootsOther
		}
		if h.boots == "" && !slices.ContainsFunc(h.Secrets, Secret.writes) && !in.Rests.changes() {
			h.Status = Unchanged
		}
	}
	if in.SecretsErr != nil {
		h.Notes = append(h.Notes, Note{Text: "its secrets could not be compared: " + event.Message(in.SecretsErr), Warn: true})
	}
	if r := in.Rests; r != nil {
		h.SecretsRelease, h.RestingSecrets = r.ID, r.Changes
		if r.Err != nil {
			h.Notes = append(h.Notes, Note{Text: "the secrets that rest there could not be compared: " + event.Message(r.Err), Warn: true})
		} else if r.Otherwise != "" {
			h.Notes = append(h.Notes, Note{Text: r.Otherwise})
		}
	}
	judged := judge(o, in)
	h.Parts, h.NeedReboot = judged.Parts, judged.NeedReboot
	if h.same && !in.Rests.changes() { // secrets that are uploaded are no risk
		if err := activate.Locked(s, activate.Request{Host: h.Name, Action: activate.Action(o.Action), OverrideLock: o.OverrideLock}); err != nil && h.Status == Change {
			Fail(&h, err)
			h.Status = Blocked
		}
		h.Notes = append(h.Notes, notes(&h, f)...)
		return h
	}

	h.Units = judged.Units
	if err := activate.Refuses(s, activate.Request{Host: h.Name, NewSystem: in.System, Profiles: activate.Changes(in.Host, activate.PathOf), Action: activate.Action(o.Action), NoGuard: o.NoGuard || in.Host.Guard.NoAutoRollback, OverrideLock: o.OverrideLock}); err != nil {
		Fail(&h, err)
		h.Status = Blocked
	} else if judged.Warning != "" {
		h.Notes = append(h.Notes, Note{Text: judged.Warning, Warn: true})
	}
	h.Risks = risks(o, src, &h, f, judged)
	h.Notes = append(h.Notes, notes(&h, f)...)
	return h
}

// kindOf is the kind of what stands for a host.
func kindOf(h fleet.Host) profile.Kind {
	main := h.Main().Kind
	if len(h.Profiles) == 0 {
		main = fleet.System("", "").Kind
	}
	k, _ := kinds.Of(string(main))
	return k
}

// judge is what the kinds of a host's profiles say of the change: of the one that stands
// for the host, with the risks of them all.
func judge(o Options, in Input) profile.Judgement {
	q := profile.Question{Action: profile.Action(o.Action), Reboot: o.Reboot}
	var j profile.Judgement
	main := cmp.Or(in.Host.Main().Name, fleet.SystemProfile)
	if seen := in.Facts.Seen[main]; seen != nil {
		j = seen.Judge(q)
	}
	for _, p := range in.Host.Profiles {
		seen := in.Facts.Seen[p.Name]
		if p.Name == main || seen == nil {
			continue
		}
		more := seen.Judge(q)
		j.NeedReboot = j.NeedReboot || more.NeedReboot
		j.Warning = cmp.Or(j.Warning, more.Warning)
		for _, r := range more.Risks {
			r.Text = p.Name + ": " + r.Text
			j.Risks = append(j.Risks, r)
		}
	}
	return j
}

// isUnchanged is what the activation itself decides by (activate.SkipUnchanged).
func isUnchanged(action, system string, s activate.State) bool {
	switch action {
	case "switch":
		return s.Current == system && s.Profile == system
	case "test":
		return s.Current == system
	case "boot":
		return s.Current == system && s.Profile == system
	}
	return false
}

// Fail fills in why a host cannot be planned.
func Fail(h *Host, err error) {
	h.err = err
	h.Error = err.Error()
	var bare interface{ Bare() string }
	if errors.As(err, &bare) {
		h.Error = bare.Bare()
	}
	h.Hints = fault.Hints(err)
	h.Status = Failed
	switch host.KindOf(err) {
	case host.Unreachable, host.NameNotFound, host.Refused, host.Timeout, host.Dropped:
		h.Status = Unreachable
	case "":
	default:
		h.Status = Blocked
	}
	var dropped *host.DroppedError
	if errors.As(err, &dropped) || errors.Is(err, context.DeadlineExceeded) {
		h.Status = Unreachable
	}
}

func notes(h *Host, f *Facts) []Note {
	var out []Note
	if h.boots != "" {
		out = append(out, Note{Text: "boots " + storepath.Short(h.boots) + " next time, not what it runs: that is corrected", Warn: true})
	}
	if n := len(h.FailedUnits); n > 0 {
		out = append(out, Note{Text: fmt.Sprintf("failed before already: %s", listing(h.FailedUnits, 4))})
	}
	if l := f.State.Lock; l != nil && h.Status != Blocked {
		out = append(out, Note{Text: "locked by " + l.String(), Warn: true})
	}
	if p := f.State.Pending; p != "" {
		out = append(out, Note{Text: "another deployment is under way (" + p + ")", Warn: true})
	}
	if s := f.State; s.Wrapped != "" && s.Wrapped == s.Current {
		out = append(out, Note{Text: "deployed by deploy-rs before: the profile names its wrapper of the running system, and names the system itself from now on"})
	}
	if f.State.Interrupted != "" {
		out = append(out, Note{Text: "an earlier deployment was interrupted by a reboot; what it left is repaired first", Warn: true})
	}
	if l := h.Last; l != nil {
		settled := strings.HasPrefix(l.Result, "committed") || strings.HasPrefix(l.Result, "done")
		if settled && (l.Action == "switch" || l.Action == "boot") && l.System != h.Profile && h.Profile != "" && h.Profile != h.System {
			out = append(out, Note{Text: "switched by something else since godwit's last deploy"})
		}
	}
	if due := slices.DeleteFunc(slices.Clone(h.Parts), func(p profile.Part) bool { return !p.Waiting && !h.same }); len(due) > 0 && h.NeedReboot {
		out = append(out, Note{Text: "a reboot is due already: " + partsText(due)})
	}
	return out
}

func partsText(list []profile.Part) string {
	var words []string
	for _, p := range list {
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}

func listing(names []string, n int) string {
	if len(names) <= n+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:n], ", "), len(names)-n)
}
