package colmena

import (
	"testing"

	"godwit/internal/source"
	"godwit/internal/source/sourcetest"
)

// flake is a flake of these outputs; the small NixOS is its input.
func flake(outputs string) map[string]string {
	return map[string]string{"flake.nix": `{ inputs.nixpkgs.url = "path:NIXPKGS"; outputs = { self, nixpkgs }: ` + outputs + `; }`}
}

// TestSuite: what every dialect is held to.
func TestSuite(t *testing.T) {
	const at = "platform x86_64-linux from pkgs"
	sourcetest.Run(t, Dialect, []sourcetest.Case{
		{
			Name: "a file", File: "hive.nix",
			Files: map[string]string{"hive.nix": `{
				meta = { nixpkgs = import <nixpkgs> { system = "x86_64-linux"; }; description = "d"; };
				defaults = { boot.isContainer = true; };
				a = { deployment = { tags = [ "x" ]; targetHost = "h"; targetPort = 22; targetUser = "u"; keys.k.keyFile = ./k; }; };
				"b.example.org" = ./b.nix;
				bad = throw "no";
				port = { deployment.targetPort = 70000; };
			}`, "b.nix": `{ deployment.targetHost = null; deployment.buildOnTarget = true; }`},
			Hosts: []sourcetest.Host{
				{Name: "a", Is: []string{"at u@h:22", at, "tag x", "profile system", "substitute", "secret k: DIR/k to /run/keys/k 0600 root:root pre-activation"}, Not: []string{"build only"}},
				{Name: "b.example.org", Is: []string{"build only", "build on target", at}},
			},
			Failed: map[string]string{"bad": "no", "port": "a port is a number from 1 to 65535"},
			About: func(t *testing.T, a source.About) {
				if a.Description != "d" || !a.UploadSecrets || a.MustChoose {
					t.Errorf("%+v", a)
				}
			},
		},
		{
			Name: "a raw output, purely, in git", Attr: Raw, Git: true,
			Files: flake(`{ colmena = { meta = { nixpkgs = import nixpkgs { system = "x86_64-linux"; }; allowApplyAll = false; };
				a = { boot.isContainer = true; deployment.tags = [ (if builtins ? currentSystem then "impure" else "pure") ]; }; }; }`),
			Hosts: []sourcetest.Host{{Name: "a", Is: []string{at, "tag pure"}}},
			About: func(t *testing.T, a source.About) {
				if !a.MustChoose {
					t.Errorf("%+v", a)
				}
			},
		},
		{
			// What makeHive gives has colmena's own modules in it; a stand-in has one option of them.
			Name: "an evaluated output", Attr: Made,
			Files: flake(`{ colmenaHive = { __schema = "v0.5"; metaConfig = { name = "n"; description = "made"; machinesFile = null; allowApplyAll = true; };
				nodes.a = nixpkgs.lib.nixosSystem { system = "x86_64-linux"; modules = [
					({ lib, ... }: { options.deployment = lib.mkOption { type = lib.types.anything; }; })
					{ boot.isContainer = true; deployment = { targetHost = "h"; targetUser = "root"; tags = [ ]; }; } ]; }; }; }`),
			Hosts: []sourcetest.Host{{Name: "a", Is: []string{"at root@h"}}},
		},
		{Name: "no hive", File: "hive.nix", Files: map[string]string{"hive.nix": `{ config, pkgs, ... }: { }`}, Error: "is a NixOS module"},
		{Name: "morph's", File: "hive.nix", Files: map[string]string{"hive.nix": `{ network.pkgs = import <nixpkgs> { }; a = { }; }`}, Error: "--dialect morph"},
		{Name: "a function", File: "hive.nix", Files: map[string]string{"hive.nix": `{ domain }: { }`}, Error: "colmena calls a hive without arguments"},
	})
}
