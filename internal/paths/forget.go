package paths

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
)

// Forget leaves the newest keep files of a directory, and removes the older ones. It is
// best effort: what cannot be read or removed stays.
func Forget(dir string, keep int) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= keep {
		return
	}
	age := func(e os.DirEntry) int64 {
		if st, err := e.Info(); err == nil {
			return st.ModTime().UnixNano()
		}
		return 0
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return cmp.Compare(age(a), age(b)) })
	for _, e := range entries[:len(entries)-keep] {
		_ = os.Remove(filepath.Join(dir, e.Name()))
	}
}
