package own

import (
	"testing"

	"godwit/internal/source"
	"godwit/internal/source/sourcetest"
)

// repo is a flake with the output godwit; what is in configurations fails wherever it
// is looked at, unless body says otherwise.
func repo(godwit, configurations string) map[string]string {
	return map[string]string{
		"flake.nix": `{
	inputs.nixpkgs.url = "path:NIXPKGS";
	outputs = { self, nixpkgs }:
	  let
	    nixos = modules: nixpkgs.lib.nixosSystem { modules = [ ./base.nix ] ++ modules; };
	    pkgs = nixpkgs.legacyPackages.x86_64-linux;
	    person = name: { inherit pkgs; activationPackage = pkgs.writeText "home-${name}" name; config.home.username = name; };
	  in { ` + configurations + ` godwit = ` + godwit + `; };
}`,
		"base.nix": `{ nixpkgs.hostPlatform = "x86_64-linux"; system.stateVersion = "24.05"; fileSystems."/".device = "/dev/x"; boot.loader.grub.enable = false; }`,
	}
}

func TestContract(t *testing.T) {
	two := `nixosConfigurations = { web = nixos [ ]; db = nixos [ ]; };`
	sourcetest.Run(t, Dialect, []sourcetest.Case{
		{
			Name: "everything that a host may say", Git: true,
			Files: repo(`{
				description = "ours"; orderingTags = [ "first" ]; batch = 2; nixConfig.cores = "1";
				defaults = { user = "admin"; tags = [ "all" ]; healthChecks.unit = [ { unit = "sshd"; } ]; };
				hosts.web = { address = "10.0.0.1"; port = 2222; tags = [ "first" ]; buildOn = "target"; substituteOnDestination = true; platform = "x86_64-linux";
				  secrets.key = { file = "keys/web"; destination = "/run/key"; user = "nginx"; };
				  healthChecks.http = [ { description = "page"; port = 80; path = "/"; } ]; preDeployChecks.cmd = [ { description = "room"; cmd = [ "true" ]; } ]; };
				hosts.db = { buildOnly = true; };
			}`, two),
			Hosts: []sourcetest.Host{
				{Name: "web", Is: []string{"at admin@10.0.0.1:2222", "tag all", "tag first", "build on target", "substitute", "platform x86_64-linux from hostPlatform",
					"secret key: DIR/keys/web to /run/key 0400 nginx:root pre-activation", "check unit: sshd", "check http: page", "pre-check cmd: room", "profile system"}},
				{Name: "db", Is: []string{"at admin@db", "build only", "tag all", "check unit: sshd", "profile system"}, Not: []string{"check http: page", "pre-check cmd: room"}},
			},
			About: func(t *testing.T, a source.About) {
				if a.Description != "ours" || a.Settings.Batch != "2" || a.NixConfig["cores"] != "1" || len(a.OrderingTags) != 1 {
					t.Errorf("%+v", a)
				}
			},
		},
		{
			Name: "how a host is reached", Git: true,
			Files: repo(`{
				defaults.sshOptions = [ "-4" ];
				hosts.web = { address = [ "10.0.0.1" "web.example.org" "root@[::1]:2222" ]; user = "admin"; sshOptions = [ "-o" "ProxyJump=b" ]; forwardAgent = true; };
				hosts.db.address = [ ];
			}`, two),
			Hosts:  []sourcetest.Host{{Name: "web", Is: []string{"at admin@10.0.0.1", "or at web.example.org", "or at root@[::1]:2222", "ssh -4 -o ProxyJump=b", "forward agent"}}},
			Failed: map[string]string{"db": "godwit.hosts.db.address is an empty list"},
		},
		{
			Name: "nixpkgs on the host", Git: true,
			Files: repo(`let plain = module: import (nixpkgs.outPath + "/nixos/lib/eval-config.nix") { system = null; modules = [ ./base.nix module ]; }; in {
				hosts = { a.nixos = plain { }; b = { nixos = plain { }; pinNixpkgs = true; }; c.nixos = plain { nixpkgs.flake.source = nixpkgs.outPath; };
				d = { nixos = self.nixosConfigurations.db.config.system.build.toplevel; pinNixpkgs = true; }; }; }`, two),
			Hosts:  []sourcetest.Host{{Name: "a"}, {Name: "b"}, {Name: "c"}},
			Failed: map[string]string{"d": "godwit.hosts.d.pinNixpkgs: the configuration was not made by nixosSystem"},
			Check: func(t *testing.T, res *source.Result) {
				a, b, c := res.Fleet.Hosts[0].Main().Drv, res.Fleet.Hosts[1].Main().Drv, res.Fleet.Hosts[2].Main().Drv
				if a == b || b != c {
					t.Errorf("plain %s, pinned %s, by hand %s", a, b, c)
				}
			},
		},
		{
			Name: "without hosts, those of the flake", Git: true,
			Files: repo(`{ defaults.user = "root"; }`, two),
			Hosts: []sourcetest.Host{{Name: "db", Is: []string{"at root@db", "profile system"}}, {Name: "web", Is: []string{"at root@web"}}},
		},
		{
			Name: "several profiles of a host in order", Git: true,
			Files: repo(`{ hosts.web = {
				order = [ "app" "system" ];
				profiles.app = { custom = pkgs.writeText "app" ""; user = "app"; activate = "bin/activate"; };
				profiles.ana = { home = person "ana"; };
			}; }`, two),
			Hosts: []sourcetest.Host{{Name: "web", Is: []string{"profile app", "profile system", "profile ana"}}},
			Check: func(t *testing.T, res *source.Result) {
				p := res.Fleet.Hosts[0].Profiles
				if len(p) != 3 || p[0].Name != "app" || p[0].User != "app" || p[0].Activate[0] != "bin/activate" || p[1].Name != "system" || p[2].User != "ana" {
					t.Errorf("%+v", p)
				}
			},
		},
		{
			Name: "a system by another name, and one that is a derivation", Git: true,
			Files: repo(`{ hosts = { a = { nixos = self.nixosConfigurations.web; }; b = { nixos = self.nixosConfigurations.db.config.system.build.toplevel; }; }; }`, two),
			Hosts: []sourcetest.Host{{Name: "a", Is: []string{"profile system", "platform x86_64-linux from pkgs"}}, {Name: "b", Is: []string{"profile system", "platform x86_64-linux from pkgs"}}},
		},
		{
			Name: "a host that has nothing to deploy fails alone", Git: true,
			Files:  repo(`{ hosts = { web = { }; wbe = { }; }; }`, two),
			Hosts:  []sourcetest.Host{{Name: "web"}},
			Failed: map[string]string{"wbe": "there is nothing to deploy"},
		},
		{
			Name: "a word that nobody knows, of a host", Git: true,
			Files: repo(`{ hosts.web = { adress = "x"; }; }`, two), Error: "there is no godwit.hosts.web.adress (did you mean address?)",
		},
		{
			Name: "of the fleet", Git: true,
			Files: repo(`{ host.web = { }; }`, two), Error: "there is no godwit.host (did you mean hosts?)",
		},
		{
			Name: "of a secret", Git: true,
			Files: repo(`{ hosts.web.secrets.a = { file = "x"; dest = "/x"; zzz = 1; }; }`, two), Error: "there is no godwit.hosts.web.secrets.a.dest",
		},
		{
			Name: "of a check", Git: true,
			Files: repo(`{ hosts.web.healthChecks.tcp = [ { description = "x"; prot = 1; } ]; }`, two), Error: "prot",
		},
		{
			Name: "a host that is no set", Git: true,
			Files: repo(`{ hosts.web = "10.0.0.1"; }`, two), Error: "godwit.hosts.web is a string; it takes an attribute set",
		},
		{
			Name: "a value of another type", Git: true,
			Files:  repo(`{ hosts.web.port = "22"; }`, two),
			Failed: map[string]string{"web": "godwit.hosts.web.port is a string; it takes a number"},
		},
	})
}

// Metadata is plain data: a system that cannot be evaluated is no hindrance.
func TestForcesNoSystem(t *testing.T) {
	tool := sourcetest.Tool(t, "")
	dir := sourcetest.Write(t, map[string]string{
		"flake.nix": `{ outputs = { self }: {
			nixosConfigurations = { web = throw "forced"; db = abort "forced"; };
			homeConfigurations."ana@web" = throw "forced";
			godwit.hosts = { web = { tags = [ "a" ]; }; db = { nixos = throw "forced"; platform = "aarch64-linux"; }; };
		}; }`,
	})
	s := sourcetest.Open(t, tool, Dialect, source.Location{Flake: dir}, source.Options{})
	hosts := sourcetest.Good(t, sourcetest.Load(t, s, source.Request{}))
	if len(hosts) != 2 || hosts[0].Platform.Name != "aarch64-linux" || hosts[1].Tags[0] != "a" || hosts[1].Platform.From != "fallback" {
		t.Errorf("%+v", hosts)
	}
}
