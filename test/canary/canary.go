// Package canary gives tests secrets that can be searched for, and searches: what a run of
// a suite left in files, journals, arguments and environments has none of them.
//
// All values have one mark in them, which is made anew for each process: two suites on one
// machine do not find each other's. A test that searches must not have the mark in an
// argument of its own.
package canary

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed" // search.sh
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"godwit/test/lab"
)

// Mark is in each value. It consists of letters, digits and "-".
var Mark = func() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b)
	return "kanarienvogel-" + hex.EncodeToString(b) + "-"
}()

// Value is a secret of that name.
func Value(name string) string { return Mark + name }

// Forms are the texts by which the mark is known: itself, and what a value in base64 or
// hexadecimal digits has of it.
func Forms() []string { return forms() }

var forms = sync.OnceValue(func() []string {
	out := []string{Mark, hex.EncodeToString([]byte(Mark))}
	for shift := range 3 {
		// Only whole groups of the mark are the same, whatever is around it.
		whole := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + Mark))
		from := 4
		if shift == 0 {
			from = 0
		}
		out = append(out, whole[from:len(whole)/4*4-4])
	}
	return out
})

// Has tells whether a text has the mark in one of its forms.
func Has(text []byte) bool {
	for _, f := range Forms() {
		if bytes.Contains(text, []byte(f)) {
			return true
		}
	}
	return false
}

// maxFile bounds the files that are read, in bytes: what godwit writes is smaller, and
// images of hosts are larger.
const maxFile = 64 << 20

// Files looks through the files below the roots that changed since then, also by name, and
// gives those that have the mark. Roots that are not there have nothing. skip may be nil; a
// folder that it is true of is not entered.
func Files(since time.Time, roots []string, skip func(path string) bool) ([]string, error) {
	var found []string
	var errs []error
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist): // others remove theirs meanwhile
				return nil
			case err != nil:
				return err
			case skip != nil && skip(path):
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			if Has([]byte(d.Name())) {
				found = append(found, path)
				return nil
			}
			has, err := changed(path, d, since)
			if has {
				found = append(found, path)
			}
			return err
		})
		errs = append(errs, err)
	}
	return found, errors.Join(errs...)
}

// changed tells whether a file, or what a link leads to, has the mark and changed since then.
func changed(path string, d fs.DirEntry, since time.Time) (bool, error) {
	if d.Type()&fs.ModeSymlink != 0 {
		to, _ := os.Readlink(path)
		return Has([]byte(to)), nil
	}
	var st unix.Stat_t
	if !d.Type().IsRegular() || unix.Lstat(path, &st) != nil || st.Size > maxFile {
		return false, nil
	}
	// The time of the inode: whoever copies a file may keep the others.
	if sec, nsec := st.Ctim.Unix(); time.Unix(sec, nsec).Before(since) {
		return false, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return false, ignoreGone(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return false, fmt.Errorf("cannot search %s: %w", path, err)
	}
	return Has(text), nil
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// script searches a host, as root. Its arguments are the time in seconds from which on
// changes count, the folder that is its root ("" for /), and patterns of find -path where
// values may be. It prints a line for each place that has one of the lines of its input.
//
//go:embed search.sh
var script string

// input is what script reads.
func input() string { return strings.Join(Forms(), "\n") + "\n" }

// Host looks through a lab host: files that changed since then, its journal, arguments and
// environments of its processes. It gives a line for each place that has the mark, but for
// those that fit a pattern of may (as for find -path): where secrets are to be.
func Host(ctx context.Context, h *lab.Host, since time.Time, may ...string) ([]string, error) {
	r := h.ExecInput(ctx, script, input(), append([]string{strconv.FormatInt(since.Unix(), 10), ""}, may...)...)
	if !r.OK() {
		return nil, fmt.Errorf("cannot search the host %s: %s", h.Name, r)
	}
	var found []string
	for line := range strings.Lines(r.Stdout) {
		found = append(found, h.Name+": "+strings.ToValidUTF8(strings.TrimSpace(line), "?"))
	}
	return found, nil
}
