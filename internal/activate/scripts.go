package activate

import (
	"embed"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"sync"

	"godwit/internal/hostscript"
)

//go:embed scripts/*.sh
var scriptFiles embed.FS

// targetParts are the files that make up run.sh, the script that stays on the
// host while a deployment is under way, behind hostscript.Switching. main.sh is
// last: it runs a verb.
var targetParts = []string{"common", "failures", "baseline", "units", "lease", "turn", "apply", "rollback", "attempts", "commit", "profile", "repair", "plain", "follow", "finish", "launch", "main"}

func part(name string) string {
	b, err := scriptFiles.ReadFile("scripts/" + name + ".sh")
	if err != nil {
		panic(err) // embedded: cannot happen outside a broken build
	}
	return string(b)
}

// targetScript is run.sh.
var targetScript = sync.OnceValue(func() string {
	parts := []string{hostscript.Switching, hostscript.PushedDone}
	for _, name := range targetParts {
		parts = append(parts, part(name))
	}
	return hostscript.Compound(parts...)
})

// compose is a part behind its variables.
func compose(v hostscript.Variables, name string) (string, error) {
	head, err := v.Text()
	return hostscript.Compound(head, part(name)), err
}

// preflightScript looks at a host, also at who switches it right now.
func preflightScript(v hostscript.Variables) (string, error) {
	head, err := v.Text()
	return hostscript.Compound(head, hostscript.Foreign, hostscript.Switching, hostscript.RoomOf, hostscript.BootDefault, part("preflight")), err
}

// places are where the guard keeps its things on the host. Tests of the
// scripts move them.
type places struct{ Run, State, Current, GCRoots, Profile, SwitchLock string }

var hostPlaces = places{
	Run:     "/run/godwit",
	State:   "/var/lib/godwit",
	Current: "/run/current-system",
	// Nix removes links in gcroots/auto whose target is gone (LocalStore::findRoots).
	GCRoots:    "/nix/var/nix/gcroots/auto",
	Profile:    DefaultProfile,
	SwitchLock: hostscript.SwitchLock,
}

func (p places) variables() hostscript.Variables {
	return hostscript.Variables{"RUN": p.Run, "STATE": p.State, "CURRENT": p.Current, "GCROOTS": p.GCRoots, "PROFILE": p.Profile, "SWITCH_LOCK": p.SwitchLock}
}

// attachScript runs a verb of a deployment that exists.
func (p places) attachScript(id, verb, a1, a2 string) (string, error) {
	v := p.variables()
	v["ID"], v["VERB"], v["A1"], v["A2"] = id, verb, a1, a2
	return compose(v, "attach")
}

// armScript takes the lock, writes the deployment's folder, sets the deadman
// and starts the activation.
func (p places) armScript(v hostscript.Variables, metaJSON string, ignore []string) (string, error) {
	for k, value := range p.variables() {
		v[k] = value
	}
	v["META"] = base64.StdEncoding.EncodeToString([]byte(metaJSON + "\n"))
	// In a pattern of a shell, a backslash stands for what follows it.
	patterns := strings.ReplaceAll(strings.Join(append(slices.Clone(ignore), ""), "\n"), `\`, `\\`)
	v["IGNORE"] = base64.StdEncoding.EncodeToString([]byte(patterns))
	v["RUN_SH"] = base64.StdEncoding.EncodeToString([]byte(targetScript()))
	v["RUN_SH_SIZE"] = strconv.Itoa(len(targetScript()))
	head, err := v.Text()
	return hostscript.Compound(head, hostscript.RoomOf, part("room"), part("arm")), err
}
