package activate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/hostscript"
	"godwit/internal/lock"
	"godwit/internal/profile/kinds"
	"godwit/internal/profile/nixos"
	"godwit/internal/storepath"
)

// State is what a host looks like before anything is done to it.
type State struct {
	BootID string
	// Machine is equal for two hosts only when they are one machine, whatever the
	// addresses are; until its next boot.
	Machine string
	// Current runs, Booted was booted, Profile is what the profile names, by
	// its generation's link (system-41-link).
	Current, Booted, Profile, Generation string
	Wrapped                              string // the system in Profile, when that is deploy-rs's wrapper of one
	// BootsOther is what the host boots next when that is another system than the
	// profile names; empty: it is not, or cannot be told.
	BootsOther     string
	Root           bool // the scripts run as root
	AsUser         bool // they need not
	Linger         bool // the login user's own manager outlives the login; asked with AsUser
	Systemd        int  // version; 0: systemd does not run the host
	Launchd        bool // it runs the host, and the scripts may use it
	Missing        []string
	FailedUnits    []string                   // the baseline
	Free           map[string]hostscript.Room // in /nix, /boot, /run
	Pending        string                     // ID of a deployment that is under way
	Holder         *Deployment                // that one, as it describes itself; may be nil
	Interrupted    string                     // ID of a commit that a power cut interrupted
	Rebuild        string                     // a nixos-rebuild switch that is under way
	Lock           *lock.Lock                 // who keeps the host from being changed; nil: nobody
	Held           string                     // "PID NAME" of a switch-to-configuration that runs
	Foreign        string                     // what the machine runs, when that is no NixOS
	NoSwitchOld    string                     // the running system, when it has no switch-to-configuration
	Specialisation string                     // name of the profile's specialisation that runs
	// Profiles are those of the request, in its order. The other fields are about the
	// main one.
	Profiles []ProfileState
	// About the new system:
	New              string   // what is to be activated, links resolved
	Absent, NoSwitch []string // paths that are not there, or have no switch-to-configuration
	Hollow           []string // paths whose files are empty: a power cut came before they were on the disk
	Differs          []string // kernel, initrd, kernel-modules, kernel-params, systemd
	InitChanged      bool     // exit 100 would be the answer
	Inhibited        bool     // system.switch.inhibitors differ from the booted system's
	CheckFailed      bool     // its pre-switch checks failed
	CheckLog         []string
}

// ProfileState is what a host has of one profile.
type ProfileState struct {
	Name string
	// Current is active, Profile is what the link names, by Generation.
	Current, Profile, Generation string
	Absent                       bool   // the host does not have what is to be activated
	Unfit                        string // why it cannot be
}

// NeedsReboot says whether parts differ that only a reboot changes.
func (s State) NeedsReboot() bool {
	return slices.ContainsFunc(s.Differs, func(p string) bool { return p != "systemd" })
}

// Profiled is the system that the profile is about: what it names, or what
// deploy-rs's wrapper that it names is around. That wrapper's files are the
// system's own, so it boots that system.
func (s State) Profiled() string { return cmp.Or(s.Wrapped, s.Profile) }

// unchanged tells whether req asks to leave the host alone, because it runs and
// boots the new system already.
func (s State) unchanged(req Request) bool {
	switch {
	case !req.SkipUnchanged || s.Interrupted != "" || req.Action == DryActivate || s.Current != req.Activation:
		return false
	case req.Action == Test:
		return true
	}
	return s.Profile == req.NewSystem && s.BootsOther == ""
}

// changing are the profiles of req without those, besides the main one, that the host
// has already.
func (s State) changing(req Request) []Change {
	differs := func(i int) bool {
		c, p := req.Profiles[i], s.Profiles[i]
		return !req.SkipUnchanged || s.Interrupted != "" || req.Action == DryActivate || p.Current != c.Run || req.Action != Test && p.Profile != c.New
	}
	some := false
	for i := range req.Profiles {
		some = some || differs(i)
	}
	var left []Change
	for i, c := range req.Profiles {
		k, _ := kinds.Of(c.Kind)
		if i == req.main || differs(i) || some && k.Always {
			left = append(left, c)
		}
	}
	return left
}

// bootOnly tells whether only the boot default is another system.
func (s State) bootOnly(req Request) bool {
	return req.SkipUnchanged && s.Interrupted == "" && len(req.Profiles) == 1 && s.Current == req.Activation && s.Profile == req.NewSystem && s.BootsOther != ""
}

// BootDefaultGuess is what the profile names, which is what most hosts boot.
func (s State) BootDefaultGuess() string { return s.Profile }

// preflightLimit leaves room for the new system's own pre-switch checks.
const preflightLimit = 2 * time.Minute

// Preflight looks at the host and changes nothing. With req.NewSystem empty
// only the host itself is looked at. It runs the new system's own pre-switch
// checks when the action is switch or test and the system can run them alone.
//
// Where nobody can become root, and all the profiles are of one user, it is asked as
// the login user (Request.AsUser).
func Preflight(ctx context.Context, r host.Conn, req Request) (State, error) {
	s, err := preflight(ctx, r, req)
	var root *host.ElevateError
	if (errors.As(err, &root) || err == nil && !s.Root) && !req.AsUser && req.at.or(hostPlaces) == hostPlaces && req.oneUsers() {
		req.AsUser = true
		return preflight(ctx, r, req)
	}
	return s, err
}

func preflight(ctx context.Context, r host.Conn, req Request) (State, error) {
	req.at = req.at.or(hostPlaces)
	req.at.User = req.AsUser
	err := req.settle()
	v := req.profileVariables()
	maps.Copy(v, req.at.variables())
	v["CHECK"] = ""
	if req.Action == Switch || req.Action == Test {
		v["CHECK"] = "1"
	}
	var script string
	if err == nil {
		script, err = preflightScript(v, req.kinds())
	}
	if err != nil {
		return State{}, fault.New("%w", err).On(req.Host)
	}
	var f frames
	f.begin()
	err = r.Run(ctx, host.Cmd{Script: script, Elevate: !req.AsUser, Stdout: &f, Name: "the preflight", Limit: preflightLimit})
	if !f.ended {
		if err == nil {
			err = errors.New("the host's answer was incomplete")
		}
		var fe *fault.Error
		if errors.As(err, &fe) {
			return State{}, err
		}
		return State{}, fault.New("cannot look at the host: %s", trimHost(err, req.Host)).On(req.Host).Because(err).Detail(f.noise...)
	}
	s := State{
		BootID: f.fact("boot-id"), Current: f.fact("current"), Booted: f.fact("booted"), Profile: f.fact("profile"),
		Generation: f.fact("generation"), Root: f.fact("uid") == "0", Launchd: f.has("launchd"), Linger: f.fact("linger") == "yes", AsUser: req.AsUser, Missing: f.facts["missing"],
		Wrapped: f.fact("wrapped"), FailedUnits: f.facts["failed"], Pending: f.fact("pending"), Interrupted: f.fact("interrupted"), Rebuild: f.fact("rebuild"),
		Lock: lock.Read(f.fact("lock")), Held: f.fact("held"), NoSwitchOld: f.fact("no-switch-old"), Foreign: f.fact("foreign"),
		New: f.fact("new"), Specialisation: f.fact("specialisation"),
		Absent: f.facts["absent"], NoSwitch: f.facts["no-switch"], Hollow: f.facts["hollow"], Differs: f.facts["differs"],
		InitChanged: f.has("init-changed"), Inhibited: f.has("inhibited"), CheckFailed: f.has("check-failed"), CheckLog: f.facts["check-line"],
		Free: map[string]hostscript.Room{},
	}
	if _, _, ok := storepath.Cut(f.fact("boots")); ok {
		s.BootsOther = f.fact("boots")
	}
	for i, c := range req.Profiles {
		of := ""
		if i != req.main {
			of = strconv.Itoa(i+1) + ":"
		}
		s.Profiles = append(s.Profiles, ProfileState{Name: c.Name, Current: f.fact(of + "current"), Profile: f.fact(of + "profile"),
			Generation: f.fact(of + "generation"), Absent: f.has(of + "absent"), Unfit: f.fact(of + "unfit")})
	}
	if m := f.fact("machine"); !strings.HasPrefix(m, ":") && !strings.HasSuffix(m, ":") {
		s.Machine = m
	}
	pending := run{fr: frames{facts: map[string][]string{}}}
	for name, values := range f.facts {
		if name, ok := strings.CutPrefix(name, "pending-"); ok {
			pending.fr.facts[name] = values
		}
	}
	s.Holder = pending.deployment()
	s.Systemd, _ = strconv.Atoi(f.fact("systemd"))
	for _, line := range f.facts["free"] {
		folder, said, _ := strings.Cut(line, " ")
		if room, err := hostscript.ParseRoom(said); err == nil {
			s.Free[folder] = room
		}
	}
	return s, nil
}

// CanGuard says whether the host has what the guard needs, and if not, what
// is missing. StandardOutput=append: came with systemd 240.
func (s State) CanGuard() (bool, string) {
	switch {
	case s.Systemd == 0 && !s.Launchd:
		return false, "systemd does not run this host"
	case s.Systemd < 240 && !s.Launchd:
		return false, fmt.Sprintf("systemd %d is too old (240 is needed)", s.Systemd)
	case s.AsUser && !s.Linger:
		return false, "what the login user starts ends with the login (no linger)"
	}
	if len(s.Missing) > 0 {
		return false, s.Missing[0] + " is missing on the host"
	}
	if s.NoSwitchOld != "" {
		return false, "the system that runs there has no switch-to-configuration (" + s.NoSwitchOld + ", built with system.switch.enable = false, or an installer), so nothing could take the host back to it"
	}
	return true, ""
}

// allows says why req cannot be done on a host in this state; nothing has been
// touched then.
func (s State) allows(req Request) error {
	no := func(format string, args ...any) *fault.Error {
		return fault.New(format, args...).On(req.Host).Exit(ExitFailed)
	}
	guarded := !req.NoGuard && (req.Action == Switch || req.Action == Test)
	switch {
	case s.Foreign != "" && req.at == hostPlaces:
		return NoNixOS(req.Host, s.Foreign)
	case !s.Root && !s.AsUser && req.at == hostPlaces:
		return no("activating a system needs root, and the login user is not").Hint("let the user use sudo or doas, or deploy as root")
	case len(s.Absent) > 0:
		return no("the host does not have %s", s.Absent[0]).Hint("godwit push first")
	case len(s.Hollow) > 0:
		return no("%s is damaged on the host: its files are empty, as after a power cut during a copy", s.Hollow[0]).
			Hint("ssh -- %s sudo nix-store --verify --check-contents shows what else is; nix-store --delete %s and deploy again", req.Host, s.Hollow[0])
	case len(s.NoSwitch) > 0:
		return no("the new system %s has no bin/switch-to-configuration", s.NoSwitch[0]).
			Hint("system.switch.enable = true in its configuration")
	case s.Rebuild != "":
		return no("nixos-rebuild is switching this host right now (%s)", s.Rebuild).Hint("wait until it has ended").Exit(ExitBusy)
	case s.Held != "" && s.Pending == "": // a pending deployment says more about itself
		return held(req.Host, s.Held)
	case guarded:
		if ok, why := s.CanGuard(); !ok {
			f := no("no rollback guard on this host: %s", why).Hint("--no-guard activates without it")
			if s.AsUser && !s.Linger {
				f.Hint("%s", fault.Command("loginctl", "enable-linger")+fault.Raw(" on the host lets it have one"))
			}
			if s.NoSwitchOld != "" {
				f.Hint("godwit deploy boot --on %s makes it the system of the next boot, which needs no guard", req.Host)
			}
			return f
		}
	}
	for _, p := range s.Profiles {
		switch {
		case p.Absent:
			return no("the host does not have the store path for profile '%s'", p.Name).Hint("godwit push first")
		case p.Unfit != "":
			return no("profile '%s': %s", p.Name, p.Unfit)
		}
	}
	if req.Action == Switch || req.Action == Test {
		switch {
		case s.InitChanged:
			return needsBoot(req.Host, nixos.ExitMeaning(100))
		case s.Inhibited:
			return needsBoot(req.Host, "the new system must be booted, not switched to (system.switch.inhibitors differ)").Detail(s.CheckLog...)
		case s.CheckFailed:
			return no("the new system's pre-switch checks failed; nothing was changed").Detail(s.CheckLog...)
		}
	}
	return nil
}

// NoNixOS is the error for a machine that runs something else.
func NoNixOS(host, name string) *fault.Error {
	return fault.New("the machine runs %s and not NixOS, so no system can be activated there; nothing was copied", name).On(host).Exit(ExitFailed).
		Hint("check that targetHost names the right machine; NixOS has to be installed there first (nixos-anywhere, or its installer)").
		Hint("godwit push copies systems to any machine that has Nix")
}

// held: another switch-to-configuration runs. by is "PID NAME", as far as known.
func held(host, by string) *fault.Error {
	f := fault.New("another switch-to-configuration is running on this host; nothing was changed").On(host).Exit(ExitBusy)
	if pid, name, _ := strings.Cut(by, " "); name != "" {
		f.Msg = fmt.Sprintf("another switch-to-configuration is running on this host (process %s, %s); nothing was changed", pid, name)
	}
	return f.Hint("wait until it has ended, look at what it did, and deploy again").Hint("godwit status %s", host)
}

func (s State) warnings(req Request) []string {
	var w []string
	if s.Interrupted != "" {
		w = append(w, "an earlier deployment ("+s.Interrupted+") was interrupted by a reboot; what it left is repaired first")
	} else if s.Profile != "" && s.Profiled() != s.Current && req.Action != DryActivate && s.Specialisation == "" {
		w = append(w, "the profile names another system than the one that runs: a reboot may lead to "+s.Profile)
	}
	return w
}
