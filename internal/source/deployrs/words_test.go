package deployrs

import (
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/flakeref"
	"godwit/internal/source"
)

// What is said of a configuration without nodes names what it is, and a way on.
func TestNoDeploy(t *testing.T) {
	at := source.Location{File: "/fleet/deploy.nix", Given: "deploy.nix", Dialect: "deploy-rs"}
	seen := map[string]bool{}
	for _, c := range []struct {
		kind string
		args []string
		want []string
	}{
		{"function", []string{"self", "pkgs"}, []string{"a function that wants self, pkgs", "import ./deploy.nix { self = …; pkgs = …; }"}},
		{"flake", nil, []string{"the text of a flake", "--flake /fleet"}},
		{"hive", nil, []string{"a colmena hive", "--dialect colmena"}},
		{"network", nil, []string{"a morph network", "--dialect morph"}},
		{"nothing", nil, []string{"a set without 'deploy'"}},
		{"something", nil, []string{"deploy.nix"}},
	} {
		text := fault.Render(noDeploy(at, c.kind, c.args))
		if seen[text] {
			t.Errorf("%s is said twice: %s", c.kind, text)
		}
		seen[text] = true
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", c.kind, want, text)
			}
		}
	}
}

// What the command line says goes into the expression, of a flake's output or a file.
func TestAbove(t *testing.T) {
	above := source.Options{Above: map[string]any{"sshUser": "ana", "sshOpts": []string{"-p", "22"}, "magicRollback": false}}
	for _, l := range []source.Location{{File: "/deploy.nix"}, {Flake: "/fleet", Attr: "deploy", Locked: &flakeref.Locked{Expr: "theFlake"}}} {
		with, without := expr(l, above), expr(l, source.Options{})
		if !strings.Contains(with, `\"sshUser\":\"ana\"`) || !strings.Contains(with, "cli = ") || strings.Contains(without, "(args // { cli = ") {
			t.Errorf("%s: %.200s", l.Key(), with[max(0, len(with)-200):])
		}
		if want := map[bool]string{true: `file = "/deploy.nix";`, false: "flake = theFlake;"}[l.Flake == ""]; !strings.Contains(with, want) || !strings.Contains(without, want) {
			t.Errorf("%s: no %s", l.Key(), want)
		}
	}
}

// Settings are spelt as deploy-rs spells them.
func TestSettings(t *testing.T) {
	for name, want := range map[string]string{"targetHost": "hostname", "targetUser": "sshUser", "targetPort": "sshOpts", "buildOn": "remoteBuild", "godwit": "deploy.godwit", "tags": "tags"} {
		if got := Dialect.Setting(name); got != want {
			t.Errorf("%s is spelt %s, want %s", name, got, want)
		}
	}
}
