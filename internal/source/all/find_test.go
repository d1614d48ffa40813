package all

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/nix"
	"godwit/internal/source"
	"godwit/internal/source/morph"
	"godwit/internal/source/sourcetest"
)

// some are dialects of which there is one of each sort, whatever godwit has.
func some(t *testing.T) {
	t.Helper()
	before := Dialects
	t.Cleanup(func() { Dialects = before })
	reads := func(names string) func(source.Location, source.Options) string {
		return func(source.Location, source.Options) string {
			return "(args: { summary = { names = [ " + names + " ]; }; })"
		}
	}
	Dialects = []*source.Dialect{
		morph.Dialect,
		{Name: "hive", Files: []string{"hive.nix"}, Outputs: []string{"made", "raw"}, Kinds: []string{"hive"}, Expr: reads(`"of-hive"`)},
		{Name: "nodes", Outputs: []string{"deploy"}, Kinds: []string{"deploy"}, Expr: reads(`"of-nodes"`)},
		{Name: "plain", Outputs: []string{"nixosConfigurations"}, Expr: reads(`"of-plain"`)},
	}
}

func TestFind(t *testing.T) {
	some(t)
	var tool *nix.Tool
	if !testing.Short() { // what Nix is not asked for is tried without it
		tool = sourcetest.Tool(t, "")
	}
	flake := func(outputs string) string { return "{ outputs = _: { " + outputs + " }; }" }
	dir := sourcetest.Write(t, map[string]string{
		"morph/network.nix":        "{ a = { }; }",
		"morph/below/x":            "",
		"both/network.nix":         "{ config, lib, ... }: { networking.hostName = \"x\"; }",
		"both/flake.nix":           flake("nixosConfigurations = { };"),
		"both/hive.nix":            "{ meta.nixpkgs = 1; }",
		"made/flake.nix":           flake("raw = { }; deploy = { }; made = { };"),
		"made/hive.nix":            "{ }",
		"nodes/flake.nix":          flake("nixosConfigurations = { }; deploy = throw \"not looked at\";"),
		"shell/flake.nix":          flake("devShells = { };"),
		"shell/network.nix":        "{ a = { }; }",
		"nothing/flake.nix":        flake("devShells = { }; packages = { };"),
		"named/machines.nix":       "{ a = { }; }",
		"named/mine.nix":           "{ meta.nixpkgs = 1; web = { }; }",
		"named/ours.nix":           "{ deploy.nodes.web = { }; }",
		"named/old.nix":            "{ network.enableRollback = true; web = { }; }",
		"named/it's # a flake.nix": "{ a = { }; }",
		"empty/x":                  "",
	})
	for _, c := range []struct {
		in   string
		wish Wish
		want string // dialect, where, hosts, profiles; or what the error says
	}{
		{in: "morph", want: "morph network.nix"},
		{in: "morph/below", want: "morph ../network.nix"},
		{in: "both", want: "hive hive.nix"},
		{in: "made", want: "hive .#made"},
		{in: "nodes", want: "nodes .#deploy"},
		{in: "shell", want: "morph network.nix"},
		{in: "nothing", want: "error: the flake . has no output that godwit can deploy its outputs: devShells, packages"},
		{in: "named", want: "error: there is no configuration in DIR/named or above it"},
		{in: "empty", wish: Wish{Words: []string{"../nodes"}}, want: "nodes ../nodes#deploy"},
		{in: "empty", wish: Wish{Words: []string{"."}}, want: "error: '.' is a directory without a configuration"},
		{in: "named", wish: Wish{Words: []string{"machines.nix"}}, want: "morph machines.nix a"},
		{in: "named", wish: Wish{File: "mine.nix"}, want: "hive mine.nix of-hive"},
		{in: "named", wish: Wish{File: "ours.nix"}, want: "nodes ours.nix of-nodes"},
		{in: "named", wish: Wish{File: "ours.nix", Dialect: "morph"}, want: "error: 'DIR/named/ours.nix' is a deploy-rs file"},
		{in: "named", wish: Wish{File: "mine.nix", Dialect: "morph"}, want: "error: 'DIR/named/mine.nix' is a colmena hive"},
		{in: "named", wish: Wish{File: "old.nix"}, want: "error: 'DIR/named/old.nix' is a NixOps network"},
		{in: "named", wish: Wish{Words: []string{"it's # a flake.nix"}}, want: "morph it's # a flake.nix a"},
		{in: "named", wish: Wish{Words: []string{"machnes.nix"}}, want: "error: there is no file 'machnes.nix' did you mean machines.nix?"},
		{in: "made", wish: Wish{Words: []string{".#deploy"}}, want: "nodes .#deploy"},
		{in: "made", wish: Wish{Dialect: "nodes"}, want: "nodes .#deploy"},
		{in: "made", wish: Wish{Words: []string{".#web.home"}}, want: "hive .#made hosts web profiles web.home"},
		{in: "made", wish: Wish{Words: []string{".#web", ".#db"}}, want: "hive .#made hosts web,db"},
		{in: "made", wish: Wish{Words: []string{`.#"h1.example.org"`}}, want: "hive .#made hosts h1.example.org"},
		{in: "nodes", wish: Wish{Flake: ".#nixosConfigurations.web.config.system.build.toplevel"}, want: "plain .#nixosConfigurations hosts web"},
		{in: "nodes", wish: Wish{Words: []string{"#web"}}, want: "nodes .#deploy hosts web"},
		{in: "nodes", wish: Wish{Words: []string{"flake.nix"}}, want: "nodes .#deploy"},
		{in: "nodes", wish: Wish{Words: []string{"path:" + "DIR/made#raw"}}, want: "hive path:DIR/made#raw"},
		{in: "nodes", wish: Wish{Words: []string{".#a", "../made#b"}}, want: "error: .#a and ../made#b are two flakes"},
		{in: "nodes", wish: Wish{Words: []string{".#made"}}, want: "error: the flake . has no output made that godwit can deploy"},
		{in: "nodes", wish: Wish{Words: []string{".#a..b"}}, want: "error: .#a..b: a..b is not HOST"},
		{in: "nodes", wish: Wish{Words: []string{"."}, File: "x"}, want: "error: the configuration is named twice"},
	} {
		t.Run(fmt.Sprintf("%s %v", c.in, c.wish), func(t *testing.T) {
			t.Chdir(filepath.Join(dir, c.in))
			for i, w := range c.wish.Words {
				c.wish.Words[i] = strings.ReplaceAll(w, "DIR", dir)
			}
			if got := strings.ReplaceAll(found(t, tool, c.wish), dir, "DIR"); got != c.want && !(strings.HasPrefix(c.want, "error:") && strings.HasPrefix(got, c.want)) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// found is what Find finds, in words; what a named file holds is opened.
func found(t *testing.T, tool *nix.Tool, w Wish) string {
	f, err := Find(t.Context(), func(context.Context) (*nix.Tool, error) {
		if tool == nil {
			t.Skip("needs Nix")
		}
		return tool, nil
	}, w, source.Options{})
	var names []string
	if err == nil && f.At.Flake == "" && !w.Empty() {
		if tool == nil {
			t.Skip("needs Nix")
		}
		var src source.Source
		if src, err = f.Open(t.Context(), tool, source.Options{}); err == nil {
			names = src.About().Names
		}
	}
	if err != nil {
		return "error: " + strings.TrimPrefix(strings.Join(strings.Fields(strings.ReplaceAll(fault.Render(err), "hint: ", "")), " "), "error: ")
	}
	if f.Looked != w.Empty() {
		t.Errorf("looked for: %t", f.Looked)
	}
	at := f.At
	if at.Flake != "" {
		at.Given = ""
	}
	_, where, _ := strings.Cut(at.String(), ": ")
	out := at.Dialect + " " + where
	for _, n := range names {
		out += " " + n
	}
	if len(f.Hosts) > 0 {
		out += " hosts " + strings.Join(f.Hosts, ",")
	}
	for host, profiles := range f.OnlyOf {
		out += " profiles " + host + "." + strings.Join(profiles, ",")
	}
	return out
}

func TestIsPlace(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("plain", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir("web", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{".", "..", "x.nix", "a/b", "/", ".#web", "#web", "github:o/r", "git+ssh://h/r", "path:.", "plain", "flake:x"} {
		if !IsPlace(w) {
			t.Errorf("%s is a place", w)
		}
	}
	for _, w := range []string{"web", "db", "fe80::1", "web*", "switch", "h1.example.org", "@tag"} {
		if IsPlace(w) {
			t.Errorf("%s is no place", w)
		}
	}
}

// Every dialect says what it needs to be found, and no two claim the same.
func TestDialects(t *testing.T) {
	seen := map[string]string{}
	for _, d := range Dialects {
		if d.Name == "" || d.Expr == nil || len(d.Files)+len(d.Outputs) == 0 {
			t.Errorf("%+v", d)
		}
		for _, name := range slices.Concat(d.Files, d.Outputs, []string{d.Name}) {
			if seen[name] != "" && seen[name] != d.Name {
				t.Errorf("%s is of %s and %s", name, seen[name], d.Name)
			}
			seen[name] = d.Name
		}
	}
	if !slices.Equal(Names(), slices.Compact(Names())) {
		t.Error(Names())
	}
}

// What completion and records know of a configuration, without Nix.
func TestNear(t *testing.T) {
	some(t)
	dir := sourcetest.Write(t, map[string]string{"f/flake.nix": "", "f/sub/x": "", "m/network.nix": "", "m/other.nix": ""})
	for _, c := range []struct {
		in   string
		wish Wish
		want string
	}{
		{in: "m", want: "DIR/m/network.nix"},
		{in: "m", wish: Wish{Words: []string{"other.nix"}}, want: "DIR/m/other.nix"},
		{in: "m", wish: Wish{File: "other.nix"}, want: "DIR/m/other.nix"},
		{in: "f/sub", want: "DIR/f#"},
		{in: "m", wish: Wish{Words: []string{"../f#web"}}, want: "DIR/f#"},
		{in: "m", wish: Wish{Flake: "github:o/r#x"}, want: "github:o/r#"},
		{in: "f", wish: Wish{Words: []string{"flake.nix"}}, want: "DIR/f#"},
	} {
		t.Chdir(filepath.Join(dir, c.in))
		at, ok := Near(c.wish)
		if got := strings.ReplaceAll(at.Key(), dir, "DIR"); !ok || got != c.want {
			t.Errorf("%s %v: %s, %t", c.in, c.wish, got, ok)
		}
	}
	t.Chdir(filepath.Join(dir, "m"))
	found, err := At(t.Context(), nil, filepath.Join(dir, "m", "network.nix"), source.Options{})
	if err != nil || found.At.Dialect != "morph" || found.Empty() == "" {
		t.Error(found, err)
	}
}
