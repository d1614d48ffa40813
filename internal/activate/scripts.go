package activate

import (
	"embed"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/hostscript"
	"godwit/internal/lock"
	"godwit/internal/profile"
	"godwit/internal/profile/kinds"
	"godwit/internal/profile/nixos"
)

//go:embed scripts/*.sh
var scriptFiles embed.FS

// targetParts are the files that make up run.sh, the script that stays on the
// host while a deployment is under way: the supervisor, the state machine, and
// between them the kinds of this deployment's profiles. main.sh is last: it runs a verb.
var (
	supervisor  = []string{"systemd-look", "systemd"}
	targetParts = []string{"common", "profiles", "owner", "link", "baseline", "lease", "apply", "rollback", "attempts", "commit", "repair", "recover", "beside", "plain", "follow", "finish", "launch", "mac", "launchd", "main"}
)

func part(name string) string {
	b, err := scriptFiles.ReadFile("scripts/" + name + ".sh")
	if err != nil {
		panic(err) // embedded: cannot happen outside a broken build
	}
	return string(b)
}

func partsOf(names []string) []string {
	var all []string
	for _, name := range names {
		all = append(all, part(name))
	}
	return all
}

// ofKinds is what of picks of each kind, once.
func ofKinds(all []profile.Kind, of func(profile.Kind) string) string {
	var parts []string
	for _, k := range all {
		if !slices.Contains(parts, of(k)) {
			parts = append(parts, of(k))
		}
	}
	return strings.Join(parts, "\n")
}

// lasting are the kinds that a reboot leaves as they were activated.
func lasting() []profile.Kind {
	return slices.DeleteFunc(kinds.All(), func(k profile.Kind) bool { return !k.Lasts })
}

func nowOf(k profile.Kind) string { return k.Now }

// targetScript is run.sh.
func targetScript(of []profile.Kind) string {
	parts := append([]string{hostscript.Kernel, hostscript.Real, hostscript.Uptime, hostscript.PushedDone}, partsOf(supervisor)...)
	// All that there are may have left something that a power cut interrupted.
	parts = append(parts, ofKinds(kinds.All(), nowOf), ofKinds(slices.Concat(lasting(), of), func(k profile.Kind) string { return k.Guard }))
	return hostscript.Compound(append(parts, partsOf(targetParts)...)...)
}

// compose is a part behind its variables.
func compose(v hostscript.Variables, name string) (string, error) {
	head, err := v.Text()
	return hostscript.Compound(head, hostscript.Kernel, hostscript.Real, hostscript.BootID, part("places"), part(name)), err
}

// preflightScript looks at a host, also at who switches it right now.
func preflightScript(v hostscript.Variables, of []profile.Kind) (string, error) {
	head, err := v.Text()
	return hostscript.Compound(head, hostscript.Kernel, hostscript.Real, hostscript.BootID, part("places"), part("systemd-look"), hostscript.Uptime, hostscript.RoomOf, part("owner"), part("lay"), ofKinds(of, nowOf), ofKinds(of, func(k profile.Kind) string { return k.Look.Guard }), part("mac"), part("preflight")), err
}

// places are where the guard keeps its things on the host. Tests of the
// scripts move them.
type places struct {
	Run, State, Hooks, Current, GCRoots, Profile, SwitchLock, Lock string
	// User: who logs in has no root, and has Run, State and GCRoots below home
	// (scripts/places.sh).
	User bool
}

var hostPlaces = places{
	Run:   "/run/godwit",
	State: "/var/lib/godwit",
	// Units there outlive a reboot, and a switch of NixOS, which replaces /etc/systemd/system.
	Hooks:   "/etc/systemd/system.control",
	Current: "/run/current-system",
	// Nix removes links in gcroots/auto whose target is gone (LocalStore::findRoots).
	GCRoots:    "/nix/var/nix/gcroots/auto",
	Profile:    DefaultProfile,
	SwitchLock: nixos.SwitchLock,
	Lock:       lock.File,
}

func (p places) variables() hostscript.Variables {
	as := ""
	if p.User {
		as = "user"
	}
	return hostscript.Variables{"AS": as, "RUN": p.Run, "STATE": p.State, "HOOKS": p.Hooks, "CURRENT": p.Current, "GCROOTS": p.GCRoots, "SWITCH_LOCK": p.SwitchLock, "LOCK_FILE": p.Lock}
}

// attachScript runs a verb of a deployment that exists.
func (p places) attachScript(id, verb, a1, a2 string) (string, error) {
	v := p.variables()
	v["PROFILE"], v["ID"], v["VERB"], v["A1"], v["A2"] = p.Profile, id, verb, a1, a2
	return compose(v, "attach")
}

// armScript takes the lock, writes the deployment's folder, sets the deadman
// and starts the activation.
func (p places) armScript(v hostscript.Variables, of []profile.Kind, metaJSON string, ignore []string) (string, error) {
	return p.laysScript(v, of, metaJSON, ignore, "arm")
}

// laysScript is a part that lays a folder with run.sh in it.
func (p places) laysScript(v hostscript.Variables, of []profile.Kind, metaJSON string, ignore []string, name string) (string, error) {
	for k, value := range p.variables() {
		v[k] = value
	}
	v["META"] = base64.StdEncoding.EncodeToString([]byte(metaJSON + "\n"))
	// In a pattern of a shell, a backslash stands for what follows it.
	patterns := strings.ReplaceAll(strings.Join(append(slices.Clone(ignore), ""), "\n"), `\`, `\\`)
	v["IGNORE"] = base64.StdEncoding.EncodeToString([]byte(patterns))
	target := targetScript(of)
	v["RUN_SH"] = base64.StdEncoding.EncodeToString([]byte(target))
	v["RUN_SH_SIZE"] = strconv.Itoa(len(target))
	head, err := v.Text()
	return hostscript.Compound(head, hostscript.Kernel, hostscript.Real, hostscript.BootID, part("places"), hostscript.Uptime, hostscript.RoomOf, part("room"), part("owner"), part("lay"), part("systemd-look"), ofKinds(of, nowOf), part("mac"), part(name)), err
}

// besideScript lays the folder of profiles that go with a system which is booted once.
func (p places) besideScript(v hostscript.Variables, of []profile.Kind, metaJSON string) (string, error) {
	var always []string
	for _, k := range kinds.All() {
		if k.Always {
			always = append(always, k.Name)
		}
	}
	v["ALWAYS"] = strings.Join(always, " ")
	return p.laysScript(v, of, metaJSON, nil, "beside-lay")
}

// KindScript is what the functions of a kind run among, without a deployment: for the
// suite of the kinds.
func KindScript(k profile.Kind) string {
	parts := append([]string{hostscript.Kernel, hostscript.Real, hostscript.Uptime, part("lay"), k.Look.Guard, k.Now, k.Guard}, partsOf([]string{"systemd-look", "common", "profiles", "owner", "link", "baseline", "apply", "commit", "repair", "recover", "beside", "finish"})...)
	return strings.Join(parts, "\n")
}
