package convert

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/source"
	"godwit/internal/source/colmena"
	"godwit/internal/source/deployrs"
	"godwit/internal/source/morph"
	"godwit/internal/source/own"
	"godwit/internal/source/reader"
	"godwit/internal/source/sourcetest"
)

const deployRsFlake = `{
  inputs.nixpkgs.url = "path:NIXPKGS";
  inputs.deploy-rs.url = "path:DEPLOYRS";
  inputs.deploy-rs.inputs.nixpkgs.follows = "nixpkgs";
  outputs = { self, nixpkgs, deploy-rs }:
    let
      pkgs = nixpkgs.legacyPackages.x86_64-linux;
      inherit (deploy-rs.lib.x86_64-linux) activate;
      nixos = name: nixpkgs.lib.nixosSystem { modules = [{ nixpkgs.hostPlatform = "x86_64-linux"; system.stateVersion = "25.11"; networking.hostName = name; }]; };
    in
    {
      nixosConfigurations.web = nixos "web";
      nixosConfigurations.other = nixos "other";
      deploy = {
        sshUser = "deploy"; user = "root"; sshOpts = [ "-o" "ProxyJump=bastion" ]; GODWIT
        nodes.web = {
          hostname = "10.0.0.1"; fastConnection = true; confirmTimeout = 60; interactiveSudo = true; sudo = "doas -u";
          profiles.system.path = activate.nixos self.nixosConfigurations.web;
          profiles.ana = { user = "ana"; path = activate.home-manager { activationPackage = pkgs.hello; }; };
          profiles.app = { path = activate.custom pkgs.hello "$PROFILE/bin/hello"; profilePath = "/nix/var/nix/profiles/app"; };
          profiles.data = { path = activate.noop pkgs.hello; };
        };
        # Its configuration has another name.
        nodes."db.example" = { hostname = "[2001:db8::1]:2222"; profilesOrder = [ "app" "system" ]; autoRollback = false; magicRollback = false;
          profiles.system.path = activate.nixos self.nixosConfigurations.other;
          profiles.app.path = activate.noop pkgs.hello;
        };
      };
    };
}`

const network = `{
  network = { description = "ours"; ordering.tags = [ "first" ]; godwit.batch = "1,rest"; pkgs = import <nixpkgs> { system = "x86_64-linux"; }; };
  defaults = { deployment.tags = [ "all" ]; };
  web = { deployment = {
    targetHost = "10.0.0.1"; targetUser = "root"; tags = [ "first" ]; substituteOnDestination = true; buildOn = "target";
    secrets.key = { source = "./key"; destination = "/run/key"; owner.user = "nobody"; action = [ "systemctl" "reload" "x" ]; };
    healthChecks = { http = [ { description = "page"; port = 80; } ]; cmd = [ { description = "runs"; cmd = [ "true" ]; } ]; unit = [ { unit = "sshd"; } ]; };
    preDeployChecks.cmd = [ { description = "room"; cmd = [ "true" ]; } ];
  }; };
  "db.example" = { deployment.buildOnly = true; };
}`

const hive = `{
  meta.nixpkgs = import <nixpkgs> { system = "x86_64-linux"; };
  defaults = { system.stateVersion = "24.05"; };
  web = { deployment = { targetHost = "10.0.0.1"; targetPort = 2222; tags = [ "a" ]; buildOnTarget = true; }; };
  db = { deployment = { targetHost = "db.example"; replaceUnknownProfiles = false; addresses = [ "10.0.0.2:22" ]; forwardAgent = true;
    keys = { t = { text = "a text that stays"; user = "nobody"; }; c = { keyCommand = [ "echo" "c" ]; uploadAt = "post-activation"; }; f.keyFile = ./key; }; }; };
}`

// raw is a flake with the output colmena alone, both that and the same systems, or that
// of makeHive (of which there is a stand-in, with some of its options).
func raw(output string) string {
	return `{
  inputs.nixpkgs.url = "path:NIXPKGS";
  outputs = { self, nixpkgs }:
    let
      base = { boot.isContainer = true; system.stateVersion = "25.11"; };
      hive = { meta.nixpkgs = import nixpkgs { system = "x86_64-linux"; }; defaults = base;
        web = { deployment = { targetHost = "10.0.0.1"; tags = [ "a" ]; keys.t.text = "a text that stays"; }; };
        db.deployment.targetUser = null; };
      made = { __schema = "v0.5"; metaConfig = { name = "n"; description = "made"; machinesFile = null; allowApplyAll = true; }; introspect = f: f { };
        nodes.web = import (nixpkgs.outPath + "/nixos/lib/eval-config.nix") { system = "x86_64-linux"; modules = [
          ({ lib, ... }: { options.deployment = lib.mkOption { type = lib.types.anything; }; })
          base { deployment = { targetHost = "h"; targetUser = null; tags = [ "t" ]; keys = { }; targetPort = 2222; }; } ]; }; };
    in
    {
` + output + `
    };
}`
}

// The plan before and after is the same: what the written files give is what the
// configuration gave, derivations among it.
func TestSame(t *testing.T) {
	tool := sourcetest.Tool(t, "")
	t.Setenv("NIX_CONFIG", os.Getenv("NIX_CONFIG")+"experimental-features = nix-command flakes\nflake-registry =\n")
	for _, c := range []struct {
		name    string
		dialect *source.Dialect
		files   map[string]string
		flake   string // its output
		has     []string
		hasNot  []string
	}{
		{"deploy-rs", deployrs.Dialect, map[string]string{"flake.nix": strings.ReplaceAll(deployRsFlake, "GODWIT", "")}, "deploy",
			[]string{"address = \"10.0.0.1\";", "inside self.deploy.nodes.\"db.example\".profiles.system.path", "noop = inside", "custom = without"},
			[]string{"web.profiles.system.path", FleetFile}},
		{"morph", morph.Dialect, map[string]string{"network.nix": network, "key": "x"}, "", []string{"batch = \"1,rest\";", "nixos = fleet.nodes.web;", "file = \"key\";", FleetFile}, nil},
		{"colmena", colmena.Dialect, map[string]string{"hive.nix": hive, "key": "x"}, "", []string{"nixos = fleet.nodes.db;", FleetFile, "replaceUnknown = false;", "lateOwner = true;",
			`address = [`, `text = (fleet.host { system = false; } "db").secrets.t.from.text;`}, []string{"a text that stays"}},
		{"raw colmena", colmena.Dialect, map[string]string{"flake.nix": raw("      colmena = hive;")}, "colmena", []string{"nixos = fleet.nodes.db;", FleetFile, `"web").secrets.t.from.text;`}, []string{"a text that stays"}},
		{"colmenaHive", colmena.Dialect, map[string]string{"flake.nix": raw("      colmenaHive = made;")}, "colmenaHive", []string{"nixos = fleet.nodes.web;", FleetFile}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			nixpkgs := sourcetest.Nixpkgs(t)
			for name, text := range c.files {
				c.files[name] = strings.NewReplacer("NIXPKGS", nixpkgs, "DEPLOYRS", filepath.Join(filepath.Dir(nixpkgs), "deploy-rs")).Replace(text)
			}
			dir := sourcetest.Write(t, c.files)
			at := source.Location{Flake: "path:" + dir, Attr: c.flake}
			if c.flake == "" {
				for name := range c.files {
					if strings.HasSuffix(name, ".nix") {
						at = source.Location{File: filepath.Join(dir, name)}
					}
				}
			} else {
				lock(t, dir)
			}
			opts := source.Options{}
			r := sourcetest.Open(t, tool, c.dialect, at, opts)
			before := sourcetest.Good(t, sourcetest.Load(t, r, source.Request{Outputs: true}))
			got, err := From(context.Background(), tool, c.dialect, r.About(), before, opts)
			if err != nil {
				t.Fatal(fault.Render(err))
			}
			text := got.Files["godwit.nix"]
			for _, want := range c.has {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
			for _, not := range c.hasNot {
				if strings.Contains(text, not) {
					t.Errorf("%q is in\n%s", not, text)
				}
			}
			// Written down as a person does it, and read by godwit's own dialect.
			for name, text := range got.Files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if c.flake != "" {
				output := "      " + c.flake + " = "
				flake := strings.Replace(c.files["flake.nix"], output, "      godwit = import ./godwit.nix { inherit self; };\n"+output, 1)
				if err := os.WriteFile(filepath.Join(dir, "flake.nix"), []byte(flake), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			again, err := reader.Open(context.Background(), tool, own.Dialect, source.Location{Flake: "path:" + dir, Attr: "godwit"}, source.Options{Impure: true})
			if err != nil {
				t.Fatal(fault.Render(err))
			}
			after := map[string]fleet.Host{}
			for _, h := range sourcetest.Good(t, sourcetest.Load(t, again, source.Request{Outputs: true})) {
				after[h.Name] = h
			}
			if len(after) != len(before) {
				t.Errorf("%d hosts, and %d before", len(after), len(before))
			}
			for _, h := range before {
				was := h
				// A flake is read out of its copy in the store, the files of secrets with it.
				if differs := difference(was, after[h.Name]); differs != "" {
					t.Errorf("%s: %s\n%s", h.Name, differs, text)
				}
			}
		})
	}
}

func lock(t *testing.T, dir string) {
	t.Helper()
	if out, err := exec.Command("nix", "flake", "lock", "path:"+dir).CombinedOutput(); err != nil {
		t.Fatalf("cannot lock the flake: %v\n%s", err, out)
	}
}

// What differs is said.
func TestDifference(t *testing.T) {
	h := fleet.Host{Name: "web", At: fleet.Address{Host: "a"}, Platform: fleet.Platform{Name: "x", From: "y"}, Profiles: []fleet.Profile{{Name: "system", Version: "1"}}}
	same := h
	same.Platform.From, same.Profiles = "z", []fleet.Profile{{Name: "system", Version: "2"}}
	if d := difference(h, same); d != "" {
		t.Error(d)
	}
	other := h
	other.At.Host = "b"
	if d := difference(h, other); !strings.Contains(d, `at was {"host":"a"} and would be {"host":"b"}`) {
		t.Error(d)
	}
	if d := difference(h, fleet.Host{}); d != "it is missing" {
		t.Error(d)
	}
}
