package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/nix"
	"godwit/internal/store"
)

// DefaultImage is the image of a container builder: the official one, Nix
// 2.34.7, by the digest of its manifest list (amd64 and arm64), so that nobody
// can put something else in its place.
//
// The digest is the one that many independent public repositories pin for this
// tag, on docker.io and on ghcr.io alike (Dockerfiles kept by Renovate and
// others, looked up 2026-11); godwit's own tests run where no registry answers.
// Nix publishes at both places since 2.34.
const DefaultImage = "docker.io/nixos/nix:2.34.7@sha256:bf1d938835ab96312f098fa6c2e9cab367728e0aad0646ee3e02a787c80d8fb8"

// secondImage is the same image at another registry, for when the first does
// not answer or counts pulls; the digest makes it the same.
var secondImage = "ghcr.io/nixos/nix" + DefaultImage[strings.IndexByte(DefaultImage, '@'):]

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

// containerFacts is what a container was found to be; it is kept in it.
type containerFacts struct {
	System  string `json:"system"`  // what Nix in it says, not what a label says
	Nix     string `json:"nix"`     // version
	Sandbox string `json:"sandbox"` // "on", "off", "emulated"
	Why     string `json:"why,omitempty"`
	User    string `json:"user,omitempty"` // that unsandboxed builds run as
}

// NewContainer is the container builder for system.
func NewContainer(tool *nix.Tool, engines *Engines, settings Settings, system string) Builder {
	return &container{tool: tool, engines: engines, settings: settings, system: system}
}

func (c *container) Name() string { return "container " + c.system }
func (c *container) Kind() Kind   { return KindContainer }

// Store reads from, and writes to, the store in the container.
func (c *container) Store() store.Endpoint {
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

func (f containerFacts) sandboxWords() string {
	switch f.Sandbox {
	case "on":
		return "sandbox on"
	case "emulated":
		return "sandbox off (not possible under emulation)"
	}
	s := "sandbox off: " + f.Why
	if f.User != "" {
		s += "; builds run as " + f.User
	}
	return s
}

// image is an image that the engine has.
type image struct {
	ref  string // as asked for
	id   string
	file bool // came from a file
}

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

func shortID(id string) string {
	id = id[strings.IndexByte(id, ':')+1:]
	return id[:min(12, len(id))]
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
		"--volume", volume + ":/nix", "--restart", "no"}
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
				Hint("look at it: %s logs %s", c.eng.Kind, c.ctr).Hint("make it anew: godwit builder rm %s", c.system)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
}

var errOtherSystem = errors.New("another system")

// factsFile is in the container's own layer: it lasts as long as the container,
// whose options it depends on.
const factsFile = "/var/tmp/godwit-facts.json"

// learn finds out what the container is, or reads what an earlier run found out.
func (c *container) learn(ctx context.Context) error {
	version := c.facts.Nix
	if out, err := c.exec(ctx, "", "cat", factsFile); err == nil && json.Unmarshal([]byte(out), &c.facts) == nil && c.facts.System != "" {
		return c.configure(ctx)
	}
	c.facts = containerFacts{Nix: version}
	out, err := c.exec(ctx, "", "nix-instantiate", "--eval", "-E", "builtins.currentSystem")
	if err != nil {
		return c.eng.trouble("asking Nix in "+c.ctr+" for its system", err)
	}
	c.facts.System = strings.Trim(strings.TrimSpace(out), `"`)
	if c.facts.System != c.system {
		return fault.New("the image in %s is for %s, not for %s", c.ctr, c.facts.System, c.system).Because(errOtherSystem).Exit(ExitNoBuilder).
			Hint("remove it: godwit builder rm %s", c.system).Hint("and name an image for %s: --image or --image-file", c.system)
	}
	if c.facts.Nix == "" { // below protocol 1.33
		if v, err := c.exec(ctx, "", "nix-store", "--version"); err == nil {
			w := strings.Fields(v)
			c.facts.Nix = w[len(w)-1]
		}
	}
	if c.emulated() {
		c.facts.Sandbox = "emulated"
	} else if err := c.probeSandbox(ctx); err != nil {
		return err
	}
	b, err := json.Marshal(c.facts)
	if err == nil {
		_, err = c.exec(ctx, "", "/bin/sh", "-c", `mkdir -p /var/tmp && printf '%s\n' "$1" > "$2".new && mv "$2".new "$2"`, "sh", string(b), factsFile)
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return c.configure(ctx)
}

// sandboxProbe writes its user, the host's name and the number of processes it
// sees. Only sh's own commands: there is nothing else in a sandbox.
const sandboxProbe = `let n = "godwit-sandbox-probe"; in derivation {
  name = n; system = builtins.currentSystem; builder = "/bin/sh"; salt = "%s";
  args = [ "-c" ''
    while read -r k v _; do if [ "$k" = Uid: ]; then uid=$v; fi; done < /proc/self/status
    read -r host < /proc/sys/kernel/hostname
    set -- /proc/[0-9]*
    echo "$uid $host $#" > $out
  '' ];
}`

// probeSandbox builds a trivial derivation with the sandbox demanded, and
// without when that fails. Left alone, Nix builds without a sandbox and as root
// and does not say so (sandbox-fallback is on by default).
func (c *container) probeSandbox(ctx context.Context) error {
	try := func(config string) (string, error) {
		expr := fmt.Sprintf(sandboxProbe, fmt.Sprint(time.Now().UnixNano()))
		out, err := c.exec(ctx, config+"substituters =\nbuilders =\n", "nix-build", "--no-out-link", "-E", expr)
		if err != nil {
			return "", err
		}
		p := strings.Fields(out)
		if len(p) == 0 {
			return "", errors.New("no output")
		}
		return c.exec(ctx, "", "/bin/sh", "-c", `read -r l < "$1"; echo "$l"`, "sh", p[len(p)-1])
	}
	out, err := try("sandbox = true\nsandbox-fallback = false\n")
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		if f := strings.Fields(out); len(f) == 3 && f[1] == "localhost" {
			c.facts.Sandbox = "on"
			return nil
		}
		err = errors.New("asked for, and not made")
	} else if text := err.Error(); strings.Contains(text, "executing '/bin/sh'") && strings.Contains(text, "No such file") || strings.Contains(text, "while setting up the build environment") && strings.Contains(text, "/bin/sh") {
		// Nix was built without a shell for its sandbox: the sandbox is there,
		// and nothing in it, as it should be.
		c.facts.Sandbox = "on"
		return nil
	}
	c.facts.Sandbox = "off"
	c.facts.Why = sandboxWhy(c.eng.Name, err.Error())
	if out, err := try("sandbox = false\n"); err == nil {
		if f := strings.Fields(out); len(f) == 3 {
			if c.facts.User = "uid " + f[0]; f[0] == "0" {
				c.facts.User = "root"
			} else if f[0] == "30001" {
				c.facts.User = "nixbld1"
			}
		}
	}
	return ctx.Err()
}

func sandboxWhy(engine, text string) string {
	switch {
	case strings.Contains(text, "kernel namespaces"), strings.Contains(text, "Operation not permitted"):
		return engine + " does not allow the namespaces that it needs"
	}
	return lastLine(text)
}

// configure makes the configuration of what runs in the container: the
// substituters and keys that this machine uses, and what was found out.
func (c *container) configure(ctx context.Context) error {
	var b strings.Builder
	set := func(k, v string) { fmt.Fprintf(&b, "%s = %s\n", k, strings.Join(strings.Fields(v), " ")) }
	set("extra-experimental-features", "nix-command flakes")
	set("builders", "")
	set("max-jobs", "auto")
	switch c.facts.Sandbox {
	case "on":
		set("sandbox", "true")
		set("sandbox-fallback", "false")
	default:
		set("sandbox", "false")
	}
	if c.emulated() {
		// qemu-user and Rosetta refuse Nix's seccomp filter (NixOS/nix#5258).
		set("filter-syscalls", "false")
	}
	config, err := c.tool.Config(ctx)
	if err != nil {
		return err
	}
	if v, _ := config.Get("substitute"); v == "false" || c.settings.Network == "none" {
		set("substitute", "false")
	} else {
		set("substituters", strings.Join(reachable(config.Substituters), " "))
		set("trusted-public-keys", strings.Join(config.TrustedPublicKeys, " "))
	}
	for _, o := range forwarded(c.tool) {
		if o[0] != "substituters" && o[0] != "trusted-public-keys" && o[0] != "substitute" {
			set(o[0], o[1])
		}
	}
	c.config = b.String()
	return nil
}

// reachable are the substituters that a container can use as well: not those
// that are this machine.
func reachable(subst []string) []string {
	var out []string
	for _, s := range subst {
		u, err := url.Parse(s)
		if err != nil || !slices.Contains([]string{"http", "https", "s3"}, u.Scheme) {
			continue
		}
		if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
			continue
		}
		out = append(out, s)
	}
	return out
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
	go func() { done <- cmd.Wait() }()
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

func (c *container) logHint(drv string) string {
	return c.eng.Kind + " exec " + c.ctr + " nix-store --read-log " + drv
}

// findImage gives the image, loading or pulling it when the engine has it not.
func (c *container) findImage(ctx context.Context, scope event.Scope) (image, error) {
	ref := c.settings.Image
	if ref == "" && c.settings.ImageFile != "" {
		return c.loadImage(ctx, scope, c.settings.ImageFile)
	}
	if ref == "" {
		ref = DefaultImage
	}
	if strings.HasPrefix(ref, "-") {
		return image{}, fault.New("%q is not an image", ref)
	}
	// The id of an earlier run says which of a list's images is ours.
	known := imageIDs{}
	_ = known.load()
	key := c.eng.Kind + " " + c.system + " " + ref
	if id := known[key]; id != "" {
		if got, arch, err := c.inspectImage(ctx, id); err == nil && (arch == "" || c.is(arch)) {
			return image{ref: ref, id: got}, nil
		}
	}
	if got, arch, err := c.inspectImage(ctx, ref); err == nil && c.is(arch) {
		return image{ref: ref, id: got}, nil
	}
	if ctx.Err() != nil {
		return image{}, ctx.Err()
	}
	if c.settings.ImageFile != "" {
		return c.loadImage(ctx, scope, c.settings.ImageFile)
	}
	refs := []string{ref}
	if ref == DefaultImage {
		refs = append(refs, secondImage)
	}
	var pulled string
	var first error
	for _, r := range refs {
		name, _, _ := strings.Cut(r, "@")
		scope.Emit(event.Event{Kind: event.Progress, Text: "pulling " + name})
		_, err := c.eng.output(ctx, "pull", "--quiet", "--platform", platform(c.system), pullRef(r))
		if ctx.Err() != nil {
			return image{}, ctx.Err()
		}
		if err == nil {
			pulled = r
			break
		}
		if first == nil {
			first = c.eng.trouble("pulling "+name, err)
		}
	}
	if pulled == "" {
		var f *fault.Error
		if errors.As(first, &f) {
			f.Exit(ExitNoBuilder).Hint("without a registry: load an image from a file with --image-file FILE").
				Hint("or name an image that %s has: --image NAME", c.eng.Name)
		}
		return image{}, first
	}
	got, _, err := c.inspectImage(ctx, pullRef(pulled))
	if err != nil {
		return image{}, c.eng.trouble("looking at "+ref, err)
	}
	known[key] = got
	_ = known.save()
	return image{ref: ref, id: got}, nil
}

// pullRef leaves out the tag where there is a digest: not every engine takes both.
func pullRef(ref string) string {
	name, digest, ok := strings.Cut(ref, "@")
	if !ok {
		return ref
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name + "@" + digest
}

func (c *container) is(arch string) bool {
	return strings.HasPrefix(c.system, nixArch(arch)+"-")
}

func (c *container) inspectImage(ctx context.Context, ref string) (id, arch string, err error) {
	out, err := c.eng.output(ctx, "image", "inspect", "--format", "{{.Id}} {{.Architecture}}", pullRef(ref))
	if err != nil {
		return "", "", err
	}
	w := strings.Fields(out)
	if len(w) == 0 {
		return "", "", errors.New("no such image")
	}
	if len(w) > 1 {
		arch = w[1]
	}
	return w[0], arch, nil
}

// loadImage gives the image in a docker-archive, loading it when needed.
func (c *container) loadImage(ctx context.Context, scope event.Scope, file string) (image, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return image{}, fault.New("cannot read the image %s: %s", file, err).Because(err)
	}
	config, err := archiveImage(abs)
	if err != nil {
		e := fault.New("cannot read the image %s: %s", file, reason(err)).Because(err)
		if errors.Is(err, os.ErrNotExist) {
			e.Hint("make one where a registry answers: docker pull %s && docker save -o %s %s", DefaultImage, file, DefaultImage)
		}
		return image{}, e
	}
	if config != "" {
		// The id of an image is the digest of its configuration (not so with
		// the containerd image store: then it is loaded once more, for nothing).
		if id, _, err := c.inspectImage(ctx, config); err == nil {
			return image{ref: abs, id: id, file: true}, nil
		}
	}
	scope.Emit(event.Event{Kind: event.Progress, Text: "loading " + file})
	out, err := c.eng.output(ctx, "load", "--input", abs)
	if err != nil {
		if ctx.Err() != nil {
			return image{}, ctx.Err()
		}
		return image{}, c.eng.trouble("loading "+file, err)
	}
	// "Loaded image: NAME" or "Loaded image ID: sha256:…", one a line.
	for _, l := range strings.Split(out, "\n") {
		if _, name, ok := strings.Cut(l, "Loaded image"); ok {
			_, name, _ = strings.Cut(name, ": ")
			if id, _, err := c.inspectImage(ctx, strings.TrimSpace(name)); err == nil {
				return image{ref: abs, id: id, file: true}, nil
			}
		}
	}
	return image{}, fault.New("%s: loading %s gave no image: %s", c.eng.Name, file, firstWords(out))
}

func reason(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// archiveImage reads the digest of the image's configuration from a
// docker-archive; "" for other formats.
func archiveImage(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return "", errors.New("it is not an image archive")
		}
		if err != nil {
			if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
				return "", nil // compressed, perhaps: the engine will say
			}
			return "", err
		}
		switch h.Name {
		case "index.json", "oci-layout":
			return "", nil
		case "manifest.json":
			var m []struct{ Config string }
			if err := json.NewDecoder(io.LimitReader(r, 1<<20)).Decode(&m); err != nil || len(m) != 1 {
				return "", nil
			}
			digest := strings.TrimSuffix(filepath.Base(m[0].Config), ".json")
			if len(digest) != 64 {
				return "", nil
			}
			return "sha256:" + digest, nil
		}
	}
}

// imageIDs remembers which image a reference and a system stand for.
type imageIDs map[string]string

func (m *imageIDs) file() (string, error) {
	d, err := StateDir()
	return filepath.Join(d, "images.json"), err
}

func (m *imageIDs) load() error {
	f, err := m.file()
	if err != nil {
		return err
	}
	b, err := os.ReadFile(f)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, m)
}

func (m *imageIDs) save() error {
	f, err := m.file()
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	tmp := f + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, f)
}

// lock keeps two godwits of one person from doing the same thing at once. It is
// the engine that decides between persons: names of containers are unique.
func lock(ctx context.Context, name string) (func(), error) {
	dir, err := StateDir()
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

// way is how derivations get to a container and are built there.
type way int

const (
	// wayRelay: internal/store copies the closures, `nix-store --realise` runs
	// in the container. Nothing in it depends on the Nix of this machine.
	wayRelay way = iota
	// wayBridge: `nix build DRV^* --store unix://SOCKET --eval-store auto`.
	wayBridge
)

// ways are the versions for which wayBridge was tried and builds. Others take
// wayRelay, without trying.
//
// Measured 2026-11 with Debian's Nix 2.8.0, 2.26.3 and 2.34.8 here, 2.26.3 in
// the container, for a .drv that only this machine has:
//
//	                                                       2.8.0    2.26.3   2.34.8
//	nix build DRV     --store unix:// --eval-store auto    no (1)   no (2)   no (2)
//	nix build DRV^*   --store unix:// --eval-store auto    no (3)   builds   builds
//	nix build DRV!*   (and DRV!out)                        no       no       no
//	nix copy --derivation --to unix://, then
//	    nix build DRV --store unix:// --eval-store auto    builds   no (4)   no (4)
//	    nix-store --store unix:// --realise DRV            builds   builds   builds
//	nix-build DRV     --store unix:// --eval-store auto    builds   builds   builds
//	nix-store --eval-store                                 no such flag
//	internal/store's copy, then nix-store --realise there  builds   builds   builds
//
// (1) "is not a valid store path"; (2) "no substituter that can build it";
// (3) "is not a valid URL"; (4) status 0, and nothing is built: DRV is the file.
//
// All of it holds only for a client without settings of its own: over unix://
// Nix sends every setting that nix.conf or NIX_CONFIG changed, and with
// `system = aarch64-darwin` among them the builder refuses ("a 'x86_64-linux'
// with features {} is required …, but I am a 'aarch64-darwin'"). The bridge is
// therefore used with an empty configuration.
var ways = []struct {
	vendor           string
	fromMin, fromMax int // minor versions of Nix 2
}{
	{"Nix", 26, 34},
}

// wayFor is the way for a version of Nix on this machine.
func wayFor(v nix.Version) way {
	for _, w := range ways {
		if v.Vendor == w.vendor && v.Major == 2 && v.Minor >= w.fromMin && v.Minor <= w.fromMax {
			return wayBridge
		}
	}
	return wayRelay
}

// Build builds in the container and keeps what comes out there until the next
// build for the same host.
func (c *container) Build(ctx context.Context, req Request, sink event.Sink) (*Built, error) {
	if err := c.Ready(ctx, sink); err != nil {
		return nil, err
	}
	var built *Built
	var err error
	if wayFor(c.tool.Version) == wayBridge {
		built, err = c.buildOverBridge(ctx, req, sink)
	} else {
		built, err = buildAt(ctx, c.tool, c.Name(), c, c.Store(), nil, req, sink)
	}
	if err != nil {
		return nil, err
	}
	var words []string
	for _, it := range req.Items {
		if p := built.Outputs[it.Drv]; p != "" {
			words = append(words, rootName(it.Host, it.Drv), p)
		}
	}
	if len(words) > 0 {
		_ = c.run(ctx, append([]string{"/bin/sh", "-c", makeRoots, "sh"}, words...), io.Discard, io.Discard)
	}
	return built, ctx.Err()
}

const makeRoots = `d=/nix/var/nix/gcroots/godwit; mkdir -p "$d" && while [ $# -gt 1 ]; do ln -sfn "$2" "$d/$1"; shift 2; done`

func rootName(host, drv string) string {
	if host == "" {
		host = nix.DrvName(drv)
	}
	return strings.Map(func(r rune) rune {
		if r == '/' || r < ' ' {
			return '_'
		}
		return r
	}, "host-"+host)
}

// Bridge gives the socket of the builder, for any Nix program on this machine:
// --store unix://PATH.
func (c *container) Bridge(ctx context.Context) (*Bridge, error) {
	if err := c.Ready(ctx, event.Discard); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bridge == nil {
		b, err := NewBridge(func(ctx context.Context) (*store.Stream, error) {
			return c.dial(ctx, []string{"nix-daemon", "--stdio"})
		})
		if err != nil {
			return nil, err
		}
		c.bridge = b
	}
	return c.bridge, nil
}

// buildOverBridge lets this machine's Nix send the derivations and have them built.
func (c *container) buildOverBridge(ctx context.Context, req Request, sink event.Sink) (*Built, error) {
	scope := req.scope(sink)
	drvs := req.drvs()
	if len(drvs) == 0 {
		return &Built{Outputs: map[string]string{}, Failed: map[string]error{}}, nil
	}
	prepared, err := prepare(ctx, c.tool, req, scope)
	if err != nil {
		return nil, err
	}
	if len(prepared) > 0 {
		if err := copyTo(ctx, localStore(c.tool), c.Store(), prepared, scope); err != nil {
			return nil, err
		}
	}
	bridge, err := c.Bridge(ctx)
	if err != nil {
		return nil, err
	}
	config, err := c.tool.Config(ctx)
	if err != nil {
		return nil, err
	}
	evalStore := config.Store
	if evalStore == "" {
		evalStore = "auto"
	}
	args := []string{"--extra-experimental-features", "nix-command", "build", "--store", "unix://" + bridge.Path, "--eval-store", evalStore,
		"--no-link", "--keep-going", "--log-format", "internal-json", "-v"}
	for _, d := range drvs {
		args = append(args, d+"^*")
	}
	cmd := c.tool.Command(ctx, "nix")
	cmd.Args = append(cmd.Args[:1], args...)
	// No settings of this machine: they would go to the builder.
	cmd.Env = append(slices.DeleteFunc(cmd.Env, func(s string) bool {
		return strings.HasPrefix(s, "NIX_CONFIG=") || strings.HasPrefix(s, "NIX_CONF_DIR=") || strings.HasPrefix(s, "NIX_USER_CONF_FILES=") || strings.HasPrefix(s, "NIX_REMOTE_SYSTEMS=")
	}), "NIX_CONF_DIR="+filepath.Dir(bridge.Path), "NIX_USER_CONF_FILES="+os.DevNull)
	log := nix.NewBuildLog(scope)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, log
	runErr := cmd.Run()
	log.Close()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	valid := func(paths []string) (map[string]bool, error) { return c.valid(ctx, paths) }
	return sortOut(drvs, out.String(), log, runErr, valid, c.Name(), c.logHint)
}

// valid asks the store in the container.
func (c *container) valid(ctx context.Context, paths []string) (map[string]bool, error) {
	return validAt(ctx, c, paths)
}
