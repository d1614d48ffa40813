package morph

import (
	"testing"

	"godwit/internal/source"
	"godwit/internal/source/sourcetest"
)

// The suite of all dialects, on morph's.
func TestContract(t *testing.T) {
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
