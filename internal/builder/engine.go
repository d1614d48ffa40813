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

// engineKind is what differs between engines. All of them take Docker's command line;
// another one that does so is one more entry.
type engineKind struct {
	program string // which is also what --engine calls it
	name    string // for people
	// facts are the arguments that print architecture, system and version of where
	// containers run.
	facts []string
	// sandbox are the options with which Nix can make its sandbox in a container
	// (see securityOptions).
	sandbox []string
	// host is the variable that names another engine than the usual one.
	host string
	// start is what to type when it does not run: on a Mac, and elsewhere.
	startMac, start string
	// denied is what to type when this user may not use it.
	denied string
	// rare engines are not named where somebody has none.
	rare bool
}

// engineKinds are the engines in the order in which they are tried.
var engineKinds = []engineKind{
	{
		program: "docker", name: "Docker", host: "DOCKER_HOST",
		facts:    []string{"version", "--format", "{{.Server.Arch}} {{.Server.Os}} {{.Server.Version}}"},
		sandbox:  []string{"--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined"},
		startMac: "open -a Docker (or: colima start, or: orb start)", start: "sudo systemctl start docker",
		denied: "sudo usermod -aG docker $USER, then log in again",
	},
	{
		program: "podman", name: "Podman",
		facts:    []string{"info", "--format", "{{.Host.Arch}} {{.Host.OS}} {{.Version.Version}}"},
		sandbox:  []string{"--security-opt", "seccomp=unconfined", "--security-opt", "unmask=ALL"},
		startMac: "podman machine start", start: "systemctl --user start podman.socket",
		denied: "run podman info and see what it may not open",
	},
	{
		program: "nerdctl", name: "nerdctl", rare: true,
		facts:    []string{"info", "--format", "{{.Architecture}} {{.OSType}} {{.ServerVersion}}"},
		sandbox:  []string{"--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined"},
		startMac: "open -a Docker (or: colima start, or: orb start)", start: "sudo systemctl start containerd",
		denied: "run nerdctl info and see what it may not open",
	},
}

// kindOf is the engine of a program; false for one that is not known.
func kindOf(program string) (engineKind, bool) {
	i := slices.IndexFunc(engineKinds, func(k engineKind) bool { return k.program == program })
	if i < 0 {
		return engineKind{}, false
	}
	return engineKinds[i], true
}

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
	kinds := engineKinds
	var f EngineFacts
	if want != "" {
		k, ok := kindOf(want)
		if kinds = []engineKind{k}; !ok {
			kinds = nil
			f.Lines = append(f.Lines, [2]string{want, "not an engine that godwit knows (" + strings.Join(EngineNames(), ", ") + ")"})
		}
	}
	installed := false
	for _, kind := range kinds {
		program, err := exec.LookPath(kind.program)
		if err != nil {
			if !kind.rare || want != "" {
				f.Lines = append(f.Lines, [2]string{kind.name, "not installed"})
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
			f = EngineFacts{Usable: true, Name: kind.name, Arch: eng.Arch}
			break
		}
		f.Lines = append(f.Lines, [2]string{kind.name, state})
		f.Hints = append(f.Hints, hints...)
	}
	if !f.Usable && !installed {
		f.Hints = append(f.Hints, "install Docker or Podman"+installWords())
	}
	e.tried, e.facts = true, f
	return f
}

// EngineNames are what --engine takes.
func EngineNames() (all []string) {
	for _, k := range engineKinds {
		all = append(all, k.program)
	}
	return all
}

func installWords() string {
	if runtime.GOOS == "darwin" { // what to type depends on the machine
		return ": brew install --cask docker, or: brew install colima docker && colima start"
	}
	return ", for instance: sudo apt install podman"
}

// tryEngine asks an engine for its architecture.
func tryEngine(ctx context.Context, kind engineKind, program string) (eng *Engine, state string, hints []string) {
	ctx, cancel := context.WithTimeout(ctx, engineWait)
	defer cancel()
	eng = &Engine{Program: program, Kind: kind.program, Name: kind.name}
	out, err := eng.output(ctx, kind.facts...)
	if podman, _ := kindOf("podman"); err != nil && kind.program == "docker" && ctx.Err() == nil && strings.Contains(strings.ToLower(err.Error()), "can't evaluate field") {
		// Podman answers to the name docker.
		out, err = eng.output(ctx, podman.facts...)
		eng.Kind, eng.Name = podman.program, podman.name
	}
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, "does not answer within " + engineWait.String(), []string{kind.starting()}
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
func engineTrouble(kind engineKind, said string) (state string, hints []string) {
	// Docker warns of its own configuration file first, Podman of much; that is not
	// why it fails.
	said = strings.Join(slices.DeleteFunc(strings.Split(said, "\n"), func(l string) bool {
		return strings.HasPrefix(l, "WARNING:") || strings.HasPrefix(l, "time=") && strings.Contains(l, " level=warning ")
	}), "\n")
	low := strings.ToLower(said)
	where := ""
	if kind.host != "" && os.Getenv(kind.host) != "" {
		where = " (" + kind.host + "=" + text.Clean(os.Getenv(kind.host)) + ")"
	}
	switch {
	case strings.Contains(low, "permission denied"):
		h := kind.denied
		if where != "" {
			h = fmt.Sprintf("check the owner of the socket that %[1]s names, or unset %[1]s", kind.host)
		}
		return "no permission to use it" + where, []string{h}
	case strings.Contains(low, "cannot connect to") || strings.Contains(low, "is the docker daemon running") || strings.Contains(low, "connection refused") ||
		strings.Contains(low, "no such file or directory") || strings.Contains(low, "rootless containerd not running") || strings.Contains(low, "failed to connect to the docker api"):
		h := kind.starting()
		if where != "" {
			h = fmt.Sprintf("start the engine that %[1]s names, or unset %[1]s", kind.host)
		}
		return "not running" + where, []string{h}
	}
	return "does not work: " + firstWords(said), []string{"see what it says: " + kind.program + " info"}
}

// starting is the hint of how to start it.
func (k engineKind) starting() string {
	if runtime.GOOS == "darwin" { // what to type depends on the machine
		return "start it: " + k.startMac
	}
	return "start it: " + k.start
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
	if f := new(fault.Error); errors.As(err, &f) { // it says what to do already
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
	k, _ := kindOf(e.Kind)
	return k.sandbox
}

func (e *Engine) String() string { return fmt.Sprintf("%s %s (%s)", e.Name, e.Version, e.Arch) }
