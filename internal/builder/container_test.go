package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
)

// These tests use the real engine of this machine and images of test/images. It is
// the first one that works, or the one that GODWIT_TEST_ENGINE names.
var engine = os.Getenv("GODWIT_TEST_ENGINE")

// archive is the lab's image for arch, as a file.
func archive(t *testing.T, arch string, suite ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a container engine and the lab's images")
	}
	out, err := exec.Command("../../test/images/builder-archive", append([]string{arch}, suite...)...).Output()
	if err != nil {
		var e *exec.ExitError
		if errors.As(err, &e) {
			t.Fatalf("builder-archive %s: %s", arch, e.Stderr)
		}
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// macTool is this machine's Nix that takes itself for a Mac's.
func macTool(t *testing.T) *nix.Tool {
	t.Helper()
	t.Setenv("NIX_CONFIG", "system = aarch64-darwin\nextra-platforms =\nbuild-users-group =\nsandbox = false\nsubstitute = false\nbuilders =\n")
	tool, err := nix.Find(context.Background(), nix.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	return tool
}

func instantiate(t *testing.T, tool *nix.Tool, expr string, attr string) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "t.nix")
	if err := os.WriteFile(f, []byte(expr), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := tool.Output(context.Background(), "nix-instantiate", f, "-A", attr, "--argstr", "salt", fmt.Sprint(time.Now().UnixNano()))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// programs is an expression with what the tests build for system. Only sh's own
// commands are sure to be there, so the machine is read from a file that qemu-user
// and a real kernel both have.
func programs(system string) string {
	return `{ salt }: let
  d = name: system: deps: script: derivation { inherit name system salt deps; builder = "/bin/sh"; args = [ "-c" "PATH=/bin:/usr/bin; ${script}" ]; };
  dep = d "dep" "` + system + `" [ (builtins.toFile "source" "hello") ] "read -r l < $deps || true; echo $l > $out";
in {
  top = d "top" "` + system + `" [ dep ] "echo of $deps; { read -r l < $deps; echo $l; } > $out";
  uname = d "uname" "` + system + `" [ dep ] "uname -m > $out";
  bad = d "bad" "` + system + `" [] "echo its last words; exit 9";
  host = d "host" "` + system + `" [ (d "inner-bad" "` + system + `" [ dep ] "echo inner words; exit 4") ] "echo > $out";
  mixed = d "mixed" "` + system + `" [ (d "ofmac" "aarch64-darwin" [] "echo made here > $out") ] "{ read -r l < $deps; echo $l; } > $out";
  slow = d "slow" "` + system + `" [] "echo begun; n=0; while [ $n -lt 100000000 ]; do n=$((n+1)); done; echo > $out";
}
`
}

// private gives the test a state directory of its own and an engine label space
// of its own is not possible: what it makes is removed by name.
func private(t *testing.T) {
	t.Helper()
	t.Setenv("XDG_STATE_HOME", t.TempDir())
}

func newContainer(t *testing.T, tool *nix.Tool, s Settings, system string) *container {
	t.Helper()
	c := NewContainer(tool, &Engines{}, s, system).(*container)
	c.space = space
	t.Cleanup(func() { c.Close() })
	return c
}

// space keeps the containers of this run apart from everybody else's.
var space = fmt.Sprintf("test%d-", os.Getpid())

// TestMain removes what the tests made; in a deployer of the lab it is the test
// of that deployer's Nix.
func TestMain(m *testing.M) {
	if dir := os.Getenv(replayDir); dir != "" {
		answer(dir, os.Args[1:])
	}
	if os.Getenv("GODWIT_TEST_INSIDE") != "" {
		space = os.Getenv("GODWIT_TEST_INSIDE")
	}
	code := m.Run()
	if os.Getenv("GODWIT_TEST_INSIDE") == "" {
		removeMade("docker", `{{.Label "`+labelVolume+`"}}`)
		if engine == "podman" {
			removeMade(engine, `{{index .Labels "`+labelVolume+`"}}`)
		}
	}
	os.Exit(code)
}

// removeMade removes what this run made in an engine, which prints the volume of a
// container with the template volume.
func removeMade(program, volume string) {
	out, err := exec.Command(program, "ps", "--all", "--filter", "label="+labelBuilder, "--format", "{{.Names}} "+volume).Output()
	if err != nil {
		return
	}
	for _, l := range strings.Split(string(out), "\n") {
		if w := strings.Fields(l); len(w) == 2 && strings.Contains(w[1], "-"+space) {
			_ = exec.Command(program, "rm", "-f", w[0]).Run()
			_ = exec.Command(program, "volume", "rm", w[1]).Run()
		}
	}
}

// read gives the content of a flat file in the builder's store, by way of the
// store endpoint: what a host would get.
func readOut(t *testing.T, c *container, path string) string {
	t.Helper()
	out, err := c.exec(context.Background(), "", "/bin/sh", "-c", `while read -r l; do echo "$l"; done < "$1"`, "sh", path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func record() (event.Sink, func() string) {
	var mu sync.Mutex
	var b strings.Builder
	return event.SinkFunc(func(e event.Event) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(&b, "%s %s %s %s %s\n", e.Host, e.Step, e.Kind, e.Text, e.Error)
		}), func() string {
			mu.Lock()
			defer mu.Unlock()
			return b.String()
		}
}

func TestContainerOfAMac(t *testing.T) {
	file := archive(t, "arm64")
	private(t)
	tool := macTool(t)
	ctx := context.Background()
	drv := instantiate(t, tool, programs("aarch64-linux"), "uname")
	sink, events := record()
	chooser, err := NewChooser(ctx, Inputs{Tool: tool, Sink: sink, Settings: Settings{Engine: engine, ImageFile: file}})
	if err != nil {
		t.Fatal(err)
	}
	defer chooser.Close()
	plan, err := chooser.Choose(ctx, []fleet.Host{{Name: "router", Platform: fleet.Platform{Name: "aarch64-linux"}, At: fleet.Address{Host: "router"}, Profiles: []fleet.Profile{fleet.System(drv, "")}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := plan.Of("router")
	if a == nil || a.Kind != KindContainer || !strings.Contains(a.Reason, "which this machine (aarch64-darwin) cannot build: container aarch64-linux in ") {
		t.Fatalf("%+v, failed %v", a, plan.Failed)
	}
	a.Builder.(*container).space = space
	if err := a.Builder.Ready(ctx, sink); err != nil {
		t.Fatalf("%s\n%s", fault.Render(err), events())
	}
	built, err := a.Builder.Build(ctx, Request{Items: []Item{{Host: "router", Drv: drv}}, Prepare: a.Prepare}, sink)
	if err != nil {
		t.Fatal(fault.Render(err))
	}
	if err := built.Failed[drv]; err != nil {
		t.Fatal(fault.Render(err))
	}
	c := a.Builder.(*container)
	if got := readOut(t, c, built.Outputs[drv].Path); got != "aarch64" {
		t.Errorf("uname -m in the builder: %q", got)
	}
	if c.eng.Arch == "x86_64" && !strings.Contains(events(), "are emulated on this x86_64 engine") {
		t.Errorf("no warning about emulation:\n%s", events())
	}
	// The output is read from there, by nix-store --serve.
	s, err := a.Builder.Stores()[0].Dial(ctx, false)
	if err == nil {
		_, err = greet(ctx, s, time.Minute, func(rw io.ReadWriter) (struct{}, error) { return struct{}{}, serveHello(rw) })
	}
	if err != nil {
		t.Error(err)
	}
}

// native is the system of the engine.
func native(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a container engine")
	}
	eng, err := (&Engines{}).Find(context.Background(), engine)
	if err != nil {
		t.Fatal(fault.Render(err))
	}
	return eng.Arch + "-linux"
}

// prepareOf names what of drv this machine has to build.
func prepareOf(t *testing.T, tool *nix.Tool, drv string) []string {
	t.Helper()
	m, err := tool.MissingFor(context.Background(), []string{drv}, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range m.Build {
		if nix.DrvName(d) == "ofmac" {
			out = append(out, d)
		}
	}
	return out
}

func TestContainerFailuresAndLifecycle(t *testing.T) {
	system := native(t)
	file := archive(t, system)
	private(t)
	tool := macTool(t)
	ctx := context.Background()
	set := Settings{Engine: engine, ImageFile: file, Network: "none"}
	sink, events := record()
	c := newContainer(t, tool, set, system)
	x := programs(system)
	top, bad, host, mixed := instantiate(t, tool, x, "top"), instantiate(t, tool, x, "bad"), instantiate(t, tool, x, "host"), instantiate(t, tool, x, "mixed")
	built, err := c.Build(ctx, Request{Prepare: prepareOf(t, tool, mixed), Items: []Item{{Host: "a", Drv: top}, {Host: "b", Drv: bad}, {Host: "c", Drv: host}, {Host: "d", Drv: mixed}}}, sink)
	if err != nil {
		t.Fatalf("%s\n%s", fault.Render(err), events())
	}
	if len(built.Outputs) != 2 || len(built.Failed) != 2 {
		t.Fatalf("%v %v\n%s", built.Outputs, built.Failed, events())
	}
	if got := readOut(t, c, built.Outputs[top].Path); got != "hello" {
		t.Errorf("top: %q", got)
	}
	if got := readOut(t, c, built.Outputs[mixed].Path); got != "made here" {
		t.Errorf("mixed: %q", got)
	}
	for drv, parts := range map[string][]string{
		bad:  {"building bad failed: builder failed with exit code 9", "| its last words", "nix-store --read-log " + bad},
		host: {"building inner-bad failed: builder failed with exit code 4", "| inner words"},
	} {
		text := fault.Render(built.Failed[drv])
		for _, p := range parts {
			if !strings.Contains(text, p) {
				t.Errorf("want %q in:\n%s", p, text)
			}
		}
	}
	if !strings.Contains(events(), "sandbox ") {
		t.Errorf("nothing said of the sandbox:\n%s", events())
	}
	t.Log(c.facts)

	// Found again by another run, and after a stop.
	mgr := NewManager(tool, set, sink)
	st, err := mgr.Status(ctx, c.ctr)
	if err != nil || len(st) != 1 || !st[0].Running || st[0].System != system || st[0].Nix == "" || st[0].Sandbox == "" || st[0].StoreSize == 0 || st[0].Paths == 0 {
		t.Errorf("status: %+v, %v", st, err)
	}
	if _, err := mgr.Stop(ctx, c.ctr); err != nil {
		t.Fatal(fault.Render(err))
	}
	again := newContainer(t, tool, set, system)
	sink2, events2 := record()
	built, err = again.Build(ctx, Request{Items: []Item{{Host: "a", Drv: top}}}, sink2)
	if err != nil || built.Outputs[top].Path == "" {
		t.Fatalf("after a stop: %v\n%s", err, events2())
	}
	if again.ctr != c.ctr || !strings.Contains(events2(), "started in") || strings.Contains(events2(), "building top") {
		t.Errorf("not the same store after a stop:\n%s", events2())
	}
	third := newContainer(t, tool, set, system)
	sink3, events3 := record()
	if err := third.Ready(ctx, sink3); err != nil || strings.Contains(events3(), " made in") || strings.Contains(events3(), "started in") {
		t.Errorf("not found again: %v\n%s", err, events3())
	}
	if _, err := mgr.Remove(ctx, c.ctr); err != nil {
		t.Fatal(fault.Render(err))
	}
	if st, err := mgr.Status(ctx, c.ctr); err == nil {
		t.Errorf("still there: %+v", st)
	}
}

// TestContainerTwoAtOnce: two godwits with nothing in common but the engine
// (two persons: no common lock) want the same builder that is not there yet.
func TestContainerTwoAtOnce(t *testing.T) {
	system := native(t)
	file := archive(t, system)
	tool := macTool(t)
	set := Settings{Engine: engine, ImageFile: file, Network: "none"}
	ctx := context.Background()
	x := programs(system)
	private(t)
	var drvs []string
	for range 4 {
		drvs = append(drvs, instantiate(t, tool, x, "top"))
	}
	apart := fmt.Sprintf("%stwo-", space)
	var wg sync.WaitGroup
	for i := range drvs {
		c := newContainer(t, tool, set, system)
		c.space = apart
		if i%2 == 1 {
			c.lockName = "other-person"
		}
		wg.Go(func() {
			built, err := c.Build(ctx, Request{Items: []Item{{Host: "h", Drv: drvs[i]}}}, event.Discard)
			if err != nil {
				t.Errorf("%d: %s", i, fault.Render(err))
			} else if built.Outputs[drvs[i]].Path == "" {
				t.Errorf("%d: %v", i, built.Failed)
			}
		})
	}
	wg.Wait()
}

// TestContainerCancelled: Ctrl-C ends the build in the container too.
func TestContainerCancelled(t *testing.T) {
	system := native(t)
	file := archive(t, system)
	private(t)
	tool := macTool(t)
	for _, w := range []struct {
		name  string
		build func(*container, context.Context, Request, event.Sink) (*Built, error)
	}{
		{"relay", func(c *container, ctx context.Context, r Request, s event.Sink) (*Built, error) {
			return buildAt(ctx, c.tool, c.Name(), c, c.store(), nil, r, s)
		}},
		{"bridge", func(c *container, ctx context.Context, r Request, s event.Sink) (*Built, error) {
			// What a Nix on this machine does over the socket when it is ended.
			b, err := c.Bridge(ctx)
			if err != nil {
				return nil, err
			}
			if err := copyTo(ctx, localStore(c.tool), c.store(), r.drvs(), event.On(s, "", event.StepBuild)); err != nil {
				return nil, err
			}
			cmd := c.tool.Command(ctx, "nix-store")
			cmd.Args = append(cmd.Args[:1], "--store", "unix://"+b.Path, "--realise", r.drvs()[0])
			cmd.Env = append(cmd.Env, "NIX_CONFIG=")
			sc := &lines{f: func(l string) { s.Emit(event.Event{Text: l}) }}
			cmd.Stderr = sc
			err = cmd.Run()
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, err
		}},
	} {
		t.Run(w.name, func(t *testing.T) {
			c := newContainer(t, tool, Settings{Engine: engine, ImageFile: file, Network: "none"}, system)
			if err := c.Ready(context.Background(), event.Discard); err != nil {
				t.Fatal(fault.Render(err))
			}
			drv := instantiate(t, tool, programs(system), "slow")
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			sink := event.SinkFunc(func(e event.Event) {
				if e.Text == "begun" {
					if n := running(t, c); n == 0 {
						t.Error("the build is not seen while it runs")
					}
					st, err := NewManager(tool, Settings{Engine: engine}, nil).Status(context.Background(), c.ctr)
					if err != nil || len(st) != 1 || st[0].Builds != 1 {
						t.Errorf("status during a build: %+v, %v", st, err)
					}
					cancel()
				}
			})
			_, err := w.build(c, ctx, Request{Items: []Item{{Drv: drv}}}, sink)
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v", err)
			}
			c.Close()
			nothingRuns(t, c)
		})
	}
}

type lines struct {
	rest string
	f    func(string)
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest += string(p)
	for {
		line, rest, ok := strings.Cut(l.rest, "\n")
		if !ok {
			return len(p), nil
		}
		l.rest = rest
		l.f(strings.TrimSpace(line))
	}
}

func processes(c *container) string {
	out, _ := exec.Command(c.eng.Program, "top", c.ctr, "-eo", "pid,args").CombinedOutput()
	return string(out)
}

// running counts the Nix processes and what they started.
func running(t *testing.T, c *container) int {
	n := 0
	for _, l := range strings.Split(processes(c), "\n") {
		if strings.Contains(l, "nix") && !strings.Contains(l, "docker-init") || strings.Contains(l, "while [ $n") {
			n++
		}
	}
	return n
}

// nothingRuns waits until nothing of Nix runs in the container.
func nothingRuns(t *testing.T, c *container) {
	t.Helper()
	for range 300 { // a busy machine takes its time
		if running(t, c) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("processes are left in the container:\n%s", processes(c))
}

func TestEngineTroubles(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the engine's command line")
	}
	render := func() string {
		_, err := (&Engines{}).Find(context.Background(), "")
		if err == nil {
			return "no error"
		}
		return fault.Render(err)
	}
	want := func(t *testing.T, text string, parts ...string) {
		t.Helper()
		for _, p := range parts {
			if !strings.Contains(text, p) {
				t.Errorf("want %q in:\n%s", p, text)
			}
		}
	}
	t.Run("not installed", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		want(t, render(), "error: no container engine can be used", "Docker         not installed", "Podman         not installed", "hint: install Docker or Podman")
	})
	docker, err := exec.LookPath("docker")
	if err != nil {
		t.Fatal(err)
	}
	onlyDocker := t.TempDir()
	if err := os.Symlink(docker, filepath.Join(onlyDocker, "docker")); err != nil {
		t.Fatal(err)
	}
	t.Run("not running", func(t *testing.T) {
		t.Setenv("PATH", onlyDocker)
		t.Setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
		want(t, render(), "Docker         not running (DOCKER_HOST=unix:///nonexistent/docker.sock)", "hint: start the engine that DOCKER_HOST names")
	})
	t.Run("no permission", func(t *testing.T) {
		if os.Getuid() != 0 {
			t.Log("as an ordinary user the socket of somebody else is used")
		}
		dir, err := os.MkdirTemp("/tmp", "test-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		// Root may open everything: another user runs the client.
		sock := filepath.Join(dir, "s")
		ln := listenPrivate(t, sock)
		defer ln()
		script := "#!/bin/sh\nexec setpriv --reuid 65534 --regid 65534 --clear-groups " + docker + ` "$@"` + "\n"
		if os.Getuid() != 0 {
			script = "#!/bin/sh\nexec " + docker + ` "$@"` + "\n"
		}
		if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir+":/usr/bin:/bin")
		t.Setenv("HOME", "/nonexistent")
		t.Setenv("DOCKER_HOST", "unix://"+sock)
		_, err = (&Engines{}).Find(context.Background(), "docker")
		if err == nil {
			t.Fatal("no error")
		}
		want(t, fault.Render(err), "no permission to use it")
	})
	t.Run("no image file", func(t *testing.T) {
		private(t)
		c := newContainer(t, macTool(t), Settings{ImageFile: "/nonexistent/image.tar"}, "aarch64-linux")
		err := c.Ready(context.Background(), event.Discard)
		if err == nil {
			t.Fatal("no error")
		}
		want(t, fault.Render(err), "cannot read the image /nonexistent/image.tar: no such file or directory", "docker save")
	})
	t.Run("not an image", func(t *testing.T) {
		private(t)
		f := filepath.Join(t.TempDir(), "x.tar")
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		c := newContainer(t, macTool(t), Settings{ImageFile: f}, "aarch64-linux")
		err := c.Ready(context.Background(), event.Discard)
		if err == nil {
			t.Fatal("no error")
		}
		want(t, fault.Render(err), "it is not an image archive")
	})
	t.Run("image of another architecture", func(t *testing.T) {
		system := native(t)
		other := "aarch64-linux"
		if system == other {
			other = "x86_64-linux"
		}
		private(t)
		c := newContainer(t, macTool(t), Settings{ImageFile: archive(t, system), Network: "none"}, other)
		err := c.Ready(context.Background(), event.Discard)
		if err == nil {
			t.Fatal("no error")
		}
		want(t, fault.Render(err), "is for "+system+", not for "+other)
	})
}

func listenPrivate(t *testing.T, path string) func() {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	mode := os.FileMode(0o600)
	if os.Getuid() != 0 {
		mode = 0
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return func() { l.Close() }
}
