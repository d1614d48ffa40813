package morph

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"godwit/internal/fleet"
	"godwit/internal/source"
	"godwit/internal/source/sourcetest"
)

// The suite of all dialects, on morph's.
func TestContract(t *testing.T) {
	moduleOfSecrets, err := filepath.Abs("../../secrets/onhost/module.nix")
	if err != nil {
		t.Fatal(err)
	}
	sourcetest.Run(t, Dialect, []sourcetest.Case{
		{
			Name: "hosts, defaults and checks of the fleet", File: "network.nix",
			Files: map[string]string{"network.nix": `{
			  network.godwit.healthChecks.tcp = [ { on = "web"; port = 80; } ];
			  defaults = { nixpkgs.hostPlatform = "x86_64-linux"; deployment.tags = [ "all" ]; };
			  db = { deployment.buildOnly = true; deployment.targetPort = 2222; };
			  web = { deployment = { targetHost = "root@192.0.2.7"; buildOn = "target"; substituteOnDestination = true;
			    secrets.key = { source = "./key"; destination = "/run/key"; }; }; };
			}`},
			Hosts: []sourcetest.Host{
				{Name: "db", Is: []string{"at db:2222", "build only", "tag all", "platform x86_64-linux from hostPlatform", "profile system"}, Not: []string{"check tcp: port 80"}},
				{Name: "web", Is: []string{"at root@192.0.2.7", "build on target", "substitute", "check tcp: port 80", "secret key: DIR/key to /run/key 0400 root:root pre-activation"}, Not: []string{"build only"}},
			},
			About: func(t *testing.T, a source.About) {
				if len(a.Settings.HealthChecks) != 1 || a.At.Dialect != "morph" || a.Shell {
					t.Errorf("%+v", a)
				}
			},
		},
		{
			Name: "how a host is reached, and nixpkgs on it", File: "network.nix",
			Files: map[string]string{"network.nix": `{
			  a.deployment = { addresses = [ "10.0.0.1" ]; sshOptions = [ "-4" ]; forwardAgent = true; pinNixpkgs = true; };
			  b = { pkgs, ... }: { networking.hostName = "a"; nixpkgs.flake.source = "${builtins.path { path = pkgs.path; name = "nixpkgs"; }}"; };
			}`},
			Hosts: []sourcetest.Host{{Name: "a", Is: []string{"at a", "or at 10.0.0.1", "ssh -4", "forward agent"}}, {Name: "b"}},
			Check: func(t *testing.T, res *source.Result) {
				if h := res.Fleet.Hosts; h[0].Main().Drv != h[1].Main().Drv {
					t.Errorf("pinned %s, by hand %s", h[0].Main().Drv, h[1].Main().Drv)
				}
			},
		},
		{
			Name: "secrets that rest on the host, by godwit's own module", File: "network.nix",
			Files: map[string]string{"network.nix": `{ web = ./rests.nix; plain = { }; }`, "wifi.age": "x", "rests.nix": `{
			  imports = [ ` + moduleOfSecrets + ` ];
			  godwit.secretsKey = "/etc/key";
			  godwit.secrets.wifi = { file = ./wifi.age; owner = "ana"; mode = "0440"; path = "/etc/wifi"; restartUnits = [ "net.service" ]; };
			  godwit.secrets.pass.neededForUsers = true;
			  godwit.secrets.db.credentialOf = [ "app" ];
			  godwit.restSecrets = true;
			  deployment.secrets.key = { source = "./key"; destination = "/run/key"; };
			}`},
			Hosts: []sourcetest.Host{{Name: "plain"}, {Name: "web"}},
			Check: func(t *testing.T, res *source.Result) {
				if got := res.Fleet.Hosts[0].Main().Declared; len(got) != 0 {
					t.Errorf("%+v", got)
				}
				got := slices.Clone(res.Fleet.Hosts[1].Main().Declared)
				want := []fleet.Declared{
					{Name: "db", Path: "/run/godwit/secrets/db", Owner: "root", Group: "root", Mode: "0400", Phase: "services", Restart: []string{"app.service"}, KeyFile: "/etc/key"},
					{Name: "pass", Path: "/run/godwit/secrets/pass", Owner: "root", Group: "root", Mode: "0400", Phase: "users", Restart: []string{}, KeyFile: "/etc/key"},
					{Name: "wifi", Path: "/etc/wifi", Owner: "ana", Group: "root", Mode: "0440", Phase: "services", Restart: []string{"net.service"}, KeyFile: "/etc/key"},
				}
				if len(got) == 3 && strings.HasSuffix(got[2].File, "/wifi.age") {
					got[2].File = ""
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("got  %+v\nwant %+v", got, want)
				}
				if s := res.Fleet.Hosts[1].Secrets; len(s) != 1 || !s[0].Rest {
					t.Errorf("%+v", s)
				}
			},
		},
		{
			Name: "secrets that agenix and sops-nix decrypt on the host", File: "network.nix",
			Files: map[string]string{"network.nix": `{ web = ./sealed.nix; }`, "wifi.age": "x", "s.json": "{}", "sealed.nix": `{ lib, ... }: {
			  options.age = { secrets = lib.mkOption { type = lib.types.attrsOf lib.types.attrs; }; identityPaths = lib.mkOption { type = lib.types.listOf lib.types.str; }; };
			  options.sops = { secrets = lib.mkOption { type = lib.types.attrsOf lib.types.attrs; }; age = lib.mkOption { type = lib.types.attrs; }; };
			  config.age = { secrets.wifi.file = ./wifi.age; identityPaths = [ "/etc/ssh/ssh_host_rsa_key" "/etc/ssh/ssh_host_ed25519_key" ]; };
			  config.sops = { secrets.db = { sopsFile = ./s.json; format = "json"; key = "db/pass"; }; age.keyFile = "/root/key"; };
			}`},
			Hosts: []sourcetest.Host{{Name: "web"}},
			Check: func(t *testing.T, res *source.Result) {
				h := res.Fleet.Hosts[0]
				got := h.Main().Sealed
				if len(got) != 2 || got[0].Tool != "agenix" || got[0].Name != "wifi" || !strings.HasSuffix(got[0].File, "/wifi.age") || !got[0].Only ||
					got[1].Tool != "sops-nix" || got[1].Key != "db/pass" || got[1].Format != "json" || !strings.HasSuffix(got[1].File, "/s.json") || got[1].Only {
					t.Errorf("%+v", got)
				}
			},
		},
		{
			Name: "options of NixOps, of colmena and of a fork", File: "network.nix",
			Files: map[string]string{"network.nix": `{ a.deployment.targetEnv = "none"; b.deployment.keys.x.text = "t"; c.deployment.nixPath = [ ]; d.deployment.ec2.region = "x"; }`},
			Failed: map[string]string{
				"a": "deployment.targetEnv is an option of NixOps", "b": "--dialect colmena reads them",
				"c": "an option of a fork of morph: leave it out", "d": "deployment.ec2 is an option of NixOps",
			},
		},
		{
			Name: "one host fails alone", File: "network.nix",
			Files:  map[string]string{"network.nix": `{ a = { }; bad = throw "no such luck"; c = { deployment.tagz = [ ]; }; z = { }; }`},
			Hosts:  []sourcetest.Host{{Name: "a"}, {Name: "z", Is: []string{"at z"}}},
			Failed: map[string]string{"bad": "no such luck", "c": "did you mean deployment.tags?"},
		},
		{
			Name: "on a Mac hosts are Linux", File: "network.nix", System: "aarch64-darwin",
			Files: map[string]string{"network.nix": `{ a = { }; }`},
			Hosts: []sourcetest.Host{{Name: "a", Is: []string{"platform aarch64-linux from fallback"}}},
		},
		{
			Name: "no network", File: "network.nix",
			Files: map[string]string{"network.nix": `{ config, ... }: { }`},
			Error: "is a NixOS module, the configuration of one machine",
		},
	})
}
