package flakeref

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/nix"
	"godwit/internal/paths"
	"godwit/internal/regular"
	"godwit/internal/ui/text"
)

// A flake may ask for settings of Nix (nixConfig in flake.nix). Nix applies them where it
// evaluates and builds a flake's outputs, after it asked the person about each, unless
// accept-flake-config is on or its list of trusted settings has an answer. `nix flake
// metadata` does neither, so this is done here, by the same rules.

// Setting is a setting that a flake asks for, as `--option` takes it.
type Setting struct{ Name, Value string }

func (s Setting) String() string { return s.Name + " = " + s.Value }

// ofNix are settings of Nix's own shell and of locking, which have no meaning here; Nix
// takes them without asking.
var ofNix = []string{"bash-prompt", "bash-prompt-prefix", "bash-prompt-suffix", "flake-registry", "commit-lock-file-summary", "commit-lockfile-summary"}

// Wants are the settings that the flake asks for, by name.
func (l *Locked) Wants(ctx context.Context, tool *nix.Tool) ([]Setting, error) {
	file := filepath.Join(l.Path, l.Subdir, "flake.nix")
	b, err := regular.Read(file, 16<<20)
	if err != nil || !strings.Contains(string(b), "nixConfig") {
		return nil, nil // evaluation says what is wrong with it
	}
	// As Nix does it: only this one file is looked at, and nothing of this machine.
	out, err := l.Tool(tool).Eval(ctx, nix.Evaluation{
		Expr: "(import " + nix.QuotePath(file) + ").nixConfig or { }",
		Args: []string{"--option", "restrict-eval", "true", "-I", "flake=" + l.Path},
	})
	if err != nil {
		return nil, err
	}
	return settings(out)
}

// settings reads what nixConfig is as JSON.
func settings(out []byte) ([]Setting, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(out, &all); err != nil {
		return nil, fault.New("nixConfig in flake.nix is no set of settings")
	}
	var wants []Setting
	for _, name := range slices.Sorted(maps.Keys(all)) {
		value, ok := settingText(all[name])
		if !ok || !settingName.MatchString(name) {
			return nil, fault.New("nixConfig.%s in flake.nix is neither text, a number, true or false, nor a list of texts", name)
		}
		if !slices.Contains(ofNix, strings.TrimPrefix(name, "extra-")) {
			wants = append(wants, Setting{name, value})
		}
	}
	return wants, nil
}

var settingName = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

// settingText is the value of a setting as nix.conf has it.
func settingText(raw json.RawMessage) (string, bool) {
	var list []string
	var text string
	var other any
	switch {
	case json.Unmarshal(raw, &text) == nil:
		return text, string(raw) != "null"
	case json.Unmarshal(raw, &list) == nil:
		return strings.Join(list, " "), true
	case json.Unmarshal(raw, &other) != nil:
		return "", false
	}
	switch other.(type) {
	case bool, float64:
		return strings.TrimSpace(string(raw)), true
	}
	return "", false
}

// Asker asks a person, if one is there.
type Asker interface {
	CanAsk() bool
	Ask(ctx context.Context, question string) (string, error)
}

// Accepted are the settings that the flake asks for, as far as somebody accepted them: by
// accept-flake-config, in Nix's list of trusted settings, or by an answer of who, which may be
// nil. What nobody accepted is said, unless the answer is in the list.
func (l *Locked) Accepted(ctx context.Context, tool *nix.Tool, who Asker, scope event.Scope) ([]Setting, error) {
	wants, err := l.Wants(ctx, tool)
	if err != nil || len(wants) == 0 {
		return nil, err
	}
	c, err := tool.Config(ctx)
	if err != nil {
		return nil, err
	}
	if accept, _ := c.Get("accept-flake-config"); accept == "true" {
		return wants, nil
	}
	trust, err := ReadTrust()
	if err != nil {
		return nil, err
	}
	taken, _, open := trust.Sort(wants)
	var left []string
	for _, w := range open {
		answer := ""
		if who != nil && who.CanAsk() {
			answer, err = who.Ask(ctx, fmt.Sprintf("the flake asks for the Nix setting '%s': take it? [y/N, or always/never] ", text.OneLine(w.String())))
			if err != nil {
				return nil, err
			}
		}
		answer = strings.ToLower(strings.TrimSpace(answer))
		if always := answer == "always"; always || answer == "never" {
			if err := trust.Keep(w, always); err != nil {
				return nil, err
			}
		}
		if answer == "always" || answer == "y" || answer == "yes" {
			taken = append(taken, w)
		} else if answer != "never" {
			left = append(left, text.OneLine(w.String()))
		}
	}
	if len(left) > 0 {
		scope.Warn("left out what the flake's nixConfig asks for, since nobody has accepted it: "+strings.Join(left, "; "),
			"--option accept-flake-config true takes all of it for this run")
	}
	return taken, nil
}

// Trust is Nix's list of the settings of flakes that a person has answered about for good:
// name, value, and whether it is trusted. Nix reads and writes the same file.
type Trust struct {
	file string
	list map[string]map[string]bool
}

// ReadTrust reads the list; one that is not there is empty.
func ReadTrust() (*Trust, error) {
	dir := os.Getenv("NIX_DATA_HOME") // of Nix since 2.25
	if dir == "" {
		if dir = os.Getenv("XDG_DATA_HOME"); dir == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return nil, fault.New("cannot find Nix's list of trusted settings: %s", err).Because(err)
			}
			dir = filepath.Join(home, ".local", "share")
		}
		dir = filepath.Join(dir, "nix")
	}
	t := &Trust{file: filepath.Join(dir, "trusted-settings.json"), list: map[string]map[string]bool{}}
	b, err := regular.Read(t.file, 4<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &t.list)
	}
	if err != nil {
		return nil, fault.New("cannot read Nix's list of trusted settings %s: %s", t.file, err).Because(err)
	}
	return t, nil
}

// Sort takes settings apart by their answers: those that are trusted, those that are not,
// and those that nobody has answered about.
func (t *Trust) Sort(all []Setting) (trusted, refused, open []Setting) {
	for _, s := range all {
		yes, answered := t.list[s.Name][s.Value]
		switch {
		case !answered:
			open = append(open, s)
		case yes:
			trusted = append(trusted, s)
		default:
			refused = append(refused, s)
		}
	}
	return trusted, refused, open
}

// Keep writes an answer into the list.
func (t *Trust) Keep(s Setting, trusted bool) error {
	if t.list[s.Name] == nil {
		t.list[s.Name] = map[string]bool{}
	}
	t.list[s.Name][s.Value] = trusted
	b, err := json.Marshal(t.list)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(t.file), 0o755)
	}
	if err == nil {
		err = paths.Write(t.file, b)
	}
	if err != nil {
		return fault.New("cannot write Nix's list of trusted settings %s: %s", t.file, err).Because(err)
	}
	return nil
}
