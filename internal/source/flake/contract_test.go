package flake

import (
	"os"
	"strings"
	"testing"

	"godwit/internal/source"
	"godwit/internal/source/common"
	"godwit/internal/source/sourcetest"
)

// A flake as people have one; body are its outputs.
func repo(body string) map[string]string {
	return map[string]string{
		"flake.nix": `{
	description = "ours";
	inputs.nixpkgs.url = "path:NIXPKGS";
	outputs = { self, nixpkgs }:
	  let
	    nixos = modules: nixpkgs.lib.nixosSystem { modules = [ ./base.nix ] ++ modules; };
	    pkgs = nixpkgs.legacyPackages.x86_64-linux;
	    # What home-manager gives, as far as anybody deploys it.
	    person = name: { inherit pkgs; activationPackage = pkgs.writeText "home-${name}" name; config.home.username = name; };
	  in { ` + body + ` };
}`,
		"base.nix": `{ nixpkgs.hostPlatform = "x86_64-linux"; system.stateVersion = "24.05"; fileSystems."/".device = "/dev/x"; boot.loader.grub.enable = false; }`,
	}
}

func with(files map[string]string, name, text string) map[string]string {
	files[name] = text
	return files
}

func TestContract(t *testing.T) {
	sourcetest.Run(t, Dialect, []sourcetest.Case{
		{
			Name:  "every nixosConfiguration is a host whose address is its name",
			Files: repo(`nixosConfigurations = { web = nixos [ ]; "db.example.org" = nixos [ { nixpkgs.hostPlatform = nixpkgs.lib.mkForce "aarch64-linux"; } ]; };`),
			Git:   true,
			Hosts: []sourcetest.Host{
				{Name: "db.example.org", Is: []string{"at db.example.org", "platform aarch64-linux from hostPlatform", "profile system"}},
				{Name: "web", Is: []string{"at web", "platform x86_64-linux from hostPlatform", "release 26.05"}, Not: []string{"build only"}},
			},
		},
		{
			Name: "secrets that rest on the host, by godwit's own module",
			Files: with(with(repo(`nixosConfigurations.web = nixos [ ./module.nix { godwit.secrets.wifi.file = ./flake.nix; godwit.restSecrets = true;
				deployment.secrets.key = { source = "keys/web"; destination = "/run/key"; }; } ];`), "module.nix", moduleOfSecrets(t)), "keys/web", "x"),
			Git:   true,
			Hosts: []sourcetest.Host{{Name: "web"}},
			Check: func(t *testing.T, res *source.Result) {
				h := res.Fleet.Hosts[0]
				if got := h.Main().Declared; len(got) != 1 || got[0].Name != "wifi" || got[0].Path != "/run/godwit/secrets/wifi" || !strings.HasSuffix(got[0].File, "/flake.nix") {
					t.Errorf("%+v", got)
				}
				if len(h.Secrets) != 1 || !h.Secrets[0].Rest {
					t.Errorf("%+v", h.Secrets)
				}
			},
		},
		{
			Name: "secrets that agenix and sops-nix decrypt on the host",
			Files: with(with(with(repo(`nixosConfigurations.web = nixos [ ./sealed.nix ];`), "wifi.age", "x"), "s.json", "{}"), "sealed.nix", `{ lib, ... }: {
			  options.age = { secrets = lib.mkOption { type = lib.types.attrsOf lib.types.attrs; }; identityPaths = lib.mkOption { type = lib.types.listOf lib.types.str; }; };
			  options.sops = { secrets = lib.mkOption { type = lib.types.attrsOf lib.types.attrs; }; age = lib.mkOption { type = lib.types.attrs; }; };
			  config.age = { secrets.wifi.file = ./wifi.age; identityPaths = [ "/etc/ssh/ssh_host_rsa_key" "/etc/ssh/ssh_host_ed25519_key" ]; };
			  config.sops = { secrets.db = { sopsFile = ./s.json; format = "json"; key = "db/pass"; }; age.keyFile = "/root/key"; };
			}`),
			Git:   true,
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
			Name: "the argument system of nixosSystem is a platform that the configuration says",
			Files: map[string]string{"flake.nix": `{
				inputs.nixpkgs.url = "path:NIXPKGS";
				outputs = { self, nixpkgs }: { nixosConfigurations.pi = nixpkgs.lib.nixosSystem {
				  system = "aarch64-linux"; modules = [ { system.stateVersion = "24.05"; fileSystems."/".device = "/dev/x"; boot.loader.grub.enable = false; } ]; }; };
			}`},
			Git:   true,
			Hosts: []sourcetest.Host{{Name: "pi", Is: []string{"platform aarch64-linux from system", "profile system"}}},
		},
		{
			Name: "options deployment.* that nobody declared are put in",
			Files: repo(`nixosConfigurations = {
				web = nixos [ { deployment = { targetHost = "root@10.0.0.1:2222"; tags = [ "a" ]; buildOn = "target"; substituteOnDestination = true;
				  secrets.key = { source = "keys/web"; destination = "/run/key"; };
				  healthChecks.unit = [ { unit = "sshd"; } ]; preDeployChecks.cmd = [ { description = "room"; cmd = [ "true" ]; } ]; }; } ];
				plain = nixos [ ];
			};`),
			Git: true,
			Hosts: []sourcetest.Host{
				{Name: "plain", Is: []string{"at plain"}},
				{Name: "web", Is: []string{"at root@10.0.0.1:2222", "tag a", "build on target", "substitute", "check unit: sshd", "pre-check cmd: room",
					"secret key: DIR/keys/web to /run/key 0400 root:root pre-activation", "profile system"}},
			},
		},
		{
			Name: "how a host is reached, and nixpkgs on it",
			Files: repo(`nixosConfigurations = let plain = module: import (nixpkgs.outPath + "/nixos/lib/eval-config.nix") { system = null; modules = [ ./base.nix module ]; }; in {
				web = plain { deployment = { addresses = [ "10.0.0.1" ]; sshOptions = [ "-4" ]; forwardAgent = true; pinNixpkgs = true; }; };
				same = plain { nixpkgs.flake.source = nixpkgs.outPath; };
			};`),
			Git:   true,
			Hosts: []sourcetest.Host{{Name: "same"}, {Name: "web", Is: []string{"at web", "or at 10.0.0.1", "ssh -4", "forward agent"}}},
			Check: func(t *testing.T, res *source.Result) {
				if h := res.Fleet.Hosts; h[0].Main().Drv != h[1].Main().Drv {
					t.Errorf("by hand %s, pinned %s", h[0].Main().Drv, h[1].Main().Drv)
				}
			},
		},
		{
			Name:  "and so they are where a configuration imports them",
			Files: with(with(repo(`nixosConfigurations.web = nixos [ (import ./godwit.nix { }) { deployment.tags = [ "a" ]; } ];`), "godwit.nix", common.Deployment), "pin.nix", common.Pin()),
			Hosts: []sourcetest.Host{{Name: "web", Is: []string{"at web", "tag a", "profile system"}}},
		},
		{
			Name:    "an option that is none is an error of its host alone",
			Files:   repo(`nixosConfigurations = { bad = nixos [ { deployment.targetHots = "x"; } ]; good = nixos [ { deployment.tags = [ "x" ]; } ]; worse = throw "no"; };`),
			Git:     true,
			Request: source.Request{},
			Hosts:   []sourcetest.Host{{Name: "good", Is: []string{"tag x"}}},
			Failed:  map[string]string{"bad": "the option 'deployment.targetHots' does not exist (did you mean deployment.targetHost?)", "worse": "no"},
		},
		{
			Name:  "homeConfigurations of a host without a system are for their user",
			Files: repo(`homeConfigurations = { "ana@laptop" = person "ana"; bob = person "bob"; };`),
			Git:   true,
			Hosts: []sourcetest.Host{{Name: "laptop", Is: []string{"at ana@laptop", "platform x86_64-linux from pkgs", "profile ana"}, Not: []string{"profile system"}}},
		},
		{
			Name: "a Mac, and a home on it",
			Files: repo(`darwinConfigurations.mac = { options.nixpkgs.hostPlatform.isDefined = true;
				config = { nixpkgs.hostPlatform.system = "aarch64-darwin"; system.build.toplevel = pkgs.writeText "mac" ""; }; };
				homeConfigurations."ana@mac" = person "ana";`),
			Git:   true,
			Hosts: []sourcetest.Host{{Name: "mac", Is: []string{"at mac", "platform aarch64-darwin from hostPlatform", "profile system", "profile ana"}}},
			Check: func(t *testing.T, res *source.Result) {
				if p := res.Fleet.Hosts[0].Profiles; p[0].Kind != "darwin" || p[1].Kind != "home" || p[1].User != "ana" {
					t.Errorf("%+v", p)
				}
			},
		},
		{
			Name:   "a system for a Mac and one for Linux of one name",
			Files:  repo(`nixosConfigurations.web = nixos [ ]; darwinConfigurations.web = { system = pkgs.writeText "mac" ""; };`),
			Git:    true,
			Failed: map[string]string{"web": "both nixosConfigurations.web and darwinConfigurations.web are there"},
		},
		{
			Name:  "no configurations",
			Files: repo(`packages = { };`),
			Git:   true,
			Error: "",
		},
	})
}

// A system that says nothing of godwit is, to the derivation, the one that Nix builds.
func TestSameDerivation(t *testing.T) {
	tool := sourcetest.Tool(t, "")
	dir := sourcetest.Write(t, map[string]string{"x": ""})
	files := repo(`nixosConfigurations.web = nixos [ { system.configurationRevision = self.rev or self.dirtyRev or "none"; } ]; homeConfigurations."ana@web" = person "ana";
	  nixosConfigurations.tagged = nixos [ { deployment.tags = [ "a" ]; } ]; nixosConfigurations.untagged = nixos [ ];`)
	for name, text := range files {
		files[name] = strings.ReplaceAll(text, "NIXPKGS", sourcetest.Nixpkgs(t))
	}
	sourcetest.WriteIn(t, dir, files)
	sourcetest.Git(t, dir)
	s := sourcetest.Open(t, tool, Dialect, source.Location{Flake: dir}, source.Options{})
	hosts := sourcetest.Good(t, sourcetest.Load(t, s, source.Request{Outputs: true}))
	want, err := tool.Output(t.Context(), "nix", "eval", "--raw", "--no-write-lock-file", dir+"#nixosConfigurations.web.config.system.build.toplevel.drvPath")
	if err != nil {
		t.Fatal(err)
	}
	if got := hosts[2].Profiles[0].Drv; hosts[2].Name != "web" || got != string(want) {
		t.Errorf("%s is %s, not %s", hosts[2].Name, got, want)
	}
	// Tags of a host are no part of its system.
	if hosts[0].Profiles[0].Drv != hosts[1].Profiles[0].Drv {
		t.Errorf("%s, %s", hosts[0].Profiles[0].Drv, hosts[1].Profiles[0].Drv)
	}
}

// moduleOfSecrets is the text of godwit's module for hosts.
func moduleOfSecrets(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../secrets/onhost/module.nix")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
