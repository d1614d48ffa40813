//go:build !linux

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// Elsewhere the processes are ended by stopAll alone, and what only /proc tells
// is not told.

func endWithUs(*exec.Cmd) {}

func keeper(conf string) {
	check(syscall.Exec("/usr/sbin/sshd", []string{"/usr/sbin/sshd", "-D", "-e", "-f", conf}, os.Environ()))
}

func reap() {}

func idle(int) bool { return true }

func cpuOf(int) float64 { return 0 }

func cpuBelow(int) float64 { return 0 }

func peak() string { return "" }
