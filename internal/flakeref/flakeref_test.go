package flakeref

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/nix"
	"godwit/internal/nix/nixtest"
	"godwit/test/lab"
)

const inside = "GODWIT_TEST_INSIDE"

// TestEnterOfOtherNix runs TestEnter, TestOffline and TestExplained with the Nix of
// Debian's other suites.
func TestEnterOfOtherNix(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the lab")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, suite := range []string{"trixie", "forky"} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			d := lab.NewDeployer(t, suite, filepath.Dir(exe))
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			out, err := d.Command(ctx, "", []string{inside + "=1"}, exe, "-test.run", "^(TestEnter|TestOffline|TestExplained)$", "-test.v").CombinedOutput()
			if err != nil || strings.Count(string(out), "\n--- PASS: Test") != 3 {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

// tool is the Nix at hand, which reaches nothing but what a test offers.
func tool(t *testing.T) *nix.Tool {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Nix")
	}
	t.Setenv("NIX_CONFIG", "build-users-group =\nsubstituters =\nsandbox = false\nconnect-timeout = 2\ndownload-attempts = 1\n")
	t.Setenv("GIT_ALLOW_PROTOCOL", "file:http:https:ssh") // submodules of a directory
	t.Setenv("HOME", t.TempDir())
	tool, err := nix.Find(context.Background(), nix.Settings{})
	if err != nil {
		t.Fatal(fault.Render(err))
	}
	return tool
}

// write makes files.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// commit makes a repository of files and commits them.
func commit(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	write(t, dir, files)
	if _, err := os.Stat(filepath.Join(dir, ".git")); err != nil {
		git(t, dir, "init", "-q", ".")
	}
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-q", "-m", "x")
}

// info is an output that tells all that a flake sees of itself and of its inputs.
const info = `info = {
      self = removeAttrs self.sourceInfo [ "outPath" ]; home = self.outPath; tree = self.sourceInfo.outPath;
      rev = self.rev or self.dirtyRev or "none"; type = self._type or "";
      inputs = builtins.mapAttrs (_: i: { home = i.outPath or ""; info = i.info or null; of = builtins.attrNames (i.inputs or { }); }) (removeAttrs self.inputs [ "self" ]);
      pure = builtins ? currentSystem; home' = builtins.getEnv "HOME";
    };`

// Each flake that is entered has the outputs that `nix eval` sees.
func TestEnter(t *testing.T) {
	tool := tool(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	commit(t, at("data"), map[string]string{"file": "x"})
	commit(t, at("lib"), map[string]string{"flake.nix": fmt.Sprintf(`{
	inputs.data = { url = "path:%s"; flake = false; };
	outputs = { self, data }: { info = { data = data.outPath; self = self.outPath; }; };
}`, at("data"))})
	flake := fmt.Sprintf(`{
	inputs.lib = { url = "git+file://%[1]s/lib"; inputs.data.follows = "data"; };
	inputs.other.url = "git+file://%[1]s/lib";
	inputs.data = { url = "path:%[1]s/data"; flake = false; };
	outputs = { self, lib, other, data }: { %[2]s b = throw "b"; };
}`, dir, info)
	commit(t, at("clean"), map[string]string{"flake.nix": flake})
	commit(t, at("locked"), map[string]string{"flake.nix": flake, "sub/flake.nix": flake})
	for _, sub := range []string{"", "/sub"} {
		if out, err := exec.Command("nix", "--extra-experimental-features", "nix-command flakes", "flake", "lock", at("locked"+sub)).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	commit(t, at("locked"), nil)
	commit(t, at("dirty"), map[string]string{"flake.nix": flake})
	write(t, at("dirty"), map[string]string{"flake.nix": flake + "# changed\n", "unknown": "to git"})
	write(t, at("born"), map[string]string{"flake.nix": flake})
	git(t, at("born"), "init", "-q", ".")
	git(t, at("born"), "add", ".")
	write(t, at("plain"), map[string]string{"flake.nix": flake})
	commit(t, at("below"), map[string]string{
		"deep/flake.nix": "{ outputs = { self }: { info = self.outPath; }; }",
		"flake.nix": fmt.Sprintf(`{
	inputs.deep.url = "path:./deep";
	inputs.data = { url = "path:%s/data"; flake = false; };
	outputs = { self, data, deep }: { %s };
}`, dir, info)})
	commit(t, at("modules"), map[string]string{"flake.nix": fmt.Sprintf("{ outputs = { self }: { %s files = builtins.readDir ./.; it = builtins.pathExists ./m/file; }; }", info)})
	git(t, at("modules"), "submodule", "add", "-q", at("data"), "m")
	commit(t, at("modules"), nil)

	for _, c := range []struct {
		ref       string
		attr      string
		overrides [][2]string
		unlocked  bool
		dirty     bool
	}{
		{ref: at("clean"), unlocked: true},
		{ref: at("locked")},
		{ref: "git+file://" + at("locked") + "?dir=sub"},
		{ref: "git+file://" + at("locked") + "?ref=HEAD&rev=" + strings.TrimSpace(git(t, at("locked"), "rev-parse", "HEAD"))},
		{ref: at("locked"), overrides: [][2]string{{"data", "path:" + at("lib")}}, unlocked: true},
		{ref: at("locked/sub"), overrides: [][2]string{{"other/data", "path:" + at("lib")}}, unlocked: true},
		{ref: "path:" + at("locked")},
		{ref: at("dirty"), unlocked: true, dirty: true},
		{ref: at("born"), unlocked: true, dirty: true},
		{ref: "path:" + at("plain"), unlocked: true},
		{ref: at("below"), unlocked: true},
		{ref: "git+file://" + at("modules") + "?submodules=1", attr: "it"},
		{ref: "git+file://" + at("modules"), attr: "it"},
	} {
		name := strings.TrimPrefix(strings.ReplaceAll(c.ref, dir, ""), "/")
		if c.attr == "" {
			c.attr = "info"
		}
		before := tree(t, dir)
		l, err := Lock(context.Background(), tool, c.ref, Options{Overrides: c.overrides})
		if err != nil {
			t.Errorf("%s: %s", name, fault.Render(err))
			continue
		}
		out, err := l.Tool(tool).Eval(context.Background(), nix.Evaluation{Expr: l.Expr + "." + c.attr, Args: l.Args})
		if err != nil {
			t.Errorf("%s: %s", name, fault.Render(err))
			continue
		}
		args := []string{"--extra-experimental-features", "nix-command flakes", "eval", "--json", "--no-write-lock-file", c.ref + "#" + c.attr}
		for _, v := range c.overrides {
			args = append(args, "--override-input", v[0], v[1])
		}
		cmd := exec.Command("nix", args...)
		want, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: nix eval: %v\n%s", name, err, err.(*exec.ExitError).Stderr)
			continue
		}
		if string(out) != strings.TrimSpace(string(want)) {
			t.Errorf("%s %v:\ngot  %s\nwant %s", name, c.overrides, out, want)
		}
		if (len(l.Unlocked) > 0) != c.unlocked || l.Dirty != c.dirty {
			t.Errorf("%s: unlocked %q, dirty %t", name, l.Unlocked, l.Dirty)
		}
		if l.Key == "" || l.Dir == "" || !strings.HasPrefix(c.ref[strings.Index(c.ref, "/"):], strings.TrimPrefix(l.Dir, "//")) && !strings.Contains(c.ref, l.Dir) {
			t.Errorf("%s: key %q, directory %q", name, l.Key, l.Dir)
		}
		if after := tree(t, dir); !slices.Equal(before, after) {
			t.Errorf("%s: files have changed: %q, before %q", name, after, before)
		}
	}
	l, err := Lock(context.Background(), tool, at("locked"), Options{Impure: true})
	if err != nil || l.Key != "" {
		t.Fatalf("%+v %v", l, err)
	}
	out, err := tool.Eval(context.Background(), nix.Evaluation{Expr: l.Expr + ".info.pure", Args: l.Args})
	if err != nil || string(out) != "true" {
		t.Errorf("impure: %s %v", out, err)
	}
	l, err = Lock(context.Background(), tool, at("dirty"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if names, err := l.Outputs(context.Background(), tool); err != nil || strings.Join(names, " ") != "b info" {
		t.Errorf("%q %v", names, err)
	}
}

// tree is what is in a directory, without git's own.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == ".git" && d.IsDir() {
			return filepath.SkipDir
		}
		out = append(out, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The key changes with everything that evaluation can see, and with nothing else.
func TestKey(t *testing.T) {
	tool := tool(t)
	dir := t.TempDir()
	repo, data := filepath.Join(dir, "repo"), filepath.Join(dir, "data")
	commit(t, data, map[string]string{"file": "x"})
	commit(t, repo, map[string]string{"flake.nix": fmt.Sprintf("{ inputs.data = { url = \"git+file://%s\"; flake = false; }; outputs = { self, data }: { }; }", data), "a": "1"})
	key := func(o Options) string {
		t.Helper()
		l, err := Lock(context.Background(), tool, repo, o)
		if err != nil {
			t.Fatal(fault.Render(err))
		}
		return l.Key
	}
	seen := map[string]string{}
	fresh := func(what, k string) {
		t.Helper()
		if old, ok := seen[k]; ok {
			t.Errorf("%s: the key of %s", what, old)
		}
		seen[k] = what
	}
	first := key(Options{})
	fresh("clean", first)
	if again := key(Options{}); again != first {
		t.Error("two keys of the same")
	}
	write(t, repo, map[string]string{"untracked": "1"})
	if again := key(Options{}); again != first {
		t.Error("a file that no flake sees changes the key")
	}
	write(t, repo, map[string]string{"a": "2"})
	fresh("dirty", key(Options{}))
	write(t, repo, map[string]string{"a": "3"})
	fresh("dirty otherwise", key(Options{}))
	if err := os.Chmod(filepath.Join(repo, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	fresh("executable", key(Options{}))
	git(t, repo, "add", "untracked")
	fresh("added", key(Options{}))
	git(t, repo, "commit", "-qam", "y")
	fresh("committed", key(Options{}))
	git(t, repo, "commit", "-q", "--allow-empty", "-m", "z")
	fresh("another revision of the same files", key(Options{}))
	commit(t, data, map[string]string{"file": "y"})
	fresh("another input", key(Options{}))
	fresh("overridden", key(Options{Overrides: [][2]string{{"data", "path:" + repo}}}))
}

// Nothing is fetched that the lock does not name, and of that nothing that is not used
// or there already.
func TestOffline(t *testing.T) {
	tool := tool(t)
	dir := t.TempDir()
	write(t, dir, map[string]string{"t/file": "used", "u/file": "unused"})
	for _, name := range []string{"t", "u"} {
		if out, err := exec.Command("tar", "-C", dir, "-czf", filepath.Join(dir, name+".tar.gz"), name).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	var mu sync.Mutex
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Method+" "+r.URL.String())
		http.ServeFile(w, r, filepath.Join(dir, filepath.Base(r.URL.Path)))
	}))
	defer server.Close()
	repo := filepath.Join(dir, "repo")
	commit(t, repo, map[string]string{"flake.nix": fmt.Sprintf(`{
	inputs.used = { url = "%[1]s/t.tar.gz"; flake = false; };
	inputs.unused = { url = "%[1]s/u.tar.gz"; flake = false; };
	outputs = { self, used, unused }: { a = builtins.readFile "${used}/file"; b = unused.outPath; };
}`, server.URL)})
	lock := func() {
		if out, err := exec.Command("nix", "--extra-experimental-features", "nix-command flakes", "flake", "lock", repo).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	lock()
	commit(t, repo, nil)
	if len(asked) == 0 {
		t.Fatal("the server was not asked")
	}
	ctx := context.Background()
	l, err := Lock(ctx, tool, repo, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := tool.Eval(ctx, nix.Evaluation{Expr: l.Expr + ".b", Args: l.Args}); err != nil {
		t.Fatal(fault.Render(err))
	} else {
		var path string
		if err := json.Unmarshal(out, &path); err != nil {
			t.Fatal(err)
		}
		nixtest.Delete(t, path)
	}
	// From now on everything that goes out comes to the server: registries, too.
	for _, name := range []string{"http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY"} {
		t.Setenv(name, server.URL)
	}
	t.Setenv("no_proxy", "")
	t.Setenv("XDG_CACHE_HOME", t.TempDir()) // nothing that an earlier fetch remembers
	mu.Lock()
	asked = nil
	mu.Unlock()
	for _, o := range []Options{{}, {Overrides: [][2]string{{"unused", "path:" + dir + "/t"}}}} {
		l, err := Lock(ctx, tool, repo, o)
		if err != nil {
			t.Fatal(fault.Render(err))
		}
		if _, err := l.Outputs(ctx, tool); err != nil {
			t.Fatal(fault.Render(err))
		}
		if out, err := tool.Eval(ctx, nix.Evaluation{Expr: l.Expr + ".a", Args: l.Args}); err != nil || string(out) != `"used"` {
			t.Fatalf("%s %v", out, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(asked) > 0 {
		t.Errorf("asked for %q", asked)
	}
}

// What Nix says of a flake that it cannot take is explained in a line.
func TestExplained(t *testing.T) {
	tool := tool(t)
	dir := t.TempDir()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	// Private repositories are asked of a server that says, as github does, that there is none.
	made := func(name, text string, files ...string) string {
		repo := filepath.Join(dir, name)
		write(t, repo, map[string]string{"flake.nix": text})
		git(t, repo, "init", "-q", ".")
		git(t, repo, "add", ".")
		for _, f := range files {
			write(t, repo, map[string]string{f: "{ }"})
		}
		return repo
	}
	untracked := made("untracked", "{ outputs = { self }: { a = import ./web.nix; b = import ./none.nix; }; }", "web.nix")
	impure := made("impure", "{ outputs = { self }: { a = builtins.currentSystem; b = import /etc/hostname; c = import <nixpkgs>; }; }")
	unknown := made("unknown", "", "flake.nix")
	git(t, unknown, "rm", "-q", "--cached", "-f", "flake.nix")
	write(t, unknown, map[string]string{"flake.nix": "{ outputs = _: { }; }", "x": ""})
	git(t, unknown, "add", "x")
	none := filepath.Join(dir, "none")
	if err := os.Mkdir(none, 0o755); err != nil {
		t.Fatal(err)
	}
	git(t, none, "init", "-q", ".")
	part := filepath.Join(dir, "part")
	write(t, part, map[string]string{"host.nix": "{ }"})
	git(t, part, "init", "-q", ".")
	git(t, part, "add", ".")
	git(t, part, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x")
	whole := made("whole", "{ outputs = { self }: { a = import ./private/host.nix; }; }")
	git(t, whole, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", part, "private")
	for _, c := range []struct{ ref, attr, want, hint string }{
		{whole, "a", "is in the submodule private, and a flake is read without its submodules", "--flake '.?submodules=1'"},
		{untracked, "a", "web.nix is there, but git does not know it, and a flake sees only what git knows", "git -C " + untracked + " add web.nix"},
		{untracked, "b", "there is no file ", ""},
		{impure, "a", "builtins.currentSystem is not there in pure evaluation", "--impure"},
		{impure, "b", " is outside of the flake", "--impure"},
		{impure, "c", "<nixpkgs> is not there in pure evaluation", "--impure"},
		{unknown, "a", "flake.nix is there, but git does not know it, and a flake sees only what git knows", "git -C " + unknown + " add flake.nix"},
		{none, "a", "there is no flake.nix", "in the repository, or name its directory"},
		{made("ssh", `{ inputs.x.url = "git+ssh://git@127.0.0.1:1/x"; outputs = { self, x }: { a = x; }; }`), "a", "git cannot fetch an input of the flake", "ssh"},
		{made("gone", fmt.Sprintf(`{ inputs.x.url = "%s/x.tar.gz"; outputs = { self, x }: { a = x; }; }`, server.URL)), "a", "HTTP error 404", "netrc"},
	} {
		l, err := Lock(context.Background(), tool, c.ref, Options{Scope: event.On(event.Discard, "", event.StepEvaluate)})
		if err == nil {
			_, err = l.Tool(tool).Eval(context.Background(), nix.Evaluation{Expr: l.Expr + "." + c.attr, Args: l.Args})
		}
		var f *fault.Error
		if !errors.As(err, &f) || !strings.Contains(f.Error(), c.want) || !strings.Contains(strings.Join(f.Hints, "\n"), c.hint) {
			t.Errorf("%s#%s: %s", filepath.Base(c.ref), c.attr, fault.Render(err))
		}
	}
}
