package nix

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"godwit/internal/bounded"
	"godwit/internal/crash"
)

// killAfter is how long a Nix process may take to end after SIGTERM. Nix
// finishes running database transactions and kills its own builders in it.
const killAfter = 10 * time.Second

// killEvaluation is the same for evaluation. Nix 2.8 does not look for signals
// while it computes; what it has written to the store is whole at any moment.
const killEvaluation = time.Second

// termAgain is how long a group that got SIGTERM is left alone before it gets
// the next.
const termAgain = time.Second

// ownAfter is the SIGTERM with which what Nix started in sessions of its own is
// killed: builders, build hooks, ssh.
const ownAfter = 3

// end asks the process group of pid to end, again each second while anything of
// it is there, and kills it when grace is over. One SIGTERM is not enough: Nix
// passes it to the thread that waits for a build with a signal that is lost when
// it comes between that thread's last look and its poll (ReceiveInterrupts in
// Nix's signals). Nor are many, always: Nix throws its interrupt once, and where
// that is while it starts a builder, it is ignored, and Nix builds on to the end
// (seen with 2.8: "error (ignored): error: interrupted by the user", one time of
// a hundred). It ends when its builder does.
func end(pid int, grace time.Duration) error {
	if err := syscall.Kill(-pid, syscall.SIGTERM); err != nil {
		return os.ErrProcessDone
	}
	go func() {
		defer crash.Catch()
		again := time.NewTicker(termAgain)
		defer again.Stop()
		over := time.After(grace)
		for sent := 2; ; sent++ {
			select {
			case <-again.C:
				if syscall.Kill(-pid, syscall.SIGTERM) != nil {
					return // nothing is left, and its number may be another's soon
				}
				if sent >= ownAfter {
					killOwn(pid)
				}
			case <-over:
				kill(pid)
				return
			}
		}
	}()
	return nil
}

// kill kills the process group of the Nix process pid, which leads it, and what Nix
// started in sessions of its own: those a Nix that is killed would leave behind.
func kill(pid int) {
	if syscall.Kill(-pid, syscall.SIGSTOP) != nil { // it starts nothing new
		return
	}
	killOwn(pid)
	_ = syscall.Kill(-pid, syscall.SIGKILL)
}

// killOwn kills what descends from the process group of pid and is in groups of its own,
// as hostscript.Below does on other machines and for root.
func killOwn(pid int) {
	for _, group := range groupsBelow(processes(), pid) {
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
}

// aProcess is a process of this machine.
type aProcess struct{ pid, parent, group int }

// groupsBelow are the process groups of what descends from a group, but for itself and ours.
func groupsBelow(all []aProcess, group int) (groups []int) {
	children, todo, known := map[int][]aProcess{}, []int{}, map[int]bool{}
	for _, p := range all {
		if p.group == group {
			todo, known[p.pid] = append(todo, p.pid), true
		}
		children[p.parent] = append(children[p.parent], p)
	}
	seen := map[int]bool{group: true, syscall.Getpgrp(): true, 0: true, 1: true}
	for ; len(todo) > 0; todo = todo[1:] {
		for _, p := range children[todo[0]] {
			if !known[p.pid] { // a table that is read while it changes may have a circle
				todo, known[p.pid] = append(todo, p.pid), true
			}
			if !seen[p.group] {
				seen[p.group], groups = true, append(groups, p.group)
			}
		}
	}
	return groups
}

// processes lists the processes of this machine: from /proc where there is one, else
// from ps, as on macOS.
func processes() []aProcess {
	if stats, _ := filepath.Glob("/proc/[0-9]*/stat"); len(stats) > 0 {
		return procProcesses(stats)
	}
	return psProcesses()
}

func procProcesses(stats []string) (all []aProcess) {
	for _, stat := range stats {
		line, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		// PID (NAME) STATE PARENT GROUP …, and a name may have anything in it.
		p, state := aProcess{}, ""
		name := bytes.LastIndexByte(line, ')')
		if _, err := fmt.Sscan(string(line), &p.pid); err != nil || name < 0 {
			continue
		}
		if _, err := fmt.Sscan(string(line[name+1:]), &state, &p.parent, &p.group); err == nil {
			all = append(all, p)
		}
	}
	return all
}

func psProcesses() (all []aProcess) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := bounded.Output(exec.CommandContext(ctx, "ps", "-A", "-o", "pid=", "-o", "ppid=", "-o", "pgid="), "what ps prints", 16<<20)
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(out) {
		var p aProcess
		if _, err := fmt.Sscan(string(line), &p.pid, &p.parent, &p.group); err == nil {
			all = append(all, p)
		}
	}
	return all
}
