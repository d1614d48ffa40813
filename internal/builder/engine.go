package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"godwit/internal/bounded"
	"godwit/internal/fault"
	"godwit/internal/ui/text"
)

// Engine is a container engine, driven by its own command line: contexts,
// DOCKER_HOST, Docker Desktop, Colima, OrbStack and podman machines are then
// its business, and work as they do for the person who types.
type Engine struct {
	Program string // path of docker, podman or nerdctl
	Kind    string // "docker", "podman", "nerdctl"
	Name    string // "Docker", "Podman", "nerdctl"
	Arch    string // where containers run: "x86_64", "aarch64"
	Version string
}

var engineNames = map[string]string{"docker": "Docker", "podman": "Podman", "nerdctl": "nerdctl"}

// Engines finds an engine, once.
type Engines struct {
	mu    sync.Mutex
	tried bool
	found *Engine
	facts EngineFacts
}

// engineWait bounds the first answer of an engine; a VM that wakes up takes a while.
const engineWait = 15 * time.Second

// Find gives the engine called want ("docker", "podman", "nerdctl"), or the
// first of these that works when want is empty.
func (e *Engines) Find(ctx context.Context, want string) (*Engine, error) {
	f := e.Facts(ctx, want)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if e.found == nil {
		return nil, withHints(fault.New("no container engine can be used").Detail(table(f.Lines)...).Exit(ExitNoBuilder), f.Hints)
	}
	return e.found, nil
}

// Facts says what there is.
func (e *Engines) Facts(ctx context.Context, want string) EngineFacts {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.tried {
		return e.facts
	}
	kinds := []string{"docker", "podman", "nerdctl"}
	if want != "" {
		kinds = []string{want}
	}
	var f EngineFacts
	installed := false
	for _, kind := range kinds {
		name := engineNames[kind]
		if name == "" {
			f.Lines = append(f.Lines, [2]string{want, "not an engine that godwit knows (docker, podman, nerdctl)"})
			continue
		}
		program, err := exec.LookPath(kind)
		if err != nil {
			if kind != "nerdctl" || want != "" {
				f.Lines = append(f.Lines, [2]string{name, "not installed"})
			}
			continue
		}
		installed = true
		eng, state, hints := tryEngine(ctx, kind, program)
		if ctx.Err() != nil {
			return EngineFacts{}
		}
		if eng != nil {
			e.found = eng
			f = EngineFacts{Usable: true, Name: name, Arch: eng.Arch}
			break
		}
		f.Lines = append(f.Lines, [2]string{name, state})
		f.Hints = append(f.Hints, hints...)
	}
	if !f.Usable && !installed {
		f.Hints = append(f.Hints, "install Docker or Podman"+installWords())
	}
	e.tried, e.facts = true, f
	return f
}

func installWords() string {
	if runtime.GOOS == "darwin" { // what to type depends on the machine
		return ": brew install --cask docker, or: brew install colima docker && colima start"
	}
	return ", for instance: sudo apt install podman"
}

// tryEngine asks an engine for its architecture.
func tryEngine(ctx context.Context, kind, program string) (eng *Engine, state string, hints []string) {
	ctx, cancel := context.WithTimeout(ctx, engineWait)
	defer cancel()
	eng = &Engine{Program: program, Kind: kind, Name: engineNames[kind]}
	args := []string{"version", "--format", "{{.Server.Arch}} {{.Server.Os}} {{.Server.Version}}"}
	switch kind {
	case "podman":
		args = []string{"info", "--format", "{{.Host.Arch}} {{.Host.OS}} {{.Version.Version}}"}
	case "nerdctl":
		args = []string{"info", "--format", "{{.Architecture}} {{.OSType}} {{.ServerVersion}}"}
	}
	out, err := eng.output(ctx, args...)
	if err != nil && kind == "docker" && ctx.Err() == nil && strings.Contains(strings.ToLower(err.Error()), "can't evaluate field") {
		// Podman answers to the name docker.
		out, err = eng.output(ctx, "info", "--format", "{{.Host.Arch}} {{.Host.OS}} {{.Version.Version}}")
		eng.Kind, eng.Name = "podman", "Podman"
	}
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, "does not answer within " + engineWait.String(), []string{startEngine(kind)}
		}
		state, hints = engineTrouble(kind, err.Error())
		return nil, state, hints
	}
	w := strings.Fields(out)
	if len(w) < 2 {
		return nil, "gave an answer that godwit does not understand: " + out, nil
	}
	if w[1] != "linux" {
		return nil, "runs " + w[1] + " containers, not Linux ones", nil
	}
	eng.Arch = nixArch(w[0])
	if len(w) > 2 {
		eng.Version = w[2]
	}
	return eng, "", nil
}

// nixArch turns an engine's word for an architecture into Nix's.
func nixArch(a string) string {
	switch a {
	case "amd64", "x86_64":
		return "x86_64"
	case "arm64", "aarch64":
		return "aarch64"
	}
	return a
}

// platform is an engine's word for a Nix system.
func platform(system string) string {
	switch system {
	case "aarch64-linux":
		return "linux/arm64"
	case "x86_64-linux":
		return "linux/amd64"
	}
	return ""
}

// engineTrouble sorts an engine's complaint. The texts are those of Docker 20
// to 28 and Podman 4 and 5.
func engineTrouble(kind, said string) (state string, hints []string) {
	// Docker warns of its own configuration file first; that is not why it fails.
	said = strings.Join(slices.DeleteFunc(strings.Split(said, "\n"), func(l string) bool { return strings.HasPrefix(l, "WARNING:") }), "\n")
	low := strings.ToLower(said)
	where := ""
	if h := os.Getenv("DOCKER_HOST"); h != "" && kind == "docker" {
		where = " (DOCKER_HOST=" + text.Clean(h) + ")"
	}
	switch {
	case strings.Contains(low, "permission denied"):
		h := "sudo usermod -aG docker $USER, then log in again"
		if kind != "docker" {
			h = "run " + kind + " info and see what it may not open"
		} else if where != "" {
			h = "check the owner of the socket that DOCKER_HOST names, or unset DOCKER_HOST"
		}
		return "no permission to use it" + where, []string{h}
	case strings.Contains(low, "cannot connect to") || strings.Contains(low, "is the docker daemon running") || strings.Contains(low, "connection refused") ||
		strings.Contains(low, "no such file or directory") || strings.Contains(low, "rootless containerd not running") || strings.Contains(low, "failed to connect to the docker api"):
		h := startEngine(kind)
		if where != "" {
			h = "start the engine that DOCKER_HOST names, or unset DOCKER_HOST"
		}
		return "not running" + where, []string{h}
	}
	return "does not work: " + firstWords(said), []string{"see what it says: " + kind + " info"}
}

func startEngine(kind string) string {
	if runtime.GOOS == "darwin" { // what to type depends on the machine
		if kind == "podman" {
			return "start it: podman machine start"
		}
		return "start it: open -a Docker (or: colima start, or: orb start)"
	}
	switch kind {
	case "podman":
		return "start it: systemctl --user start podman.socket"
	case "nerdctl":
		return "start it: sudo systemctl start containerd"
	}
	return "start it: sudo systemctl start docker"
}

func firstWords(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	s = text.Clean(s)
	if r := []rune(s); len(r) > 160 {
		s = string(r[:160]) + "…"
	}
	return s
}

// command prepares a call of the engine. It is in a process group of its own, so
// that Ctrl-C at the terminal comes to godwit alone.
func (e *Engine) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, e.Program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// engineError is a failed call of an engine.
type engineError struct {
	stderr string
	err    error
}

func (e *engineError) Error() string {
	if s := strings.TrimSpace(e.stderr); s != "" {
		return s
	}
	return e.err.Error()
}
func (e *engineError) Unwrap() error { return e.err }

// mostOfEngine is what is read of an engine's answer, in bytes: it may list many
// containers, and run programs in them.
const mostOfEngine = 64 << 20

// output runs the engine and gives its output, trimmed.
func (e *Engine) output(ctx context.Context, args ...string) (string, error) {
	stderr := bounded.NewTail(64 << 10)
	cmd := e.command(ctx, args...)
	cmd.Stderr = stderr
	out, err := bounded.Output(cmd, "what "+e.Name+" prints", mostOfEngine)
	switch {
	case err == nil:
		return strings.TrimSpace(string(out)), nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case bounded.Is(err):
		return "", err
	}
	return "", &engineError{stderr.String(), err}
}

// trouble makes an error of a failed call that says what was tried.
func (e *Engine) trouble(doing string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	lines := strings.Split(err.Error(), "\n")
	last := ""
	for _, l := range lines {
		if l = text.Clean(l); l != "" && !strings.HasPrefix(l, "See '") && !strings.HasPrefix(l, "WARNING:") && !strings.HasPrefix(l, "Run '") {
			last = l
		}
	}
	return fault.New("%s: %s failed: %s", e.Name, doing, strings.TrimPrefix(strings.TrimPrefix(last, "Error response from daemon: "), "Error: ")).Because(err)
}

// securityOptions let Nix make its sandbox inside the container, without
// --privileged: what stands in the way is the seccomp profile and the masked
// parts of /proc. Seen to work with Docker 20.10.24 and Podman 4.3.1 (as root,
// runc) and Nix 2.26.3 in the container; without them Nix builds unsandboxed, as
// root, and says nothing.
func (e *Engine) securityOptions() []string {
	if e.Kind == "podman" {
		return []string{"--security-opt", "seccomp=unconfined", "--security-opt", "unmask=ALL"}
	}
	return []string{"--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined"}
}

func (e *Engine) String() string { return fmt.Sprintf("%s %s (%s)", e.Name, e.Version, e.Arch) }
