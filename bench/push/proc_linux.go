package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// endWithUs makes the kernel end the process when this one ends, however it does.
func endWithUs(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}

// cpuOf gives the CPU seconds of a process and of its descendants that have ended.
func cpuOf(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name may hold anything before it
	f := strings.Fields(rest)
	if len(f) < 15 {
		return 0
	}
	ticks := 0.0
	for _, s := range f[11:15] { // utime, stime, cutime, cstime
		n, _ := strconv.ParseFloat(s, 64)
		ticks += n
	}
	return ticks / 100 // USER_HZ, the same on every Linux that Go runs on
}

// children tells whether a process has any.
func children(pid int) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	return len(strings.Fields(string(b))) > 0
}

// peak is the most memory that this process has held.
func peak() string {
	status, _ := os.ReadFile("/proc/self/status")
	for l := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(l, "VmHWM:"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
