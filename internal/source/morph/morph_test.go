package morph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/source"
	"godwit/internal/source/reader"
	"godwit/internal/source/sourcetest"
)

func tool(t testing.TB, system string) *nix.Tool { t.Helper(); return sourcetest.Tool(t, system) }

// write makes the files of a repository and gives the path of its network.nix.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	return filepath.Join(sourcetest.Write(t, files), "network.nix")
}

func network(t testing.TB, text string) string {
	return write(t, map[string]string{"network.nix": text})
}

func open(t testing.TB, tool *nix.Tool, file string, opts source.Options) *reader.Reader {
	t.Helper()
	return sourcetest.Open(t, tool, Dialect, source.Location{File: file}, opts)
}

func load(t testing.TB, s source.Source, r source.Request) *source.Result {
	t.Helper()
	return sourcetest.Load(t, s, r)
}

func good(t testing.TB, res *source.Result) []fleet.Host { t.Helper(); return sourcetest.Good(t, res) }

// Every attribute and option of morph, and the defaults of what is not said.
func TestEverything(t *testing.T) {
	tl := tool(t, "")
	file := write(t, map[string]string{
		"network.nix": `
		let pkgs = import <nixpkgs> { system = "aarch64-linux"; }; in {
		  network = {
		    inherit pkgs;
		    description = "all of it";
		    lib = pkgs.lib;
		    evalConfig = <nixpkgs/nixos/lib/eval-config.nix>;
		    specialArgs = { special = "argument"; };
		    runCommand = pkgs.runCommand;
		    nixConfig = { max-jobs = "3"; "extra-sandbox-paths" = ""; };
		    ordering.tags = [ "db" "web" ];
		  };
		  defaults = { name, ... }: { networking.domain = "example.org"; deployment.tags = [ "all" ]; };
		  resources = throw "not looked at"; require = throw "not looked at";
		  _file = "somewhere.nix";
		  web = { name, nodes, special, config, lib, ... }: {
		    imports = [ ./module.nix ];
		    deployment = {
		      targetHost = "${name}.${config.networking.domain}";
		      targetPort = 2222;
		      targetUser = special;
		      tags = [ "web" nodes.db.config.networking.hostName ];
		      substituteOnDestination = true;
		      buildOn = "target";
		      secrets.one = { source = "./a file"; destination = "/run/x/..//./one"; };
		      secrets.two = {
		        source = "/abs/<two>"; destination = "/run/two"; owner.user = "u"; owner.group = "g";
		        permissions = "0440"; action = [ "systemctl" "restart" "x y" ]; mkDirs = false; uploadAt = "post-activation";
		      };
		      healthChecks = {
		        cmd = [ { description = "none"; } { description = "c"; cmd = [ "true" "a b" ]; period = 7; timeout = 0; } ];
		        http = [ { description = "h"; port = 80; }
		          { description = "i"; port = 443; scheme = "https"; host = "other"; path = "/x"; headers.A = "b"; insecureSSL = true; period = 1; timeout = 2; } ];
		      };
		      preDeployChecks.cmd = [ { description = "p"; cmd = [ "false" ]; } ];
		    };
		  };
		  db = { nodes, ... }: { deployment.buildOnly = true; deployment.tags = [ "db" ]; networking.hostName = "database";
		    environment.etc.peer.text = nodes.web.config.deployment.targetHost; };
		  "h1.example.org" = { networking.hostName = "h1"; };
		}`,
		"module.nix": `{ environment.etc.x.text = "y"; }`,
	})
	n := open(t, tl, file, source.Options{})
	if n.About().Description != "all of it" || !reflect.DeepEqual(n.About().Names, []string{"db", "h1.example.org", "web"}) ||
		!reflect.DeepEqual(n.About().NixConfig, map[string]string{"max-jobs": "3", "extra-sandbox-paths": ""}) || n.About().Shell {
		t.Errorf("%+v", n)
	}
	hosts := good(t, load(t, n, source.Request{Outputs: true}))
	if got := sourcetest.Names(hosts); !reflect.DeepEqual(got, []string{"db", "web", "h1.example.org"}) {
		t.Fatal(got)
	}
	db, web, h1 := hosts[0], hosts[1], hosts[2]
	dir := filepath.Dir(file)
	want := fleet.Host{
		Name: "web", At: fleet.Address{Host: "web.example.org", User: "argument", Port: 2222},
		SubstituteOnDestination: true, Tags: web.Tags,
		Secrets: []fleet.Secret{
			{Name: "one", From: fleet.Content{File: filepath.Join(dir, "a file")}, FileGiven: "./a file", Destination: "/run/one", User: "root", Group: "root",
				Permissions: "0400", Action: []string{}, MkDirs: true, UploadAt: "pre-activation"},
			{Name: "two", From: fleet.Content{File: "/abs/<two>"}, FileGiven: "/abs/<two>", Destination: "/run/two", User: "u", Group: "g", Permissions: "0440",
				Action: []string{"systemctl", "restart", "x y"}, UploadAt: "post-activation"},
		},
		HealthChecks: fleet.Checks{
			Cmd: []fleet.CmdCheck{{Description: "none", Period: 2 * time.Second, Timeout: 5 * time.Second},
				{Description: "c", Cmd: []string{"true", "a b"}, Period: 7 * time.Second}},
			HTTP: []fleet.HTTPCheck{
				{Description: "h", Scheme: "http", Port: 80, Path: "/", Headers: map[string]string{}, Period: 2 * time.Second, Timeout: 5 * time.Second},
				{Description: "i", Scheme: "https", Host: "other", Port: 443, Path: "/x", Headers: map[string]string{"A": "b"}, InsecureSSL: true, Period: time.Second, Timeout: 2 * time.Second}},
		},
		PreDeployChecks: fleet.Checks{Cmd: []fleet.CmdCheck{{Description: "p", Cmd: []string{"false"}, Period: 2 * time.Second, Timeout: 5 * time.Second}}},
		Platform:        fleet.Platform{Name: "aarch64-linux", From: "pkgs"}, BuildOn: "target",
		Profiles: []fleet.Profile{{Name: "system", Kind: fleet.NixOS, Drv: web.Main().Drv, Path: web.Main().Path, Version: web.Main().Version}},
	}
	if !reflect.DeepEqual(web, want) {
		t.Errorf("got  %+v\nwant %+v", web, want)
	}
	if tags := slices.Sorted(slices.Values(web.Tags)); !reflect.DeepEqual(tags, []string{"all", "database", "web"}) {
		t.Error(tags)
	}
	if !db.BuildOnly || h1.At.Host != "h1.example.org" || h1.At.Port != 0 || h1.Main().Version == "" || h1.BuildOn != "" {
		t.Errorf("%+v\n%+v", db, h1)
	}
	for _, h := range hosts {
		if !strings.HasSuffix(h.Main().Drv, ".drv") || !strings.HasPrefix(h.Main().Path, "/nix/store/") {
			t.Errorf("%s: %s %s", h.Name, h.Main().Drv, h.Main().Path)
		}
		if _, err := os.Stat(h.Main().Drv); err != nil {
			t.Error(err)
		}
	}
	// Words of command checks are in the closure.
	if out, err := exec.Command("nix-store", "-qR", web.Main().Drv).CombinedOutput(); err != nil || !strings.Contains(string(out), "healthcheck-commands.txt.drv") {
		t.Error(string(out), err)
	}
	// Metadata alone says the same, without systems.
	for _, h := range good(t, load(t, n, source.Request{})) {
		full := hosts[slices.IndexFunc(hosts, func(x fleet.Host) bool { return x.Name == h.Name })]
		full.Profiles = []fleet.Profile{{Name: "system", Kind: fleet.NixOS, Version: full.Main().Version}}
		if !reflect.DeepEqual(h, full) {
			t.Errorf("metadata alone: %+v\nwant %+v", h, full)
		}
	}
}

// Networks of the shapes that morph's own examples have load unmodified.
func TestExamples(t *testing.T) {
	tl := tool(t, "")
	files, _ := filepath.Glob(filepath.Join(sourcetest.Nixpkgs(t), "examples", "*.nix"))
	for _, file := range files {
		base := filepath.Base(file)
		if base == "nixpkgs.nix" || base == "morph-eval.nix" {
			continue
		}
		n := open(t, tl, file, source.Options{})
		for _, h := range good(t, load(t, n, source.Request{Outputs: true})) {
			if h.Main().Drv == "" || h.Platform.Name == "" || strings.HasSuffix(h.Platform.Name, "darwin") {
				t.Errorf("%s: %+v", base, h)
			}
		}
	}
}

func TestOddPaths(t *testing.T) {
	tl := tool(t, "")
	dir := filepath.Join(t.TempDir(), `it's ${a} "dir" #☃`)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "my network.nix")
	if err := os.WriteFile(file, []byte(`{ a = { imports = [ ./m.nix ]; deployment.secrets.s = { source = "../s"; destination = "/s"; }; }; }`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "m.nix"), []byte(`{ deployment.tags = [ "m" ]; }`), 0o644); err != nil {
		t.Fatal(err)
	}
	hosts := good(t, load(t, open(t, tl, file, source.Options{}), source.Request{Outputs: true}))
	if hosts[0].Tags[0] != "m" || hosts[0].Secrets[0].From.File != filepath.Join(filepath.Dir(dir), "s") {
		t.Errorf("%+v", hosts[0])
	}
	target := filepath.Join(dir, "my targets.nix")
	if err := os.WriteFile(target, []byte(`{ top = n: n.config.system.build.toplevel; x = n: n.pkgs.writeText "x" n.config.networking.hostName; }`), 0o644); err != nil {
		t.Fatal(err)
	}
	in, err := source.TargetsIn(target)
	if err != nil {
		t.Fatal(err)
	}
	res := load(t, open(t, tl, file, source.Options{}), source.Request{Outputs: true, Targets: in})
	if ts := res.Targets["a"]; len(ts) != 2 || ts[0].Name != "top" || ts[0].DrvPath != hosts[0].Main().Drv || !strings.HasSuffix(ts[1].OutPath, "-x") {
		t.Errorf("%+v", ts)
	}
	res = load(t, open(t, tl, file, source.Options{}), source.Request{Outputs: true, Targets: source.TargetOf("n: n.config.system.build.toplevel # the system")})
	if ts := res.Targets["a"]; len(ts) != 1 || ts[0].Name != "out" || ts[0].OutPath != hosts[0].Main().Path {
		t.Errorf("%+v", ts)
	}
	res = load(t, open(t, tl, file, source.Options{}), source.Request{Outputs: true, Targets: source.TargetOf("n:n.config.system.build.toplevel")})
	if len(res.Failed) != 1 || !strings.Contains(res.Failed[0].Err.Error(), "the target out is a string; a target is a function of a node") {
		t.Errorf("%+v", res.Failed)
	}
	if _, err := source.TargetsIn(filepath.Join(dir, "no targets.nix")); err == nil || !strings.Contains(err.Error(), "no targets.nix': no such file") {
		t.Error(err)
	}
}

func TestSelection(t *testing.T) {
	tl := tool(t, "")
	file := network(t, `{
	  network.ordering.tags = [ "z" ];
	  a = { deployment.tags = [ "x" "y" ]; };
	  b = { deployment.tags = [ "x" ]; };
	  c = { deployment.tags = [ "y" "z" ]; };
	  d = { };
	  bad = throw "not to be looked at";
	}`)
	for _, c := range []struct {
		sel    fleet.Selection
		want   string
		failed string
		header string
	}{
		{fleet.Selection{On: []string{"[a-d]"}}, "c a b d", "", "Selected 4/5 hosts (name filter:-1, limits:-0):"},
		{fleet.Selection{On: []string{"a", "d"}}, "a d", "", "Selected 2/5 hosts (name filter:-3, limits:-0):"},
		{fleet.Selection{On: []string{"?"}, Tagged: []string{"x"}}, "a b", "", "Selected 2/5 hosts (name filter:-1, limits:-2):"},
		{fleet.Selection{On: []string{"?"}, Tagged: []string{"y", "x"}}, "a", "", "Selected 1/5 hosts (name filter:-1, limits:-3):"},
		{fleet.Selection{On: []string{"?"}, Limit: 2}, "c a", "", "Selected 2/5 hosts (name filter:-1, limits:-2):"},
		{fleet.Selection{On: []string{"?"}, Limit: 2, OrderByTags: []string{"y"}}, "a c", "", "Selected 2/5 hosts (name filter:-1, limits:-2):"},
		{fleet.Selection{On: []string{"?"}, Skip: 1, Every: 2}, "a d", "", "Selected 2/5 hosts (name filter:-1, limits:-2):"},
		{fleet.Selection{}, "c a b d", "bad", "Selected 5/5 hosts (name filter:-0, limits:-0):"},
		{fleet.Selection{Tagged: []string{"x"}}, "a b", "bad", "Selected 2/5 hosts (name filter:-0, limits:-3):"},
	} {
		for _, systems := range []bool{true, false} {
			n := open(t, tl, file, source.Options{})
			seen := map[string]bool{}
			res := load(t, n, source.Request{Selection: c.sel, Outputs: systems, OnHost: func(h fleet.Host) { seen[h.Name] = true }})
			var failed []string
			for _, f := range res.Failed {
				failed = append(failed, f.Host)
			}
			if got := strings.Join(sourcetest.Names(res.Fleet.Hosts), " "); got != c.want || strings.Join(failed, " ") != c.failed {
				t.Errorf("%+v: %s; failed %v", c.sel, got, failed)
			}
			if got, _, _ := strings.Cut(header(res.Fleet.Hosts, res.Counts), "\n"); got != c.header {
				t.Errorf("%+v: %s", c.sel, got)
			}
			for _, h := range res.Fleet.Hosts {
				if systems && (h.Main().Drv == "" || !seen[h.Name]) {
					t.Errorf("%+v: %s has no system or was not announced", c.sel, h.Name)
				}
				delete(seen, h.Name)
			}
			if len(seen) > 0 && systems {
				t.Errorf("%+v: announced in vain: %v", c.sel, seen)
			}
		}
	}
	// Without ordering tags the limits are a matter of names: bad is not evaluated.
	plain := network(t, `{ a = { }; b = { }; c = throw "x"; }`)
	res := load(t, open(t, tl, plain, source.Options{}), source.Request{Selection: fleet.Selection{Limit: 2}, Outputs: true})
	if len(good(t, res)) != 2 {
		t.Error(res)
	}
	_, err := open(t, tl, file, source.Options{}).Load(context.Background(), source.Request{Selection: fleet.Selection{On: []string{"aa"}, Every: 1}})
	var f *fault.Error
	if !errors.As(err, &f) || len(f.Hints) == 0 {
		t.Error(err)
	}
}

// Hosts that cannot be evaluated, and what a person reads.
func TestFailing(t *testing.T) {
	tl := tool(t, "")
	file := write(t, map[string]string{
		"network.nix": `{
  afirst = { };
  athrow = { deployment.targetHost = throw "boom"; };
  babort = { deployment.targetHost = abort "no more"; };
  cassert = { deployment.targetHost = assert 1 == 2; "x"; };
  dmissing = { deployment.targetHost = { hello = "1"; }.helo; };
  eloop = { deployment.targetHost = let x = x; in x; };
  ftype = { deployment.targetHost = 1 + "a"; };
  goption = {
    services.openshh.enable = true;
  };
  hsyntax = { imports = [ ./bad.nix ]; };
  inofile = { imports = [ ./none.nix ]; };
  jundefined = { imports = [ ./undefined.nix ]; };
  kvalue = { deployment.tags = "a"; };
  lassertions = { assertions = [ { assertion = false; message = "must not be"; } ]; };
  mconflict = { imports = [ { deployment.targetHost = "one"; } { deployment.targetHost = "two"; } ]; };
  nport = { deployment.healthChecks.http = [ { description = "x"; } ]; };
  omac = { nixpkgs.hostPlatform = "aarch64-darwin"; };
  psearch = { imports = [ <no-such-thing/x.nix> ]; };
  qopt = { deployment.secrets.x = { source = "a"; destination = "/b"; onwer.user = "c"; }; };
  rmac = { nixpkgs.localSystem.system = "aarch64-darwin"; };
  zlast = { };
}`,
		"bad.nix":       "{ a = ; }\n",
		"undefined.nix": "{ deployment.targetHost = foo; }\n",
	})
	dir := filepath.Dir(file)
	var mu sync.Mutex
	ended := map[string]event.Kind{}
	n := open(t, tl, file, source.Options{Sink: event.SinkFunc(func(e event.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Kind == event.Done || e.Kind == event.Failed {
			ended[e.Host] = e.Kind
		}
	})})
	res := load(t, n, source.Request{Outputs: true})
	if got := sourcetest.Names(res.Fleet.Hosts); !reflect.DeepEqual(got, []string{"afirst", "zlast"}) {
		t.Error(got)
	}
	want := map[string]string{
		"athrow":      "boom | D/network.nix:3:38: boom",
		"babort":      "evaluation aborted: no more | D/network.nix:4:38: evaluation aborted: no more",
		"cassert":     "D/network.nix:5:39: assertion '(1 == 2)' failed | D/network.nix:5:39: assertion '(1 == 2)' failed: an integer with value '1' is not equal to an integer with value '2'",
		"dmissing":    "D/network.nix:6:40: attribute 'helo' missing (did you mean hello?)",
		"eloop":       "D/network.nix:7:45: infinite recursion: a value is needed to work out itself",
		"ftype":       "D/network.nix:8:41: cannot add a string to an integer",
		"goption":     "D/network.nix:10:5: the option 'services.openshh' does not exist (did you mean services.openssh?)",
		"hsyntax":     "D/bad.nix:1:7: syntax error, unexpected ';'",
		"inofile":     "there is no file D/none.nix",
		"jundefined":  "D/undefined.nix:1:27: undefined variable 'foo'",
		"kvalue":      "D/network.nix:15:14: the option 'deployment.tags' takes a value of type list of string, not \"a\"",
		"lassertions": "an assertion of the configuration failed: must not be",
		"mconflict":   "the option 'deployment.targetHost' is given several values that do not go together",
		"nport":       "the option 'deployment.healthChecks.http[1].port' has no value",
		"omac":        "a NixOS host cannot be aarch64-darwin",
		"psearch":     "D/network.nix:20:27: <no-such-thing/x.nix> is not in Nix's search path",
		"rmac":        "a NixOS host cannot be aarch64-darwin",
		"qopt":        "D/network.nix:21:71: the option 'deployment.secrets.x.onwer' does not exist",
	}
	for _, f := range res.Failed {
		got := strings.ReplaceAll(f.Err.Error(), dir, "D")
		// Later versions know more of some errors: both wordings, newer last.
		if !slices.Contains(strings.Split(want[f.Host], " | "), strings.TrimPrefix(got, f.Host+": ")) {
			t.Errorf("got  %s\nwant %s: %s", got, f.Host, want[f.Host])
		}
		if text := fault.Render(f.Err); strings.Count(text, "\n") > 12 {
			t.Error("too long:\n" + text)
		}
		if text := fault.Render(f.Err); f.Host == "rmac" && !strings.Contains(text, `hint: write nixpkgs.localSystem.system = "aarch64-linux";`) {
			t.Error(text)
		}
		if ended[f.Host] != event.Failed {
			t.Errorf("%s ended %s", f.Host, ended[f.Host])
		}
		delete(want, f.Host)
	}
	if len(want) > 0 {
		t.Errorf("did not fail: %v", want)
	}
	if ended["zlast"] != event.Done || ended[""] != event.Done {
		t.Error(ended)
	}
}

// What cannot be opened at all.
func TestOpenErrors(t *testing.T) {
	tl := tool(t, "")
	ctx := context.Background()
	file := write(t, map[string]string{
		"network.nix":  `{ a = { }; }`,
		"module.nix":   `{ pkgs, ... }: { }`,
		"function.nix": `{ stage ? "x" }: { }`,
		"lambda.nix":   `x: { }`,
		"list.nix":     `[ ]`,
		"flake.nix":    `{ description = "x"; inputs.nixpkgs.url = "x"; outputs = { self, nixpkgs }: { }; }`,
		"hive.nix":     `{ meta.nixpkgs = throw "not looked at"; web = { }; }`,
		"ops.nix":      `{ network.enableRollback = true; web = { deployment.targetEnv = "none"; }; }`,
		"config2.nix":  `{ imports = [ ./hardware.nix ]; services.x.enable = true; }`,
		"syntax.nix":   "{\n  a = {\n",
		"config.nix":   `{ network.nixConfig.max-jobs = 3; a = { }; }`,
		"broken.nix":   `{ network.description = nothing; }`,
	})
	dir := filepath.Dir(file)
	for name, want := range map[string]string{
		"netwrok.nix":  "there is no file 'D/netwrok.nix'",
		".":            "'D' is a directory; name the deployment file in it",
		"list.nix":     "D/list.nix is a list; a morph network is an attribute set of machines",
		"function.nix": "'D/function.nix' is a function; godwit takes",
		"lambda.nix":   "'D/lambda.nix' is a function; godwit takes",
		"module.nix":   "'D/module.nix' is a NixOS module, the configuration of one machine; godwit takes",
		"config2.nix":  "'D/config2.nix' is a NixOS module",
		"flake.nix":    "'D/flake.nix' is a flake; godwit takes",
		"hive.nix":     "'D/hive.nix' is a colmena hive; godwit takes",
		"ops.nix":      "'D/ops.nix' is a NixOps network; godwit takes",
		"syntax.nix":   "D/syntax.nix:",
		"config.nix":   "nix option 'max-jobs' must have a string typed value",
		"broken.nix":   "D/broken.nix:1:25: undefined variable 'nothing'",
	} {
		_, err := reader.Open(ctx, tl, Dialect, source.Location{File: filepath.Join(dir, name)}, source.Options{})
		if err == nil {
			t.Errorf("%s: opened", name)
			continue
		}
		if got := strings.ReplaceAll(err.Error(), dir, "D"); !strings.HasPrefix(got, want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if strings.Contains(err.Error(), "godwit takes") && !strings.Contains(fault.Render(err), "hint: ") {
			t.Errorf("%s: no way out: %s", name, fault.Render(err))
		}
		if name == "netwrok.nix" && !strings.Contains(fault.Render(err), "did you mean") {
			t.Error(fault.Render(err))
		}
	}
}

// Platforms in all the ways that hosts have to say them, on Linux and where Nix
// believes that this machine is a Mac.
func TestPlatforms(t *testing.T) {
	const text = `{
	  hostplatform = { nixpkgs.hostPlatform = "riscv64-linux"; };
	  platformset = { lib, ... }: { nixpkgs.hostPlatform = lib.mkDefault { system = "aarch64-linux"; }; };
	  localsystem = { nixpkgs.localSystem.system = "aarch64-linux"; };
	  system = { nixpkgs.system = "aarch64-linux"; };
	  defaulted = { lib, ... }: { nixpkgs.system = lib.mkDefault "aarch64-linux"; };
	  pkgs = { nixpkgs.pkgs = import <nixpkgs> { system = "riscv64-linux"; }; };
	  herepkgs = { nixpkgs.pkgs = import <nixpkgs> { }; };
	  nothing = { };
	  asked = { };
	  other = { pkgs, ... }: { environment.etc.x.source = (import <nixpkgs> { }).writeText "x" "y"; };
	}`
	file := network(t, text)
	given := network(t, `{ network.pkgs = import <nixpkgs> { }; a = { }; b = { nixpkgs.system = "x86_64-linux"; }; }`)
	for here, linux := range map[string]string{
		"": "", "aarch64-darwin": "aarch64-linux", "x86_64-darwin": "x86_64-linux", "aarch64-linux": "aarch64-linux",
	} {
		tl := tool(t, here)
		if linux == "" {
			c, err := tl.Config(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			linux = c.System
		}
		n := open(t, tl, file, source.Options{})
		got := map[string]string{}
		for _, h := range good(t, load(t, n, source.Request{Outputs: true, Platforms: map[string]string{"asked": "armv7l-linux"}})) {
			got[h.Name] = h.Platform.Name + " " + h.Platform.From
			drv, err := nix.ReadDerivation(h.Main().Drv)
			if err != nil || drv.System != h.Platform.Name {
				t.Errorf("%s on %s: %s is built on %s, %v", h.Name, here, h.Platform.Name, drv.System, err)
			}
		}
		want := map[string]string{
			"hostplatform": "riscv64-linux hostPlatform", "platformset": "aarch64-linux hostPlatform",
			"localsystem": "aarch64-linux localSystem", "system": "aarch64-linux system", "defaulted": "aarch64-linux system",
			"pkgs": "riscv64-linux pkgs", "herepkgs": linux + " pkgs", "nothing": linux + " fallback",
			"asked": "armv7l-linux fallback", "other": linux + " fallback",
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("on %s: got %v\nwant %v", here, got, want)
		}
		n = open(t, tl, given, source.Options{})
		for _, h := range good(t, load(t, n, source.Request{Outputs: true})) {
			if h.Platform.Name != linux || h.Platform.From != "pkgs" {
				t.Errorf("network.pkgs on %s: %s %s %s", here, h.Name, h.Platform.Name, h.Platform.From)
			}
		}
		// On a Mac and on the Linux that it stands for the same words give the same systems.
		n = open(t, tl, given, source.Options{Fallback: "aarch64-linux"})
		for _, h := range good(t, load(t, n, source.Request{Outputs: true})) {
			if h.Platform.Name != "aarch64-linux" {
				t.Errorf("fallback on %s: %s", here, h.Platform.Name)
			}
		}
	}
}

// A NixOS from before 22.05 takes the platform as an argument and compares it
// with that of nixpkgs.pkgs.
func TestOldNixOS(t *testing.T) {
	tl := tool(t, "aarch64-darwin")
	file := write(t, map[string]string{
		"old/.version": "20.09",
		"old/nixos/lib/eval-config.nix": `
		{ system ? builtins.currentSystem, modules, specialArgs ? { } }:
		assert builtins.isString system;
		let lib = import <nixpkgs/lib>; in
		import <nixpkgs/nixos/lib/eval-config.nix> {
		  inherit system specialArgs;
		  modules = modules ++ [ ({ config, options, ... }: {
		    assertions = [ {
		      assertion = options.nixpkgs.pkgs.isDefined -> config.nixpkgs.localSystem.system == config.nixpkgs.pkgs.stdenv.hostPlatform.system;
		      message = "nixpkgs.pkgs is for another system than ${config.nixpkgs.localSystem.system}";
		    } ];
		  }) ];
		}`,
		"network.nix": `{
		  network.evalConfig = ./old/nixos/lib/eval-config.nix;
		  a = { };
		  b = { nixpkgs.pkgs = import <nixpkgs> { system = "riscv64-linux"; }; };
		  c = { nixpkgs.localSystem.system = "x86_64-linux"; };
		  d = { nixpkgs.system = "x86_64-linux"; };
		}`,
	})
	got := map[string]string{}
	for _, h := range good(t, load(t, open(t, tl, file, source.Options{}), source.Request{Outputs: true})) {
		got[h.Name] = h.Platform.Name + " " + h.Platform.From
	}
	want := map[string]string{"a": "aarch64-linux fallback", "b": "riscv64-linux pkgs", "c": "x86_64-linux localSystem", "d": "x86_64-linux system"}
	if !reflect.DeepEqual(got, want) {
		t.Error(got)
	}
}

func TestEval(t *testing.T) {
	tl := tool(t, "aarch64-darwin")
	n := open(t, tl, network(t, `{ web = { }; "h1.example.org" = { networking.hostName = "h1"; networking.domain = "x"; }; }`), source.Options{})
	ctx := context.Background()
	for _, c := range []struct {
		attr, want string
		json       bool
	}{
		{"web.config.networking.hostName", `"web"`, false},
		{`"h1.example.org".config.networking.domain`, `"x"`, false},
		{"web.config.deployment.tags", "[ ]", false},
		{"web.config.deployment.secrets", "{}", true},
		{"web.pkgs.stdenv.hostPlatform.system", `"aarch64-linux"`, true},
	} {
		got, err := n.Eval(ctx, c.attr, c.json)
		if err != nil || got != c.want {
			t.Errorf("%s: %s, %v", c.attr, got, err)
		}
	}
	if _, err := n.Eval(ctx, "wbe.config", false); err == nil || !strings.Contains(err.Error(), "did you mean web?") {
		t.Error(err)
	}
	for attr, want := range map[string]string{
		"": "name an attribute", "web": "a whole node cannot be printed", `"h1.example.org"`: "a whole node cannot be printed", `web.`: "a whole node cannot be printed",
	} {
		if _, err := n.Eval(ctx, attr, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", attr, err)
		}
	}
	if _, err := n.Eval(ctx, "web.config.nothing", false); err == nil || strings.Count(fault.Render(err), "\n") > 5 {
		t.Error(err)
	}
}

// A network that wants Linux before it says anything can be read on a Mac.
func TestAssertingNetwork(t *testing.T) {
	tl := tool(t, "aarch64-darwin")
	n := open(t, tl, network(t, `assert builtins.currentSystem == "aarch64-linux"; { a = { }; }`), source.Options{})
	if h := good(t, load(t, n, source.Request{Outputs: true})); h[0].Platform.Name != "aarch64-linux" {
		t.Error(h)
	}
}

// Somebody's own eval-machines.nix is used as morph uses it.
func TestEvalMachines(t *testing.T) {
	tl := tool(t, "")
	file := write(t, map[string]string{
		"network.nix": `{ b = { tags = [ "t" ]; }; a = { tags = [ ]; }; c = { tags = [ ]; bad = true; }; }`,
		"my eval machines.nix": `
		{ networkExpr, argsFile }:
		let net = import networkExpr; in
		assert builtins.getEnv "MORPH_ARGS" != "";
		{
		  info.deployment = {
		    hosts = map (name: { inherit name; inherit (net.${name}) tags; targetHost = "ssh-${name}"; targetPort = null; targetUser = ""; buildOnly = false;
		      substituteOnDestination = false; nixosRelease = "24.05"; nixConfig = { k = "v"; };
		      secrets.s = { source = "x"; destination = "/y"; owner = { user = "u"; group = "g"; }; permissions = "0400"; action = [ ]; mkDirs = true; uploadAt = "pre-activation"; };
		      healthChecks = { cmd = [ ]; http = [ ]; }; preDeployChecks = { cmd = [ ]; http = [ ]; }; }) (builtins.attrNames net);
		    meta = { description = "mine"; ordering.tags = [ "t" ]; };
		  };
		  nodes = builtins.mapAttrs (name: m: {
		    pkgs = import <nixpkgs> { };
		    config.system.build.toplevel = if m ? bad then throw "bad" else (import <nixpkgs> { }).writeText name name;
		  }) net;
		}`,
	})
	t.Setenv("MORPH_NIX_EVAL_MACHINES", filepath.Join(filepath.Dir(file), "my eval machines.nix"))
	n := open(t, tl, file, source.Options{})
	res := load(t, n, source.Request{Outputs: true})
	h := res.Fleet.Hosts
	if !reflect.DeepEqual(sourcetest.Names(h), []string{"b", "a"}) || h[0].At.Host != "ssh-b" || h[0].Main().Version != "24.05" || !strings.HasSuffix(h[0].Main().Drv, "-b.drv") ||
		h[0].Secrets[0].User != "u" || n.About().NixConfig["k"] != "v" || n.About().Description != "mine" || len(res.Failed) != 1 || res.Failed[0].Host != "c" {
		t.Errorf("%+v %+v", res.Fleet, res.Failed)
	}
	if got, err := n.Eval(context.Background(), "a.config.system.build.toplevel.name", false); err != nil || got != `"a"` {
		t.Error(got, err)
	}
}

// Derivations are kept until the directory of the run goes away.
func TestRoots(t *testing.T) {
	tl := tool(t, "")
	dir := filepath.Join(t.TempDir(), "roots of a run")
	n := open(t, tl, network(t, `{ a = { }; b = { }; }`), source.Options{})
	res := load(t, n, source.Request{Outputs: true, RootDir: dir})
	if err := res.Rooted(); err != nil {
		t.Fatal(err)
	}
	hosts := good(t, res)
	for _, h := range hosts {
		out, err := exec.Command("nix-store", "-q", "--roots", h.Main().Drv).CombinedOutput()
		if err != nil || !strings.Contains(string(out), dir) {
			t.Error(string(out), err)
		}
	}
}

// A derivation that evaluation needs built, of another platform.
func TestForeignImport(t *testing.T) {
	tl := tool(t, "aarch64-darwin")
	n := open(t, tl, network(t, `{ a = { deployment.tags = import (derivation { name = "made-up"; system = "riscv64-linux"; builder = "/bin/sh"; }); }; }`), source.Options{})
	res := load(t, n, source.Request{})
	if len(res.Failed) != 1 || !strings.HasPrefix(res.Failed[0].Err.Error(), "a: made-up has to be built on riscv64-linux, and this machine builds ") {
		t.Fatal(sourcetest.Failures(res))
	}
	if text := fault.Render(sourcetest.Failures(res)); !strings.Contains(text, "import from derivation") || strings.Contains(text, "with features") {
		t.Error(text)
	}
}

func TestMorphArgs(t *testing.T) {
	tl := tool(t, "")
	file := network(t, `let args = builtins.fromJSON (builtins.getEnv "MORPH_ARGS"); in { a = { deployment.tags = args.Names ++ [ (baseNameOf args.DeploymentPath) (builtins.toJSON [ args.NixContext.KeepGCRoot args.NixContext.AllowBuildShell ]) ]; }; b = { }; }`)
	hosts := good(t, load(t, open(t, tl, file, source.Options{KeepGCRoot: true}), source.Request{Outputs: true}))
	if got := hosts[0].Tags; !reflect.DeepEqual(got, []string{"a", "b", "network.nix", "[true,false]"}) {
		t.Error(got)
	}
}

// A shell of this machine gives its environment to builds.
func TestBuildShell(t *testing.T) {
	tl := tool(t, "")
	file := network(t, `{
	  network.buildShell = derivation {
	    name = "shell"; system = builtins.currentSystem; builder = "/bin/sh"; MY_SHELL = "is here";
	    stdenv = derivation { name = "stdenv"; system = builtins.currentSystem; builder = "/bin/sh"; PATH = "/bin:/usr/bin";
	      args = [ "-c" "mkdir $out; echo 'export PATH=/bin:/usr/bin' > $out/setup" ]; };
	  };
	  a = { };
	}`)
	n := open(t, tl, file, source.Options{})
	if !n.About().Shell {
		t.Fatal("no shell")
	}
	in, err := n.InShell(context.Background(), tl)
	if err != nil {
		t.Fatal(fault.Render(err))
	}
	cmd := in.Command(context.Background(), "nix-store", "--version")
	if !slices.Contains(cmd.Env, "MY_SHELL=is here") {
		t.Error(cmd.Env)
	}
}

// The ten hosts of the measurement, of the weight of those of bench/deploy: one
// evaluation for metadata and systems.
func tenHosts() string {
	var b strings.Builder
	b.WriteString(`let common = id: { pkgs, lib, ... }: {
	  nixpkgs.hostPlatform = "x86_64-linux"; services.nginx.enable = true; services.openssh.enable = true; networking.hostId = id;
	  systemd.services = lib.listToAttrs (map (i: lib.nameValuePair "bench-${toString i}" {
	    after = [ "network.target" ]; environment.NUMBER = toString i; script = "exec sleep ${toString i}";
	  }) (lib.range 1 60));
	}; in {
`)
	for i := range 10 {
		fmt.Fprintf(&b, "  h%d = common \"0000000%d\";\n", i, i)
	}
	return b.String() + "}\n"
}

func BenchmarkTenHosts(b *testing.B) {
	tl := tool(b, "")
	file := network(b, tenHosts())
	b.Run("load", func(b *testing.B) {
		for range b.N {
			n := open(b, tl, file, source.Options{})
			if len(good(b, load(b, n, source.Request{Outputs: true}))) != 10 {
				b.Fatal("hosts")
			}
		}
	})
	b.Run("plain", func(b *testing.B) {
		expr, _ := json.Marshal(file)
		for range b.N {
			cmd := exec.Command("nix-instantiate", "-E", fmt.Sprintf(`let net = import (/. + %s); in map (h: (import <nixpkgs/nixos/lib/eval-config.nix> { system = null; modules = [ net.${h} { networking.hostName = h; } ]; }).config.system.build.toplevel) (builtins.attrNames net)`, expr))
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatal(string(out))
			}
		}
	})
}

// TestHostNames: what a host is called by must be a label, whatever its attribute.
func TestHostNames(t *testing.T) {
	tl := tool(t, "")
	want := map[string]string{
		"web": "web", "web.example.org": "web", "192.0.2.7": "ip-192-0-2-7", "192.0.2.8": "ip-192-0-2-8", "2001:db8::7": "ip-2001-db8--7",
		"::1": "ip-1", "fe80::": "ip-fe80", "10.example.org": "10", "the web server": "the-web-server", strings.Repeat("a", 70): strings.Repeat("a", 63),
	}
	text := "{"
	for name := range want {
		text += fmt.Sprintf("%q = { };\n", name)
	}
	n := open(t, tl, network(t, text+"}"), source.Options{})
	for name, host := range want {
		got, err := n.Eval(t.Context(), fmt.Sprintf("%q.config.networking.hostName", name), true)
		if err != nil || strings.TrimSpace(got) != fmt.Sprintf("%q", host) {
			t.Errorf("%s is called %s, not %s (%v)", name, got, host, err)
		}
	}
}

// The header as morph prints it (reference/morph.md 1.7, measured with cat -A).
func TestHeader(t *testing.T) {
	hosts := []fleet.Host{
		{Name: "web02", Secrets: make([]fleet.Secret, 1), HealthChecks: fleet.Checks{HTTP: make([]fleet.HTTPCheck, 1)}, Tags: []string{"b"}},
		{Name: "web01", HealthChecks: fleet.Checks{Cmd: make([]fleet.CmdCheck, 2)}, PreDeployChecks: fleet.Checks{Cmd: make([]fleet.CmdCheck, 5)}, Tags: []string{"a", "x"}},
	}
	got := header(hosts, fleet.Counts{Total: 7, Named: 4, Chosen: 2})
	want := "Selected 2/7 hosts (name filter:-3, limits:-2):\n" +
		"\t  0: web02 (secrets: 1, health checks: 1, tags: b)\n" +
		"\t  1: web01 (secrets: 0, health checks: 2, tags: a,x)\n"
	if got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}
