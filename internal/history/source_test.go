package history

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/fault"
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
		if s := SourceOf(t.Context(), file); s.Known() || s.Tree != "" || s.Refused == nil {
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

// TestRefused: where git knows of a work tree and says nothing about it, that is
// said, with the way out; where there is none, nothing is.
func TestRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "the fleet's")
	t.Setenv("GIT_CONFIG_GLOBAL", "/dev/null")
	check(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o755))
	file := filepath.Join(dir, "sub/network.nix")
	check(t, os.WriteFile(file, []byte("{ }"), 0o644))
	if s := SourceOf(t.Context(), file); s.Refused != nil {
		t.Errorf("outside of git: %v", s.Refused)
	}
	if out, err := exec.Command("git", "init", "-q", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if s := SourceOf(t.Context(), file); s.Refused != nil || s.Tree == "" {
		t.Errorf("without a commit: %+v", s)
	}
	says := func(want ...string) {
		t.Helper()
		text := ""
		if err := SourceOf(t.Context(), file).Refused; err != nil {
			text = fault.Render(err)
		}
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("no %q in %q", w, text)
			}
		}
	}
	check(t, os.WriteFile(filepath.Join(dir, ".git/index"), []byte("nonsense"), 0o644))
	if out, err := exec.Command("git", "-C", dir, "-c", "user.name=t", "-c", "user.email=t@e", "commit-tree", "-m", "x", "4b825dc642cb6eb9a060e54bf8d69288fbee4904").Output(); err != nil {
		t.Fatal(err)
	} else {
		check(t, os.WriteFile(filepath.Join(dir, ".git/refs/heads/"+branch(t, dir)), out, 0o644))
	}
	says("git says nothing about "+dir, "index file", "hint: git -C")
	t.Setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1") // git's own, as for a checkout of another user
	says("dubious ownership", "dirty-tree", `hint: git config --global --add safe.directory '`+strings.ReplaceAll(dir, "'", `'\''`)+"'")
	t.Setenv("PATH", "/nowhere")
	says("executable file not found", "install git")
}

func branch(t *testing.T, dir string) string {
	t.Helper()
	head, err := os.ReadFile(filepath.Join(dir, ".git/HEAD"))
	check(t, err)
	return strings.TrimSpace(strings.TrimPrefix(string(head), "ref: refs/heads/"))
}
