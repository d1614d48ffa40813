package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Result is what a command in the lab printed and how it ended.
type Result struct {
	Stdout string
	Stderr string
	// Exit is the exit status; -1 when the command could not be run.
	Exit int
	// Err is set when the command could not be run at all or was cancelled.
	Err error
}

// OK says whether the command ran and exited with 0.
func (r Result) OK() bool { return r.Err == nil && r.Exit == 0 }

// String renders the result for test messages.
func (r Result) String() string {
	return fmt.Sprintf("exit %d, error %v\nstdout:\n%s\nstderr:\n%s", r.Exit, r.Err, r.Stdout, r.Stderr)
}

// collect runs a command and gathers its result.
func collect(ctx context.Context, cmd *exec.Cmd) Result {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = 2 * time.Second
	}
	err := cmd.Run()
	result := Result{Stdout: stdout.String(), Stderr: stderr.String()}
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.Is(err, exec.ErrWaitDelay): // it ended; what it left running has its output open
	case ctx.Err() != nil:
		result.Exit, result.Err = -1, ctx.Err()
	case errors.As(err, &exit):
		result.Exit = exit.ExitCode()
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			result.Exit = 128 + int(status.Signal()) // as shells and the engine say it
		}
	default:
		result.Exit, result.Err = -1, err
	}
	return result
}

// docker runs the container engine's client and returns its trimmed output.
func docker(ctx context.Context, args ...string) (string, error) {
	result := collect(ctx, exec.CommandContext(ctx, "docker", args...))
	if result.Err != nil {
		return "", fmt.Errorf("docker %s: %w", args[0], result.Err)
	}
	if result.Exit != 0 {
		return "", fmt.Errorf("docker %s: %s", args[0], strings.TrimSpace(result.Stderr))
	}
	return strings.TrimSpace(result.Stdout), nil
}

// Check says whether this machine can run the lab, and if not, what to do.
func Check(ctx context.Context) error {
	for _, tool := range []string{"docker", "ssh", "ssh-keygen"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is not installed: run test/setup.sh", tool)
		}
	}
	// With too few, units of a host fail with "too many open files" as soon as there are a dozen hosts.
	if b, err := os.ReadFile("/proc/sys/fs/inotify/max_user_instances"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && n < 1024 {
			return fmt.Errorf("fs.inotify.max_user_instances is %d, too few for many hosts: run test/setup.sh", n)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if _, err := docker(ctx, "version", "--format", "{{.Server.Version}}"); err != nil {
		return fmt.Errorf("no container engine answers: run test/setup.sh (%w)", err)
	}
	return nil
}

// Labels of the lab's containers: the run that they belong to, and the process
// that is to remove them.
const (
	labelRun   = "godwit-lab"
	labelOwner = "godwit-lab-owner"
)

// Sweep removes every container and volume of a run; of all runs when run is "".
func Sweep(ctx context.Context, run string) error {
	filter := "label=" + labelRun
	if run != "" {
		filter += "=" + run
	}
	ids, err := docker(ctx, "ps", "-aq", "--filter", filter)
	if err != nil {
		return err
	}
	if ids != "" {
		if _, err := docker(ctx, append([]string{"rm", "-f", "-v"}, strings.Fields(ids)...)...); err != nil {
			return err
		}
	}
	volumes, err := docker(ctx, "volume", "ls", "-q", "--filter", filter)
	if err != nil || volumes == "" {
		return err
	}
	_, err = docker(ctx, append([]string{"volume", "rm", "-f"}, strings.Fields(volumes)...)...)
	return err
}

// owner names this process so that another one can tell whether it is alive:
// process namespace, number, and start time.
func owner() string {
	return ownerOf(os.Getpid())
}

func ownerOf(pid int) string {
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The name in field 2 may hold anything, so count from its closing bracket.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return ""
	}
	return fmt.Sprintf("%s/%d/%s", namespace, pid, fields[19])
}

// sweepDead removes what test processes that were killed left behind.
func sweepDead(ctx context.Context) {
	list, err := docker(ctx, "ps", "-a", "--filter", "label="+labelOwner,
		"--format", `{{.ID}} {{.Label "`+labelOwner+`"}}`)
	if err != nil {
		return
	}
	self := strings.Split(owner(), "/")
	for line := range strings.Lines(list) {
		id, who, _ := strings.Cut(strings.TrimSpace(line), " ")
		parts := strings.Split(who, "/")
		if len(parts) != 3 || parts[0] != self[0] {
			continue
		}
		if pid, err := strconv.Atoi(parts[1]); err == nil && ownerOf(pid) != who {
			_, _ = docker(ctx, "rm", "-f", "-v", id)
		}
	}
}

var sweepOnce sync.Once

// removeGroup removes the control groups that an engine left of a host.
func removeGroup(name string) {
	for _, root := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		dir := filepath.Join(root, groupDir, name)
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		var dirs []string
		_ = filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			_ = os.Remove(dirs[i])
		}
		_ = os.Remove(filepath.Dir(dir))
	}
}

// groupDir is the folder of the lab's control groups.
const groupDir = "godwit-lab"
