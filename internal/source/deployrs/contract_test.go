package deployrs

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/nix"
)

// tool is this machine's Nix with the small NixOS as <nixpkgs>.
func tool(t testing.TB) *nix.Tool {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Nix")
	}
	t.Setenv("NIX_CONFIG", "build-users-group =\nsubstituters =\nsandbox = false\nexperimental-features = nix-command flakes\nflake-registry =\n")
	t.Setenv("NIX_PATH", "nixpkgs="+tests(t, "nixos"))
	tool, err := nix.Find(context.Background(), nix.Settings{})
	if err != nil {
		t.Fatal(fault.Render(err))
	}
	return tool
}

// tests is a directory below test/.
func tests(t testing.TB, name string) string {
	t.Helper()
	dir, err := filepath.Abs("../../../test/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// prelude gives the cases what a flake that uses deploy-rs has in scope.
func prelude(t testing.TB) string {
	return fmt.Sprintf(`let
  pkgs = import <nixpkgs> { system = "x86_64-linux"; };
  deploy-rs.lib.x86_64-linux = import %s { inherit pkgs; };
  inherit (deploy-rs.lib.x86_64-linux) activate;
  deploy-rs.lib.aarch64-darwin = import %[1]s { pkgs = import <nixpkgs> { system = "aarch64-darwin"; }; };
  nixos = module: import <nixpkgs/nixos/lib/eval-config.nix> {
    system = null;
    modules = [ module { nixpkgs.hostPlatform = pkgs.lib.mkDefault "x86_64-linux"; system.stateVersion = "25.11"; networking.hostName = "web"; } ];
  };
  web = nixos { };
  dialect = %s;
  read = args: deploy: dialect ({ flake = { inherit deploy; }; fallback = "riscv64-linux"; } // args);
  one = settings: profiles: { nodes.web = { hostname = "web.example"; inherit profiles; } // settings; };
  hello = { path = activate.noop pkgs.hello; user = "root"; };
in
`, nix.QuotePath(filepath.Join(tests(t, "deploy-rs"), "lib.nix")), deployNix)
}

func evaluate(t testing.TB, tool *nix.Tool, expr string) ([]byte, error) {
	t.Helper()
	return tool.Eval(context.Background(), nix.Evaluation{Expr: prelude(t) + expr})
}

// at finds a value below v: "at.user", "profiles.0.kind".
func at(v any, path string) any {
	for _, step := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			var i int
			if _, err := fmt.Sscan(step, &i); err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

// A case is a fact about deploy-rs's 'deploy' that a person can see. Its number is that of the section in
// docs/deploy-rs.md; want names values of what the node 'web' gives, as JSON.
var cases = []struct {
	name, expr string
	args       string // of host; empty: { }
	want       map[string]string
}{
	{"the hostname, and nothing else said", `one { } { system = { path = activate.nixos web; user = "root"; }; }`, "", map[string]string{
		"name": `"web"`, "at.host": `"web.example"`, "at.user": `""`, "at.port": `0`, "at.options": `[]`, "at.become": `null`, "at.askPassword": `false`,
		"buildOn": `null`, "substituteOnDestination": `true`, "tags": `[]`, "release": `"26.05"`,
		"guard":           `{"activationTimeout":null,"autoRollback":true,"confirmTimeout":null,"magicRollback":true}`,
		"platform":        `{"from":"system","system":"x86_64-linux"}`,
		"profiles.0.kind": `"nixos"`, "profiles.0.name": `"system"`, "profiles.0.user": `""`, "profiles.0.link": `""`, "profiles.0.version": `"26.05"`,
	}},
	{"a setting of a profile is above the node's, that above deploy's", `{ user = "c"; sshUser = "c"; sudo = "x -u"; confirmTimeout = 1; activationTimeout = 1; } // one { user = "b"; sshUser = "b"; confirmTimeout = 2; } { a = { path = activate.noop pkgs.hello; user = "a"; }; }`, "", map[string]string{
		"profiles.0.user": `"a"`, "at.user": `"b"`, "at.become": `["x","-u","root"]`, "guard.confirmTimeout": `2`, "guard.activationTimeout": `1`,
	}},
	{"words for ssh add up, the narrowest first", `{ sshOpts = [ "-o" "C=1" ]; } // one { sshOpts = [ "-A" ]; } { a = hello // { sshOpts = [ "-4" ]; }; }`, "", map[string]string{
		"at.options": `["-4","-A","-o","C=1"]`,
	}},
	{"further addresses, and the agent, which deploy-rs does not have", `one { addresses = [ "b" ]; forwardAgent = true; } { a = hello; }`, "", map[string]string{"at.also": `["b"]`, "at.forwardAgent": `true`}},
	{"the port among them", `one { sshOpts = [ "-A" "-p" "2222" ]; } { a = hello; }`, "", map[string]string{"at.options": `["-A"]`, "at.port": `2222`}},
	{"the port in one word", `one { sshOpts = [ "-p 022" "-p33" ]; } { a = hello; }`, "", map[string]string{"at.options": `[]`, "at.port": `22`}},
	{"user is sshUser where it is not said", `one { sshUser = "ana"; } { a = { path = activate.noop pkgs.hello; }; }`, "", map[string]string{"profiles.0.user": `"ana"`, "at.user": `"ana"`}},
	{"sudo by itself is how godwit finds out", `one { sudo = "sudo -u"; } { a = hello; }`, "", map[string]string{"at.become": `null`}},
	{"another word for sudo", `one { sudo = "doas  -n -u"; } { a = hello; }`, "", map[string]string{"at.become": `["doas","-n","-u","root"]`}},
	{"a password for sudo", `one { interactiveSudo = true; } { a = hello; }`, "", map[string]string{"at.askPassword": `true`}},
	{"a fast connection", `one { fastConnection = true; } { a = hello; }`, "", map[string]string{"substituteOnDestination": `false`}},
	{"built on the host", `one { remoteBuild = true; } { a = hello; }`, "", map[string]string{"buildOn": `"target"`}},
	{"no rollback of one profile is none of the host", `one { } { a = hello; b = hello // { autoRollback = false; }; }`, "", map[string]string{"guard.autoRollback": `false`, "guard.magicRollback": `true`}},
	{"no confirmation", `one { magicRollback = false; } { a = hello; }`, "", map[string]string{"guard.autoRollback": `true`, "guard.magicRollback": `false`}},
	{"the longest of the times", `one { confirmTimeout = 10; } { a = hello // { confirmTimeout = 20; activationTimeout = 7; }; b = hello; }`, "", map[string]string{"guard.confirmTimeout": `20`, "guard.activationTimeout": `7`}},
	{"where the canary would lie", `one { tempPath = "/var/tmp"; } { a = hello; }`, "", map[string]string{"at.host": `"web.example"`}},
	{"the order of profiles, system before the rest", `one { profilesOrder = [ "z" "m" "z" ]; } { a = hello; m = hello; system = hello; z = hello; }`, "", map[string]string{
		"profiles.0.name": `"z"`, "profiles.1.name": `"m"`, "profiles.2.name": `"system"`, "profiles.3.name": `"a"`, "profiles.4": `null`,
	}},
	{"where a profile lies", `one { } { a = hello // { profilePath = "/nix/var/nix/profiles/per-service/a"; }; b = hello // { profilePath = null; }; }`, "", map[string]string{
		"profiles.0.link": `"/nix/var/nix/profiles/per-service/a"`, "profiles.1.link": `""`,
	}},
	{"a system is found in its wrapper", `one { } { system = { user = "root"; path = activate.nixos (nixos { boot.loader.systemd-boot.enable = true; boot.loader.efi.efiSysMountPoint = "/boot"; }); }; }`, "", map[string]string{"profiles.0.kind": `"nixos"`, "profiles.0.activate": `[]`}},
	{"a system of another platform", `one { } { system = { user = "root"; path = (import ` + "LIB" + ` { pkgs = import <nixpkgs> { system = "aarch64-linux"; }; }).activate.nixos (nixos { nixpkgs.hostPlatform = "aarch64-linux"; }); }; }`, "", map[string]string{"platform.system": `"aarch64-linux"`, "profiles.0.kind": `"nixos"`}},
	{"home-manager", `one { } { ana = { user = "ana"; path = activate.home-manager { activationPackage = pkgs.hello; }; }; }`, "", map[string]string{"profiles.0.kind": `"home"`, "profiles.0.user": `"ana"`, "profiles.0.activate": `[]`}},
	{"darwin", `one { } { system = { user = "root"; path = deploy-rs.lib.aarch64-darwin.activate.darwin { config.system.build.toplevel = pkgs.hello; }; }; }`, "", map[string]string{"profiles.0.kind": `"darwin"`, "platform.system": `"aarch64-darwin"`}},
	{"noop", `one { } { a = hello; }`, "", map[string]string{"profiles.0.kind": `"noop"`, "profiles.0.activate": `[]`}},
	{"custom", `one { } { a = { user = "root"; path = activate.custom pkgs.hello "$PROFILE/bin/hello"; }; }`, "", map[string]string{"profiles.0.kind": `"custom"`, "profiles.0.activate": `["deploy-rs-activate"]`}},
	{"custom with words for a try and for the next boot", `one { } { a = { user = "root"; path = (activate.custom // { dryActivate = "echo dry"; boot = "echo boot"; }) pkgs.hello "echo now"; }; }`, "", map[string]string{"profiles.0.kind": `"custom"`}},
	{"a system with a command of one's own is custom", `one { } { system = { user = "root"; path = activate.custom web.config.system.build.toplevel "$PROFILE/bin/switch-to-configuration switch\ncurl http://localhost"; }; }`, "", map[string]string{"profiles.0.kind": `"custom"`, "profiles.0.link": `"/nix/var/nix/profiles/system"`}},
	{"setActivate", `one { } { a = { user = "root"; path = deploy-rs.lib.x86_64-linux.setActivate pkgs.hello "true"; }; }`, "", map[string]string{"profiles.0.kind": `"custom"`}},
	{"a system without wrapper", `one { } { system = { user = "root"; path = web.config.system.build.toplevel; }; }`, "", map[string]string{"profiles.0.kind": `"nixos"`}},
	{"a wrapper that cannot be seen through", `one { } { a = { user = "root"; path = removeAttrs (activate.noop pkgs.hello) [ "override" ]; }; }`, "", map[string]string{"profiles.0.kind": `"custom"`, "profiles.0.activate": `["deploy-rs-activate"]`}},
	{"a path that is in the store already", `one { } { a = { user = "root"; path = builtins.unsafeDiscardStringContext "${activate.noop pkgs.hello}"; }; }`, "", map[string]string{"profiles.0.kind": `"custom"`, "profiles.0.drv": `""`, "platform.from": `"fallback"`, "platform.system": `"riscv64-linux"`}},
	{"only one profile", `one { } { a = hello; b = hello // { user = "ana"; }; }`, `{ only = [ "b" ]; }`, map[string]string{"profiles.0.name": `"b"`, "profiles.1": `null`}},
	{"tags, which deploy-rs does not have", `one { tags = [ "x" ]; } { a = hello; }`, `{ wanted = [ "y" ]; }`, map[string]string{"tags": `["x"]`, "selected": `false`, "profiles.0.drv": `null`}},
	{"metadata looks at no system", `one { } { system = { user = "root"; path = activate.nixos { config = throw "looked"; }; }; ana = { user = "ana"; path = activate.home-manager { activationPackage = throw "looked"; }; }; }`, `{ system = false; }`, map[string]string{
		"profiles.0.kind": `"nixos"`, "profiles.1.kind": `"home"`, "platform.system": `"x86_64-linux"`, "profiles.0.drv": `null`,
	}},
	{"metadata of a path that is broken", `one { } { system = { user = "root"; path = throw "broken"; }; }`, `{ system = false; }`, map[string]string{"profiles.0.kind": `"nixos"`, "platform.from": `"fallback"`}},
	{"one who is root logs in for all", `one { sshUser = "ana"; } { a = { path = activate.noop pkgs.hello; }; b = hello // { sshUser = "root"; }; }`, "", map[string]string{"at.user": `"root"`, "profiles.0.user": `"ana"`}},
}

func TestContract(t *testing.T) {
	tool := tool(t)
	var all []string
	for i, c := range cases {
		args := c.args
		if args == "" {
			args = "{ }"
		}
		expr := strings.ReplaceAll(c.expr, "LIB", nix.QuotePath(filepath.Join(tests(t, "deploy-rs"), "lib.nix")))
		all = append(all, fmt.Sprintf("c%d = (read { } (%s)).host (%s) \"web\";", i, expr, args))
	}
	out, err := evaluate(t, tool, "{ "+strings.Join(all, "\n")+" }")
	if err != nil {
		t.Fatal(fault.Render(err))
	}
	var got map[string]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			host := got[fmt.Sprintf("c%d", i)]
			for path, want := range c.want {
				b, err := json.Marshal(at(host, path))
				if err != nil {
					t.Fatal(err)
				}
				if string(b) != want {
					t.Errorf("%s is %s, want %s", path, b, want)
				}
			}
		})
	}
}

// What is above all levels: the command line.
func TestCommandLineIsAbove(t *testing.T) {
	tool := tool(t)
	out, err := evaluate(t, tool, `(read { cli = { hostname = "10.0.0.9"; sshUser = "eve"; profileUser = "root"; magicRollback = false; sshOpts = [ "-4" ]; confirmTimeout = 5; }; }
  (one { sshUser = "ana"; user = "ana"; sshOpts = [ "-A" ]; } { a = hello // { user = "ana"; confirmTimeout = 50; }; })).host { } "web"`)
	if err != nil {
		t.Fatal(fault.Render(err))
	}
	var host any
	if err := json.Unmarshal(out, &host); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]any{"at.host": "10.0.0.9", "at.user": "eve", "profiles.0.user": "", "guard.magicRollback": false, "guard.confirmTimeout": 5.0, "at.options.0": "-4", "at.options.1": "-A"} {
		if got := at(host, path); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	tool := tool(t)
	for _, c := range []struct{ name, expr, want string }{
		{"no hostname", `{ nodes.web.profiles.a = hello; }`, "deploy.nodes.web has no 'hostname'"},
		{"no profiles", `{ nodes.web.hostname = "w"; }`, "deploy.nodes.web has no 'profiles'"},
		{"empty profiles", `one { } { }`, "deploy.nodes.web has no profiles"},
		{"no path", `one { } { a.user = "root"; }`, "deploy.nodes.web.profiles.a has no 'path'"},
		{"nobody's", `one { } { a.path = pkgs.hello; }`, "deploy.nodes.web.profiles.a does not say whose it is"},
		{"no such profile in the order", `one { profilesOrder = [ "b" ]; } { a = hello; }`, "deploy.nodes.web.profilesOrder names 'b'"},
		{"a text for words of ssh", `one { sshOpts = "-p 22"; } { a = hello; }`, "deploy.nodes.web.sshOpts is a string; it takes a list of strings"},
		{"a text for a number", `one { } { a = hello // { confirmTimeout = "30"; }; }`, "deploy.nodes.web.profiles.a.confirmTimeout is a string; it takes whole seconds"},
		{"a number that is too large", `one { activationTimeout = 70000; } { a = hello; }`, "deploy.nodes.web.activationTimeout is an int; it takes whole seconds, 0 to 65535"},
		{"a text for a truth", `{ autoRollback = "yes"; } // one { } { a = hello; }`, "deploy.autoRollback is a string; it takes true or false"},
		{"a port that is none", `one { sshOpts = [ "-p" "ssh" ]; } { a = hello; }`, "'-p ssh' among sshOpts names no port"},
		{"a port that is missing", `one { sshOpts = [ "-p" ]; } { a = hello; }`, "'-p' among sshOpts wants a port after it"},
		{"a set for a path", `one { } { a = { user = "root"; path = web; }; }`, "deploy.nodes.web.profiles.a.path is a set; it takes a derivation"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := evaluate(t, tool, "(read { } ("+c.expr+")).host { } \"web\"")
			if err == nil {
				t.Fatalf("it was taken: %s", out)
			}
			if !strings.Contains(fault.Render(err), c.want) {
				t.Errorf("no %q in\n%s", c.want, fault.Render(err))
			}
		})
	}
}
