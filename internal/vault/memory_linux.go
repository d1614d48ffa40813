package vault

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"godwit/internal/fault"
	"godwit/internal/scratch"
)

// memoryFolder makes a folder of this user's alone on a file system in memory.
func memoryFolder() (dir *scratch.Dir, warning string, err error) {
	for _, base := range []string{os.Getenv("XDG_RUNTIME_DIR"), "/dev/shm", "/run/shm"} {
		if base == "" || !inMemory(base) {
			continue
		}
		if dir, err := scratch.In(base, "edit-"); err == nil {
			return dir, "", nil
		}
	}
	return nil, "", fault.New("there is no file system in memory to edit on: neither $XDG_RUNTIME_DIR nor /dev/shm is one").
		Hint("a value can come over standard input: godwit secrets edit NAME --stdin")
}

// inMemory tells whether a folder, or the nearest one above it that is there, is on a file
// system in memory.
func inMemory(dir string) bool {
	var st unix.Statfs_t
	for unix.Statfs(dir, &st) == unix.ENOENT && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		st = unix.Statfs_t{}
	}
	return st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC
}
