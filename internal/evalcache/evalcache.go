// Package evalcache keeps what evaluations gave, by all that went into them. An entry
// never becomes wrong: another content has another key. It may go missing, and the
// derivations that it names may be collected; who reads it looks.
package evalcache

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"godwit/internal/paths"
	"godwit/internal/regular"
)

// most is how many entries a directory holds before those that were written first go,
// and mostRead how large one may be, in bytes: a host has some kilobytes.
const (
	most     = 200
	mostRead = 64 << 20
)

// Cache is a directory of entries. The zero value keeps nothing.
type Cache struct{ Dir string }

// Key is the key of an entry: of everything that an evaluation depends on. It is empty
// when the first of it is, which means that not all of it is known.
func Key(all ...string) string {
	if len(all) == 0 || all[0] == "" {
		return ""
	}
	h := sha256.New()
	for _, s := range all {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil)[:20])
}

// Get is what was kept under a key, by name; nil when nothing was.
func (c Cache) Get(key string) map[string]json.RawMessage {
	if c.Dir == "" || key == "" {
		return nil
	}
	b, err := regular.Read(c.file(key), mostRead)
	var got map[string]json.RawMessage
	if err != nil || json.Unmarshal(b, &got) != nil {
		return nil
	}
	return got
}

// Put keeps more under a key. It may fail: then it is evaluated again.
func (c Cache) Put(key string, more map[string]json.RawMessage) {
	if c.Dir == "" || key == "" || len(more) == 0 {
		return
	}
	all := c.Get(key)
	if all == nil {
		all = map[string]json.RawMessage{}
	}
	maps.Copy(all, more)
	c.Set(key, all)
}

// Set is Put in place of what was kept.
func (c Cache) Set(key string, all map[string]json.RawMessage) {
	if c.Dir == "" || key == "" {
		return
	}
	b, err := json.Marshal(all)
	if err != nil || os.MkdirAll(c.Dir, 0o700) != nil {
		return
	}
	paths.Forget(c.Dir, most-1)
	_ = paths.Write(c.file(key), b)
}

func (c Cache) file(key string) string { return filepath.Join(c.Dir, key+".json") }
