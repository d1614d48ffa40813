package main

import (
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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

// children gives the processes that a process has started and not waited for.
func children(pid int) (list []int) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range threads {
		b, _ := os.ReadFile(t)
		for _, f := range strings.Fields(string(b)) {
			n, _ := strconv.Atoi(f)
			list = append(list, n)
		}
	}
	return list
}

// keeper runs sshd and waits for all that it leaves behind: a Nix whose
// connection was cut outlives its sshd, and its CPU seconds count as well.
func keeper(conf string) {
	const subreaper = 36 // PR_SET_CHILD_SUBREAPER
	if _, _, e := syscall.RawSyscall(syscall.SYS_PRCTL, subreaper, 1, 0); e != 0 {
		log.Fatal(e)
	}
	runtime.LockOSThread() // whose end is the signal
	cmd := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", conf)
	endWithUs(cmd)
	check(cmd.Start())
	for {
		pid, err := syscall.Wait4(-1, nil, 0, nil)
		if pid == cmd.Process.Pid || err != nil && err != syscall.EINTR {
			return
		}
	}
}

// reap waits for all processes that this one has started, but the one that watches over them
// until this one ends (internal/leash).
func reap() {
	for {
		left := 0
		for _, pid := range children(os.Getpid()) {
			if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && strings.TrimSpace(string(name)) == "sh" {
				continue
			}
			left++
			_, _ = syscall.Wait4(pid, nil, 0, nil)
		}
		if left == 0 {
			return
		}
	}
}

// idle tells whether nothing runs below a keeper but sshd.
func idle(keeper int) bool {
	below := children(keeper)
	return len(below) == 1 && len(children(below[0])) == 0
}

// cpuBelow gives the CPU seconds of all that ran below a keeper so far.
func cpuBelow(keeper int) float64 {
	sum := cpuOf(keeper)
	for _, pid := range children(keeper) {
		sum += cpuOf(pid)
	}
	return sum
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
