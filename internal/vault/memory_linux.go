package vault

import (
	"os"

	"golang.org/x/sys/unix"

	"godwit/internal/fault"
)

// memoryFolder makes a folder of this user's alone on a file system in memory.
func memoryFolder() (dir, warning string, err error) {
	for _, base := range []string{os.Getenv("XDG_RUNTIME_DIR"), "/dev/shm", "/run/shm"} {
		var st unix.Statfs_t
		if base == "" || unix.Statfs(base, &st) != nil || st.Type != unix.TMPFS_MAGIC && st.Type != unix.RAMFS_MAGIC {
			continue
		}
		if dir, err := os.MkdirTemp(base, "godwit-edit-"); err == nil { // mode 0700
			return dir, "", nil
		}
	}
	return "", "", fault.New("there is no file system in memory to edit on: neither $XDG_RUNTIME_DIR nor /dev/shm is one").
		Hint("a value can come over standard input: godwit secrets edit NAME --stdin")
}
