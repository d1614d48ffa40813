package colmena

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/source"
	"godwit/internal/source/sourcetest"
)

// fact is one statement of what a hive means. Numbers are those of the sections of
// docs/colmena.md.
type fact struct {
	is    string
	hive  string            // hive.nix; or
	flake string            // the outputs of a flake.nix, a function of { nixpkgs }
	attr  string            // of the flake; Raw when empty
	files map[string]string // beside it
	ask   string            // an expression of h, the dialect's answer
	want  string            // as JSON; or
	err   []string          // what the error says
}

// simple is a host that needs nothing.
const simple = `{ boot.isContainer = true; }`

// facts are batched by the test: those that want a value are one evaluation.
var facts = []fact{
	// 2.1 shape
	{is: "2.1 a set", hive: `{ a = {}; meta = {}; defaults = {}; }`, ask: "h.summary.names", want: `["a"]`},
	{is: "2.1 a function", hive: `{ x ? "b", ... }: { ${x} = {}; }`, ask: "h.summary.names", want: `["b"]`},
	{is: "2.1 a set that can be called", hive: `{ __functor = self: { ... }: { inherit (self) c; }; c = {}; }`, ask: "h.summary.names", want: `["c"]`},
	{is: "2.1 no nixpkgs is needed for names", hive: `{ meta.nixpkgs = throw "no"; "h1.example.org" = throw "no"; }`, ask: "h.summary.names", want: `["h1.example.org"]`},
	{is: "2.1 no set", hive: `[ ]`, ask: "h.summary", err: []string{"is a list; a hive must evaluate to an attribute set"}},
	{is: "2.1 a function that wants arguments", hive: `{ x, y ? 1 }: { }`, ask: "h.summary.other", want: `{"args":["x","y"],"kind":"function"}`},
	{is: "2.1 a morph network", hive: `{ network.pkgs = import <nixpkgs> { }; a = {}; }`, ask: "h.summary.other.kind", want: `"network"`},
	{is: "2.1 a flake", hive: `{ inputs = {}; outputs = { self }: { }; }`, ask: "h.summary.other.kind", want: `"flake"`},
	{is: "2.1 a module", hive: `{ imports = [ ]; services.nginx.enable = true; }`, ask: "h.summary.other.kind", want: `"module"`},
	{is: "2.1 network is meta", hive: `{ network.description = "d"; a = {}; }`, ask: "h.summary", want: `{"applyAll":true,"description":"d","names":["a"],"nixConfig":{}}`},
	{is: "2.1 network and meta", hive: `{ network = {}; meta = {}; a = {}; }`, ask: "h.summary", err: []string{"has both 'network' and 'meta'"}},
	{is: "2.1 defaults, then the host", hive: `{ defaults = { lib, ... }: { networking.hostName = lib.mkDefault "d"; networking.domain = lib.mkDefault "d"; deployment.tags = [ "d" ]; };
		a = { networking.hostName = "a"; deployment.tags = [ "a" ]; }; }`,
		ask: `let c = h.nodes.a.config; in [ c.networking.hostName c.networking.domain (host "a").tags ]`, want: `["a","d",["d","a"]]`},
	{is: "2.1 a value in both conflicts", hive: `{ defaults.networking.hostName = "d"; a.networking.hostName = "a"; }`, ask: `h.nodes.a.config.networking.hostName`,
		err: []string{"networking.hostName", "several values that do not go together"}},
	{is: "2.1 a list of modules", hive: `{ a = [ { deployment.tags = [ "x" ]; } ./m.nix ]; }`, files: map[string]string{"m.nix": `{ deployment.targetHost = "m"; }`},
		ask: `[ (host "a").tags (host "a").at.host ]`, want: `[["x"],"m"]`},
	{is: "2.1 name and nodes", hive: `{ a = { name, nodes, ... }: { deployment.tags = [ name nodes.b.config.networking.hostName ]; }; b = { nodes, ... }: { networking.hostName = "bb"; environment.etc.x.text = nodes.a.config.deployment.targetHost; }; }`,
		ask: `[ (host "a").tags h.nodes.b.config.environment.etc.x.text ]`, want: `[["a","bb"],"a"]`},
	{is: "2.1 nodes are not checked", hive: `{ a = { nodes, ... }: { deployment.tags = [ nodes.b.config.networking.hostName ]; }; b = { networking.hostName = "bb"; no.such.option = 1; }; }`,
		ask: `(host "a").tags`, want: `["bb"]`},
	{is: "2.1 0.5: specialArgs may replace name", hive: `{ meta.specialArgs.name = "z"; a = {}; }`, ask: `(host "a").at.host`, want: `"z"`},
	{is: "2.1 0.4: they may not", flake: `{ colmena = { meta = { nixpkgs = import nixpkgs { system = "x86_64-linux"; }; specialArgs.name = "z"; }; a = {}; }; }`, ask: `(host "a").at.host`, want: `"a"`},
	{is: "2.1 no host name is set", hive: `{ "a.b" = { boot.isContainer = true; }; }`, ask: `h.nodes."a.b".config.networking.hostName`, want: `"nixos"`},

	// 2.1 package sets of hosts
	{is: "2.1 overlays of both, those of meta first", hive: `{ meta.nixpkgs = import <nixpkgs> { overlays = [ (f: p: { one = "m"; two = "m"; }) ]; };
		a.nixpkgs.overlays = [ (f: p: { two = p.two + "a"; }) ]; b = {}; }`,
		ask: `map (n: let p = h.nodes.${n}.pkgs; in [ p.one p.two ]) [ "a" "b" ]`, want: `[["m","ma"],["m","m"]]`},
	{is: "2.1 config of both, the host wins", hive: `{ meta.nixpkgs = import <nixpkgs> { config = { allowUnfree = true; allowBroken = true; }; }; a.nixpkgs.config.allowUnfree = false; b = {}; }`,
		ask: `map (n: let c = h.nodes.${n}.pkgs.config; in [ c.allowUnfree c.allowBroken ]) [ "a" "b" ]`, want: `[[false,true],[true,true]]`},
	{is: "2.1 the platform is that of meta.nixpkgs", hive: `{ meta.nixpkgs = import <nixpkgs> { system = "aarch64-linux"; }; a = ` + simple + `;
		b.nixpkgs.hostPlatform = "x86_64-linux"; c.nixpkgs.system = "x86_64-linux"; d.nixpkgs.localSystem.system = "i686-linux"; }`,
		ask:  `map (n: let p = (host n).platform; in [ p.system p.from ]) [ "a" "b" "c" "d" ]`,
		want: `[["aarch64-linux","pkgs"],["x86_64-linux","hostPlatform"],["x86_64-linux","system"],["i686-linux","localSystem"]]`},
	{is: "2.1 a host that is found to be another platform", hive: `{ meta.nixpkgs = <nixpkgs>; told = ` + simple + `; a = ` + simple + `; }`,
		ask: `map (n: [ (host n).platform.from h.nodes.${n}.pkgs.stdenv.hostPlatform.system ]) [ "a" "told" ]`, want: `[["fallback","x86_64-linux"],["fallback","aarch64-linux"]]`},

	{is: "2.1 a system without keys is that of the plain configuration", hive: `{ a = { boot.isContainer = true; networking.hostName = "a"; system.stateVersion = "25.05"; }; }`,
		ask: `(builtins.head (h.host { } "a").profiles).drv == (import <nixpkgs/nixos/lib/eval-config.nix> { system = "x86_64-linux"; modules = [
			{ boot.isContainer = true; networking.hostName = "a"; system.stateVersion = "25.05"; } ]; }).config.system.build.toplevel.drvPath`, want: `true`},

	// 2.2 meta
	{is: "2.2 defaults", hive: `{ a = {}; }`, ask: `h.summary`, want: `{"applyAll":true,"description":"A Colmena Hive","names":["a"],"nixConfig":{}}`},
	{is: "2.2 all of it", hive: `{ meta = { name = "n"; description = "d"; machinesFile = ./machines; allowApplyAll = false; nixpkgs = <nixpkgs>; nodeNixpkgs = {}; specialArgs = {}; nodeSpecialArgs = {}; }; a = {}; }`,
		ask: `let s = h.summary; in [ s.description s.applyAll (builtins.match "@/.*/machines" s.nixConfig.builders) ]`, want: `["d",false,[]]`},
	{is: "2.2 an option that does not exist", hive: `{ meta.allowApplyAl = false; a = {}; }`, ask: `h.summary`, err: []string{"allowApplyAl", "does not exist"}},
	{is: "2.2 of another type", hive: `{ meta.allowApplyAll = "no"; a = {}; }`, ask: `h.summary`, err: []string{"allowApplyAll", "takes a value of type"}},
	{is: "2.2 with a priority", hive: `{ meta.allowApplyAll = (import <nixpkgs/lib>).mkForce false; a = {}; }`, ask: `h.summary.applyAll`, want: `false`},
	{is: "2.2 a function is no meta", hive: `{ meta = { lib, ... }: { }; a = {}; }`, ask: `h.summary`, err: []string{"'meta' of", "is a lambda"}},
	{is: "2.2 nixpkgs: path, store path, function, set, set of a path, none", hive: `{ meta.nodeNixpkgs = rec { a = <nixpkgs>; b = { outPath = <nixpkgs>; }; c = import <nixpkgs>; d = import <nixpkgs> { }; e = ./instance.nix; g = toString <nixpkgs>; };
		a = {}; b = {}; c = {}; d = {}; e = {}; f = {}; g = {}; }`, files: map[string]string{"instance.nix": `import <nixpkgs> { system = "aarch64-linux"; }`},
		ask: `map (n: (host n).platform.from) h.names`, want: `["fallback","fallback","fallback","pkgs","fallback","fallback","fallback"]`},
	{is: "2.2 nixpkgs of another sort", hive: `{ meta.nixpkgs = 7; a = {}; }`, ask: `host "a"`, err: []string{"meta.nixpkgs is a int"}},
	{is: "2.2 nodeNixpkgs is named", hive: `{ meta.nodeNixpkgs.a = 7; a = {}; }`, ask: `host "a"`, err: []string{"meta.nodeNixpkgs.a is a int"}},
	{is: "2.2 specialArgs", hive: `{ meta.specialArgs = { x = "1"; y = "1"; }; meta.nodeSpecialArgs.b.x = "2"; defaults = { x, y, ... }: { deployment.tags = [ x y ]; }; a = {}; b = {}; }`,
		ask: `map (n: (host n).tags) h.names`, want: `[["1","1"],["2","1"]]`},

	// 2.3 deployment
	{is: "2.3 defaults", hive: `{ a = {}; }`, ask: `let x = host "a"; in { inherit (x) at tags buildOnly buildOn replaceUnknown secrets substituteOnDestination; }`,
		want: `{"at":{"also":[],"become":null,"forwardAgent":false,"host":"a","local":false,"options":[],"port":0,"user":"root"},"buildOn":null,"buildOnly":false,"replaceUnknown":true,"secrets":{},"substituteOnDestination":true,"tags":[]}`},
	{is: "2.3 all of it", hive: `{ a.deployment = { targetHost = "h"; targetPort = 22; targetUser = "u"; allowLocalDeployment = true; buildOnTarget = true; tags = [ "x" ]; replaceUnknownProfiles = false;
		privilegeEscalationCommand = [ "doas" ]; sshOptions = [ "-o" "Compression=yes" ]; }; }`,
		ask:  `let x = host "a"; in { inherit (x) at tags buildOnly buildOn replaceUnknown; }`,
		want: `{"at":{"also":[],"become":["doas"],"forwardAgent":false,"host":"h","local":true,"options":["-o","Compression=yes"],"port":22,"user":"u"},"buildOn":"target","buildOnly":false,"replaceUnknown":false,"tags":["x"]}`},
	{is: "2.3 no address, no user", hive: `{ a.deployment = { targetHost = null; targetUser = null; }; }`, ask: `let x = host "a"; in [ x.at.host x.at.user x.buildOnly ]`, want: `["","",true]`},
	{is: "2.3 a port that is none", hive: `{ a.deployment.targetPort = 70000; }`, ask: `host "a"`, err: []string{"deployment.targetPort is 70000; a port is a number from 1 to 65535"}},
	{is: "2.3 an option that does not exist", hive: `{ a.deployment.healthChecks = {}; }`, ask: `host "a"`, err: []string{"deployment.healthChecks", "does not exist"}},
	{is: "2.3 the names beside it", hive: `{ a = {}; }`, ask: `h.siblings "a" [ "deployment" ]`,
		want: `["addresses","allowLocalDeployment","buildOnTarget","forwardAgent","keys","pinNixpkgs","privilegeEscalationCommand","replaceUnknownProfiles","sshOptions","tags","targetHost","targetPort","targetUser"]`},

	// 2.4 keys
	{is: "2.4 defaults", hive: `{ a.deployment.keys.k.text = "t"; }`, ask: `(host "a").secrets`,
		want: `{"k":{"action":[],"destination":"/run/keys/k","from":{"text":"t"},"group":"root","lateOwner":true,"mkDirs":true,"permissions":"0600","uploadAt":"pre-activation","user":"root"}}`},
	{is: "2.4 all of it", hive: `{ a.deployment.keys.k = { name = "n"; keyCommand = [ "c" "d" ]; destDir = "/x"; user = "u_1"; group = "g"; permissions = "0640"; uploadAt = "post-activation"; }; }`, ask: `(host "a").secrets.k`,
		want: `{"action":[],"destination":"/x/n","from":{"command":["c","d"]},"group":"g","lateOwner":false,"mkDirs":true,"permissions":"0640","uploadAt":"post-activation","user":"u_1"}`},
	{is: "2.4 a file is not copied to the store", hive: `{ a.deployment.keys = { p.keyFile = ./secret; q.keyFile = "/etc/secret"; }; }`, files: map[string]string{"secret": "s"},
		ask: `let s = (host "a").secrets; in [ (builtins.match "/nix/store.*" s.p.from.file) (builtins.match ".*/secret" s.p.from.file) s.q.from.file ]`, want: `[null,[],"/etc/secret"]`},
	{is: "2.4 godwit's module lets keys rest", hive: `{ a = { lib, ... }: { options.godwit.restSecrets = lib.mkOption { default = true; }; config.deployment.keys.k.text = "t"; }; }`, ask: `(host "a").restSecrets`, want: `true`},
	{is: "2.4 keys are pushed", hive: `{ a.deployment.keys.k.text = "t"; }`, ask: `(host "a").restSecrets`, want: `false`},
	{is: "2.4 no source", hive: `{ a.deployment.keys.k = { }; }`, ask: `host "a"`, err: []string{"deployment.keys.k: exactly one of 'text', 'keyCommand' and 'keyFile' must be set; none is"}},
	{is: "2.4 two sources", hive: `{ a.deployment.keys.k = { text = "hush"; keyFile = "/x"; }; }`, ask: `host "a"`, err: []string{"deployment.keys.k: exactly one of", "text and keyFile are"}},
	{is: "2.4 a command is a list", hive: `{ a.deployment.keys.k.keyCommand = "pass show x"; }`, ask: `host "a"`, err: []string{"deployment.keys.k.keyCommand", "takes a value of type"}},
	{is: "2.4 an option of keys that does not exist", hive: `{ a.deployment.keys.k = { text = ""; mode = "1"; }; }`, ask: `host "a"`, err: []string{"deployment.keys.k.mode", "does not exist"}},
	{is: "2.4 units", hive: `{ a.deployment.keys.k = { name = "n"; text = "t"; }; }`,
		ask: `let c = h.nodes.a.config.systemd; s = c.services.k-key; p = c.paths.k-key; in
			[ p.wantedBy p.pathConfig.PathExists s.serviceConfig.Restart s.serviceConfig.RestartSec s.serviceConfig.TimeoutStartSec (map (x: x.pname) (builtins.filter (x: x ? pname) s.path)) ]`,
		want: `[["paths.target"],"/run/keys/n","always","100ms","infinity",["inotify-tools"]]`},
	{is: "2.4 owners", hive: `{ a.deployment.keys = { k = { text = "t"; user = "u"; }; l = { text = "t"; uploadAt = "post-activation"; }; }; b.deployment.keys.l = { text = "t"; uploadAt = "post-activation"; }; }`,
		ask: `let s = n: h.nodes.${n}.config.system.activationScripts; in
			[ (s "a").colmena-chown-keys.deps (builtins.match ".*chown -h u:root /run/keys/k .*" (builtins.replaceStrings [ "\n" ] [ " " ] (s "a").colmena-chown-keys.text)) ((s "b") ? colmena-chown-keys) ]`,
		want: `[["groups"],[],false]`},

	// What colmena has no words for.
	{is: "further addresses, the agent", hive: `{ a.deployment = { addresses = [ "b" "c@d:2" ]; forwardAgent = true; sshOptions = [ "-4" ]; }; }`,
		ask: `let at = (host "a").at; in [ at.host at.also at.forwardAgent at.options ]`, want: `["a",["b","c@d:2"],true,["-4"]]`},
	{is: "nixpkgs on the host", hive: `{ a.deployment.pinNixpkgs = true; b = {}; c = { deployment.pinNixpkgs = true; nix.nixPath = [ "x=/y" ]; }; }`,
		ask:  `let n = host: h.nodes.${host}.config.nix; to = (n "a").registry.nixpkgs.to; in [ to.type (builtins.pathExists (to.path + "/nixos")) (builtins.hasContext to.path) (n "a").nixPath (n "b").registry (n "b").nixPath (n "c").nixPath ]`,
		want: `["path",true,true,["nixpkgs=flake:nixpkgs"],{},[],["x=/y"]]`},

	// 2.5 flakes
	{is: "2.5 a raw hive, purely", flake: `{ colmena = { meta = { nixpkgs = import nixpkgs { system = "aarch64-linux"; }; description = "raw"; }; a = { boot.isContainer = true; deployment.tags = [ "x" ]; }; }; }`,
		ask: `[ h.summary (host "a").tags (host "a").platform ]`, want: `[{"applyAll":true,"description":"raw","names":["a"],"nixConfig":{}},["x"],{"from":"pkgs","system":"aarch64-linux"}]`},
	{is: "2.5 no package set", flake: `{ colmena.a = {}; }`, ask: `host "a"`, err: []string{"meta.nixpkgs must be set in a flake"}},
	{is: "2.5 an input", flake: `{ colmena = { meta.nixpkgs = nixpkgs; a = {}; }; }`, ask: `host "a"`, err: []string{"meta.nixpkgs is an input that is not initialised", "import inputs.nixpkgs"}},
	{is: "2.5 a path", flake: `{ colmena = { meta.nixpkgs = ./.; a = {}; }; }`, ask: `host "a"`, err: []string{"meta.nixpkgs is a path to nixpkgs"}},
	{is: "2.5 a function", flake: `{ colmena = { meta.nodeNixpkgs.a = import nixpkgs; a = {}; }; }`, ask: `host "a"`, err: []string{"meta.nodeNixpkgs.a is a function"}},
	// What makeHive gives has colmena's own modules in it; a stand-in has one option of them.
	{is: "2.5 an evaluated hive", attr: Made, flake: `{ colmenaHive = {
			__schema = "v0.5"; metaConfig = { name = "n"; description = "made"; machinesFile = "/m"; allowApplyAll = false; };
			introspect = f: f { lib = 1; pkgs = 2; nodes = 3; };
			nodes.a = import (nixpkgs.outPath + "/nixos/lib/eval-config.nix") { system = "x86_64-linux"; modules = [
				({ lib, ... }: { options.deployment = lib.mkOption { type = lib.types.anything; }; })
				{ deployment = { targetHost = "h"; targetUser = null; tags = [ "t" ]; keys = { }; targetPort = null; }; boot.isContainer = true; } ]; }; }; }`,
		ask:  `[ h.summary (host "a").at (host "a").tags (host "a").platform.system (h.introspect (x: x)) ]`,
		want: `[{"applyAll":false,"description":"made","names":["a"],"nixConfig":{"builders":"@/m"}},{"also":[],"become":null,"forwardAgent":false,"host":"h","local":false,"options":[],"port":0,"user":""},["t"],"x86_64-linux",{"lib":1,"nodes":3,"pkgs":2}]`},
	{is: "2.5 an evaluated hive of a kind that nobody knows", attr: Made, flake: `{ colmenaHive = { __schema = "v9"; }; }`, ask: `h.summary`, err: []string{"has colmena's schema v9, without nodes and metaConfig"}},

	// 1.6 eval -E
	{is: "1.6 eval", hive: `{ a.networking.hostName = "x"; }`, ask: `h.introspect ({ nodes, pkgs, lib, ... }: [ (lib.attrNames nodes) nodes.a.config.networking.hostName pkgs.hello.pname ])`, want: `[["a"],"x","hello"]`},
}

// at writes the repository of a fact, and says where its hive is.
func (f fact) at(t testing.TB) source.Location {
	t.Helper()
	files := map[string]string{"hive.nix": f.hive}
	for name, text := range f.files {
		files[name] = text
	}
	if f.flake == "" {
		return source.Location{File: filepath.Join(sourcetest.Write(t, files), "hive.nix")}
	}
	files["flake.nix"] = "{ outputs = { self }: let nixpkgs = { outPath = ./nixpkgs; outputs = { }; }; in " + f.flake + "; }"
	dir := sourcetest.Write(t, files)
	if err := os.CopyFS(filepath.Join(dir, "nixpkgs"), os.DirFS(sourcetest.Nixpkgs(t))); err != nil {
		t.Fatal(err)
	}
	attr := f.attr
	if attr == "" {
		attr = Raw
	}
	return source.Location{Flake: "path:" + dir, Attr: attr}
}

// answer is the expression of what a fact asks, in Nix.
func (f fact) answer(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("(let h = %s { systems.told = \"aarch64-linux\"; fallback = \"x86_64-linux\"; }; host = h.host { system = false; }; in %s)",
		expr(f.at(t), source.Options{}), f.ask)
}

// TestContract: each fact of sections 1 and 2 that a hive can show.
func TestContract(t *testing.T) {
	tl := sourcetest.Tool(t, "")
	eval := func(expr string) ([]byte, error) {
		return tl.Eval(t.Context(), nix.Evaluation{Expr: expr, Args: []string{"--extra-experimental-features", "nix-command flakes"}})
	}
	var all strings.Builder
	var values []fact
	for _, f := range facts {
		if f.err == nil {
			values = append(values, f)
			fmt.Fprintf(&all, "%s\n", f.answer(t))
			continue
		}
		t.Run(f.is, func(t *testing.T) {
			out, err := eval(f.answer(t))
			if err == nil {
				t.Fatalf("no error: %s", out)
			}
			said := fault.Render(err)
			for _, want := range f.err {
				if !strings.Contains(said, want) {
					t.Errorf("%s\nlacks %q", said, want)
				}
			}
			if strings.Contains(said, "hush") {
				t.Errorf("the error holds the secret:\n%s", said)
			}
		})
	}
	out, err := eval("[ " + all.String() + " ]")
	if err != nil { // which one?
		for _, f := range values {
			if _, err := eval(f.answer(t)); err != nil {
				t.Errorf("%s:\n%s", f.is, fault.Render(err))
			}
		}
		t.FailNow()
	}
	var got []json.RawMessage
	if err := json.Unmarshal(out, &got); err != nil || len(got) != len(values) {
		t.Fatal(err, len(got))
	}
	for i, f := range values {
		t.Run(f.is, func(t *testing.T) {
			var b bytes.Buffer
			if err := json.Compact(&b, got[i]); err != nil || b.String() != f.want {
				t.Errorf("got  %s\nwant %s", b.String(), f.want)
			}
		})
	}
}

// TestSelectByTags: which hosts are chosen, and that the systems of the others are not
// begun with.
func TestSelectByTags(t *testing.T) {
	tl := sourcetest.Tool(t, "")
	h := fact{hive: `let host = tags: { deployment.tags = tags; boot.isContainer = true; }; off = { system.build.toplevel = (import <nixpkgs/lib>).mkForce (throw "not wanted"); }; in {
		meta.nixpkgs = <nixpkgs>;
		a = host [ "web" "eu" ]; b = host [ "web" "canary" ]; c = host [ "db" ]; d = { imports = [ (host [ "other" ]) off ]; }; bad = throw "bad"; }`}
	at := h.at(t)
	for on, want := range map[string]string{
		"@web,!bad": "a b", "!bad,!@canary,!d": "a c", "@web&@eu,!bad": "a", "?&(@db,@eu)": "a c", "c": "c", "@web": "a b bad!", "?&@nobody": "!no host matches", "@nobody": "bad!",
	} {
		for _, outputs := range []bool{true, false} {
			if !outputs && !strings.HasPrefix(on, "!bad") {
				continue // without systems there is one way only
			}
			seen := 0
			res, err := sourcetest.Open(t, tl, Dialect, at, source.Options{}).Load(t.Context(), source.Request{
				Selection: fleet.Selection{Every: 1, On: []string{on}}, Outputs: outputs, OnHost: func(fleet.Host) { seen++ },
			})
			if err != nil {
				if !strings.HasPrefix(want, "!") {
					t.Errorf("%s: %s", on, fault.Render(err))
				}
				continue
			}
			got := sourcetest.Names(res.Fleet.Hosts)
			n := len(got)
			for _, f := range res.Failed {
				got = append(got, f.Host+"!")
			}
			if strings.Join(got, " ") != want || outputs && seen != n {
				t.Errorf("%s (outputs %t): %v, %d announced", on, outputs, got, seen)
			}
		}
	}
}

// TestHost: what becomes of a host's options in Go.
func TestHost(t *testing.T) {
	tl := sourcetest.Tool(t, "")
	h := fact{hive: `{ meta = { nixpkgs = import <nixpkgs> { system = "x86_64-linux"; }; allowApplyAll = false; };
		a = { boot.isContainer = true; deployment = { targetHost = "h"; targetPort = 22; targetUser = "u"; allowLocalDeployment = true; buildOnTarget = true; tags = [ "x" ]; replaceUnknownProfiles = false;
			privilegeEscalationCommand = [ "doas" ]; sshOptions = [ "-4" ]; keys = { c.keyCommand = [ "pass" "x" ]; f = { keyFile = ./f; uploadAt = "post-activation"; }; t.text = "hush"; }; }; };
		b = { boot.isContainer = true; deployment.targetHost = null; }; }`}
	at := h.at(t)
	res := sourcetest.Load(t, sourcetest.Open(t, tl, Dialect, at, source.Options{}), source.Request{Outputs: true})
	hosts := sourcetest.Good(t, res)
	a := hosts[0]
	if got, want := a.Secrets[0].Option("destination"), `deployment.keys."c".destDir`; got != want {
		t.Errorf("the option is %s, want %s", got, want)
	}
	for i := range a.Secrets {
		a.Secrets[i].Options = nil
	}
	key := func(name string, from fleet.Content) fleet.Secret {
		return fleet.Secret{Name: name, From: from, Destination: "/run/keys/" + name, User: "root", Group: "root", Permissions: "0600",
			Action: []string{}, MkDirs: true, LateOwner: true, UploadAt: fleet.PreActivation}
	}
	file := key("f", fleet.Content{File: filepath.Join(at.Dir(), "f")})
	file.FileGiven, file.UploadAt, file.LateOwner = file.From.File, fleet.PostActivation, false
	want := fleet.Host{
		Name: "a", At: fleet.Address{Host: "h", User: "u", Port: 22, Options: []string{"-4"}, Become: []string{"doas"}, Local: true},
		Platform: fleet.Platform{Name: "x86_64-linux", From: "pkgs"}, Tags: []string{"x"}, BuildOn: "target", SubstituteOnDestination: true,
		Secrets:  []fleet.Secret{key("c", fleet.Content{Command: []string{"pass", "x"}}), file, key("t", fleet.Content{Text: "hush"})},
		Profiles: a.Profiles, KnownOnly: true,
	}
	if !reflect.DeepEqual(a, want) {
		t.Errorf("got  %#v\nwant %#v", a, want)
	}
	if p := a.Main(); p.Kind != fleet.NixOS || !strings.HasSuffix(p.Drv, ".drv") || p.Version == "" {
		t.Errorf("%+v", p)
	}
	if b := hosts[1]; !b.BuildOnly || b.At.Host != "" || b.KnownOnly {
		t.Errorf("%+v", b)
	}
	// Text and commands are in nothing that is written down.
	if all, err := json.Marshal(hosts); err != nil || strings.Contains(string(all), "hush") || strings.Contains(string(all), "pass") || strings.Contains(fmt.Sprintf("%v %+v %#v", hosts, hosts, hosts), "hush") {
		t.Errorf("%s %v", all, err)
	}
}

// TestNothingSecretIsKept: what is remembered of a pure flake for the next run holds no
// text of a key, and no command.
func TestNothingSecretIsKept(t *testing.T) {
	tl := sourcetest.Tool(t, "")
	dir := t.TempDir()
	sourcetest.WriteIn(t, dir, map[string]string{"flake.nix": `{ inputs.nixpkgs.url = "path:` + sourcetest.Nixpkgs(t) + `"; outputs = { self, nixpkgs }: { colmena = {
		meta.nixpkgs = import nixpkgs { system = "x86_64-linux"; }; defaults.boot.isContainer = true;
		a.deployment.keys.k.text = "hush"; b.deployment.keys.k.keyCommand = [ "echo" "hush" ]; c.deployment.keys.k.keyFile = ./flake.nix; }; }; }`})
	cache := t.TempDir()
	for range 2 {
		at := source.Location{Flake: dir, Attr: Raw}
		res := sourcetest.Load(t, sourcetest.Open(t, tl, Dialect, at, source.Options{Cache: cache}), source.Request{Outputs: true})
		if hosts := sourcetest.Good(t, res); len(hosts) != 3 || hosts[0].Secrets[0].From.Text != "hush" {
			t.Errorf("%+v", hosts)
		}
	}
	files := 0
	err := filepath.WalkDir(cache, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte("hush")) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	if err != nil || files == 0 {
		t.Error(files, err)
	}
}
