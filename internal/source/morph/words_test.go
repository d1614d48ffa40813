package morph

import (
	"encoding/json"
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/source"
)

// What is said of a file that is no network names what it is, and a way on that can be typed.
func TestNotANetwork(t *testing.T) {
	at := source.Location{File: "/fleet/network.nix", Dialect: "morph"}
	for _, c := range []struct {
		kind string
		args []string
		want []string
	}{
		{"flake", nil, []string{"is a flake", "--flake /fleet"}},
		{"hive", nil, []string{"a colmena hive", "--dialect colmena"}},
		{"deploy", nil, []string{"deploy-rs", "--dialect deploy-rs"}},
		{"nixops", nil, []string{"a NixOps network", "deployment.targetHost stays"}},
		{"module", nil, []string{"a NixOS module", "imports = [ ./network.nix ]"}},
		{"function", []string{"modulesPath"}, []string{"a NixOS module"}},
		{"function", []string{"pins", "env"}, []string{"is a function", "import ./network.nix { pins = …; env = …; }"}},
		{"function", nil, []string{"is a function", "import ./network.nix { }"}},
	} {
		text := fault.Render(notANetwork(at, c.kind, c.args))
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s %v: no %q in\n%s", c.kind, c.args, want, text)
			}
		}
	}
}

// Options that people bring along from elsewhere get a word of their own; morph's do not.
func TestForeignOptions(t *testing.T) {
	for option, want := range map[string]string{
		"deployment.keys.a": "--dialect colmena", "deployment.nixPath": "fork of morph", "deployment.ec2.region": "NixOps",
		"deployment.secrets.a": "", "deployment.targetHost": "", "services.keys": "",
	} {
		if got := foreign(option); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", option, got, want)
		}
	}
}

// A Mac's packages make no NixOS; the hint is about where the platform was said.
func TestFitHints(t *testing.T) {
	for from, want := range map[string]string{
		"pkgs": `pkgs = import <nixpkgs> { system = "x86_64-linux"; };`, "hostPlatform": `nixpkgs.hostPlatform = "x86_64-linux";`,
		"localSystem": `nixpkgs.localSystem.system = "x86_64-linux";`, "system": `nixpkgs.system = "x86_64-linux";`,
	} {
		h := fleet.Host{Name: "web", Platform: fleet.Platform{Name: "x86_64-darwin", From: from}}
		if text := fault.Render(fit(h)); !strings.Contains(text, "web: a NixOS host cannot be x86_64-darwin") || !strings.Contains(text, want) {
			t.Errorf("%s: %s", from, text)
		}
	}
	if err := fit(fleet.Host{Platform: fleet.Platform{Name: "x86_64-linux"}}); err != nil {
		t.Error(err)
	}
}

// A configuration that reads MORPH_ARGS finds there what morph tells.
func TestExported(t *testing.T) {
	t.Setenv("MORPH_NIX_EVAL_MACHINES", "/own/machines.nix")
	for what, attr := range map[string]string{source.Summary: "info.deployment", source.Hosts: "machines", source.Shell: "info.buildShell", "nodes.web.x": "nodes.web.x"} {
		env := env(source.Evaluating{Location: source.Location{File: "/n.nix"}, Options: source.Options{KeepGCRoot: true}, About: source.About{NixConfig: map[string]string{"cores": "1"}},
			Nix: nix.Settings{ShowTrace: true}, What: what, Names: []string{"web"}})
		var args struct {
			Attr, DeploymentPath string
			Names                []string
			NixConfig            map[string]string
			NixContext           struct {
				EvalMachines                           string
				KeepGCRoot, AllowBuildShell, ShowTrace bool
			}
		}
		text, ok := strings.CutPrefix(strings.Join(env, ""), "MORPH_ARGS=")
		if err := json.Unmarshal([]byte(text), &args); err != nil || !ok {
			t.Fatal(env, err)
		}
		if c := args.NixContext; args.Attr != attr || args.DeploymentPath != "/n.nix" || len(args.Names) != 1 || args.NixConfig["cores"] != "1" ||
			c.EvalMachines != "/own/machines.nix" || !c.KeepGCRoot || c.AllowBuildShell || !c.ShowTrace {
			t.Errorf("%s: %s", what, text)
		}
	}
	if e := expr(source.Location{File: "/n.nix"}, source.Options{}); !strings.Contains(e, "machines = \"/own/machines.nix\"") {
		t.Error("somebody's own eval-machines.nix is not used")
	}
	t.Setenv("MORPH_NIX_EVAL_MACHINES", "")
	if e := expr(source.Location{File: "/n.nix"}, source.Options{}); strings.Contains(e, "machines.nix") || !strings.Contains(e, `file = "/n.nix";`) {
		t.Error("morph's own is not what is evaluated")
	}
}
