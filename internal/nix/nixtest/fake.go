// Package nixtest has stand-ins for the programs of Nix 2.26, for tests that are about what
// godwit makes of Nix's answers. They answer what godwit asks for the fleet that a file
// describes. What they do not know they write down, and fail: the test fails with it.
package nixtest

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
)

// FleetEnv names the file with the Fleet, UnknownEnv one that is written when something
// was asked to which there is no answer.
const (
	FleetEnv   = "GODWIT_FAKE_FLEET"
	UnknownEnv = "GODWIT_FAKE_UNKNOWN"
)

// Fleet is what there is to know.
type Fleet struct {
	File    string // end of the path of the deployment file
	Flake   bool   // it is a flake, which was locked before
	Summary map[string]any
	Hosts   map[string]json.RawMessage // as docs/dialects.md says
	Fails   map[string]string          // hosts whose evaluation ends with that error
	SSH     map[string]string          // addresses, and how ssh fails to connect to them
	// Siblings are the options beside one that does not exist, for the question which was meant.
	Siblings []string
}

// errUnknown is a question to which there is no answer.
type errUnknown struct{ what string }

// Unknown ends a stand-in that was asked what it does not know.
func Unknown(what string) { panic(errUnknown{what}) }

// Program makes a program of a stand-in.
func Program(f func(fl Fleet, args []string) (string, int)) func() {
	return func() {
		defer func() {
			if u, ok := recover().(errUnknown); ok {
				// Whoever gave an evaluation up, with the question half asked, ends us first.
				time.Sleep(2 * time.Second)
				what := fmt.Sprintf("%q: %s\n", os.Args, u.what)
				if file, err := os.OpenFile(os.Getenv(UnknownEnv), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
					_, _ = file.WriteString(what)
					_ = file.Close()
				}
				fmt.Fprint(os.Stderr, what)
				os.Exit(97)
			}
		}()
		var fl Fleet
		if b, err := os.ReadFile(os.Getenv(FleetEnv)); err == nil {
			if err := json.Unmarshal(b, &fl); err != nil {
				panic(errUnknown{"fleet.json: " + err.Error()})
			}
		}
		out, code := f(fl, os.Args[1:])
		fmt.Print(out)
		os.Exit(code)
	}
}

// Nix stands for nix.
func Nix(_ Fleet, args []string) (string, int) {
	switch strings.Join(args, " ") {
	case "--extra-experimental-features nix-command flakes --version":
		return "nix (Nix) 2.26.3\n", 0
	case "--extra-experimental-features nix-command flakes show-config --json":
		return `{"system":{"value":"x86_64-linux"},"max-jobs":{"value":2},"substituters":{"value":[]},"builders":{"value":""},"extra-platforms":{"value":[]},"system-features":{"value":[]}}`, 0
	}
	panic(errUnknown{"no such command"})
}

var (
	asksEval = regexp.MustCompile(`^--eval --strict --read-write-mode --log-format internal-json --show-trace --json ` +
		`(-v --option restrict-eval true --option allowed-uris [a-z:/+ ]* -I godwit-store=\S*( -I godwit-\d+-?=\S+)* |--option restrict-eval true -I flake=\S+ )?-$`)
	// Whether the log tells of copies (source/reader): of this Nix, it does not.
	asksProbe = regexp.MustCompile(`^--eval --strict --read-write-mode --log-format internal-json --show-trace --json ` +
		`--option restrict-eval true --option nix-path  (-I way\d+=\S+ )+-$`)
	asksFile  = regexp.MustCompile(`\(\{ file = ("(?:[^"\\]|\\.)*"); [^\n]*`)
	asksFlake = regexp.MustCompile(`\{ flake = flake; `)
	asksToken = regexp.MustCompile(`builtins\.trace \("(godwit-[0-9a-f]{16})" \+ " begin " \+ name\)`)
	asksNames = regexp.MustCompile(`builtins\.foldl' step 0 \(builtins\.fromJSON ("(?:[^"\\]|\\.)*")\)\)?\s*$`)
	// The host and the path in front of the option.
	asksSiblings = regexp.MustCompile(`\)\.siblings "[^"]*" \(builtins\.fromJSON ("(?:[^"\\]|\\.)*")\)\s*$`)
	asksDrvs     = regexp.MustCompile(`^map import \(builtins\.fromJSON ("(?:[^"\\]|\\.)*")\)\s*$`)
)

// list is the list that an expression has as a string of JSON.
func list(literal string) (names []string) {
	var text string
	if err := json.Unmarshal([]byte(literal), &text); err != nil || json.Unmarshal([]byte(text), &names) != nil {
		panic(errUnknown{"no list: " + literal})
	}
	return names
}

// Instantiate stands for nix-instantiate.
func Instantiate(fl Fleet, args []string) (string, int) {
	in, err := io.ReadAll(os.Stdin)
	if err != nil || len(args) == 0 {
		panic(errUnknown{fmt.Sprint("no expression: ", err)})
	}
	if m := asksDrvs.FindSubmatch(in); m != nil && len(args) == 4 && args[0] == "--add-root" && args[2] == "--indirect" && args[3] == "-" {
		return strings.Repeat(args[1]+"\n", len(list(string(m[1])))), 0
	}
	probe := asksProbe.MatchString(strings.Join(args, " "))
	if !probe && !asksEval.MatchString(strings.Join(args, " ")) {
		panic(errUnknown{"no such evaluation"})
	}
	if string(in) == "{ path = builtins.nixPath; impure = builtins ? currentTime; }" {
		return `{"path":[],"impure":true}`, 0
	}
	file := asksFile.FindSubmatch(in)
	if probe {
		fl = Fleet{}
	} else if fl.Flake {
		if !asksFlake.Match(in) {
			panic(errUnknown{"it is not about the flake"})
		}
	} else if file == nil || !strings.HasSuffix(string(file[1]), fl.File+`"`) || fl.File == "" {
		panic(errUnknown{"it is not about " + fl.File + ": " + string(in[max(0, len(in)-300):])})
	}
	if strings.HasSuffix(strings.TrimSpace(string(in)), ").summary") {
		b, err := json.Marshal(fl.Summary)
		if err != nil {
			panic(errUnknown{err.Error()})
		}
		return string(b), 0
	}
	if asksSiblings.Match(in) {
		b, _ := json.Marshal(fl.Siblings)
		return string(b), 0
	}
	token, names := asksToken.FindSubmatch(in), asksNames.FindSubmatch(in)
	if token == nil || names == nil {
		panic(errUnknown{"neither the summary nor hosts: " + string(in[max(0, len(in)-1000):])})
	}
	say := func(level int, text string) {
		b, _ := json.Marshal(map[string]any{"action": "msg", "level": level, "msg": text})
		fmt.Fprintf(os.Stderr, "@nix %s\n", b)
	}
	if strings.Contains(string(in), `" lead " + builtins.toJSON whole.lead`) { // begun before the names were known
		b, err := json.Marshal(fl.Summary)
		if err != nil {
			panic(errUnknown{err.Error()})
		}
		say(0, fmt.Sprintf("trace: %s lead %s", token[1], b))
	}
	asked := list(string(names[1]))
	for i, name := range asked {
		say(0, fmt.Sprintf("trace: %s begin %s", token[1], name))
		if text, fails := fl.Fails[name]; fails {
			say(0, "error: "+text)
			return "", 1
		}
		var h any = "/nix/store/a-copy"
		if host, ok := fl.Hosts[name]; ok {
			h = host
		} else if !probe {
			panic(errUnknown{"host " + name})
		}
		var flat strings.Builder
		if err := json.NewEncoder(&flat).Encode(h); err != nil {
			panic(errUnknown{err.Error()})
		}
		say(0, fmt.Sprintf("trace: %s done %s %s", token[1], name, strings.TrimSpace(flat.String())))
		if i == len(asked)-1 {
			return fmt.Sprint(len(asked)), 0
		}
	}
	return "0", 0
}

// Store stands for nix-store.
func Store(_ Fleet, args []string) (string, int) {
	// What is there already: nothing is to be built.
	if len(args) > 2 && args[0] == "--realise" && args[1] == "--dry-run" && strings.HasSuffix(args[len(args)-1], ".drv") {
		return "", 0
	}
	panic(errUnknown{"no such question to the store"})
}
