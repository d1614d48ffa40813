package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// inside is a command in a host's container. Where the engine is on this machine and we are
// root, nsenter starts it: the engine takes a tenth of a second of processor time for each,
// and the tests of a run ask for some thousands.
func (h *Host) inside(ctx context.Context, argv ...string) *exec.Cmd {
	nsenter, err := exec.LookPath("nsenter") // a path of this machine: the command's own PATH is the host's
	init := ""
	if err == nil {
		init, err = h.init(ctx)
	}
	if err != nil {
		return exec.CommandContext(ctx, "docker", append([]string{"exec", "-i", h.ContainerID}, argv...)...)
	}
	environ, _ := os.ReadFile(filepath.Join(init, "environ"))
	pid := filepath.Base(init)
	cmd := exec.CommandContext(ctx, "/bin/sh", slices.Concat(
		[]string{"-c", joins, "sh"}, groupsOf(init),
		[]string{"--", nsenter, "--target", pid, "--pid", "--no-fork", "--", "/bin/sh", "-c", waits, "sh"},
		[]string{nsenter, "--target", pid, "--mount", "--uts", "--ipc", "--net", "--cgroup",
			"--root=" + filepath.Join(init, "root"), "--wd=" + filepath.Join(init, "root"), "--"}, argv)...)
	for v := range bytes.SplitSeq(bytes.TrimRight(environ, "\x00"), []byte{0}) {
		cmd.Env = append(cmd.Env, string(v))
	}
	cmd.Env = append(cmd.Env, "HOME=/root")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 10 * time.Second // once it was ended: what it left may hold its output
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// joins goes into control groups, then becomes a command: what is in none of the host's is
// a stranger to its systemd-logind, and goes on when the host is frozen.
const joins = `while [ "$1" != -- ]; do echo $$ >"$1" || exit 125; shift; done; shift; exec "$@"`

// waits runs a command as its child, the first process that is in the host's namespace for
// processes. An nsenter that waits itself stops when its child does, which systemd does to
// every process before a shutdown, and nobody lets it go on: the command would never end,
// and the kernel would wait for it before it ends the host.
const waits = `"$@"; exit $?`

// groupsOf are the files that take a process into the control groups of another.
func groupsOf(proc string) (files []string) {
	groups, _ := os.ReadFile(filepath.Join(proc, "cgroup"))
	for line := range strings.Lines(string(groups)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(rest, ":")
		for _, root := range []string{strings.TrimPrefix(controllers, "name="), "unified", ""} { // of version 1, beside it, of version 2
			file := filepath.Join("/sys/fs/cgroup", root, path, "cgroup.procs")
			if _, err := os.Stat(file); err == nil && (root != "" || controllers == "") {
				files = append(files, file)
				break
			}
		}
	}
	return files
}

// init is the folder in /proc of the first process in the host's container.
func (h *Host) init(ctx context.Context) (string, error) {
	h.enter.Lock()
	defer h.enter.Unlock()
	if h.first != "" && h.isInit(h.first) {
		return h.first, nil
	}
	if os.Geteuid() != 0 {
		return "", os.ErrPermission
	}
	pid, err := docker(ctx, "inspect", "--format", "{{.State.Pid}}", h.ContainerID)
	if err != nil {
		return "", err
	}
	h.first = filepath.Join("/proc", pid)
	if !h.isInit(h.first) {
		return "", fmt.Errorf("process %s is not that of %s", pid, h.Name)
	}
	return h.first, nil
}

// isInit tells whether it is a process of the host's container: since its number was asked
// for the host may have been booted anew.
func (h *Host) isInit(proc string) bool {
	groups, err := os.ReadFile(filepath.Join(proc, "cgroup"))
	return err == nil && h.ContainerID != "" && strings.Contains(string(groups), h.ContainerID)
}
