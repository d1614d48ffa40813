package nix

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"godwit/test/leftover"
)

// When the context ends the whole group gets SIGTERM.
func TestCommandCancel(t *testing.T) {
	tool := &Tool{programs: map[string]string{"nix-store": "/bin/sh"}}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := tool.Command(ctx, "nix-store", "-c", "trap 'exit 3' TERM; sleep 300 & wait")
	time.AfterFunc(200*time.Millisecond, cancel)
	start := time.Now()
	err := cmd.Run()
	if err == nil || time.Since(start) > killAfter {
		t.Error(err, time.Since(start))
	}
}

// A Nix that lost the first SIGTERM gets the next: it may not wait to be killed,
// since its builders would stay.
func TestCommandCancelAgain(t *testing.T) {
	tool := &Tool{programs: map[string]string{"nix-store": "/bin/sh"}}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := tool.Command(ctx, "nix-store", "-c", `n=0; trap 'n=$((n + 1)); [ $n -lt 3 ] || exit 3' TERM; echo; while :; do sleep 0.1; done`)
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, 1)); err != nil { // the trap is set
		t.Fatal(err)
	}
	cancel()
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 3 {
		t.Error(cmd.ProcessState)
	}
}

// A Nix whose interrupt was lost for good builds on: it ends with its builder.
func TestCommandCancelLost(t *testing.T) {
	tool := &Tool{programs: map[string]string{"nix-store": "/bin/sh"}}
	ctx, cancel := context.WithCancel(context.Background())
	nap := aNap(t)
	cmd := tool.Command(ctx, "nix-store", "-c", `trap '' TERM; setsid sh -c 'echo begun; `+nap+`; :' & wait; exit 3`)
	begun(t, cmd)
	cancel()
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 3 {
		t.Error(cmd.ProcessState)
	}
	leftover.None(t, nap)
}

// What a Nix that must be killed has started goes with it: builders of a build, and of
// an evaluation that imports what it builds.
func TestKilledLeavesNoBuilder(t *testing.T) {
	tool := realTool(t)
	for name, try := range map[string]struct {
		args func(expr string) []string
		end  func(cmd *exec.Cmd, cancel func())
	}{
		"a build that is stopped": {func(expr string) []string {
			return append([]string{"nix-store", "--realise"}, instantiate(t, tool, "{ salt }: { slow = "+expr+"; }", "slow")...)
		}, func(cmd *exec.Cmd, cancel func()) {
			if err := syscall.Kill(cmd.Process.Pid, syscall.SIGSTOP); err != nil {
				t.Error(err)
			}
			cancel()
		}},
		"an evaluation": {func(expr string) []string {
			return []string{"nix-instantiate", "--eval", "--read-write-mode", "--expr", "import (" + expr + ")"}
		}, func(cmd *exec.Cmd, _ func()) { kill(cmd.Process.Pid) }},
	} {
		t.Run(name, func(t *testing.T) {
			nap := aNap(t)
			args := try.args(`derivation { name = "slow"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "PATH=/bin:/usr/bin; echo begun; ` + nap + `; echo >$out" ]; }`)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			cmd := tool.command(ctx, 1500*time.Millisecond, args[0], args[1:]...)
			begun(t, cmd)
			try.end(cmd, cancel)
			_ = cmd.Wait()
			if state := cmd.ProcessState.Sys().(syscall.WaitStatus); state.Signal() != syscall.SIGKILL {
				t.Error(cmd.ProcessState)
			}
			leftover.None(t, nap)
		})
	}
}

// aNap is a program that lasts for hours, of this test alone.
func aNap(t *testing.T) string {
	h := 0
	for _, c := range t.Name() {
		h = (31*h + int(c)) % 1000
	}
	return fmt.Sprintf("sleep 8%d%03d", os.Getpid(), h)
}

// begun starts a command and waits until it says that it has begun, or what it builds does.
func begun(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { r.Close() })
	defer late.Stop()
	var said strings.Builder
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if strings.HasSuffix(lines.Text(), "begun") {
			return
		}
		said.WriteString(lines.Text() + "\n")
	}
	kill(cmd.Process.Pid)
	t.Fatalf("it did not begin:\n%s", said.String())
}

// Both lists of processes say the same of a family with groups of its own.
func TestGroupsBelow(t *testing.T) {
	nap := aNap(t)
	cmd := exec.Command("/bin/sh", "-c", "sh -c 'setsid sh -c \"echo begun; "+nap+"; :\"; :'; :")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	begun(t, cmd)
	defer func() { kill(cmd.Process.Pid); _ = cmd.Wait(); leftover.None(t, nap) }()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		t.Fatalf("%v: these tests need a system with /proc", err)
	}
	for name, all := range map[string][]aProcess{"proc": procProcesses(stats), "ps": psProcesses()} {
		groups := groupsBelow(all, cmd.Process.Pid)
		i := slices.IndexFunc(all, func(p aProcess) bool { return len(groups) == 1 && p.pid == groups[0] })
		if i < 0 || all[i].group != groups[0] || all[i].parent == cmd.Process.Pid {
			t.Errorf("%s: %v", name, groups)
		}
		// Ours is never among them.
		if got := groupsBelow(all, os.Getppid()); slices.Contains(got, syscall.Getpgrp()) {
			t.Errorf("%s: our own group", name)
		}
	}
	// A name says nothing of a family, whatever is in it.
	stat := filepath.Join(t.TempDir(), "stat")
	if err := os.WriteFile(stat, []byte("77 (a) S 5 7\n) S 1 77 77 0 -1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := procProcesses([]string{stat}); !slices.Equal(got, []aProcess{{77, 1, 77}}) {
		t.Error(got)
	}
	circle := []aProcess{{2, 3, 2}, {3, 2, 3}, {4, 3, 1}, {5, 3, 0}, {6, 4, 6}}
	if got := groupsBelow(circle, 2); !slices.Equal(got, []int{3, 6}) {
		t.Error(got)
	}
}
