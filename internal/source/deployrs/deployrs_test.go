package deployrs

import (
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/source"
	"godwit/internal/source/reader"
	"godwit/internal/source/sourcetest"
)

// flake writes a flake whose 'deploy' is the text, with the inputs that such flakes
// have, and locks it.
func flake(t *testing.T, deploy string) source.Location {
	t.Helper()
	dir := sourcetest.Write(t, map[string]string{"flake.nix": `{
  inputs.nixpkgs.url = "path:` + tests(t, "nixos") + `";
  inputs.deploy-rs.url = "path:` + tests(t, "deploy-rs") + `";
  inputs.deploy-rs.inputs.nixpkgs.follows = "nixpkgs";
  outputs = { self, nixpkgs, deploy-rs }:
    let
      pkgs = nixpkgs.legacyPackages.x86_64-linux;
      inherit (deploy-rs.lib.x86_64-linux) activate;
    in
    {
      nixosConfigurations.web = nixpkgs.lib.nixosSystem {
        modules = [{ nixpkgs.hostPlatform = "x86_64-linux"; system.stateVersion = "25.11"; networking.hostName = "web"; }];
      };
      checks = builtins.mapAttrs (system: lib: lib.deployChecks self.deploy) deploy-rs.lib;
      deploy = ` + deploy + `;
    };
}
`})
	lock := exec.Command("nix", "flake", "lock", "path:"+dir)
	if out, err := lock.CombinedOutput(); err != nil {
		t.Fatalf("cannot lock the flake: %v\n%s", err, out)
	}
	return source.Location{Flake: "path:" + dir, Attr: "deploy"}
}

const twoProfiles = `{
  sshUser = "deploy";
  user = "root";
  nodes.web = {
    hostname = "web.example:2222";
    profilesOrder = [ "system" ];
    confirmTimeout = 60;
    profiles.system.path = activate.nixos self.nixosConfigurations.web;
    profiles.ana = { user = "ana"; path = activate.custom pkgs.hello "$PROFILE/bin/hello"; };
  };
  nodes.db = {
    hostname = "db.example";
    profiles.system.path = activate.nixos self.nixosConfigurations.typo;
  };
}`

// A flake, from its text to what everybody else reads.
func TestFlake(t *testing.T) {
	tool := tool(t)
	r := sourcetest.Open(t, tool, Dialect, flake(t, twoProfiles), source.Options{})
	if got := r.About().Names; !reflect.DeepEqual(got, []string{"db", "web"}) {
		t.Errorf("names are %q", got)
	}
	res := sourcetest.Load(t, r, source.Request{Outputs: true})
	if len(res.Failed) != 1 || res.Failed[0].Host != "db" || !strings.Contains(fault.Render(res.Failed[0].Err), "typo") {
		t.Errorf("failed: %v", res.Failed)
	}
	if len(res.Fleet.Hosts) != 1 {
		t.Fatalf("hosts are %q", sourcetest.Names(res.Fleet.Hosts))
	}
	h := res.Fleet.Hosts[0]
	if h.At.Host != "web.example" || h.At.Port != 2222 || h.At.User != "deploy" || !h.SubstituteOnDestination || h.Platform.Name != "x86_64-linux" || h.Main().Version != "26.05" {
		t.Errorf("web is %+v", h)
	}
	if !strings.Contains(h.Main().Path, "-nixos-system-web-") || strings.Contains(h.Main().Path, "activatable") {
		t.Errorf("the system is %s", h.Main().Path)
	}
	// The same as what everybody gets who builds the system by hand.
	out, err := exec.Command("nix", "eval", "--raw", r.About().At.Flake+"#nixosConfigurations.web.config.system.build.toplevel.outPath").Output()
	if err != nil || string(out) != h.Main().Path {
		t.Errorf("nixosConfigurations.web is %s, %v", out, err)
	}
}

// A file in place of a flake, and what the command line says.
func TestFile(t *testing.T) {
	tool := tool(t)
	dir := sourcetest.Write(t, map[string]string{"deploy.nix": `{ pkgs ? import <nixpkgs> { } }: {
  deploy.nodes.web = { hostname = "web"; sshUser = "ana"; profiles.a.path = pkgs.hello; };
}`})
	at := source.Location{File: filepath.Join(dir, "deploy.nix")}
	r := sourcetest.Open(t, tool, Dialect, at, source.Options{Above: map[string]any{"hostname": "10.0.0.1", "sshUser": "eve"}})
	h := sourcetest.Good(t, sourcetest.Load(t, r, source.Request{}))[0]
	if h.At.Host != "10.0.0.1" || h.At.User != "eve" {
		t.Errorf("web is %+v", h)
	}
}

// What is none of deploy-rs's is named as what it is.
func TestOther(t *testing.T) {
	tool := tool(t)
	for text, want := range map[string]string{
		`{ lib }: { deploy = { }; }`:                "is a function that wants lib",
		`{ outputs = { self }: { }; }`:              "is the text of a flake",
		`{ meta.nixpkgs = <nixpkgs>; web = { }; }`:  "is a colmena hive",
		`{ network.description = "x"; web = { }; }`: "is a morph network",
		`{ }`:                     "is a set without 'deploy'",
		`[ ]`:                     "is a list",
		`{ deploy = { }; }`:       "has no 'nodes'",
		`{ deploy.nodes = [ ]; }`: "deploy.nodes is a list; it takes a set",
		`{ deploy = { typo = 1; nodes = { }; }; }`:       "",
		`{ deploy.nodes.web.profiles = throw "later"; }`: "",
	} {
		dir := sourcetest.Write(t, map[string]string{"d.nix": text})
		_, err := reader.Open(t.Context(), tool, Dialect, source.Location{File: filepath.Join(dir, "d.nix")}, source.Options{})
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %s", text, fault.Render(err))
		case want != "" && (err == nil || !strings.Contains(fault.Render(err), want)):
			t.Errorf("%s: no %q in %v", text, want, err)
		}
	}
}

// Profiles that were named with their node.
func TestOnlyOf(t *testing.T) {
	tool := tool(t)
	dir := sourcetest.Write(t, map[string]string{"deploy.nix": `{ deploy.nodes = let p = { user = "root"; path = (import <nixpkgs> { }).hello; }; in {
  a = { hostname = "a"; profiles = { x = p; y = p; }; };
  b = { hostname = "b"; profiles = { x = p; y = p; }; };
  c = { hostname = "c"; profiles = { x = p; }; };
}; }`})
	at := source.Location{File: filepath.Join(dir, "deploy.nix")}
	r := sourcetest.Open(t, tool, Dialect, at, source.Options{})
	res := sourcetest.Load(t, r, source.Request{Outputs: true, OnlyOf: map[string][]string{"a": {"y"}, "c": {"y"}}})
	if len(res.Failed) != 1 || res.Failed[0].Host != "c" || !strings.Contains(res.Failed[0].Err.Error(), "it has no profile 'y'") {
		t.Errorf("failed: %v", res.Failed)
	}
	if got := sourcetest.Names(res.Fleet.Hosts); !reflect.DeepEqual(got, []string{"a", "b"}) {
		t.Errorf("hosts are %q", got)
	}
}
