//go:build linux

package onhost

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// alone waits, for as long as h.Wait, until no other run of the program changes what is on this host: a boot
// starts two of them, a deployment may begin meanwhile. The lock is on the folder of
// releases, which root alone can open; where there is none, there is nothing to change.
func (h *Host) alone() (end func(), err error) {
	fd, err := unix.Open(h.State, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.State, err)
	}
	for waited := time.Duration(0); ; waited += 20 * time.Millisecond {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = unix.Close(fd) }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || waited > h.Wait {
			_ = unix.Close(fd)
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fmt.Errorf("another %s is at work in %s, and did not end within %s", Name, h.State, h.Wait)
			}
			return nil, fmt.Errorf("%s: %w", h.State, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
