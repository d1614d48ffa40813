package plan

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/profile"
	"godwit/internal/storepath"
	"godwit/internal/ui/text"
)

// Risk is something that a person has to want.
type Risk = profile.Risk

// Names of risks. They are API.
const (
	KernelChange   = profile.KernelChange
	SSHChange      = profile.SSHChange
	NoRollback     = "no-rollback"
	NoOneShot      = "no-oneshot"
	UnknownProfile = "unknown-profile"
	DirtyTree      = "dirty-tree"
	LowSpace       = "low-space"
	BootLoader     = profile.BootLoader
	WrongHost      = "wrong-host"
	SameAddress    = "same-address"
	ClosedSecret   = "closed-secret"
)

// RiskNames are all names with what they mean, for help and documentation.
var RiskNames = []struct{ Name, Meaning string }{
	{KernelChange, "the next boot starts another kernel than the one that is known to work here"},
	{SSHChange, "the configuration of sshd, of the firewall or of the network changes, or their units stop"},
	{NoRollback, "nothing takes the host back when the new system does not answer"},
	{NoOneShot, "the boot loader cannot boot the new system once: it becomes the default before it has ever booted (--reboot)"},
	{UnknownProfile, "the host runs another system than it would boot, and godwit did not do that; or one that this machine does not know, where the configuration forbids to replace it"},
	{DirtyTree, "the configuration has changes that are not committed"},
	{LowSpace, "the host is short of space in /nix or /boot"},
	{BootLoader, "another boot loader is installed"},
	{WrongHost, "the host runs the system of another host of this configuration"},
	{SameAddress, "ssh reaches the host at the address of another host of this run"},
	{ClosedSecret, "the host cannot open a secret of its configuration (agenix, sops-nix)"},
}

// Accept is the set of accepted risks.
type Accept map[string]bool

// ParseAccept reads the values of --accept-risk.
func ParseAccept(names []string) (Accept, error) {
	a := Accept{}
	known := make([]string, len(RiskNames))
	for i, r := range RiskNames {
		known[i] = r.Name
	}
	for _, n := range names {
		n = strings.TrimSpace(n)
		if n == "" {
			continue
		}
		if !slices.Contains(known, n) {
			f := fault.New("there is no risk %q: the names are %s", n, strings.Join(known, ", "))
			if near := fleet.Nearest(n, known); near != "" {
				f.Hint("did you mean %s?", near)
			}
			return nil, f
		}
		a[n] = true
	}
	return a, nil
}

// Apply marks the risks of p that a accepts.
func (a Accept) Apply(p *Plan) {
	for i := range p.Hosts {
		for j := range p.Hosts[i].Risks {
			r := &p.Hosts[i].Risks[j]
			switch {
			case r.Accepted != "":
			case a[r.Name]:
				r.Accepted = "--accept-risk"
			}
		}
	}
}

// Open are the names of the host's risks that nobody accepted, if it would be changed.
func (h *Host) Open() []string {
	var out []string
	for _, r := range h.Risks {
		if h.Status == Change && r.Accepted == "" {
			out = append(out, r.Name)
		}
	}
	return out
}

// Open are the names of the risks that nobody accepted, on hosts that would be
// changed, in the order of RiskNames.
func (p *Plan) Open() []string {
	seen := map[string]bool{}
	for _, h := range p.Hosts {
		for _, name := range h.Open() {
			seen[name] = true
		}
	}
	var out []string
	for _, r := range RiskNames {
		if seen[r.Name] {
			out = append(out, r.Name)
		}
	}
	return out
}

// room is what must stay free on a file system after a deploy.
const (
	roomNix  = 128 << 20
	roomBoot = 4 << 20
	// In inodes. A path takes one at least, and some of a system have thousands of files.
	inodesNix  = 2000
	inodesBoot = 16
)

// risks judges a host that would be changed, of which the kinds of its profiles think as
// judged.
func risks(o Options, src Source, h *Host, f *Facts, judged profile.Judgement) []Risk {
	out := slices.Clone(judged.Risks)
	add := func(name, format string, args ...any) {
		out = append(out, Risk{Name: name, Text: fmt.Sprintf(format, args...)})
	}
	permanent := o.Action != "test" || o.Reboot

	if o.Action == "switch" || o.Action == "test" {
		switch can, why := f.State.CanGuard(); {
		case o.NoGuard:
			out = append(out, Risk{Name: NoRollback, Text: "nothing takes the host back if it does not answer", Accepted: "--no-guard"})
		case h.Config != nil && h.Config.Guard.NoAutoRollback:
			add(NoRollback, "the configuration says that nothing takes the host back")
		case !can:
			add(NoRollback, "%s; --no-guard goes on without a guard", why)
		}
	}

	if o.Action == "boot" && o.Reboot && !o.NoGuard && h.Config != nil && h.Config.Guard.NoAutoRollback {
		add(NoRollback, "the configuration says that nothing takes the host back")
	}

	if f.NoOneShot != "" && o.Reboot && !h.rebootsAgain(f) {
		add(NoOneShot, "%s; if the new system does not come up, somebody must choose the old one at the console", f.NoOneShot)
	}
	// Of other kinds it is not known what the last deployment did.
	if k, text := kindOf(*h.Config), unknownProfile(f); text != "" && k.Boots && k.Read != nil {
		add(UnknownProfile, "%s", text)
	}
	if f.Stranger != "" {
		add(UnknownProfile, "%s", f.Stranger)
	}
	if src.Commit != "" && src.Dirty {
		add(DirtyTree, "changes that are not committed")
	}
	for _, text := range lowSpace(h, f, judged, permanent) {
		add(LowSpace, "%s", text)
	}
	if other := f.OtherHost; other != "" {
		add(WrongHost, "the host runs the system of %s", other)
	}
	if f.Twin != "" {
		add(SameAddress, "%s", f.Twin)
	}
	return out
}

// rebootsAgain tells whether the host runs and boots the system already, and
// would only be rebooted.
func (h *Host) rebootsAgain(f *Facts) bool {
	return h.Profile == h.System && (h.Running == h.System || f.State.Specialisation != "")
}

// stranger says what the host would lose that this machine does not know: neither its
// store (here) nor the host's own record of who deployed it. system is the new one.
func stranger(f *Facts, system string, here func(string) bool) string {
	was := f.State.Profiled()
	if was == "" {
		was = f.State.Current
	}
	if was == "" || was == system || here(was) {
		return ""
	}
	// Built elsewhere (by the host, in a container) and deployed from here.
	if l := f.Last; l != nil && (l.Toplevel == was || l.New == was) {
		if me, err := os.Hostname(); err == nil && l.Meta["deployer"] == me {
			return ""
		}
		if by := l.Meta["deployer"]; by != "" {
			return fmt.Sprintf("would lose %s, which was deployed from %s and is not known here", storepath.Short(was), by)
		}
	}
	return fmt.Sprintf("would lose %s, which is not known here", storepath.Short(was))
}

// unknownProfile is about a host that runs another system than its profile
// names, when the host's own record does not say that godwit did it.
func unknownProfile(f *Facts) string {
	s := f.State
	if s.Profile == "" || s.Current == "" || s.Profiled() == s.Current || strings.HasPrefix(s.Current, s.Profile+"/") || s.Interrupted != "" {
		return ""
	}
	if l := f.Last; l != nil {
		settled := strings.HasPrefix(l.Result, "committed") || strings.HasPrefix(l.Result, "done")
		switch action := string(l.Action); {
		case !settled && l.Old == s.Current: // as it was found then, and accepted
			return ""
		case action == "test" && (l.Toplevel == s.Current || l.New == s.Current):
			return ""
		case action == "switch" && l.New == s.Current && l.Toplevel == s.Profile: // to a specialisation
			return ""
		case action == "boot" && l.Toplevel == s.Profile: // waits for a reboot
			return ""
		}
	}
	if s.Wrapped != "" {
		return fmt.Sprintf("runs %s but would boot %s, which deploy-rs set", storepath.Short(s.Current), storepath.Short(s.Wrapped))
	}
	return fmt.Sprintf("runs %s but would boot %s, and godwit did not do that", storepath.Short(s.Current), storepath.Short(s.Profile))
}

func lowSpace(h *Host, f *Facts, judged profile.Judgement, permanent bool) []string {
	var out []string
	if free, ok := f.State.Free["/nix"]; ok {
		need, inodes, more := int64(roomNix), int64(inodesNix), ""
		if h.Copy != nil && h.Copy.Bytes > 0 {
			need += h.Copy.Bytes
			inodes += int64(h.Copy.Paths)
			more = ", " + sizeText(h.Copy.Bytes) + " in " + text.Count(h.Copy.Paths, "path") + " are to be copied"
		}
		switch {
		case free.Bytes < need:
			out = append(out, sizeText(free.Bytes)+" are free in /nix"+more)
		case free.Inodes >= 0 && free.Inodes < inodes:
			out = append(out, fmt.Sprintf("%s (room for files) are free in /nix%s", text.Count(int(free.Inodes), "inode"), more))
		}
	}
	if free, ok := f.State.Free["/boot"]; ok && permanent && judged.BootBytes > 0 {
		switch {
		case free.Bytes < judged.BootBytes+roomBoot:
			out = append(out, fmt.Sprintf("%s are free in /boot, %s %s", sizeText(free.Bytes), judged.BootWhat, sizeText(judged.BootBytes)))
		case free.Inodes >= 0 && free.Inodes < inodesBoot:
			out = append(out, fmt.Sprintf("%s (room for files) are free in /boot", text.Count(int(free.Inodes), "inode")))
		}
	}
	return out
}
