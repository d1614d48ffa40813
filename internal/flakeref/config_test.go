package flakeref

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/nix"
	"godwit/internal/ui/text/texttest"
)

// TestWants: what nixConfig may be, and what is no setting.
func TestWants(t *testing.T) {
	tool := tool(t)
	for _, c := range []struct{ flake, want, err string }{
		{flake: `{ outputs = _: { }; }`, want: "[]"},
		{flake: `{ nixConfig = { extra-substituters = [ "https://a.example.org" "https://b" ]; allow-dirty = true; connect-timeout = 5; sandbox = "relaxed"; }; outputs = _: { }; }`,
			want: "[allow-dirty = true connect-timeout = 5 extra-substituters = https://a.example.org https://b sandbox = relaxed]"},
		{flake: `{ nixConfig.bash-prompt = "x"; nixConfig.extra-flake-registry = "y"; outputs = _: { }; }`, want: "[]"}, // Nix takes these without asking
		{flake: `{ outputs = _: { nixConfig = 1; }; }`, want: "[]"},
		{flake: `{ nixConfig = [ ]; outputs = _: { }; }`, err: "nixConfig in flake.nix is no set"},
		{flake: `{ nixConfig.a = { }; outputs = _: { }; }`, err: "nixConfig.a in flake.nix is neither text"},
		{flake: `{ nixConfig."a b" = ""; outputs = _: { }; }`, err: "nixConfig.a b in flake.nix is neither text"},
		{flake: `{ nixConfig.a = builtins.readFile "/etc/hostname"; outputs = _: { }; }`, err: "forbidden in restricted mode"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "flake.nix"), []byte(c.flake), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := (&Locked{Path: dir}).Wants(context.Background(), tool)
		if c.err != "" {
			if err == nil || !strings.Contains(fault.Render(err), c.err) {
				t.Errorf("%s: %v", c.flake, err)
			}
			continue
		}
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v, %v", c.flake, got, err)
		}
	}
}

// TestTrust: Nix's own list is read where Nix has it, and answers are written to it.
func TestTrust(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("NIX_DATA_HOME", "")
	file := filepath.Join(home, ".local", "share", "nix", "trusted-settings.json")
	all := []Setting{{"a", "1"}, {"a", "2"}, {"b", "x y"}, {"c", ""}}
	trust, err := ReadTrust()
	if err != nil {
		t.Fatal(err)
	}
	if yes, no, open := trust.Sort(all); len(yes)+len(no) != 0 || !slices.Equal(open, all) {
		t.Errorf("of an empty list: %v %v %v", yes, no, open)
	}
	for _, err := range []error{trust.Keep(all[0], true), trust.Keep(all[2], false)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != `{"a":{"1":true},"b":{"x y":false}}` {
		t.Errorf("%s, %v", b, err)
	}
	if trust, err = ReadTrust(); err != nil {
		t.Fatal(err)
	}
	if yes, no, open := trust.Sort(all); fmt.Sprint(yes, no, open) != "[a = 1] [b = x y] [a = 2 c = ]" {
		t.Errorf("%v %v %v", yes, no, open)
	}
	data := t.TempDir()
	t.Setenv("XDG_DATA_HOME", data)
	if trust, _ := ReadTrust(); trust.file != filepath.Join(data, "nix", "trusted-settings.json") {
		t.Error(trust.file)
	}
	data = t.TempDir()
	t.Setenv("NIX_DATA_HOME", data)
	if err := os.WriteFile(filepath.Join(data, "trusted-settings.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadTrust(); err == nil || !strings.Contains(err.Error(), data) {
		t.Errorf("a broken list: %v", err)
	}
}

// person gives one answer to whatever is asked; with none, nobody is there.
type person struct {
	answer string
	asked  int
}

func (p *person) CanAsk() bool { return p.answer != "" }

func (p *person) Ask(context.Context, string) (string, error) { p.asked++; return p.answer, nil }

// TestAccepted: what a flake asks for is taken where somebody accepted it, and never
// else.
func TestAccepted(t *testing.T) {
	repo := t.TempDir()
	if err := os.WriteFile(filepath.Join(repo, "flake.nix"), []byte(`{ nixConfig = { cores = 1; max-jobs = "2"; }; outputs = _: { }; }`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, answer, list, want string
		options                  [][2]string
		asked                    int
		said, kept               string
	}{
		{name: "nobody is there", want: "[]", said: "left out what the flake's nixConfig asks for, since nobody has accepted it: cores = 1; max-jobs = 2"},
		{name: "yes", answer: "y", want: "[cores = 1 max-jobs = 2]", asked: 2},
		{name: "no", answer: "n", want: "[]", asked: 2, said: "cores = 1; max-jobs = 2"},
		{name: "always", answer: "always", want: "[cores = 1 max-jobs = 2]", asked: 2, kept: `{"cores":{"1":true},"max-jobs":{"2":true}}`},
		{name: "never", answer: "never", want: "[]", asked: 2, kept: `{"cores":{"1":false},"max-jobs":{"2":false}}`},
		{name: "accept-flake-config", options: [][2]string{{"accept-flake-config", "true"}}, want: "[cores = 1 max-jobs = 2]"},
		{name: "the list", list: `{"cores":{"1":true},"max-jobs":{"2":false}}`, want: "[cores = 1]"},
		{name: "the list, of other values", list: `{"cores":{"2":true}}`, want: "[]", said: "cores = 1; max-jobs = 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tool, err := nix.Find(t.Context(), nix.Settings{Options: c.options})
			if err != nil {
				t.Fatal(err)
			}
			data := t.TempDir()
			t.Setenv("NIX_DATA_HOME", data)
			file := filepath.Join(data, "trusted-settings.json")
			if c.list != "" {
				if err := os.WriteFile(file, []byte(c.list), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			who, said := &person{answer: c.answer}, ""
			sink := event.SinkFunc(func(e event.Event) { said += e.Text })
			got, err := (&Locked{Path: repo}).Accepted(context.Background(), tool, who, event.On(sink, "", event.StepEvaluate))
			if err != nil || fmt.Sprint(got) != c.want || who.asked != c.asked {
				t.Errorf("%v, asked %d times, %v", got, who.asked, err)
			}
			if c.said == "" && said != "" || !strings.Contains(said, c.said) {
				t.Errorf("it says %q", said)
			}
			if b, _ := os.ReadFile(file); string(b) != c.kept+c.list {
				t.Errorf("the list is %s", b)
			}
		})
	}
}

// FuzzNixConfig: whatever nixConfig is, each setting is one that nix.conf can have.
func FuzzNixConfig(f *testing.F) {
	f.Add([]byte(`{"extra-substituters":["https://a","b"],"x":1.5e9,"y":true,"z":null,"bash-prompt":"\u001b"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := settings(b)
		if err != nil {
			if err := texttest.Harmless(fault.Render(err)); err != nil {
				t.Error(err)
			}
		}
		for _, s := range all {
			if !settingName.MatchString(s.Name) {
				t.Errorf("%q", s)
			}
		}
	})
}
