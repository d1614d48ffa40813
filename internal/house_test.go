package internal

import (
	"encoding/json"
	"fmt"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A test of the house: which room may import which, and where the words of one dialect
// or of one kind of profile may stand. docs/architecture.md says why.

// below tells whether a room is one of rooms or lies in one of them.
func below(room string, rooms ...string) bool {
	return slices.ContainsFunc(rooms, func(r string) bool {
		r, all := strings.CutSuffix(r, "/...")
		return room == r || all && strings.HasPrefix(room, r+"/")
	})
}

var (
	values   = []string{"event", "fault", "fleet", "hostscript", "shell", "storepath", "ui/text", "bounded", "crash", "paths", "profile", "redact", "nar"}
	adapters = []string{"nix", "nixlog", "ssh", "store", "host", "host/local", "flakeref", "regular", "scratch", "awake", "leash", "settings", "builder/machines", "programs", "evalcache"}
	phases   = []string{"builder", "activate", "health", "secrets", "reboot", "hoststate", "gc", "closure", "history"}
	dialects = regexp.MustCompile(`^source/(morph|colmena|deployrs|flake|own)$`)
	kinds    = regexp.MustCompile(`^profile/(nixos|darwin|home|custom|noop|secrets)$`)
)

// rules are what no room may import. A rule with only names who may.
var rules = []struct {
	why  string
	who  func(room string) bool
	what func(imported string) bool
	but  []string // "room imported", known and to go away; what is not needed fails
}{
	{
		why:  "values know nothing of what is done with them",
		who:  func(r string) bool { return below(r, values...) },
		what: func(i string) bool { return !below(i, values...) },
	},
	{
		why:  "adapters know nothing of their callers",
		who:  func(r string) bool { return below(r, adapters...) },
		what: func(i string) bool { return !below(i, append(slices.Clone(values), adapters...)...) },
	},
	{
		why:  "the phases of a deployment do not know the whole of it",
		who:  func(r string) bool { return below(r, phases...) },
		what: func(i string) bool { return below(i, "deploy", "plan", "approve", "cli", "source/...", "source", "ui") },
	},
	{
		why: "what a fleet says does not depend on what is done with it",
		who: func(r string) bool { return below(r, "source/...", "source") },
		what: func(i string) bool {
			return below(i, append([]string{"deploy", "plan", "cli", "ssh", "ui"}, phases...)...)
		},
	},
	{
		why:  "a dialect is a value that source/all lists",
		who:  func(r string) bool { return r != "source/all" },
		what: dialects.MatchString,
	},
	{
		why:  "a dialect leaves reading to source/reader",
		who:  dialects.MatchString,
		what: func(i string) bool { return i == "source/reader" },
	},
	{
		why:  "a kind of profile is a value that profile/kinds lists",
		who:  func(r string) bool { return r != "profile/kinds" },
		what: kinds.MatchString,
		but:  []string{"activate profile/nixos", "reboot profile/nixos"},
	},
	{
		why:  "the command line is on top, and what verbs do is right below it",
		who:  func(r string) bool { return !below(r, "cli", "cli/...") },
		what: func(i string) bool { return below(i, "cli", "cli/...", "action") },
	},
	{
		why:  "only the command line has a view",
		who:  func(r string) bool { return !below(r, "cli", "cli/...", "tools/...") },
		what: func(i string) bool { return i == "ui" },
	},
}

func TestImports(t *testing.T) {
	const module = "godwit/internal/"
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	needed := map[string]bool{}
	rooms := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		room := strings.TrimPrefix(p.ImportPath, module)
		if strings.HasSuffix(room, "test") { // hosttest, sourcetest: of tests alone
			continue
		}
		rooms++
		for _, path := range p.Imports {
			if strings.HasPrefix(path, "github.com/spf13/cobra") && !below(room, "cli", "cli/...") {
				t.Errorf("%s imports %s: only the command line knows flags", room, path)
			}
			imported, ours := strings.CutPrefix(path, module)
			if !ours {
				continue
			}
			for _, r := range rules {
				if !r.who(room) || !r.what(imported) {
					continue
				}
				if pair := room + " " + imported; slices.Contains(r.but, pair) {
					needed[pair] = true
				} else {
					t.Errorf("%s imports %s: %s", room, imported, r.why)
				}
			}
		}
	}
	if rooms < 30 {
		t.Errorf("found %d rooms", rooms)
	}
	for _, r := range rules {
		for _, pair := range r.but {
			if !needed[pair] {
				t.Errorf("%s is not needed any more: take it out", pair)
			}
		}
	}
}

// words may stand in string literals and names of some rooms only. Help, examples and
// hints name files and programs that people know: cli, and the texts of a few rooms.
var words = []struct {
	name string
	is   *regexp.Regexp
	in   []string // rooms where they belong
	but  []string // rooms where they still are; what is not needed fails
}{
	{
		name: "a dialect", is: regexp.MustCompile(`(?i)morph|colmena|deploy-?rs|\bhive\b|network\.nix`),
		in: []string{"source/morph", "source/colmena", "source/deployrs", "source/flake", "source/own", "source/common", "source/all", "convert", "tools/..."},
		but: []string{
			"cli",           // examples and help
			"nix",           // MORPH_NIX_*_CMD, as in morph
			"source/reader", // which file a misspelt one may have meant
			"plan",          // a profile that deploy-rs left behind
		},
	},
	{
		name: "NixOS", is: regexp.MustCompile(`switch-to-configuration|/run/current-system[^/]|/run/booted-system|nixos-rebuild|/nix/var/nix/profiles/system`),
		in: []string{"profile/nixos", "profile/darwin", "tools/..."}, // nix-darwin has its profile where NixOS has it
		but: []string{
			"activate", "reboot", "gc", "hostscript", // the guard's texts; what is not NixOS
			"hoststate",                // the problem of a nixos-rebuild at work
			"deploy", "secrets/onhost", // what a host runs
		},
	},
	{
		// ssh makes this pipe of its parent lose lines: bounded.Said does not.
		name: "a program's standard error", is: regexp.MustCompile(`^StderrPipe$`),
		in: []string{"bounded"},
	},
}

func TestWords(t *testing.T) {
	needed := map[string]bool{}
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		room := filepath.ToSlash(filepath.Dir(path))
		if strings.HasSuffix(room, "test") {
			return nil
		}
		set := token.NewFileSet()
		var s scanner.Scanner
		s.Init(set.AddFile(path, -1, len(text)), text, nil, 0)
		for {
			pos, tok, lit := s.Scan()
			if tok == token.EOF {
				return nil
			}
			if tok != token.STRING && tok != token.IDENT {
				continue
			}
			for _, w := range words {
				switch m := w.is.FindString(lit); {
				case m == "" || below(room, w.in...):
				case slices.Contains(w.but, room):
					needed[w.name+" "+room] = true
				default:
					t.Errorf("%s: %q is a word of %s, and belongs into %s", set.Position(pos), m, w.name, strings.Join(w.in, ", "))
				}
			}
		}
	})
	if err != nil || files < 100 {
		t.Errorf("%d files, %v", files, err)
	}
	for _, w := range words {
		for _, room := range w.but {
			if !needed[fmt.Sprint(w.name, " ", room)] {
				t.Errorf("%s has no words of %s any more: take it out", room, w.name)
			}
		}
	}
}

// What a plan and a status know of NixOS, its kind tells them (profile.Seen). The words
// below are the rest, by room: what they stand in, and why. It shrinks.
var (
	nixosWord = regexp.MustCompile(`(?i)nixos|initrd|bzimage|sshd|current-system[^/]|booted-system|kernel-|specialisation|switch-to|grub`)
	nixosRest = map[string][]string{
		"plan": {
			"the configuration of sshd, of the firewall", // what a risk that is API means
			"Specialisation", // activate.State: the guard's
		},
		"hoststate": {
			"nixos-rebuild is running", // the same
			"Specialisation", "specialisation ",
		},
	}
)

func TestNixOSBelongsToItsKind(t *testing.T) {
	for room, rest := range nixosRest {
		needed := map[string]bool{}
		see := func(where, said string) {
			if !nixosWord.MatchString(said) {
				return
			}
			i := slices.IndexFunc(rest, func(known string) bool { return strings.HasPrefix(strings.Trim(said, "\"`"), known) })
			if i < 0 {
				t.Errorf("%s: %s is about NixOS, and belongs into profile/nixos", where, said)
				return
			}
			needed[rest[i]] = true
		}
		files, err := filepath.Glob(room + "/*")
		if err != nil || len(files) < 8 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") || !strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, ".sh") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(file, ".sh") {
				for line := range strings.Lines(string(text)) {
					if !strings.HasPrefix(strings.TrimSpace(line), "#") {
						see(file, line)
					}
				}
				continue
			}
			set := token.NewFileSet()
			var s scanner.Scanner
			s.Init(set.AddFile(file, -1, len(text)), text, nil, 0)
			for pos, tok, lit := s.Scan(); tok != token.EOF; pos, tok, lit = s.Scan() {
				if tok == token.STRING || tok == token.IDENT {
					see(set.Position(pos).String(), lit)
				}
			}
		}
		for _, known := range rest {
			if !needed[known] {
				t.Errorf("%s does not say %q any more: take it out", room, known)
			}
		}
	}
}

// Every kind is one of kindtest's.
func TestKindsAreTested(t *testing.T) {
	list, err := os.ReadFile("profile/kinds/kinds.go")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(list), "return []profile.Kind{")
	body, _, _ = strings.Cut(body, "}")
	kinds := regexp.MustCompile(`\b([a-z]+)\.(Kind|Noop)\b`).FindAllStringSubmatch(body, -1)
	if len(kinds) < 6 {
		t.Errorf("found the kinds %v", kinds)
	}
	for _, k := range kinds {
		all, err := filepath.Glob("profile/" + k[1] + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(all, func(file string) bool {
			text, err := os.ReadFile(file)
			return err == nil && strings.Contains(string(text), "kindtest.Run(t, "+k[0]+",")
		}) {
			t.Errorf("no test in profile/%s calls kindtest.Run(t, %s, …)", k[1], k[0])
		}
	}
}

// No room grows beyond what one person can keep in mind. Comments and empty lines do
// not count.
func TestSize(t *testing.T) {
	lines := map[string]int{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, line := range strings.Split(string(text), "\n") {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
				lines[filepath.ToSlash(filepath.Dir(path))]++
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for room, n := range lines {
		const limit = 3500
		if n > limit {
			t.Errorf("%s has %d lines, of %d", room, n, limit)
		}
	}
}
