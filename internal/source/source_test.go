package source

import (
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
