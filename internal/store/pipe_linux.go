package store

import (
	"os"
	"syscall"
)

// growPipe gives a pipe room for more than 64 KiB, which saves switching between
// us and the process at its other end. It is no matter if that fails.
func growPipe(f any) {
	const setPipeSize = 1031 // F_SETPIPE_SZ
	if f, ok := f.(*os.File); ok {
		if raw, err := f.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) {
				_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, fd, setPipeSize, 256<<10)
			})
		}
	}
}
