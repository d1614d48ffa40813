package source

import (
	"godwit/internal/flakeref"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLocation(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at                     Location
		key, dir, name, string string
	}{
		{Location{Dialect: "morph", File: wd + "/a/network.nix"}, wd + "/a/network.nix", wd + "/a", "a/network.nix", "morph: a/network.nix"},
		{Location{Dialect: "morph", File: "/x/network.nix", Given: "../x/network.nix"}, "/x/network.nix", "/x", "../x/network.nix", "morph: ../x/network.nix"},
		{Location{Dialect: "flake", Flake: wd, Attr: "nixosConfigurations"}, wd + "#nixosConfigurations", wd, ".", "flake: .#nixosConfigurations"},
		{Location{Dialect: "flake", Flake: wd + "/sub", Attr: "a"}, wd + "/sub#a", wd + "/sub", "./sub", "flake: ./sub#a"},
		{Location{Dialect: "flake", Flake: "git+file:///x/r?dir=nix&ref=a", Attr: "a"}, "git+file:///x/r?dir=nix&ref=a#a", "/x/r/nix", "git+file:///x/r?dir=nix&ref=a", "flake: git+file:///x/r?dir=nix&ref=a#a"},
		{Location{Dialect: "flake", Flake: "github:o/r", Attr: "deploy", Given: "github:o/r#deploy"}, "github:o/r#deploy", "", "github:o/r#deploy", "flake: github:o/r#deploy"},
		{Location{Dialect: "flake", Flake: "path:" + wd + "/é f", Attr: "a"}, "path:" + wd + "/é f#a", wd + "/é f", "path:" + wd + "/é f", "flake: path:" + wd + "/é f#a"},
	} {
		if k, d, n, s := c.at.Key(), c.at.Dir(), c.at.Name(), c.at.String(); k != c.key || d != c.dir || n != c.name || s != c.string {
			t.Errorf("%+v: %q %q %q %q", c.at, k, d, n, s)
		}
	}
}

func TestExpressions(t *testing.T) {
	at := Location{File: "/a \"b\"/${c}.nix"}
	if got := FileExpr("f")(at, Options{}); got != `(args: (f) ({ file = "/a \"b\"/\${c}.nix"; } // args))` {
		t.Error(got)
	}
	at = Location{Flake: "github:o/r", Attr: "deploy"}
	if got := FlakeExpr("f")(at, Options{}); got != `(args: (f) ({ flake = (builtins.getFlake "github:o/r"); attr = "deploy"; } // args))` {
		t.Error(got)
	}
	if got := TargetOf("n: n # x"); got != "{ out =\nn: n # x\n; }" || TargetOf("") != "" {
		t.Error(got)
	}
	file := filepath.Join(t.TempDir(), "t.nix")
	if err := os.WriteFile(file, []byte("{ }"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := TargetsIn(file); err != nil || !strings.HasPrefix(got, "(import (/. + ") {
		t.Error(got, err)
	}
	if _, err := TargetsIn(file + "x"); err == nil {
		t.Error("no such file")
	}
}

// TestKeys: what a key names is where it was.
func TestKeys(t *testing.T) {
	for _, c := range []struct {
		at   Location
		path string
	}{
		{Location{File: "/x/network.nix"}, "/x/network.nix"},
		{Location{Flake: "/x", Attr: "hosts"}, "/x/flake.nix"},
		{Location{Flake: "github:o/r", Attr: "hosts"}, ""},
	} {
		if got := ParseKey(c.at.Key()); got != c.at || got.Path() != c.path {
			t.Errorf("%s: %+v, %q", c.at.Key(), got, got.Path())
		}
	}
	locked := &flakeref.Locked{Dir: "/nix/store/x", Subdir: "nix"}
	at := Location{Flake: "github:o/r", Locked: locked}
	if at.Dir() != "/nix/store/x/nix" {
		t.Error(at.Dir())
	}
	if at.Locked = new(flakeref.Locked); at.Dir() != "" || at.Path() != "" {
		t.Error(at.Dir(), at.Path())
	}
}

// TestWords: a dialect's words, and those of one that has none of its own.
func TestWords(t *testing.T) {
	d := Dialect{Setting: func(name string) string { return "deployment." + name }}
	if d.Word("targetHost") != "deployment.targetHost" || new(Dialect).Word("targetHost") != "targetHost" {
		t.Error(d.Word("targetHost"))
	}
	for system, want := range map[string]string{"aarch64-darwin": "aarch64-linux", "x86_64-linux": "x86_64-linux"} {
		if got := LinuxCounterpart(system); got != want {
			t.Errorf("%s: %s", system, got)
		}
	}
	if s := (&OtherKind{Kind: "hive"}).Error(); s != "it is a hive" {
		t.Error(s)
	}
}

// TestRooted: without links to be made there is nothing to wait for.
func TestRooted(t *testing.T) {
	var none *Result
	if none.Rooted() != nil || new(Result).Rooted() != nil {
		t.Error("nothing is rooted")
	}
}
