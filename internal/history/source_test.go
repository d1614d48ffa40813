package history

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestSourceOf(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("GIT_CONFIG_GLOBAL", "/dev/null")
	t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(dir))
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(t, os.WriteFile(path, []byte(text), 0o644))
	}
	file := filepath.Join(dir, "sub/network.nix")
	write("sub/network.nix", "{ }")
	state := func() string { return SourceOf(t.Context(), file).String() }

	if s := SourceOf(t.Context(), file); s.Known() || s.Tree != "" || s.State() != "" || s.String() != "not in git" {
		t.Errorf("outside of git: %+v", s)
	}
	run("init", "-q")
	if s := SourceOf(t.Context(), file); s.Known() || s.Tree == "" {
		t.Errorf("without a commit: %+v", s)
	}
	run("add", ".")
	run("commit", "-q", "-m", "one")
	first := run("rev-parse", "HEAD")
	if s := SourceOf(t.Context(), file); s.Commit != first || s.Dirty {
		t.Errorf("clean: %+v", s)
	}
	check(t, os.Symlink("/nix/store/00000000000000000000000000000000-x", filepath.Join(dir, "result")))
	write(".gcroots/network.nix/web", "")
	if got := state(); got != Short(first)+" (clean)" {
		t.Errorf("with results: %s", got)
	}
	write("new.nix", "{ }")
	if got := state(); got != Short(first)+" (dirty)" {
		t.Errorf("with a new file: %s", got)
	}
	run("add", "new.nix")
	run("commit", "-q", "-m", "two")
	write("new.nix", "1")
	if got := state(); !strings.HasSuffix(got, "(dirty)") {
		t.Errorf("with a change: %s", got)
	}
	second := run("rev-parse", "HEAD")
	for _, c := range []struct {
		commit string
		n      int
		ok     bool
	}{{first, 1, true}, {second, 0, true}, {strings.Repeat("0", 40), 0, false}, {"--version", 0, false}, {"", 0, false}} {
		if n, ok := Behind(t.Context(), dir, c.commit); n != c.n || ok != c.ok {
			t.Errorf("behind %q: %d %v", c.commit, n, ok)
		}
	}
	run("checkout", "-q", "-f", "-b", "side", first)
	if _, ok := Behind(t.Context(), dir, second); ok {
		t.Error("a commit of another branch is not behind")
	}
	t.Run("no git", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		if s := SourceOf(t.Context(), file); s != (Source{}) {
			t.Errorf("without git: %+v", s)
		}
	})
}

// A file that git ignores is no part of what a commit describes.
func TestSourceOfIgnoredFile(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"init", "--quiet"},
		{"-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--allow-empty", "-m", "x"},
	} {
		if _, err := git(t.Context(), dir, args...); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{".gitignore": "/work\n", "work/network.nix": "{ }", "network.nix": "{ }"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if s := SourceOf(t.Context(), filepath.Join(dir, "work/network.nix")); s.Known() {
		t.Errorf("an ignored file has the commit %s", s)
	}
	if s := SourceOf(t.Context(), filepath.Join(dir, "network.nix")); !s.Known() || !s.Dirty {
		t.Errorf("a new file: %s", s)
	}
}
