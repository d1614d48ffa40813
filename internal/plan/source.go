package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"godwit/internal/bounded"
	"godwit/internal/regular"
)

// Fingerprint sums up the files of a configuration, so that a saved plan
// notices that they have changed: in a git work tree the differences to its
// commit, elsewhere the files below the folder of the configuration that look
// like configuration. Files in skip (the plan itself) do not count.
func Fingerprint(ctx context.Context, file, tree string, skip ...string) string {
	h := sha256.New()
	for i := range skip {
		if abs, err := filepath.Abs(skip[i]); err == nil {
			skip[i] = abs
		}
	}
	if tree != "" && gitSum(ctx, h, tree, skip) == nil {
		return "git-" + hex.EncodeToString(h.Sum(nil))[:32]
	}
	h.Reset()
	abs, err := filepath.Abs(file)
	if err != nil {
		return ""
	}
	sumFile(h, "", abs)
	n := 0
	_ = filepath.WalkDir(filepath.Dir(abs), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil
		case d.IsDir() && path != filepath.Dir(abs) && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case d.Type().IsRegular() && (strings.HasSuffix(path, ".nix") || strings.HasSuffix(path, ".lock")) && !slices.Contains(skip, path):
			if n++; n > 20000 {
				return filepath.SkipAll
			}
			sumFile(h, path, path)
		}
		return nil
	})
	return "files-" + hex.EncodeToString(h.Sum(nil))[:32]
}

// sumFile adds name and content.
func sumFile(w io.Writer, name, path string) {
	fmt.Fprintf(w, "%q ", name)
	f, err := regular.Open(path)
	if err != nil {
		fmt.Fprint(w, "unreadable\n")
		return
	}
	defer f.Close()
	inner := sha256.New()
	_, _ = io.Copy(inner, io.LimitReader(f, 16<<20))
	fmt.Fprintf(w, "%x\n", inner.Sum(nil))
}

func gitSum(ctx context.Context, w io.Writer, tree string, skip []string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	git := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks", "-C", tree}, args...)...)
		cmd.WaitDelay = time.Second
		out, err := bounded.Output(cmd, "what git prints", 256<<20)
		return string(out), err
	}
	diff, err := git("diff", "HEAD", "--no-ext-diff", "--no-color", "--binary")
	if err != nil {
		return err
	}
	untracked, err := git("ls-files", "--others", "--exclude-standard", "-z")
	if err != nil {
		return err
	}
	_, _ = io.WriteString(w, diff)
	for _, name := range strings.Split(untracked, "\x00") {
		path := filepath.Join(tree, name)
		st, err := os.Lstat(path)
		if name == "" || err != nil || !st.Mode().IsRegular() || slices.Contains(skip, path) {
			continue
		}
		sumFile(w, name, path)
	}
	return nil
}
