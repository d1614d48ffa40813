package plan

import (
	"encoding/binary"
	"strings"
)

// tree is an archive in memory: its files and links by their path in it ("" is
// the root). Folders are not listed.
type tree struct {
	files map[string][]byte
	links map[string]string
}

// parseNAR reads an archive that was checked before (store.Read).
func parseNAR(b []byte) (t tree, ok bool) {
	defer func() {
		if recover() != nil { // out of bounds: not an archive after all
			ok = false
		}
	}()
	t = tree{files: map[string][]byte{}, links: map[string]string{}}
	next := func() []byte {
		n := binary.LittleEndian.Uint64(b)
		v := b[8 : 8+n]
		b = b[8+(n+7)/8*8:]
		return v
	}
	var node func(path string)
	node = func(path string) {
		next() // (
		next() // type
		switch string(next()) {
		case "symlink":
			next() // target
			t.links[path] = string(next())
			next() // )
		case "regular":
			word := string(next())
			if word == "executable" {
				next()
				word = string(next())
			}
			if word == "contents" {
				t.files[path] = next()
				next() // )
			}
		default:
			for string(next()) == "entry" {
				next() // (
				next() // name
				name := string(next())
				next() // node
				node(strings.TrimPrefix(path+"/"+name, "/"))
				next() // )
			}
		}
	}
	next() // nix-archive-1
	node("")
	return t, true
}
