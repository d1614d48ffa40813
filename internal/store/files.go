package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// narFiles reads the NAR of files on this machine's disk. It holds one file open
// at most, and the names in each open folder.
type narFiles struct {
	buf   []byte // to be given before anything else
	used  int
	file  *os.File
	left  int64 // of file
	size  int64
	dirs  []narDir
	ended bool
	// hack undoes the names that Nix gives on file systems which do not tell
	// upper from lower case (use-case-hack).
	hack bool
}

type narDir struct {
	path    string
	entries []narEntry
}

// narEntry is a name in the archive and on the disk.
type narEntry struct{ name, disk string }

// caseHack is what Nix puts behind names that differ only in case from another.
const caseHack = "~nix~case~hack~"

// newNARFiles starts at path. Close it.
func newNARFiles(path string) (*narFiles, error) {
	n := &narFiles{hack: runtime.GOOS == "darwin"}
	n.words("nix-archive-1")
	return n, n.node(path)
}

func (n *narFiles) words(list ...string) {
	for _, w := range list {
		n.buf = putString(n.buf, w)
	}
}

// node begins the file at path.
func (n *narFiles) node(path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	n.words("(", "type")
	switch st.Mode().Type() {
	case 0:
		// Nothing that is put in the way meanwhile is followed or waited for.
		f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		n.file = f
		if st, err = f.Stat(); err != nil {
			return err
		}
		if !st.Mode().IsRegular() {
			return fmt.Errorf("%s is not a file any more", path)
		}
		n.words("regular")
		if st.Mode()&0o100 != 0 {
			n.words("executable", "")
		}
		n.words("contents")
		n.size, n.left = st.Size(), st.Size()
		n.buf = putUint(n.buf, uint64(n.size))
		if n.left == 0 {
			n.fileEnd()
		}
	case fs.ModeSymlink:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		n.words("symlink", "target", target, ")")
		n.nodeEnd()
	case fs.ModeDir:
		list, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		d := narDir{path: path, entries: make([]narEntry, len(list))}
		for k, e := range list {
			d.entries[k] = narEntry{e.Name(), e.Name()}
			if at := strings.Index(e.Name(), caseHack); n.hack && at >= 0 {
				d.entries[k].name = e.Name()[:at]
			}
		}
		slices.SortFunc(d.entries, func(a, b narEntry) int { return strings.Compare(a.name, b.name) })
		n.dirs = append(n.dirs, d)
		n.words("directory")
	default:
		return fmt.Errorf("%s is neither a file nor a folder nor a symlink", path)
	}
	return nil
}

// fileEnd ends a regular file.
func (n *narFiles) fileEnd() {
	_ = n.file.Close()
	n.file = nil
	for k := n.size; k%8 != 0; k++ {
		n.buf = append(n.buf, 0)
	}
	n.words(")")
	n.nodeEnd()
}

// nodeEnd ends the entry that the node was, or the archive.
func (n *narFiles) nodeEnd() {
	if len(n.dirs) == 0 {
		n.ended = true
	} else {
		n.words(")")
	}
}

// step goes on in the innermost folder.
func (n *narFiles) step() error {
	d := &n.dirs[len(n.dirs)-1]
	if len(d.entries) == 0 {
		n.dirs = n.dirs[:len(n.dirs)-1]
		n.words(")")
		n.nodeEnd()
		return nil
	}
	e := d.entries[0]
	d.entries = d.entries[1:]
	n.words("entry", "(", "name", e.name, "node")
	return n.node(filepath.Join(d.path, e.disk))
}

func (n *narFiles) Read(p []byte) (int, error) {
	for {
		switch {
		case n.used < len(n.buf):
			k := copy(p, n.buf[n.used:])
			if n.used += k; n.used == len(n.buf) {
				n.buf, n.used = n.buf[:0], 0
			}
			return k, nil
		case n.file != nil:
			k, err := n.file.Read(p[:min(int64(len(p)), n.left)])
			if k == 0 && (err == nil || errors.Is(err, io.EOF)) {
				err = io.ErrUnexpectedEOF // it has become shorter
			}
			if n.left -= int64(k); n.left == 0 {
				n.fileEnd()
			}
			if k > 0 {
				err = nil
			}
			return k, err
		case n.ended:
			return 0, io.EOF
		}
		if err := n.step(); err != nil {
			return 0, err
		}
	}
}

func (n *narFiles) Close() {
	if n.file != nil {
		_ = n.file.Close()
		n.file = nil
	}
}

// errUnwanted: nobody needs the path any more.
var errUnwanted = errors.New("not wanted")

// readFiles reads the lane's objects from this machine's disk. It returns false
// when the lane has none left; else nix-store has to read what is in the queue,
// since a file cannot be read or is not what it should be.
func (l *lane) readFiles() (more bool) {
	p := l.p
	for {
		p.mu.Lock()
		var o *object
		for len(l.queue) > 0 && o == nil {
			if o = l.queue[0]; len(o.subs) == 0 {
				o = nil
				l.queue = l.queue[1:]
			}
		}
		if o == nil || p.ctx.Err() != nil {
			more := o != nil
			if !more {
				l.end()
			}
			p.mu.Unlock()
			return more
		}
		p.mu.Unlock()
		n, err := newNARFiles(filepath.Join(p.src.Root, o.info.Path))
		if err == nil {
			err = l.read(n, nil, o)
		}
		if n != nil {
			n.Close()
		}
		if err != nil && err != errUnwanted {
			return true
		}
		p.mu.Lock()
		l.queue = l.queue[1:]
		p.mu.Unlock()
	}
}

// end takes the lane away. Pusher.mu is held.
func (l *lane) end() {
	p := l.p
	delete(p.lanes, l)
	if l.private {
		p.private--
	}
	close(p.laneFreed)
	p.laneFreed = make(chan struct{})
}
