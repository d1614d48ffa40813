package colmena

import (
	"fmt"
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/source"
)

// What is said of a file that is no hive names what it is, and a way on that can be typed.
func TestNotAHive(t *testing.T) {
	at := source.Location{File: "/fleet/hive.nix", Dialect: "colmena"}
	for _, c := range []struct {
		kind string
		args []string
		want []string
	}{
		{"network", nil, []string{"is a morph network", "--dialect morph"}},
		{"flake", nil, []string{"is a flake", "--flake /fleet"}},
		{"nixops", nil, []string{"a NixOps network", "leave out network.storage"}},
		{"module", nil, []string{"a NixOS module", "HOST = ./hive.nix;"}},
		{"function", []string{"config", "pkgs"}, []string{"a NixOS module"}},
		{"function", []string{"inputs", "system"}, []string{"a function of inputs, system", "import ./hive.nix { inputs = …; system = …; }"}},
	} {
		text := fault.Render(notAHive(at, c.kind, c.args))
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s %v: no %q in\n%s", c.kind, c.args, want, text)
			}
		}
	}
}

// Options that people bring along from elsewhere get a word of their own; colmena's do not.
func TestForeignOptions(t *testing.T) {
	for option, want := range map[string]string{
		"deployment.secrets.a.source": "deployment.keys", "deployment.targetEnv": "NixOps", "deployment.owners": "leave it out",
		"deployment.keys.a": "", "deployment.targetHost": "", "services.secrets": "", "deployment": "",
	} {
		if got := foreign(option); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", option, got, want)
		}
	}
}

// Settings are spelt as a hive spells them.
func TestSettings(t *testing.T) {
	for name, want := range map[string]string{
		"targetHost": "deployment.targetHost", "buildOn": "deployment.buildOnTarget", "description": "meta.description", "applyAll": "meta.allowApplyAll",
		"secrets.%q.destination": `deployment.keys."k".destDir`, "secrets.%q.owner.user": `deployment.keys."k".user`, "secrets.%q.uploadAt": `deployment.keys."k".uploadAt`,
	} {
		got := setting(name)
		if strings.Contains(got, "%q") {
			got = fmt.Sprintf(got, "k")
		}
		if got != want {
			t.Errorf("%s is spelt %s, want %s", name, got, want)
		}
	}
}

// A Mac's packages make no NixOS.
func TestFit(t *testing.T) {
	for from, want := range map[string]string{"pkgs": `meta.nixpkgs = import <nixpkgs> { system = "aarch64-linux"; };`, "hostPlatform": `nixpkgs.hostPlatform = "aarch64-linux";`} {
		h := fleet.Host{Name: "web", Platform: fleet.Platform{Name: "aarch64-darwin", From: from}}
		if text := fault.Render(fit(h)); !strings.Contains(text, "web: a NixOS host cannot be aarch64-darwin") || !strings.Contains(text, want) {
			t.Errorf("%s: %s", from, text)
		}
		h.Platform.Name = "aarch64-linux"
		if err := fit(h); err != nil {
			t.Error(err)
		}
	}
}
