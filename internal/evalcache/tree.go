package evalcache

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"godwit/internal/regular"
)

// What a tree may be to be compared by its content, and how large a file may be whose
// content is read: a larger one is known by its size and the time of its last change,
// which nobody can set.
const (
	mostFiles   = 200_000
	mostContent = 64 << 20 // bytes of all files of a tree
)

// Print is the content of files and directories, as one sum.
type Print struct {
	h     hash.Hash
	files int
	left  int64
	// Within are the directories that symbolic links may lead into.
	within []string
}

// NewPrint begins one. A symbolic link that leads into anything else than what is in the
// print, or the directories within (a store), is an error: what it leads to is not known.
func NewPrint(within ...string) *Print {
	return &Print{h: sha256.New(), left: mostContent, within: within}
}

// Sum is the print so far.
func (p *Print) Sum() string { return hex.EncodeToString(p.h.Sum(nil)[:20]) }

// Note takes words into the print.
func (p *Print) Note(words ...string) { fmt.Fprintf(p.h, "%q\n", words) }

// Add takes what is at a path, with all below it, into the print.
func (p *Print) Add(path string) error {
	return filepath.WalkDir(path, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p.files++; p.files > mostFiles {
			return fmt.Errorf("%s has more than %d files", path, mostFiles)
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(p.h, "%q %o ", at, info.Mode()&(fs.ModeType|0o100))
		switch {
		case e.Type()&fs.ModeSymlink != 0:
			return p.link(at)
		case e.Type().IsRegular():
			return p.file(at, info)
		}
		return nil
	})
}

func (p *Print) link(at string) error {
	to, err := os.Readlink(at)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.h, "%q\n", to)
	if !filepath.IsAbs(to) {
		to = filepath.Join(filepath.Dir(at), to)
	}
	if end, err := filepath.EvalSymlinks(at); err == nil {
		to = end
	}
	for _, dir := range p.within {
		if In(to, dir) {
			return nil
		}
	}
	return fmt.Errorf("the symbolic link %s leads to %s", at, to)
}

func (p *Print) file(at string, info fs.FileInfo) error {
	if p.left -= info.Size(); p.left < 0 {
		id, err := Identity(info)
		fmt.Fprintf(p.h, "%s\n", id)
		return err
	}
	f, err := regular.Open(at)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	own := sha256.New()
	if _, err := io.Copy(own, io.LimitReader(f, mostContent)); err != nil {
		return err
	}
	fmt.Fprintf(p.h, "%x\n", own.Sum(nil))
	return nil
}

// In tells whether a path is a directory, or in it.
func In(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// Identity is what changes with a file, and nobody can set back. A file that was changed in the last two
// seconds has none, as the next change may have the same time.
func Identity(info fs.FileInfo) (string, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", fmt.Errorf("%s: it cannot be told when it was changed", info.Name())
	}
	sec, nsec := changed(st)
	if time.Since(time.Unix(sec, nsec)) < settled {
		return "", fmt.Errorf("%s was changed a moment ago", info.Name())
	}
	return fmt.Sprintf("%d %d %d.%d", st.Ino, st.Size, sec, nsec), nil
}

// settled is how old a change must be for another one to have another time.
const settled = 2 * time.Second
