package plan

import (
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
	// NewUnits are the unit files of the new system, when it is not on the host.
	NewUnits map[string]string
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
	h.Parts = parts(f)
	h.NeedReboot = slices.ContainsFunc(h.Parts, func(p Part) bool { return p.Name != "systemd" && p.Name != "boot-loader" })
	if h.same && !in.Rests.changes() { // secrets that are uploaded are no risk
		if err := activate.Locked(s, activate.Request{Host: h.Name, Action: activate.Action(o.Action), OverrideLock: o.OverrideLock}); err != nil && h.Status == Change {
			Fail(&h, err)
			h.Status = Blocked
		}
		h.Notes = append(h.Notes, notes(&h, f)...)
		return h
	}

	switch {
	case f.DryExit == 0:
		h.Units = ParseDryActivate(f.Dry)
	case in.NewUnits != nil && f.Current.Units != nil:
		h.Units = compareUnits(f.Current.Units, in.NewUnits)
	}
	if o.Action == "boot" && !o.Reboot {
		h.Units = nil // nothing is touched before the next boot
	}
	if err := activate.Refuses(s, activate.Request{Host: h.Name, NewSystem: in.System, Profiles: activate.Changes(in.Host, activate.PathOf), Action: activate.Action(o.Action), NoGuard: o.NoGuard || in.Host.Guard.NoAutoRollback, OverrideLock: o.OverrideLock}); err != nil {
		Fail(&h, err)
		h.Status = Blocked
	} else if f.DryExit > 0 && (o.Action == "switch" || o.Action == "test") {
		h.Notes = append(h.Notes, Note{Text: fmt.Sprintf("dry-activate of the new system fails with status %d: %s", f.DryExit, lastLine(f.Dry)), Warn: true})
	}
	h.Risks = risks(o, src, &h, f)
	h.Notes = append(h.Notes, notes(&h, f)...)
	return h
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

// parts are what a reboot (or PID 1 alone) would take up. What is booted counts
// where it is known, else what runs.
func parts(f *Facts) []Part {
	if !f.New.Known && !f.New.elsewhere {
		return nil
	}
	from := f.Booted
	if !from.Known {
		from = f.Current
	}
	var out []Part
	for _, name := range []string{"kernel", "initrd", "kernel-modules", "kernel-params", "systemd", "boot-loader"} {
		base := from
		if name == "systemd" || name == "boot-loader" {
			base = f.Current // both follow a switch
		}
		was, is := base.Parts[name], f.New.Parts[name]
		if was == "" { // booted by other means than a system of its own
			was = f.Current.Parts[name]
		}
		switch name {
		case "boot-loader":
			if was == "" || is == "" || loaderKind(was) == loaderKind(is) {
				continue
			}
		case "kernel-params":
			if was == is || was == "" || is == "" {
				continue
			}
		default:
			if storepath.Top(was) == storepath.Top(is) {
				continue
			}
			if name != "systemd" && from.Known && from.Parts["kernel"] == "" && f.Current.Parts["kernel"] == "" {
				continue // a container, which has no kernel of its own and none to reboot for
			}
		}
		if name == "kernel-modules" && slices.ContainsFunc(out, func(p Part) bool { return p.Name == "kernel" }) {
			continue // they come with their kernel
		}
		p := Part{Name: name, From: shownPart(name, was), To: shownPart(name, is)}
		if now := f.Current.Parts[name]; base.Path != f.Current.Path && now != "" && is != "" && base.Parts[name] != "" {
			p.Waiting = storepath.Top(now) == storepath.Top(is)
		}
		out = append(out, p)
	}
	return out
}

// shownPart is what a person reads of a part: its version, where it has one.
func shownPart(name, value string) string {
	switch {
	case value == "":
		return ""
	case name == "kernel":
		n := storepath.Name(value)
		if v := version(n); v != n {
			return v
		}
		return n
	case name == "systemd":
		return version(storepath.Name(value))
	case name == "boot-loader":
		return loaderKind(value)
	}
	return ""
}

// partText is "linux 6.6.51 → 6.6.54".
func partText(p Part) string {
	name := p.Name
	if name == "kernel" {
		name = "linux"
	}
	switch {
	case p.From == "" && p.To == "":
		return name
	case p.From == p.To:
		return name + " " + p.To + " (another build)"
	case p.From == "":
		return name + " " + p.To
	case p.To == "":
		return name + " " + p.From + " goes away"
	}
	return name + " " + p.From + " → " + p.To
}

func notes(h *Host, f *Facts) []Note {
	var out []Note
	if h.boots != "" {
		out = append(out, Note{Text: "boots " + storepath.Short(h.boots) + " next time, not what it runs: that is put right", Warn: true})
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
		out = append(out, Note{Text: "an earlier deployment was cut off by a reboot; what it left is put right first", Warn: true})
	}
	if l := h.Last; l != nil {
		settled := strings.HasPrefix(l.Result, "committed") || strings.HasPrefix(l.Result, "done")
		if settled && (l.Action == "switch" || l.Action == "boot") && l.System != h.Profile && h.Profile != "" && h.Profile != h.System {
			out = append(out, Note{Text: "switched by something else since godwit's last deploy"})
		}
	}
	if due := slices.DeleteFunc(slices.Clone(h.Parts), func(p Part) bool { return !p.Waiting && !h.same }); len(due) > 0 && h.NeedReboot {
		out = append(out, Note{Text: "a reboot is due already: " + partsText(due)})
	}
	return out
}

func partsText(list []Part) string {
	var words []string
	for _, p := range list {
		words = append(words, partText(p))
	}
	return strings.Join(words, ", ")
}

func listing(names []string, n int) string {
	if len(names) <= n+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:n], ", "), len(names)-n)
}

func lastLine(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		if l := strings.TrimSpace(lines[i]); l != "" {
			return l
		}
	}
	return "it said nothing"
}
