package storepath

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// OfNAR is the path of an object without references that is named by its content: the
// SHA-256 of its NAR, as fetched trees are (makeFixedOutputPath in src/libstore/store-api.cc).
func OfNAR(storeDir, name string, sum [sha256.Size]byte) string {
	text := "source:sha256:" + hex.EncodeToString(sum[:]) + ":" + storeDir + ":" + name
	full := sha256.Sum256([]byte(text))
	var short [20]byte
	for i, b := range full {
		short[i%len(short)] ^= b
	}
	return storeDir + "/" + Base32(short[:]) + "-" + name
}

// Base32 is Nix's way to write bytes: five bits a letter, the last ones first.
func Base32(b []byte) string {
	n := (len(b)*8 + 4) / 5
	out := make([]byte, n)
	for i := range n {
		bit := (n - 1 - i) * 5
		word := uint(b[bit/8]) >> (bit % 8)
		if bit/8+1 < len(b) {
			word |= uint(b[bit/8+1]) << (8 - bit%8)
		}
		out[i] = Alphabet[word&31]
	}
	return string(out)
}

// FromBase32 reads what Base32 writes, and tells whether s is that.
func FromBase32(s string) ([]byte, bool) {
	b := make([]byte, len(s)*5/8)
	for k := range len(s) {
		v := strings.IndexByte(Alphabet, s[len(s)-1-k])
		if v < 0 {
			return nil, false
		}
		i, word := 5*k/8, v<<(5*k%8)
		for ; word != 0; i, word = i+1, word>>8 {
			if i == len(b) { // bits beyond the last byte
				return nil, false
			}
			b[i] |= byte(word)
		}
	}
	return b, true
}
