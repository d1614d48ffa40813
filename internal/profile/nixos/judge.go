package nixos

import (
	"fmt"
	"slices"
	"strings"

	"godwit/internal/profile"
	"godwit/internal/storepath"
)

// Judge says what switching to the new system would mean, by what change.sh told.
func (s *Seen) Judge(q profile.Question) profile.Judgement {
	j := profile.Judgement{Units: s.units(q), Parts: s.parts()}
	j.NeedReboot = slices.ContainsFunc(j.Parts, func(p profile.Part) bool { return p.Name != profile.Init && p.Name != profile.Loader })
	if s.DryExit > 0 && (q.Action == profile.Switch || q.Action == profile.Test) {
		j.Warning = fmt.Sprintf("dry-activate of the new system fails with status %d: %s", s.DryExit, lastLine(s.Dry))
	}
	if slices.ContainsFunc(j.Parts, func(p profile.Part) bool { return p.Name == profile.Kernel || p.Name == profile.Initrd }) {
		j.BootBytes, j.BootWhat = s.BootBytes, "kernel and initrd take"
	}
	if q.Lasts() {
		j.Risks = s.bootRisks()
	}
	if q.AtOnce() {
		if what := s.access(j.Units); len(what) > 0 {
			j.Risks = append(j.Risks, profile.Risk{Name: profile.SSHChange, Text: strings.Join(what, ", ")})
		}
	}
	return j
}

// units are those that the activation touches; nil when nothing is touched before the
// next boot, or it is not known.
func (s *Seen) units(q profile.Question) *profile.Units {
	switch {
	case q.Action == profile.Boot && !q.Reboot:
		return nil
	case s.DryExit == 0:
		return parseDryActivate(s.Dry)
	case s.New.Units != nil && s.Current.Units != nil:
		return compareUnits(s.Current.Units, s.New.Units)
	}
	return nil
}

// bootRisks are about the next boot.
func (s *Seen) bootRisks() []profile.Risk {
	var out []profile.Risk
	// What would boot next differs from what would boot now, and is not simply the one
	// that runs. A first system without a kernel (a container, an installer in memory) has
	// nothing to lose.
	if k, was, booted := s.New.Parts[profile.Kernel], s.Current.Parts[profile.Kernel], s.Booted.Parts[profile.Kernel]; k != "" && (was != "" || booted != "") &&
		differs(k, was) && differs(k, booted) {
		from := was
		if from == "" {
			from = booted
		}
		p := profile.Part{Name: profile.Kernel, From: shownPart(profile.Kernel, from), To: shownPart(profile.Kernel, k)}
		out = append(out, profile.Risk{Name: profile.KernelChange, Text: p.String()})
	}
	if l, was := s.New.Parts[profile.Loader], s.Current.Parts[profile.Loader]; l != "" && was != "" && loaderKind(l) != loaderKind(was) {
		out = append(out, profile.Risk{Name: profile.BootLoader, Text: fmt.Sprintf("%s would be installed in place of %s", loaderKind(l), loaderKind(was))})
	}
	return out
}

// differs tells whether a part is another one; unknown ("") always does.
func differs(a, b string) bool { return b == "" || storepath.Top(a) != storepath.Top(b) }

// access says what of sshd, firewall and network would change.
func (s *Seen) access(u *profile.Units) []string {
	var out []string
	names := []struct{ key, text string }{
		{"ssh", "sshd's configuration changes"},
		{"firewall", "the firewall changes"},
		{"network", "the network's configuration changes"},
	}
	for _, n := range names {
		was, is := s.Current.Prints[n.key], s.New.Prints[n.key]
		switch {
		case was == "" || was == is || !s.New.Known:
			// Nothing was there that could be lost, or it is not known.
		case is == "":
			out = append(out, strings.Replace(n.text, "changes", "goes away", 1))
		default:
			out = append(out, n.text)
		}
	}
	if u == nil {
		return out
	}
	if stop := accessUnits(u.Stop); len(stop) > 0 {
		out = append(out, strings.Join(stop, ", ")+" stops")
	}
	if changed := accessUnits(u.Restart); u.Estimated && len(changed) > 0 {
		out = append(out, strings.Join(changed, ", ")+" may change")
	}
	return out
}

// parts are what a reboot (or PID 1 alone) would take up. What is booted counts
// where it is known, else what runs.
func (s *Seen) parts() []profile.Part {
	if !s.New.Known && !s.New.elsewhere {
		return nil
	}
	from := s.Booted
	if !from.Known {
		from = s.Current
	}
	var out []profile.Part
	for _, name := range profile.Parts {
		base := from
		if name == profile.Init || name == profile.Loader {
			base = s.Current // both follow a switch
		}
		was, is := base.Parts[name], s.New.Parts[name]
		if was == "" { // booted by other means than a system of its own
			was = s.Current.Parts[name]
		}
		switch name {
		case profile.Loader:
			if was == "" || is == "" || loaderKind(was) == loaderKind(is) {
				continue
			}
		case profile.Params:
			if was == is || was == "" || is == "" {
				continue
			}
		default:
			if storepath.Top(was) == storepath.Top(is) {
				continue
			}
			if name != profile.Init && from.Known && from.Parts[profile.Kernel] == "" && s.Current.Parts[profile.Kernel] == "" {
				continue // a container, which has no kernel of its own and none to reboot for
			}
		}
		if name == profile.Modules && slices.ContainsFunc(out, func(p profile.Part) bool { return p.Name == profile.Kernel }) {
			continue // they come with their kernel
		}
		p := profile.Part{Name: name, From: shownPart(name, was), To: shownPart(name, is)}
		if now := s.Current.Parts[name]; base.Path != s.Current.Path && now != "" && is != "" && base.Parts[name] != "" {
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
	case name == profile.Kernel, name == profile.Init:
		return version(storepath.Name(value))
	case name == profile.Loader:
		return loaderKind(value)
	}
	return ""
}

// loaderKind makes a word of the script that installs a boot loader.
func loaderKind(script string) string {
	n := storepath.Name(script)
	for _, kind := range []string{"systemd-boot", "grub", "extlinux", "lanzaboote", "lzbt", "limine", "refind", "uboot"} {
		if strings.Contains(n, kind) {
			if kind == "lzbt" {
				return "lanzaboote"
			}
			return kind
		}
	}
	return strings.TrimSuffix(strings.TrimPrefix(n, "install-"), ".sh")
}

func lastLine(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		if l := strings.TrimSpace(lines[i]); l != "" {
			return l
		}
	}
	return "it said nothing"
}

// whose is Kind.Whose: a system has the name of its host in its own.
func whose(system string, hosts []string) string {
	rest, ok := strings.CutPrefix(storepath.Name(system), "nixos-system-")
	best := ""
	for _, n := range hosts {
		if after, is := strings.CutPrefix(rest, n+"-"); ok && is && len(n) > len(best) && after != "" && after[0] >= '0' && after[0] <= '9' {
			best = n
		}
	}
	return best
}
