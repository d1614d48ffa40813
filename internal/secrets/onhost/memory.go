//go:build linux

package onhost

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Numbers of file systems in memory (linux/magic.h).
const (
	ramfs = 0x858458f6
	tmpfs = 0x01021994
)

// memory mounts a file system that is never written to a disk: ramfs, which is not
// swapped either and has no limit that others could exhaust, or tmpfs without swap. Where
// nothing may be mounted, a folder that is in memory already will do.
func memory(folder string) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	kind := func(at string) int64 {
		var st unix.Statfs_t
		if err := unix.Statfs(at, &st); err != nil {
			return 0
		}
		return int64(st.Type) & 0xffffffff
	}
	var in, above unix.Stat_t
	if err := unix.Lstat(folder, &in); err != nil {
		return err
	}
	if err := unix.Lstat(folder+"/..", &above); err != nil {
		return err
	}
	if in.Dev != above.Dev && (kind(folder) == ramfs || kind(folder) == tmpfs) { // mounted already
		return nil
	}
	err := unix.Mount("ramfs", folder, "ramfs", flags, "mode=0751")
	if err == nil {
		return nil
	}
	if unix.Mount("tmpfs", folder, "tmpfs", flags, "mode=0751,noswap") == nil {
		return nil
	}
	if kind(folder) == tmpfs || kind(folder) == ramfs {
		return nil
	}
	return fmt.Errorf("no file system in memory can be mounted at %s: %w", folder, err)
}
