//go:build unix

package ui

import (
	"os"
	"os/signal"
	"syscall"
)

// onResize tells when the terminal's size changes.
func onResize() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGWINCH, syscall.SIGCONT)
	return c, func() { signal.Stop(c) }
}

// onJobControl tells when a person presses Ctrl-Z.
func onJobControl() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 1)
	if signal.Ignored(syscall.SIGTSTP) {
		return c, func() {}
	}
	signal.Notify(c, syscall.SIGTSTP)
	return c, func() { signal.Stop(c) }
}

// stopSelf stops the process until it is continued.
func stopSelf() { _ = syscall.Kill(os.Getpid(), syscall.SIGSTOP) }
