package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/nix"
)

// engineWords is how one engine says what all of them say.
type engineWords struct {
	name, program, facts, arch            string
	sandbox                               string // options
	noImage, noContainer, noVolume, inUse string
	noSandbox                             string // why Nix's sandbox cannot be made there; "": it can
}

// lives are engines: Docker, Podman, nerdctl, and those behind Docker's own command line: Docker itself, and Colima and
// OrbStack, which say the same of another machine (by their documentation).
var lives = []engineWords{
	{name: "docker", program: "docker", facts: "version --format {{.Server.Arch}} {{.Server.Os}} {{.Server.Version}}", arch: "amd64",
		sandbox: "--security-opt seccomp=unconfined --security-opt systempaths=unconfined",
		noImage: "Error response from daemon: no such image: example.org/nix:1: No such image: example.org/nix:1", noContainer: "Error response from daemon: No such container: b",
		noVolume: "Error response from daemon: get v: no such volume", inUse: "Error response from daemon: remove v: volume is in use - [8f3c]"},
	{name: "colima, orbstack", program: "docker", facts: "version --format {{.Server.Arch}} {{.Server.Os}} {{.Server.Version}}", arch: "arm64",
		sandbox: "--security-opt seccomp=unconfined --security-opt systempaths=unconfined",
		noImage: "Error response from daemon: No such image: example.org/nix:1", noContainer: "Error response from daemon: No such container: b",
		noVolume: "Error response from daemon: get v: no such volume", inUse: "Error response from daemon: remove v: volume is in use - [8f3c]"},
	{name: "podman", program: "podman", facts: "info --format {{.Host.Arch}} {{.Host.OS}} {{.Version.Version}}", arch: "amd64",
		sandbox: "--security-opt seccomp=unconfined --security-opt unmask=ALL",
		noImage: "Error: inspecting object: unable to inspect \"example.org/nix:1\": example.org/nix:1: image not known", noContainer: "Error: inspecting object: no such container b",
		noVolume: "Error: no volume with name \"v\" found: no such volume", inUse: "Error: volume v is being used by the following container(s): 8f3c: volume is in use",
		noSandbox: "error: this system does not support the kernel namespaces that are required for sandboxing"},
	{name: "nerdctl", program: "nerdctl", facts: "info --format {{.Architecture}} {{.OSType}} {{.ServerVersion}}", arch: "amd64",
		sandbox: "--security-opt seccomp=unconfined --security-opt systempaths=unconfined",
		noImage: "level=fatal msg=\"1 errors:\\nno such image: example.org/nix:1\"", noContainer: "level=fatal msg=\"1 errors:\\nno such container: b\"",
		noVolume: "level=fatal msg=\"no such volume: v\"", inUse: "level=fatal msg=\"volume v is in use\""},
}

// life is the transcript for an engine.
func (w engineWords) life(t *testing.T) string {
	probe := "$~ PROGRAM exec --env NIX_CONFIG=sandbox = true * nix-build --no-out-link -E *\n"
	read := "$~ PROGRAM exec godwit-builder-CPU-* /bin/sh -c read -r l * sh /nix/store/x-godwit-sandbox-probe\n> UID localhost 3\n= 0"
	switch w.noSandbox {
	case "":
		probe += "> /nix/store/x-godwit-sandbox-probe\n= 0\n" + strings.Replace(read, "UID", "30001", 1)
	default:
		probe += "! " + w.noSandbox + "\n= 1\n$~ PROGRAM exec --env NIX_CONFIG=sandbox = false * nix-build --no-out-link -E *\n> /nix/store/x-godwit-sandbox-probe\n= 0\n" +
			strings.Replace(read, "UID", "0", 1)
	}
	cpu := nixArch(w.arch)
	text := strings.Replace(transcript(t, "life"), "PROBE", probe, 1)
	return strings.NewReplacer("PROGRAM", w.program, "FACTS", w.facts, "ARCH", w.arch, "CPU", cpu, "SYSTEM", cpu+"-linux", "SANDBOX", w.sandbox,
		"NOIMAGE", w.noImage, "NOCONTAINER", w.noContainer, "NOVOLUME", w.noVolume, "INUSE", w.inUse).Replace(text)
}

// TestEngineLife: one suite for all engines. A builder is made, used, found again, listed,
// stopped and removed, in words that the engine knows.
func TestEngineLife(t *testing.T) {
	for _, w := range lives {
		t.Run(w.name, func(t *testing.T) {
			t.Setenv("DOCKER_HOST", "")
			t.Setenv("XDG_STATE_HOME", t.TempDir())
			t.Setenv("XDG_RUNTIME_DIR", "")
			t.Setenv("NIX_CONFIG", "")
			replay(t, w.name, w.life(t))
			ctx, system := t.Context(), nixArch(w.arch)+"-linux"
			tool, err := nix.Find(ctx, nix.Settings{})
			if err != nil {
				t.Fatal(fault.Render(err))
			}
			settings := Settings{Engine: w.program, Image: "example.org/nix:1"}
			var said []event.Event
			sink := event.SinkFunc(func(e event.Event) { said = append(said, e) })
			for n, how := range []string{"made in", ""} {
				c := NewContainer(tool, &Engines{}, settings, system).(*container)
				said = nil
				if err := c.Ready(ctx, sink); err != nil {
					t.Fatalf("%d: %s", n, fault.Render(err))
				}
				last := said[len(said)-1]
				want := map[bool]string{true: "sandbox on", false: "sandbox off: Podman does not allow the namespaces that it needs; builds run as root"}[w.noSandbox == "" || n > 0]
				if last.Kind != event.Done || !strings.Contains(last.Text, want) || !strings.Contains(last.Text, how) || strings.Contains(last.Text, "made in") != (how != "") || last.Data["nix"] != "2.26.3" {
					t.Errorf("%d: %q %v", n, last.Text, last.Data)
				}
				if err := c.Ready(ctx, sink); err != nil { // asks nothing again
					t.Error(err)
				}
				if c.Kind() != KindContainer || c.Name() != "container "+system || len(c.Stores()) != 1 || !strings.Contains(c.logHint("/nix/store/x.drv"), w.program+" exec godwit-builder-") {
					t.Errorf("%s %s %s", c.Kind(), c.Name(), c.logHint("/nix/store/x.drv"))
				}
				for _, line := range []string{"substituters = https://cache.nixos.org\n", "builders = \n", "max-jobs = auto\n"} {
					if !strings.Contains(c.config, line) {
						t.Errorf("no %q in %q", line, c.config)
					}
				}
				if n == 0 {
					testUse(t, c)
				}
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
			testVerbs(t, NewManager(tool, settings, event.Discard), system)
		})
	}
}

// testUse asks a builder for what builds need, over its socket, too.
func testUse(t *testing.T, c *container) {
	ctx := t.Context()
	valid, err := c.valid(ctx, []string{"/nix/store/a", "/nix/store/b"})
	if err != nil || !valid["/nix/store/a"] || valid["/nix/store/b"] {
		t.Errorf("%v, %v", valid, err)
	}
	if built, err := c.Build(ctx, Request{}, event.Discard); err != nil || len(built.Outputs) != 0 {
		t.Errorf("%+v, %v", built, err)
	}
	for range 2 { // one socket for all
		b, err := c.Bridge(ctx)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("unix", b.Path)
		if err != nil {
			t.Fatal(err)
		}
		if h, err := workerHello(conn); err != nil || h.Nix != "2.26.3" || h.Protocol != 35 || h.Trusted != 1 {
			t.Errorf("%+v, %v", h, err)
		}
		conn.Close()
	}
}

// testVerbs are those of `godwit builder`.
func testVerbs(t *testing.T, m *Manager, system string) {
	ctx := t.Context()
	is := func(what string, all []Status, err error, running bool) {
		t.Helper()
		if err != nil || len(all) != 1 || all[0].System != system || all[0].Running != running || all[0].Image != "example.org/nix:1" {
			t.Errorf("%s: %+v, %v", what, all, err)
		}
	}
	all, err := m.List(ctx, true)
	is("list", all, err, true)
	if all[0].Paths != 120 || all[0].Builds != 2 || all[0].Sandbox != "on" || all[0].Nix != "2.26.3" {
		t.Errorf("list: %+v", all[0])
	}
	all, err = m.Status(ctx, system)
	is("status", all, err, true)
	if all[0].StoreSize != 2<<20 {
		t.Errorf("status: %+v", all[0])
	}
	if _, err := m.Status(ctx, "riscv64"); err == nil || !strings.Contains(err.Error(), "there is no builder riscv64") {
		t.Errorf("%v", err)
	}
	one, err := m.Start(ctx, "")
	if err != nil || one.System != system || !one.Running {
		t.Errorf("start: %+v, %v", one, err)
	}
	if _, err := m.Start(ctx, "riscv64"); err == nil || !strings.Contains(err.Error(), "no container builds riscv64-linux") {
		t.Errorf("%v", err)
	}
	if err := m.Shell(ctx, "", []string{"true"}); err != nil {
		t.Errorf("shell: %v", err)
	}
	var exit *exec.ExitError
	if err := m.Shell(ctx, "", []string{"false"}); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("shell: %v", err)
	}
	if from, err := m.Store(ctx, ""); err != nil || !strings.HasPrefix(from.Name, "builder godwit-builder-") {
		t.Errorf("store: %+v, %v", from, err)
	}
	all, err = m.Stop(ctx, "")
	is("stop", all, err, false)
	for range 2 { // its store is another builder's, too, or gone
		all, err = m.Remove(ctx, "")
		is("rm", all, err, true)
	}
}

// TestEngineTrouble: what goes wrong when a builder is to run, in Docker's words.
func TestEngineTrouble(t *testing.T) {
	const start = `$ docker version --format {{.Server.Arch}} {{.Server.Os}} {{.Server.Version}}
> amd64 linux 28.0
= 0
`
	const have = `$ docker image inspect --format {{.Id}} {{.Architecture}} i
> sha256:6521ce33565f ARCH
= 0
`
	const state = "$~ docker container inspect --format {{.State.Status}} *\n"
	for _, c := range []struct {
		name, text, system string
		settings           Settings
		want, hint         string
	}{
		{name: "no registry", settings: Settings{Image: "i"}, text: `$ docker image inspect --format {{.Id}} {{.Architecture}} i
! Error response from daemon: No such image: i
= 1
$ docker pull --quiet --platform linux/amd64 i
! Error response from daemon: Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host
= 1
`, want: "pulling i failed: Get \"https://registry-1.docker.io/v2/\"", hint: "--image-file FILE"},
		{name: "both registries", text: `$~ docker image inspect --format {{.Id}} {{.Architecture}} docker.io/nixos/nix@sha256:*
! Error response from daemon: No such image
= 1
$~ docker pull --quiet --platform linux/amd64 docker.io/nixos/nix@sha256:*
! toomanyrequests: You have reached your pull rate limit.
= 1
$~ docker pull --quiet --platform linux/amd64 ghcr.io/nixos/nix@sha256:*
! denied: requested access to the resource is denied
= 1
`, want: "toomanyrequests"},
		{name: "no image at all", settings: Settings{Image: "-x"}, want: `"-x" is not an image`},
		{name: "no such file", settings: Settings{ImageFile: "/none.tar"}, want: "cannot read the image /none.tar", hint: "docker save -o /none.tar"},
		{name: "emulation", system: "aarch64-linux", settings: Settings{Image: "i"}, text: strings.Replace(have, "ARCH", "arm64", 1) + state + `! Error response from daemon: No such container: b
= 1
$~ docker run *
! exec /bin/sh: exec format error
= 1
$~ docker rm -f *
= 0
`, want: "this engine runs x86_64 programs and does not emulate aarch64-linux", hint: "qemu-user-static"},
		{name: "paused, and gone wrong", settings: Settings{Image: "i"}, text: strings.Replace(have, "ARCH", "amd64", 1) + state + `> paused
= 0
$~ docker unpause *
! Error response from daemon: cannot unpause
= 1
`, want: "waking the builder godwit-builder-x86_64-"},
		{name: "does not start", settings: Settings{Image: "i"}, text: strings.Replace(have, "ARCH", "amd64", 1) + state + `> exited
= 0
$~ docker start *
! Error response from daemon: driver failed
= 1
`, want: "starting the builder godwit-builder-x86_64-"},
		{name: "no Nix in it", settings: Settings{Image: "i"}, text: strings.Replace(have, "ARCH", "amd64", 1) + state + `> running
= 0
$~ docker exec --interactive * nix-daemon --stdio
! OCI runtime exec failed: exec failed: unable to start container process: exec: "nix-daemon": executable file not found in $PATH: unknown
= 126
`, want: "has no nix-daemon", hint: "--image docker.io/nixos/nix"},
		{name: "the engine ends in between", settings: Settings{Image: "i"}, text: strings.Replace(have, "ARCH", "amd64", 1) + state + `! Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?
= 1
`, want: "looking for the builder godwit-builder-x86_64-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("DOCKER_HOST", "")
			t.Setenv("XDG_STATE_HOME", t.TempDir())
			replay(t, c.name, start+c.text)
			if c.system == "" {
				c.system = "x86_64-linux"
			}
			b := NewContainer(nil, &Engines{}, c.settings, c.system).(*container)
			defer b.Close()
			err := b.Ready(t.Context(), event.Discard)
			if text := fault.Render(err); err == nil || !strings.Contains(text, c.want) || !strings.Contains(text, c.hint) {
				t.Errorf("%s", text)
			}
		})
	}
}

// TestLoadImage: an image in a file is loaded once.
func TestLoadImage(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	digest := strings.Repeat("ab", 32)
	dir := t.TempDir()
	archive := func(name string, files map[string]string) string {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for name, text := range files {
			if err := errors.Join(w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}), func() error { _, err := w.Write([]byte(text)); return err }()); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := archive("good.tar", map[string]string{"manifest.json": `[{"Config":"` + digest + `.json"}]`})
	oci := archive("oci.tar", map[string]string{"oci-layout": "{}"})
	empty := archive("empty.tar", map[string]string{"x": ""})
	replay(t, "load", `$ docker image inspect --format {{.Id}} {{.Architecture}} sha256:`+digest+`
! Error response from daemon: No such image
= 1
$ docker load --input `+good+`
> Loaded image: godwit:1
= 0
$ docker image inspect --format {{.Id}} {{.Architecture}} godwit:1
> sha256:cd amd64
= 0
$ docker image inspect --format {{.Id}} {{.Architecture}} sha256:`+digest+`
> sha256:`+digest+` amd64
= 0
$ docker load --input `+oci+`
> nothing that anybody knows
= 0
`)
	program, err := exec.LookPath("docker")
	if err != nil {
		t.Fatal(err)
	}
	c := &container{eng: &Engine{Program: program, Kind: "docker", Name: "Docker", Arch: "x86_64"}, system: "x86_64-linux"}
	for n, want := range []string{"sha256:cd", "sha256:" + digest} {
		if img, err := c.loadImage(context.Background(), event.On(event.Discard, "", event.StepBuilder), good); err != nil || img.id != want || !img.file {
			t.Errorf("%d: %+v, %v", n, img, err)
		}
	}
	for file, want := range map[string]string{oci: "gave no image: nothing that anybody knows", empty: "it is not an image archive"} {
		if _, err := c.loadImage(context.Background(), event.On(event.Discard, "", event.StepBuilder), file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
}
