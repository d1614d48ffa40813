// Package nar reads Nix archives: a Checker looks at one while it flows past, a Reader
// gives its files one after the other, ReadTree all of a small one. Archives come from
// other machines: each of the three holds a bounded part of one in memory, and an error
// is all that a wrong one causes.
package nar

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"godwit/internal/crash"
)

var (
	errTooLong = errors.New("string is too long")
	errPadding = errors.New("padding is not zero")
)

// Limits of the archive grammar, from src/libutil/archive.cc. Nix of late
// refuses folders nested 64 deep; older ones do not, so that the limit here is
// only against harm and the host's own Nix has the last word.
const (
	maxName   = 255
	maxTarget = 4095
	maxDepth  = 1024
)

// state is what the archive grammar wants next.
type state uint8

const (
	wantMagic state = iota
	wantOpen
	wantType
	wantKind
	wantRegular
	wantExecValue
	wantContentsWord
	wantContents
	wantTargetWord
	wantTarget
	wantClose
	wantDirNext
	wantEntryOpen
	wantNameWord
	wantName
	wantNodeWord
	wantEntryClose
	wantEnd
)

// Checker is a writer that checks a NAR while it flows past: its grammar,
// with the constant memory of one name for each level of folders, and at Finish
// its length; its SHA-256 is Sum.
//
//	archive   = "nix-archive-1" node
//	node      = "(" "type" ( regular | symlink | directory ) ")"
//	regular   = "regular" [ "executable" "" ] "contents" bytes
//	symlink   = "symlink" "target" target
//	directory = "directory" { "entry" "(" "name" name "node" node ")" }
type Checker struct {
	sum   hash.Hash
	size  int64
	state state
	err   error
	// names holds the last name seen in each open folder.
	names []string
	// executable and target are those of the node that is being read.
	executable bool
	target     []byte

	// The string that is being read: first its length, then its bytes.
	head   [8]byte
	headN  int
	inBody bool
	body   []byte // bytes of a short string, with padding
	want   int    // bytes of body to come in all, with padding
	length uint64 // length of the string without padding
	skip   uint64 // bytes of contents still to pass
	pad    int    // padding behind contents still to pass
}

// NewChecker starts at the first byte of an archive.
func NewChecker() *Checker { return &Checker{sum: sha256.New()} }

// Size is the number of bytes seen.
func (c *Checker) Size() int64 { return c.size }

// Sum is the SHA-256 of the bytes seen.
func (c *Checker) Sum() (sum [sha256.Size]byte) {
	c.sum.Sum(sum[:0])
	return sum
}

// Ended tells whether the archive is complete.
func (c *Checker) Ended() bool { return c.err == nil && c.state == wantEnd }

// Write takes the next bytes. After an error it returns that error for ever.
func (c *Checker) Write(p []byte) (int, error) {
	defer crash.Catch()
	if c.err != nil {
		return 0, c.err
	}
	if c.sum != nil {
		c.sum.Write(p)
	}
	if err := c.parse(p); err != nil {
		c.err = fmt.Errorf("not a NAR, near byte %d: %w", c.size, err)
		return 0, c.err
	}
	c.size += int64(len(p))
	return len(p), nil
}

// Finish tells whether the archive was right to its end and has size bytes. Whoever
// knows a hash of it compares that with Sum.
func (c *Checker) Finish(size int64) error {
	switch {
	case c.err != nil:
		return c.err
	case c.state != wantEnd:
		return fmt.Errorf("NAR ends too early, after %d bytes", c.size)
	case c.size != size:
		return fmt.Errorf("NAR has %d bytes instead of %d", c.size, size)
	}
	return nil
}

func (c *Checker) parse(p []byte) error {
	for len(p) > 0 {
		switch {
		case c.skip > 0:
			n := min(c.skip, uint64(len(p)))
			c.skip -= n
			p = p[n:]
			if c.skip == 0 && c.pad == 0 {
				c.state = wantClose
			}
		case c.pad > 0:
			if p[0] != 0 {
				return errPadding
			}
			p = p[1:]
			if c.pad--; c.pad == 0 {
				c.state = wantClose
			}
		case c.state == wantEnd:
			return errors.New("bytes behind the end")
		case !c.inBody:
			n := copy(c.head[c.headN:], p)
			c.headN += n
			p = p[n:]
			if c.headN < len(c.head) {
				return nil
			}
			c.headN = 0
			c.length = binary.LittleEndian.Uint64(c.head[:])
			if err := c.begin(); err != nil {
				return err
			}
		default:
			n := min(c.want-len(c.body), len(p))
			c.body = append(c.body, p[:n]...)
			p = p[n:]
			if len(c.body) < c.want {
				return nil
			}
			for _, b := range c.body[c.length:] {
				if b != 0 {
					return errPadding
				}
			}
			c.inBody = false
			if err := c.token(c.body[:c.length]); err != nil {
				return err
			}
		}
	}
	return nil
}

// missing is how many bytes end the present length, word, contents or padding.
func (c *Checker) missing() int {
	switch {
	case c.skip > 0:
		return int(min(c.skip, 1<<20))
	case c.pad > 0:
		return c.pad
	case c.inBody:
		return c.want - len(c.body)
	}
	return len(c.head) - c.headN
}

// begin looks at the length of the next string.
func (c *Checker) begin() error {
	if c.state == wantContents {
		if c.length > 1<<62 {
			return fmt.Errorf("%w: %d bytes", errTooLong, c.length)
		}
		c.skip = c.length
		c.pad = int((8 - c.length%8) % 8)
		if c.skip == 0 {
			c.state = wantClose
		}
		return nil
	}
	limit := uint64(16) // longer than any word of the grammar
	switch c.state {
	case wantName:
		limit = maxName
	case wantTarget:
		limit = maxTarget
	}
	if c.length > limit {
		return fmt.Errorf("%w: %d bytes", errTooLong, c.length)
	}
	c.body = c.body[:0]
	c.want = int((c.length + 7) &^ 7)
	c.inBody = true
	if c.want == 0 {
		c.inBody = false
		return c.token(nil)
	}
	return nil
}

// token takes one whole string.
func (c *Checker) token(t []byte) error {
	expect := func(word string, next state) error {
		if string(t) != word {
			return fmt.Errorf("%q where %q belongs", t, word)
		}
		c.state = next
		return nil
	}
	switch c.state {
	case wantMagic:
		return expect("nix-archive-1", wantOpen)
	case wantOpen:
		c.executable = false
		return expect("(", wantType)
	case wantType:
		return expect("type", wantKind)
	case wantKind:
		switch string(t) {
		case "regular":
			c.state = wantRegular
		case "symlink":
			c.state = wantTargetWord
		case "directory":
			if len(c.names) >= maxDepth {
				return errors.New("folders are nested too deep")
			}
			c.names = append(c.names, "")
			c.state = wantDirNext
		default:
			return fmt.Errorf("unknown kind of file %q", t)
		}
	case wantRegular:
		if string(t) == "executable" {
			c.executable = true
			c.state = wantExecValue
			return nil
		}
		return expect("contents", wantContents)
	case wantExecValue:
		return expect("", wantContentsWord)
	case wantContentsWord:
		return expect("contents", wantContents)
	case wantTargetWord:
		return expect("target", wantTarget)
	case wantTarget:
		if err := checkBytes(t, false); err != nil {
			return fmt.Errorf("target of a symlink %q: %w", t, err)
		}
		c.target = append(c.target[:0], t...)
		c.state = wantClose
	case wantClose:
		if err := expect(")", wantEnd); err != nil {
			return err
		}
		c.nodeEnd()
	case wantDirNext:
		if string(t) == ")" {
			c.names = c.names[:len(c.names)-1]
			c.nodeEnd()
			return nil
		}
		return expect("entry", wantEntryOpen)
	case wantEntryOpen:
		return expect("(", wantNameWord)
	case wantNameWord:
		return expect("name", wantName)
	case wantName:
		if err := checkBytes(t, true); err != nil {
			return fmt.Errorf("file name %q: %w", t, err)
		}
		last := &c.names[len(c.names)-1]
		if string(t) <= *last {
			return fmt.Errorf("file name %q comes after %q", t, *last)
		}
		*last = string(t)
		c.state = wantNodeWord
	case wantNodeWord:
		return expect("node", wantOpen)
	case wantEntryClose:
		return expect(")", wantDirNext)
	default:
		return errors.New("bytes behind the end")
	}
	return nil
}

func (c *Checker) nodeEnd() {
	if len(c.names) == 0 {
		c.state = wantEnd
	} else {
		c.state = wantEntryClose
	}
}

func checkBytes(t []byte, name bool) error {
	if len(t) == 0 {
		return errors.New("is empty")
	}
	if name && (string(t) == "." || string(t) == "..") {
		return errors.New("is not allowed")
	}
	for _, b := range t {
		if b == 0 || name && b == '/' {
			return errors.New("has a forbidden character")
		}
	}
	return nil
}
