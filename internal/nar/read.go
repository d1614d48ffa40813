package nar

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"godwit/internal/bounded"
)

// Kind is what an entry is.
type Kind uint8

// The kinds of entries.
const (
	Regular Kind = iota
	Symlink
	Directory
)

// Entry is a file, a symlink or a folder in an archive.
type Entry struct {
	// Path is where it is, with slashes; "" is the root, which may be a file, too.
	Path       string
	Kind       Kind
	Executable bool
	Target     string // of a symlink
	Size       int64  // of a file, in bytes
}

// maxPath bounds Entry.Path, in bytes, as Linux does (PATH_MAX).
const maxPath = 4096

// Reader gives the entries of an archive in their order, which is that of a walk: a
// folder, then what is in it by name. It is used like that of archive/tar.
type Reader struct {
	r   *bufio.Reader
	c   Checker // without a sum
	err error
	buf [8 << 10]byte
}

// NewReader starts at the first byte of an archive.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReader(r)} }

// Next goes to the next entry, past what is left of the contents of this one. After the
// last it gives io.EOF; bytes behind the archive, and an end before its end, are errors.
func (r *Reader) Next() (Entry, error) {
	if r.err != nil {
		return Entry{}, r.err
	}
	e, err := r.next()
	r.err = err
	return e, err
}

func (r *Reader) next() (Entry, error) {
	for {
		before, inContents := r.c.state, r.c.skip > 0 || r.c.pad > 0
		if before == wantEnd {
			switch _, err := r.r.ReadByte(); err {
			case io.EOF:
				return Entry{}, io.EOF
			case nil:
				return Entry{}, errors.New("not a NAR: bytes behind the end")
			default:
				return Entry{}, err
			}
		}
		// Never more than what belongs to the present word, so that what comes out of
		// the checker is seen word by word.
		n := min(r.c.missing(), len(r.buf))
		if err := r.pass(r.buf[:n]); err != nil {
			return Entry{}, err
		}
		e := Entry{Kind: Directory}
		switch {
		case before == wantKind && r.c.state == wantDirNext:
			// The folder itself is not one of those that it is in.
			return e, r.place(&e, r.c.names[:len(r.c.names)-1])
		case before == wantContents && !inContents: // their length was read
			e = Entry{Kind: Regular, Executable: r.c.executable, Size: int64(r.c.length)}
			return e, r.place(&e, r.c.names)
		case before == wantTarget && r.c.state == wantClose:
			e = Entry{Kind: Symlink, Target: string(r.c.target)}
			return e, r.place(&e, r.c.names)
		}
	}
}

// place says where an entry is.
func (r *Reader) place(e *Entry, names []string) error {
	n := 0
	for _, name := range names {
		n += len(name) + 1
	}
	if n > maxPath {
		return fmt.Errorf("not a NAR of files that Linux could have: %w", &bounded.Error{What: "a path in it", Limit: maxPath})
	}
	e.Path = strings.Join(names, "/")
	return nil
}

// pass takes the next bytes, all of p, past the checker.
func (r *Reader) pass(p []byte) error {
	if _, err := io.ReadFull(r.r, p); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return fmt.Errorf("NAR ends too early, after %d bytes", r.c.size)
		}
		return err
	}
	_, err := r.c.Write(p)
	return err
}

// Read reads the contents of the present entry, when that is a file.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n := int(min(uint64(len(p)), r.c.skip))
	if n == 0 {
		if len(p) == 0 && r.c.skip > 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	if r.err = r.pass(p[:n]); r.err != nil {
		return 0, r.err
	}
	return n, nil
}

// Tree is a small archive in memory, by the paths of its entries.
type Tree map[string]Node

// Node is an entry with what is in it.
type Node struct {
	Entry
	Contents []byte // of a file
}

// costs is about what a node takes in memory beside its words, in bytes.
const costs = 256

// ReadTree reads a whole archive. One that would take more than limit bytes of memory is
// a *bounded.Error.
func ReadTree(in io.Reader, limit int64) (Tree, error) {
	t, r := Tree{}, NewReader(in)
	left := limit
	for {
		e, err := r.Next()
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		need := costs + int64(len(e.Path)+len(e.Target))
		if left -= need; left < 0 || e.Size > left {
			return nil, &bounded.Error{What: "an archive", Limit: limit}
		}
		left -= e.Size
		n := Node{Entry: e}
		if e.Kind == Regular {
			n.Contents = make([]byte, e.Size)
			if _, err := io.ReadFull(r, n.Contents); err != nil {
				return nil, err
			}
		}
		t[e.Path] = n
	}
}
