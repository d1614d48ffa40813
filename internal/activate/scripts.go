package activate

import (
	"embed"
	"encoding/base64"
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
)

//go:embed scripts/*.sh
var scriptFiles embed.FS

// targetParts are the files that make up run.sh, the script that stays on the
// host while a deployment is under way. main.sh is last: it runs a verb.
var targetParts = []string{"common", "units", "apply", "rollback", "commit", "profile", "repair", "plain", "follow", "finish", "launch", "main"}

func part(name string) string {
	b, err := scriptFiles.ReadFile("scripts/" + name + ".sh")
	if err != nil {
		panic(err) // embedded: cannot happen outside a broken build
	}
	return string(b)
}

// compound makes one compound command of parts: a shell reads it to its last
// byte before it runs any of it, so a script that was cut off runs nothing.
func compound(parts ...string) string {
	return "{\n" + strings.Join(parts, "\n") + "\nexit\n}\n"
}

// targetScript is run.sh.
var targetScript = sync.OnceValue(func() string {
	var parts []string
	for _, name := range targetParts {
		parts = append(parts, part(name))
	}
	return compound(parts...)
})

// variables are the assignments that stand before a script.
type variables map[string]string

// plain values need no quoting in any shell and survive being sourced.
var plainValue = regexp.MustCompile(`^[A-Za-z0-9 /+._?=:@,*~-]*$`)

func (v variables) script(name string) (string, error) {
	var b strings.Builder
	keys := make([]string, 0, len(v))
	for k := range v {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		if !plainValue.MatchString(v[k]) {
			return "", fmt.Errorf("%s has characters that it must not have: %q", strings.ToLower(k), v[k])
		}
		fmt.Fprintf(&b, "%s='%s'\n", k, v[k])
	}
	return compound(b.String(), part(name)), nil
}

// places are where the guard keeps its things on the host. Tests of the
// scripts move them.
type places struct{ Run, State, Current, GCRoots, Profile string }

var hostPlaces = places{
	Run:     "/run/godwit",
	State:   "/var/lib/godwit",
	Current: "/run/current-system",
	// Nix removes links in gcroots/auto whose target is gone (LocalStore::findRoots).
	GCRoots: "/nix/var/nix/gcroots/auto",
	Profile: DefaultProfile,
}

func (p places) variables() variables {
	return variables{"RUN": p.Run, "STATE": p.State, "CURRENT": p.Current, "GCROOTS": p.GCRoots, "PROFILE": p.Profile}
}

// attachScript runs a verb of a deployment that exists.
func (p places) attachScript(id, verb, a1, a2 string) (string, error) {
	v := p.variables()
	v["ID"], v["VERB"], v["A1"], v["A2"] = id, verb, a1, a2
	return v.script("attach")
}

// armScript takes the lock, writes the deployment's folder, sets the deadman
// and starts the activation.
func (p places) armScript(v variables, metaJSON string) (string, error) {
	for k, value := range p.variables() {
		v[k] = value
	}
	v["META"] = base64.StdEncoding.EncodeToString([]byte(metaJSON + "\n"))
	v["RUN_SH"] = base64.StdEncoding.EncodeToString([]byte(targetScript()))
	v["RUN_SH_SIZE"] = strconv.Itoa(len(targetScript()))
	return v.script("arm")
}

// safeWords makes a reason that may stand in a script and in a record.
func safeWords(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(" ._,:/@+=-", r):
			return r
		case r == '\n', r == '\t', r == '\r', r == ';', r == '(', r == ')', r == '"', r == '\'', r == '`':
			return ' '
		}
		return '?'
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 200 {
		s = s[:200]
	}
	return s
}
