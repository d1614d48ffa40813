package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/nix"
	"godwit/internal/paths"
	"godwit/internal/store"
)

// Labels of godwit's containers and volumes.
const (
	labelBuilder    = "dev.godwit.builder"    // the name
	labelSystem     = "dev.godwit.system"     // what it was made for
	labelImage      = "dev.godwit.image"      // reference or file
	labelGeneration = "dev.godwit.generation" // hash of everything that needs a new container
	labelVolume     = "dev.godwit.volume"
)

// generation grows when the way containers are made changes.
const generation = "1"

// container builds in a container.
type container struct {
	tool     *nix.Tool
	engines  *Engines
	settings Settings
	system   string

	mu     sync.Mutex
	ready  bool
	eng    *Engine
	ctr    string // container's name
	facts  containerFacts
	config string // NIX_CONFIG of what runs in it
	bridge *Bridge

	lockName string // of the file lock; "": the builder's
	space    string // tests keep theirs apart with it
}

// NewContainer is the container builder for system.
func NewContainer(tool *nix.Tool, engines *Engines, settings Settings, system string) Builder {
	return &container{tool: tool, engines: engines, settings: settings, system: system}
}

func (c *container) Name() string { return "container " + c.system }
func (c *container) Kind() Kind   { return KindContainer }

// Stores has the one in the container, which is read from and written to.
func (c *container) Stores() []store.Endpoint { return []store.Endpoint{c.store()} }

func (c *container) store() store.Endpoint {
	return store.Endpoint{Name: c.Name(), Dial: func(ctx context.Context, write bool) (*store.Stream, error) {
		if err := c.Ready(ctx, event.Discard); err != nil {
			return nil, err
		}
		return c.dial(ctx, store.Serve(write))
	}}
}

// Close closes the bridge. The container goes on running: the next run finds it.
func (c *container) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bridge != nil {
		err := c.bridge.Close()
		c.bridge = nil
		return err
	}
	return nil
}

// Ready finds the container, or makes and starts it, waits until the Nix in it
// answers, and finds out what it really is.
func (c *container) Ready(ctx context.Context, sink event.Sink) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ready {
		return nil
	}
	scope := event.On(sink, "", event.StepBuilder)
	begun := time.Now()
	eng, err := c.engines.Find(ctx, c.settings.Engine)
	if err != nil {
		return err
	}
	c.eng = eng
	scope.Start("builder " + c.system + " in " + eng.Name)
	how, err := c.start(ctx, scope)
	if err != nil {
		scope.End("", err)
		return err
	}
	c.ready = true
	text := containerWords(c.system, EngineFacts{Name: eng.Name, Arch: eng.Arch}) + ", " + c.facts.sandboxWords()
	if how != "found" {
		text += fmt.Sprintf("; %s in %.1fs", how, time.Since(begun).Seconds())
	}
	scope.Emit(event.Event{Kind: event.Done, Text: text, Data: map[string]string{
		"container": c.ctr, "system": c.facts.System, "nix": c.facts.Nix, "sandbox": c.facts.Sandbox, "engine": eng.Name,
	}})
	if c.emulated() {
		scope.Warn("builds for " + c.system + " are emulated on this " + eng.Arch + " engine: 5 to 20 times slower, without a sandbox, and some programs fail only there; what caches have costs nothing")
	}
	return nil
}

func (c *container) emulated() bool { return !strings.HasPrefix(c.system, c.eng.Arch+"-") }

// start does the work of Ready and says how: "found", "started" or "made".
func (c *container) start(ctx context.Context, scope event.Scope) (string, error) {
	name := c.lockName
	if name == "" {
		name = "builder-" + c.system
	}
	unlock, err := lock(ctx, name)
	if err != nil {
		return "", err
	}
	defer unlock()
	img, err := c.findImage(ctx, scope)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{generation, img.id, c.system, c.settings.Network, c.eng.Kind, c.space}, "\n")))
	gen := hex.EncodeToString(sum[:])[:12]
	arch, _, _ := strings.Cut(c.system, "-")
	c.ctr = "godwit-builder-" + arch + "-" + gen[:8]
	volume := "godwit-store-" + arch + "-" + c.space + shortID(img.id)

	how := ""
	for try := 0; how == ""; try++ {
		state, err := c.state(ctx)
		switch {
		case err != nil:
			return "", err
		case state == "running":
			how = "found"
		case state == "paused":
			if _, err := c.eng.output(ctx, "unpause", c.ctr); err != nil {
				return "", c.eng.trouble("waking the builder "+c.ctr, err)
			}
		case state != "": // created, exited, stopped
			if _, err := c.eng.output(ctx, "start", c.ctr); err != nil {
				if try < 3 && ctx.Err() == nil {
					time.Sleep(300 * time.Millisecond) // another godwit may be removing or starting it
					continue
				}
				return "", c.eng.trouble("starting the builder "+c.ctr, err)
			}
			how = "started"
		default:
			err := c.make(ctx, img, gen, volume, false)
			if err == nil {
				how = "made"
				break
			}
			// Another user's godwit was faster: theirs is ours.
			if strings.Contains(err.Error(), "already in use") && try < 5 {
				time.Sleep(300 * time.Millisecond)
				continue
			}
			return "", c.eng.trouble("starting a container of "+img.ref, err)
		}
	}
	if err := c.hello(ctx); err != nil {
		return "", err
	}
	err = c.learn(ctx)
	if err != nil && how == "made" && !img.file && errors.Is(err, errOtherSystem) {
		// With the containerd image store an id stands for all platforms and
		// the engine takes its own; only here is it told which one.
		if _, err2 := c.eng.output(ctx, "rm", "-f", c.ctr); err2 != nil {
			return "", err
		}
		if _, err2 := c.eng.output(ctx, "volume", "rm", volume); err2 != nil {
			return "", err
		}
		if err2 := c.make(ctx, img, gen, volume, true); err2 != nil {
			return "", c.eng.trouble("starting a container of "+img.ref, err2)
		}
		if err = c.hello(ctx); err == nil {
			err = c.learn(ctx)
		}
	}
	return how, err
}

// state is the container's state as the engine calls it; "" when there is none.
func (c *container) state(ctx context.Context) (string, error) {
	out, err := c.eng.output(ctx, "container", "inspect", "--format", "{{.State.Status}}", c.ctr)
	if err != nil {
		if notThere(err) {
			return "", nil
		}
		return "", c.eng.trouble("looking for the builder "+c.ctr, err)
	}
	return out, nil
}

// notThere recognises an engine's "no such thing" (Docker, Podman, nerdctl).
func notThere(err error) bool {
	low := strings.ToLower(err.Error())
	return strings.Contains(low, "no such") || strings.Contains(low, "not found") || strings.Contains(low, "no container with name")
}

// idle is what the container runs: nothing, and it ends at once when asked to.
const idle = "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"

func (c *container) make(ctx context.Context, img image, gen, volume string, named bool) error {
	args := []string{"run", "--detach", "--init", "--name", c.ctr, "--hostname", "godwit-builder",
		"--label", labelBuilder + "=" + c.ctr, "--label", labelSystem + "=" + c.system, "--label", labelImage + "=" + img.ref,
		"--label", labelGeneration + "=" + gen, "--label", labelVolume + "=" + volume,
		"--volume", volume + ":/nix", "--restart", "no",
		"--stop-signal", "SIGTERM"} // the image's own may be another, and then the stop takes ten seconds
	args = append(args, c.eng.securityOptions()...)
	if c.settings.Network != "" {
		args = append(args, "--network", c.settings.Network)
	}
	if named {
		args = append(args, "--platform", platform(c.system))
	}
	// By its id: the image is here, and cannot become another one.
	args = append(args, "--entrypoint", "/bin/sh", img.id, "-c", idle)
	_, err := c.eng.output(ctx, args...)
	if err != nil && ctx.Err() == nil && strings.Contains(err.Error(), "security-opt") {
		// An engine that does not know one of them: then without, and most
		// likely without a sandbox, which is said.
		plain := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return slices.Contains(c.eng.securityOptions(), a) })
		_, err = c.eng.output(ctx, plain...)
	}
	if err != nil && ctx.Err() == nil && strings.Contains(err.Error(), "catatonit") {
		// Podman without its small init: nothing of ours depends on it.
		_, err = c.eng.output(ctx, slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "--init" })...)
	}
	if err != nil && ctx.Err() == nil && strings.Contains(err.Error(), "exec format error") {
		_, _ = c.eng.output(ctx, "rm", "-f", c.ctr)
		return c.cannotEmulate()
	}
	if err != nil && ctx.Err() != nil {
		// Half-made containers are removed; this must not be cancelled too.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if st, e := c.state(clean); e == nil && st == "created" {
			_, _ = c.eng.output(clean, "rm", "-f", c.ctr)
		}
	}
	return err
}

func (c *container) cannotEmulate() error {
	return fault.New("%s: this engine runs %s programs and does not emulate %s", c.eng.Name, c.eng.Arch, c.system).Exit(ExitNoBuilder).
		Hint("on Linux: sudo apt install qemu-user-static (or: boot.binfmt.emulatedSystems = [ %q ] on NixOS)", c.system).
		Hint("or name a machine that can: --builder ssh-ng://user@host")
}

// hello waits until the Nix in the container answers.
func (c *container) hello(ctx context.Context) error {
	deadline := time.Now().Add(60 * time.Second)
	for {
		s, err := c.dial(ctx, []string{"nix-daemon", "--stdio"})
		if err == nil {
			var h Hello
			if h, err = greet(ctx, s, 30*time.Second, workerHello); err == nil {
				c.facts.Nix = h.Nix
				return nil
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		text := err.Error()
		switch {
		case strings.Contains(text, "exec format error"):
			return c.cannotEmulate()
		case strings.Contains(text, "executable file not found"), strings.Contains(text, "no such file or directory"):
			return fault.New("the image of %s has no nix-daemon", c.ctr).Hint("use another image: --image docker.io/nixos/nix")
		case strings.Contains(text, "is not running") && time.Until(deadline) < 55*time.Second, time.Now().After(deadline):
			return fault.New("the builder %s does not answer: %s", c.ctr, text).Because(err).
				Hint("look at it: %s logs %s", c.eng.Kind, c.ctr).Hint("make a new one: godwit builder rm %s", c.system)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// exec runs argv in the container and gives its output; config is NIX_CONFIG.
func (c *container) exec(ctx context.Context, config string, argv ...string) (string, error) {
	args := []string{"exec"}
	if config != "" {
		args = append(args, "--env", "NIX_CONFIG="+config)
	}
	return c.eng.output(ctx, append(append(args, c.ctr), argv...)...)
}

// dial runs argv in the container with its pipes in our hands. What reads its
// input to the end, as nix-daemon and nix-store --serve do, ends with us.
func (c *container) dial(ctx context.Context, argv []string) (*store.Stream, error) {
	args := []string{"exec", "--interactive"}
	if c.config != "" {
		args = append(args, "--env", "NIX_CONFIG="+c.config)
	}
	args = append(append(args, c.ctr), argv...)
	return store.FromCmd(c.Name(), func(ctx context.Context, _ bool) *exec.Cmd {
		cmd := exec.CommandContext(ctx, c.eng.Program, args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		return cmd
	}).Dial(ctx, true)
}

// leash runs "$@" and ends it when standard input ends. An engine does not end
// what runs in a container when the client of `exec` is gone; its input does
// end, whatever way the client went.
const leash = `exec 3<&0
"$@" </dev/null 3<&- & p=$!
(while read -r _ <&3; do :; done; kill -TERM "$p") >/dev/null 2>&1 & w=$!
wait "$p"; r=$?
kill "$w" 2>/dev/null
exit "$r"`

// run runs argv in the container to its end. When ctx ends, argv is ended, too.
func (c *container) run(ctx context.Context, argv []string, stdout, stderr io.Writer) error {
	args := []string{"exec", "--interactive", "--env", "NIX_CONFIG=" + c.config, c.ctr, "/bin/sh", "-c", leash, "sh"}
	cmd := exec.Command(c.eng.Program, append(args, argv...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { defer crash.Catch(); done <- cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	// Nix cleans up and ends within moments of SIGTERM.
	in.Close()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-done
	}
	return ctx.Err()
}

// lock keeps two godwits of one person from doing the same thing at once. It is
// the engine that decides between persons: names of containers are unique.
func lock(ctx context.Context, name string) (func(), error) {
	dir, err := paths.State()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fault.New("cannot lock: %s", err).Because(err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fault.New("cannot lock %s: %s", f.Name(), err).Because(err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
