// Package programs keeps what a program says of itself, its version for one, for as long
// as its file is the same: each of Nix's takes some 20 ms to start, ssh 5, and every run
// would ask them again.
package programs

import (
	"encoding/json"
	"io"
	"path/filepath"

	"godwit/internal/evalcache"
	"godwit/internal/paths"
	"godwit/internal/regular"
)

// Said is what the program at path says; about is a word for what it is asked. The answer must
// be a part of the program: of no configuration, no environment and no other program.
// Nothing is kept of a script, which may run whatever it finds, and of an empty answer.
func Said(path, about string, ask func() (string, error)) (string, error) {
	is := identity(path)
	c, key := cache(), ""
	if is != "" {
		key = evalcache.Key(is, about)
	}
	var said string
	if kept, ok := c.Get(key)["said"]; ok && json.Unmarshal(kept, &said) == nil && said != "" {
		return said, nil
	}
	said, err := ask()
	if err != nil || said == "" || identity(path) != is { // it may have been replaced meanwhile
		return said, err
	}
	if text, err := json.Marshal(said); err == nil {
		c.Set(key, map[string]json.RawMessage{"said": text})
	}
	return said, nil
}

// cache keeps nothing where this machine's state cannot be written.
func cache() evalcache.Cache {
	dir, err := paths.State()
	if err != nil {
		return evalcache.Cache{}
	}
	return evalcache.Cache{Dir: filepath.Join(dir, "programs")}
}

// identity is the same for a program that is the same; empty where that cannot be told.
func identity(path string) string {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}
	f, err := regular.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	begin := make([]byte, 4)
	if _, err := io.ReadFull(f, begin); err != nil || !machineCode(begin) {
		return ""
	}
	st, err := f.Stat()
	if err != nil {
		return ""
	}
	is, err := evalcache.Identity(st)
	if err != nil {
		return ""
	}
	return path + " " + is
}

// machineCode tells whether a file that begins so is one of ELF, or of Mach-O, for one
// processor or for several.
func machineCode(begin []byte) bool {
	switch string(begin) {
	case "\x7fELF", "\xcf\xfa\xed\xfe", "\xca\xfe\xba\xbe":
		return true
	}
	return false
}
