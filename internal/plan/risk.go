package plan

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/storepath"
	"godwit/internal/ui/text"
)

// Risk is something that a person has to want. Each kind has a name by which it
// is accepted; there is no way to accept all of them at once.
type Risk struct {
	Name string `json:"name"`
	Text string `json:"text"`
	// Accepted says by what: "--accept-risk", "--no-guard"; empty: not yet.
	Accepted string `json:"accepted,omitempty"`
}

// Names of risks. They are API.
const (
	KernelChange   = "kernel-change"
	SSHChange      = "ssh-change"
	NoRollback     = "no-rollback"
	NoOneShot      = "no-oneshot"
	UnknownProfile = "unknown-profile"
	DirtyTree      = "dirty-tree"
	LowSpace       = "low-space"
	BootLoader     = "boot-loader-change"
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

// risks judges a host that would be changed.
func risks(o Options, src Source, h *Host, f *Facts) []Risk {
	var out []Risk
	add := func(name, format string, args ...any) {
		out = append(out, Risk{Name: name, Text: fmt.Sprintf(format, args...)})
	}
	permanent := o.Action != "test" || o.Reboot

	// The kernel: what would boot next differs from what would boot now, and is
	// not simply the one that runs. A first system without a kernel (a
	// container, an installer in memory) has nothing to lose.
	if k, was, booted := f.New.Parts["kernel"], f.Current.Parts["kernel"], f.Booted.Parts["kernel"]; permanent && k != "" && (was != "" || booted != "") &&
		differs(k, was) && differs(k, booted) {
		from := was
		if from == "" {
			from = booted
		}
		add(KernelChange, "%s", partText(Part{Name: "kernel", From: shownPart("kernel", from), To: shownPart("kernel", k)}))
	}
	if l, was := f.New.Parts["boot-loader"], f.Current.Parts["boot-loader"]; permanent && l != "" && was != "" && loaderKind(l) != loaderKind(was) {
		add(BootLoader, "%s would be installed in place of %s", loaderKind(l), loaderKind(was))
	}

	if o.Action == "switch" || o.Action == "test" || o.Reboot {
		if what := accessChanges(h, f); len(what) > 0 {
			add(SSHChange, "%s", strings.Join(what, ", "))
		}
	}

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
	if text := unknownProfile(f); text != "" && (h.Config == nil || nixos(*h.Config)) {
		add(UnknownProfile, "%s", text)
	}
	if f.Stranger != "" {
		add(UnknownProfile, "%s", f.Stranger)
	}
	if src.Commit != "" && src.Dirty {
		add(DirtyTree, "changes that are not committed")
	}
	for _, text := range lowSpace(h, f, permanent) {
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

// differs tells whether a part is another one; unknown ("") never differs.
func differs(a, b string) bool { return b == "" || storepath.Top(a) != storepath.Top(b) }

// accessChanges says what of sshd, firewall and network would change.
func accessChanges(h *Host, f *Facts) []string {
	var out []string
	names := []struct{ key, text string }{
		{"ssh", "sshd's configuration changes"},
		{"firewall", "the firewall changes"},
		{"network", "the network's configuration changes"},
	}
	for _, n := range names {
		was, is := f.Current.Prints[n.key], f.New.Prints[n.key]
		switch {
		case was == "" || was == is || !f.New.Known:
			// Nothing was there that could be lost, or it is not known.
		case is == "":
			out = append(out, strings.Replace(n.text, "changes", "goes away", 1))
		default:
			out = append(out, n.text)
		}
	}
	if h.Units == nil {
		return out
	}
	if stop := accessUnits(h.Units.Stop); len(stop) > 0 {
		out = append(out, strings.Join(stop, ", ")+" stops")
	}
	if changed := accessUnits(h.Units.Restart); h.Units.Estimated && len(changed) > 0 {
		out = append(out, strings.Join(changed, ", ")+" may change")
	}
	return out
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

func lowSpace(h *Host, f *Facts, permanent bool) []string {
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
	if free, ok := f.State.Free["/boot"]; ok && permanent && f.BootBytes > 0 && (changed(h, "kernel") || changed(h, "initrd")) {
		switch {
		case free.Bytes < f.BootBytes+roomBoot:
			out = append(out, fmt.Sprintf("%s are free in /boot, kernel and initrd take %s", sizeText(free.Bytes), sizeText(f.BootBytes)))
		case free.Inodes >= 0 && free.Inodes < inodesBoot:
			out = append(out, fmt.Sprintf("%s (room for files) are free in /boot", text.Count(int(free.Inodes), "inode")))
		}
	}
	return out
}

func changed(h *Host, part string) bool {
	return slices.ContainsFunc(h.Parts, func(p Part) bool { return p.Name == part })
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
