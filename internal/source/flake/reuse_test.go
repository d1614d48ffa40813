package flake

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/nix"
	"godwit/internal/nix/nixtest"
	"godwit/internal/source"
	"godwit/internal/source/reader"
	"godwit/internal/source/sourcetest"
)

// What was evaluated is taken again only where an evaluation would give the same: here
// it is tried to fool it.
func TestReuse(t *testing.T) {
	sourcetest.Tool(t, "")
	nixpkgs := sourcetest.Nixpkgs(t)
	dir, state := t.TempDir(), t.TempDir()
	log := filepath.Join(state, "log")
	counting := filepath.Join(state, "nix-instantiate")
	real, err := exec.LookPath("nix-instantiate")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(counting, []byte(fmt.Sprintf("#!/bin/sh\necho x >>%s\nexec %s \"$@\"\n", log, real)), 0o755); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	files := repo(`nixosConfigurations = { web = nixos [ { environment.etc.data.text = builtins.readFile (data + "/file"); environment.etc.home.text = builtins.getEnv "HOME" + toString (builtins.currentTime or 0); deployment.tags = import ./tags.nix; } ]; db = nixos [ ]; };`)
	files["flake.nix"] = strings.NewReplacer("{ self, nixpkgs }", "{ self, nixpkgs, data }", "inputs.nixpkgs.url", `inputs.data = { url = "path:`+data+`"; flake = false; }; inputs.nixpkgs.url`, "NIXPKGS", nixpkgs).Replace(files["flake.nix"])
	files["tags.nix"] = `[ "a" ]`
	sourcetest.WriteIn(t, dir, map[string]string{"data/file": "1", "other/file": "2"})
	repo := filepath.Join(dir, "repo")
	write := func(name, text string) {
		t.Helper()
		sourcetest.WriteIn(t, repo, map[string]string{name: text})
	}
	sourcetest.WriteIn(t, repo, files)
	git := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("git", append([]string{"-C", repo, "-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	git("init", "-q", ".")
	git("add", ".")
	git("commit", "-qm", "x")

	settings := nix.Settings{EvalCmd: counting}
	opts := source.Options{Cache: filepath.Join(state, "cache")}
	request := source.Request{Outputs: true}
	// run loads the flake; it says what each host is, how many processes evaluated, and
	// what was said.
	run := func() (hosts string, processes int, said string) {
		t.Helper()
		_ = os.Remove(log)
		tool, err := nix.Find(context.Background(), settings)
		if err != nil {
			t.Fatal(fault.Render(err))
		}
		o := opts
		o.Sink = event.SinkFunc(func(e event.Event) { said += e.Text + "\n" })
		s, err := reader.Open(context.Background(), tool, Dialect, source.Location{Flake: repo}, o)
		if err != nil {
			t.Fatal(fault.Render(err))
		}
		for _, h := range sourcetest.Good(t, sourcetest.Load(t, s, request)) {
			hosts += fmt.Sprintf("%s %v %+v\n", h.Name, h.Tags, h.Profiles)
		}
		b, _ := os.ReadFile(log)
		return hosts, strings.Count(string(b), "\n"), said
	}
	last := map[string]string{}
	// evaluates is a step after which the flake must be evaluated, and be what it is
	// without any reuse.
	evaluates := func(what string) {
		t.Helper()
		hosts, processes, _ := run()
		if processes == 0 {
			t.Errorf("%s: nothing was evaluated", what)
		}
		cache := opts.Cache
		opts.Cache = ""
		if want, processes, _ := run(); hosts != want || processes == 0 {
			t.Errorf("%s: got\n%s\nwithout reuse\n%s", what, hosts, want)
		}
		opts.Cache = cache
		last[what] = hosts
	}
	reuses := func(what, of string) {
		t.Helper()
		hosts, processes, said := run()
		if processes != 0 || hosts != last[of] || !strings.Contains(said, "2 hosts as evaluated before: the flake has not changed") {
			t.Errorf("%s: %d processes, %q; got\n%s\nbefore\n%s", what, processes, said, hosts, last[of])
		}
	}
	evaluates("at first")
	reuses("again", "at first")
	write("untracked", "x")
	reuses("a file that git does not know", "at first")
	t.Setenv("HOME", t.TempDir())
	reuses("another environment", "at first")
	write("tags.nix", `[ "b" ]`)
	evaluates("a dirty tree")
	reuses("a dirty tree again", "a dirty tree")
	write("tags.nix", `[ "c" ]`)
	evaluates("a tree that is dirty otherwise")
	write("tags.nix", `[ "b" ]`)
	if hosts, processes, _ := run(); processes != 0 || !strings.Contains(hosts, "[b]") {
		t.Errorf("back to what was: %d processes\n%s", processes, hosts)
	}
	git("commit", "-qam", "y")
	evaluates("a commit")
	sourcetest.WriteIn(t, dir, map[string]string{"data/file": "3"})
	evaluates("an input that nothing locks")
	opts.Overrides = [][2]string{{"data", "path:" + filepath.Join(dir, "other")}}
	evaluates("an input in place of another")
	opts.Overrides = nil
	reuses("no longer", "an input that nothing locks")
	request.Only = []string{"none"}
	evaluates("other profiles")
	request.Only, request.Targets = nil, `{ out = n: n.config.system.build.etc; }`
	if _, processes, _ := run(); processes == 0 {
		t.Error("targets: nothing was evaluated")
	}
	request.Targets = ""
	opts.Fallback = "aarch64-linux"
	evaluates("another platform")
	opts.Fallback = ""
	settings.Options = [][2]string{{"allow-import-from-derivation", "false"}}
	evaluates("other settings of Nix")
	settings.Options = nil
	reuses("the first settings", "an input that nothing locks")

	// Derivations that were collected meanwhile.
	var drv string
	for _, word := range strings.Fields(last["an input that nothing locks"]) {
		if i := strings.Index(word, "/nix/store/"); i >= 0 && strings.HasSuffix(word, ".drv") {
			drv = word[i:]
		}
	}
	if drv == "" {
		t.Fatal("no derivation")
	}
	nixtest.Delete(t, drv, "--ignore-liveness")
	hosts, processes, said := run()
	if _, err := os.Stat(drv); err != nil || processes == 0 || hosts != last["an input that nothing locks"] || !strings.Contains(said, "1 host as evaluated before") {
		t.Errorf("collected: %v, %d processes, %q\n%s", err, processes, said, hosts)
	}

	// Somebody's hand in the files.
	entries, err := os.ReadDir(opts.Cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.WriteFile(filepath.Join(opts.Cache, e.Name()), []byte(`{"web": {"profiles": 3}, "db": "x", "summary": 1}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	evaluates("damaged files")
	opts.Impure = true
	for range 2 { // it may see the time
		if _, processes, _ := run(); processes == 0 {
			t.Error("impure: nothing was evaluated")
		}
	}
}
