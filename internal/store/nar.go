package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"godwit/internal/crash"
)

// Limits of the archive grammar, from src/libutil/archive.cc. Nix of late
// refuses folders nested 64 deep; older ones do not, so that the limit here is
// only against harm and the host's own Nix has the last word.
const (
	maxName   = 255
	maxTarget = 4095
	maxDepth  = 1024
)

// narState is what the archive grammar wants next.
type narState uint8

const (
	narMagic narState = iota
	narOpen
	narType
	narKind
	narRegular
	narExecValue
	narContentsWord
	narContents
	narTargetWord
	narTarget
	narClose
	narDirNext
	narEntryOpen
	narNameWord
	narName
	narNodeWord
	narEntryClose
	narEnd
)

// NARChecker is a writer that checks a NAR while it flows past: its grammar,
// with the constant memory of one name for each level of folders, and at Close
// its length and SHA-256.
//
//	archive   = "nix-archive-1" node
//	node      = "(" "type" ( regular | symlink | directory ) ")"
//	regular   = "regular" [ "executable" "" ] "contents" bytes
//	symlink   = "symlink" "target" target
//	directory = "directory" { "entry" "(" "name" name "node" node ")" }
type NARChecker struct {
	sum   hash.Hash
	size  int64
	state narState
	err   error
	// names holds the last name seen in each open folder.
	names []string

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

// NewNARChecker starts at the first byte of an archive.
func NewNARChecker() *NARChecker { return &NARChecker{sum: sha256.New()} }

// Size is the number of bytes seen.
func (c *NARChecker) Size() int64 { return c.size }

// Sum is the SHA-256 of the bytes seen.
func (c *NARChecker) Sum() (h Hash) {
	c.sum.Sum(h[:0])
	return h
}

// Ended tells whether the archive is complete.
func (c *NARChecker) Ended() bool { return c.err == nil && c.state == narEnd }

// Write takes the next bytes. After an error it returns that error for ever.
func (c *NARChecker) Write(p []byte) (int, error) {
	defer crash.Catch()
	if c.err != nil {
		return 0, c.err
	}
	c.sum.Write(p)
	if err := c.parse(p); err != nil {
		c.err = fmt.Errorf("not a NAR, near byte %d: %w", c.size, err)
		return 0, c.err
	}
	c.size += int64(len(p))
	return len(p), nil
}

// Finish compares what has passed with what the path info promised.
func (c *NARChecker) Finish(size int64, sum Hash) error {
	switch {
	case c.err != nil:
		return c.err
	case c.state != narEnd:
		return fmt.Errorf("NAR ends too early, after %d bytes", c.size)
	case c.size != size:
		return fmt.Errorf("NAR has %d bytes instead of %d", c.size, size)
	case c.Sum() != sum:
		return fmt.Errorf("NAR has the hash %s instead of %s", c.Sum(), sum)
	}
	return nil
}

func (c *NARChecker) parse(p []byte) error {
	for len(p) > 0 {
		switch {
		case c.skip > 0:
			n := min(c.skip, uint64(len(p)))
			c.skip -= n
			p = p[n:]
			if c.skip == 0 && c.pad == 0 {
				c.state = narClose
			}
		case c.pad > 0:
			if p[0] != 0 {
				return errPadding
			}
			p = p[1:]
			if c.pad--; c.pad == 0 {
				c.state = narClose
			}
		case c.state == narEnd:
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

// begin looks at the length of the next string.
func (c *NARChecker) begin() error {
	if c.state == narContents {
		if c.length > 1<<62 {
			return fmt.Errorf("%w: %d bytes", errTooLong, c.length)
		}
		c.skip = c.length
		c.pad = int((8 - c.length%8) % 8)
		if c.skip == 0 {
			c.state = narClose
		}
		return nil
	}
	limit := uint64(16) // longer than any word of the grammar
	switch c.state {
	case narName:
		limit = maxName
	case narTarget:
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
func (c *NARChecker) token(t []byte) error {
	expect := func(word string, next narState) error {
		if string(t) != word {
			return fmt.Errorf("%q where %q belongs", t, word)
		}
		c.state = next
		return nil
	}
	switch c.state {
	case narMagic:
		return expect("nix-archive-1", narOpen)
	case narOpen:
		return expect("(", narType)
	case narType:
		return expect("type", narKind)
	case narKind:
		switch string(t) {
		case "regular":
			c.state = narRegular
		case "symlink":
			c.state = narTargetWord
		case "directory":
			if len(c.names) >= maxDepth {
				return errors.New("folders are nested too deep")
			}
			c.names = append(c.names, "")
			c.state = narDirNext
		default:
			return fmt.Errorf("unknown kind of file %q", t)
		}
	case narRegular:
		if string(t) == "executable" {
			c.state = narExecValue
			return nil
		}
		return expect("contents", narContents)
	case narExecValue:
		return expect("", narContentsWord)
	case narContentsWord:
		return expect("contents", narContents)
	case narTargetWord:
		return expect("target", narTarget)
	case narTarget:
		if err := checkBytes(t, false); err != nil {
			return fmt.Errorf("target of a symlink %q: %w", t, err)
		}
		c.state = narClose
	case narClose:
		if err := expect(")", narEnd); err != nil {
			return err
		}
		c.nodeEnd()
	case narDirNext:
		if string(t) == ")" {
			c.names = c.names[:len(c.names)-1]
			c.nodeEnd()
			return nil
		}
		return expect("entry", narEntryOpen)
	case narEntryOpen:
		return expect("(", narNameWord)
	case narNameWord:
		return expect("name", narName)
	case narName:
		if err := checkBytes(t, true); err != nil {
			return fmt.Errorf("file name %q: %w", t, err)
		}
		last := &c.names[len(c.names)-1]
		if string(t) <= *last {
			return fmt.Errorf("file name %q comes after %q", t, *last)
		}
		*last = string(t)
		c.state = narNodeWord
	case narNodeWord:
		return expect("node", narOpen)
	case narEntryClose:
		return expect(")", narDirNext)
	default:
		return errors.New("bytes behind the end")
	}
	return nil
}

func (c *NARChecker) nodeEnd() {
	if len(c.names) == 0 {
		c.state = narEnd
	} else {
		c.state = narEntryClose
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
