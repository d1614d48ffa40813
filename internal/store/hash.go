package store

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"path"
	"strings"

	"godwit/internal/storepath"
)

// Hash is a SHA-256.
type Hash [sha256.Size]byte

// String is the form of narinfo files and of Nix's messages: sha256:<nix32>.
func (h Hash) String() string { return "sha256:" + storepath.Base32(h[:]) }

// ParseHash reads the forms that are met: sha256:<nix32>, sha256:<hex>,
// sha256-<base64>, and the bare hex digits.
func ParseHash(s string) (Hash, error) {
	var h Hash
	bad := func() (Hash, error) { return Hash{}, fmt.Errorf("%q is not a SHA-256", s) }
	if b64, ok := strings.CutPrefix(s, "sha256-"); ok {
		b, err := base64.StdEncoding.Strict().DecodeString(b64)
		if err != nil || len(b) != len(h) {
			return bad()
		}
		copy(h[:], b)
		return h, nil
	}
	t := strings.TrimPrefix(s, "sha256:")
	switch len(t) {
	case 2 * sha256.Size:
		if _, err := hex.Decode(h[:], []byte(t)); err != nil {
			return bad()
		}
	case (sha256.Size*8 + 4) / 5:
		b, ok := storepath.FromBase32(t)
		if !ok {
			return bad()
		}
		copy(h[:], b)
	default:
		return bad()
	}
	return h, nil
}

// storeDir is the folder of a store path: nearly always /nix/store.
func storeDir(p string) string { return path.Dir(p) }

// baseName is a store path without its folder and its hash part, for people.
func baseName(p string) string {
	b := path.Base(p)
	if len(b) > 33 {
		return b[33:]
	}
	return b
}
