package history

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"godwit/internal/bounded"
	"godwit/internal/fault"
)

// Source is the state of the configuration that was deployed.
type Source struct {
	Tree   string // top of the git work tree; empty: not in one, or git is missing
	Commit string // empty: unknown
	Dirty  bool   // the tree differs from Commit; of no meaning without one
	// Refused is why git does not speak of a work tree that the file is in; nil: it
	// does, or there is none.
	Refused error
}

// Known tells whether there is a commit.
func (s Source) Known() bool { return s.Commit != "" }

// State is "clean" or "dirty", and empty when the commit is not known.
func (s Source) State() string {
	switch {
	case s.Commit == "":
		return ""
	case s.Dirty:
		return "dirty"
	}
	return "clean"
}

// String is how people call it: "4f2a91c (clean)".
func (s Source) String() string {
	if s.Commit == "" {
		return "not in git"
	}
	return Short(s.Commit) + " (" + s.State() + ")"
}

// Short is a commit as people write it.
func Short(commit string) string { return commit[:min(7, len(commit))] }

// gitLimit bounds each call of git: a work tree may be on a slow disk.
const gitLimit = 10 * time.Second

// SourceOf asks git about the work tree that file (or a folder) is in. What
// git does not say is unknown, which never ends a run; Refused tells of it.
func SourceOf(ctx context.Context, file string) Source {
	dir := file
	if st, err := os.Stat(file); err != nil || !st.IsDir() {
		dir = filepath.Dir(file)
	}
	tree, err := git(ctx, dir, "rev-parse", "--show-toplevel")
	if err != nil {
		return Source{Refused: refused(dir, err)}
	}
	if abs, err := filepath.Abs(file); err == nil {
		if _, err := git(ctx, dir, "check-ignore", "--quiet", abs); err == nil {
			return Source{} // the tree does not keep this file, so no commit of it says what was deployed
		}
	}
	s := Source{Tree: strings.TrimRight(tree, "\n")}
	commit, err := git(ctx, dir, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
	if err != nil {
		return s
	}
	status, err := git(ctx, s.Tree, "status", "--porcelain=v1", "-z", "--untracked-files=normal")
	if err != nil {
		s.Refused = refused(s.Tree, err)
		return s
	}
	s.Commit = strings.TrimSpace(commit)
	s.Dirty = dirty(s.Tree, status)
	return s
}

// refused makes of git's failure in dir what a person can do about it; nil where
// there is no work tree, for somebody who does not use git.
func refused(dir string, err error) error {
	tree := workTree(dir)
	if tree == "" || strings.Contains(err.Error(), "not a git repository") {
		return nil
	}
	f := fault.New("git says nothing about %s, so neither its commit nor changes that are not committed (dirty-tree) are known: %w", tree, err)
	switch {
	case strings.Contains(err.Error(), "dubious ownership"):
		f.Msg = fmt.Sprintf("git takes %s for somebody else's (dubious ownership), so neither its commit nor changes that are not committed (dirty-tree) are known", tree)
		f.Hint("git config --global --add safe.directory %s", tree)
		f.Hint("or let the files belong to who runs godwit")
	case errors.Is(err, exec.ErrNotFound):
		f.Hint("install git")
	default:
		f.Hint("git -C %s status", tree)
	}
	return f
}

// workTree is the nearest folder from dir upwards that has a .git.
func workTree(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	for {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

// dirty reads `git status`. Files that git does not know count, since Nix reads
// them; links into the store (result) and folders of them (.gcroots) do not.
func dirty(tree, status string) bool {
	fields := strings.Split(status, "\x00")
	for i := 0; i < len(fields); i++ {
		f := fields[i]
		if len(f) < 4 {
			continue
		}
		if f[:2] != "??" {
			return true
		}
		name := strings.TrimSuffix(f[3:], "/")
		if target, err := os.Readlink(filepath.Join(tree, name)); err == nil && strings.HasPrefix(target, "/nix/store/") {
			continue
		}
		if filepath.Base(name) == ".gcroots" {
			continue
		}
		return true
	}
	return false
}

// Behind counts the commits from commit to HEAD of the tree that dir is in. ok
// is false when commit is not an ancestor of HEAD, or not known there.
func Behind(ctx context.Context, dir, commit string) (n int, ok bool) {
	if !isHash(commit) {
		return 0, false
	}
	if _, err := git(ctx, dir, "merge-base", "--is-ancestor", commit, "HEAD"); err != nil {
		return 0, false
	}
	out, err := git(ctx, dir, "rev-list", "--count", commit+"..HEAD")
	if err != nil {
		return 0, false
	}
	n, err = strconv.Atoi(strings.TrimSpace(out))
	return n, err == nil
}

// isHash keeps words from a host's record from becoming options of git.
func isHash(s string) bool {
	if len(s) < 7 || len(s) > 64 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, gitLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks", "-C", dir}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_TERMINAL_PROMPT=0")
	cmd.WaitDelay = time.Second
	out, err := bounded.Output(cmd, "what git prints", 64<<20)
	if err != nil {
		var exit *exec.ExitError
		if said := ""; errors.As(err, &exit) {
			said, _, _ = strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n")
			if said != "" {
				return "", fmt.Errorf("git %s: %s", args[0], strings.TrimPrefix(said, "fatal: "))
			}
		}
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer within %s", gitLimit)
		}
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return string(out), nil
}
