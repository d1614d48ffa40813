package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"godwit/internal/builder/machines"
	"godwit/internal/fault"
	"godwit/internal/nix"
	"godwit/internal/settings"
	"godwit/internal/store"
)

func TestSettingsFrom(t *testing.T) {
	dir := t.TempDir()
	load := func(text string) (Settings, error) {
		t.Helper()
		f := filepath.Join(dir, "config.toml")
		if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := settings.Read(f)
		if err != nil {
			t.Fatal(err)
		}
		return SettingsFrom(all)
	}
	got, err := load(`
[copy]
with = "nix"
[builder]
default = "container"
engine = "podman"
image-file = "image.tar"
network = "none"
[[builder.ssh]]
uri = "ssh-ng://me@big"
systems = ["aarch64-linux"]
features = ["kvm"]
`)
	want := Settings{Default: "container", Engine: "podman", ImageFile: filepath.Join(dir, "image.tar"), Network: "none",
		SSH: []SSHStore{{URI: "ssh-ng://me@big", Systems: []string{"aarch64-linux"}, Features: []string{"kvm"}}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for text, part := range map[string]string{
		"[builder]\nnetwork = 'host'\n":        `builder.network is "host"`,
		"[[builder.ssh]]\nuri = 'big'\n":       "is not an ssh store",
		"[[builder.ssh]]\nuri = 'ssh://big'\n": "names no systems",
	} {
		if _, err := load(text); err == nil || !strings.Contains(err.Error(), "config.toml: builder.") || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: want %q in %v", text, part, err)
		}
	}
	if s, err := SettingsFrom(&settings.Settings{}); err != nil || !reflect.DeepEqual(s, Settings{}) {
		t.Errorf("no file: %+v, %v", s, err)
	}
}

type talk struct {
	io.Reader
	io.Writer
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestBuilderGone: a builder that went away during a build says so, and what to do.
func TestBuilderGone(t *testing.T) {
	gone := func([]string) (map[string]bool, error) { return nil, errors.New("container b is not running") }
	_, err := sortOut(nil, "", closedLog(), errors.New("exit status 137"), gone, "container b", store.Endpoint{}, nil)
	want := "error: container b: the build broke off: exit status 137\n  container b is not running\nhint: run it again: what was built until then is there\n"
	if got := fault.Render(err); got != want {
		t.Errorf("%s", got)
	}
}

func TestHello(t *testing.T) {
	num := func(ns ...uint64) string {
		var b []byte
		for _, n := range ns {
			for i := range 8 {
				b = append(b, byte(n>>(8*i)))
			}
		}
		return string(b)
	}
	for name, c := range map[string]struct {
		in   string
		want Hello
		err  string
	}{
		"2.26":     {in: num(workerMagic2, 1<<8|38) + num(6) + "2.26.3\x00\x00" + num(1, stderrLast), want: Hello{Protocol: 38, Nix: "2.26.3", Trusted: 1}},
		"2.8":      {in: num(workerMagic2, 1<<8|34) + num(5) + "2.8.0\x00\x00\x00" + num(stderrLast), want: Hello{Protocol: 34, Nix: "2.8.0"}},
		"2.3":      {in: num(workerMagic2, 1<<8|21, stderrLast), want: Hello{Protocol: 21}},
		"nothing":  {err: "it said nothing"},
		"cut off":  {in: num(workerMagic2), err: "EOF"},
		"a banner": {in: "Welcome to Debian!\n", err: `something other than Nix answered: "Welcome to Debian!"`},
		"long":     {in: num(workerMagic2, 1<<8|38, 1<<60), err: "a text of"},
		"other":    {in: num(workerMagic2, 9<<8), err: "protocol 9.0"},
		"refusal":  {in: num(workerMagic2, 1<<8|30, stderrError), err: "refused"},
	} {
		got, err := workerHello(talk{strings.NewReader(c.in), io.Discard})
		if c.err == "" && (err != nil || got != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	gone := writerFunc(func([]byte) (int, error) { return 0, syscall.EPIPE })
	for said, want := range map[string]string{"": "it said nothing: broken pipe", "Goodbye, friend!\n": `something other than Nix answered: "Goodbye, friend!"`} {
		if _, err := workerHello(talk{strings.NewReader(said), gone}); err == nil || err.Error() != want {
			t.Errorf("gone after %q: %v", said, err)
		}
		if err := serveHello(talk{strings.NewReader(said), gone}); err == nil || err.Error() != want {
			t.Errorf("gone after %q: %v", said, err)
		}
	}
	var sent bytes.Buffer
	if err := serveHello(talk{strings.NewReader(num(serveMagic2, 2<<8|7)), &sent}); err != nil || sent.String() != num(serveMagic1, serveVersion) {
		t.Errorf("%v, sent %x", err, sent.Bytes())
	}
}

// TestProbeMachine greets real daemons of this machine through an ssh that only
// runs the command.
func TestProbeMachine(t *testing.T) {
	if testing.Short() {
		t.Skip("runs this machine's nix-daemon")
	}
	dir := t.TempDir()
	said := filepath.Join(dir, "args")
	script := "#!/bin/sh\necho \"$@\" >> " + said + "\nwhile [ \"$1\" != -- ]; do shift; done\nhost=$2; shift 2\n" +
		"case $host in down) echo 'ssh: connect to host down port 22: Connection refused' >&2; exit 255;; talks) echo hello there, friend; exit;; esac\nexec \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("NIX_CONFIG", "build-users-group =")
	ctx := context.Background()
	for _, uri := range []string{"ssh-ng://me@up:2222", "ssh://up"} {
		if err := probeMachine(ctx, nil, machines.Machine{URI: uri, HostKey: "ssh-ed25519 AAAA"}); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
	}
	args, _ := os.ReadFile(said)
	if !strings.Contains(string(args), "-p 2222") || !strings.Contains(string(args), "-l me -- up nix-daemon --stdio") || !strings.Contains(string(args), "UserKnownHostsFile=") {
		t.Errorf("ssh was called with: %s", args)
	}
	for uri, part := range map[string]string{
		"ssh-ng://down": "Connection refused", "ssh://down": "Connection refused", "ssh-ng://talks": "hello there, friend", "ssh-ng://up?ssh-key=/nonexistent/key": "its key /nonexistent/key cannot be read",
	} {
		if err := probeMachine(ctx, nil, machines.Machine{URI: uri}); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: want %q in %v", uri, part, err)
		}
	}
}

func TestProbeThroughNix(t *testing.T) {
	tool := macToolForProbe(t)
	ctx := context.Background()
	if err := probeThroughNix(ctx, tool, machines.Machine{Systems: []string{"riscv64-nonesuch"}}); err == nil {
		t.Error("nobody builds that")
	}
	if err := probeThroughNix(ctx, tool, machines.Machine{Systems: []string{"aarch64-darwin"}}); err == nil {
		t.Error("it proves nothing")
	}
	for text, want := range map[string]bool{"me@h: Permission denied (publickey).": true, "Host key verification failed.": true, "connect to host h port 22: Connection refused": false} {
		if daemonMayDiffer(errors.New(text)) != want {
			t.Error(text)
		}
	}
	if !daemonMayDiffer(fmt.Errorf("its key cannot be read: %w", fault.Reason(&os.PathError{Err: syscall.EACCES}))) {
		t.Error("a key that is root's alone")
	}
}

func macToolForProbe(t *testing.T) *nix.Tool {
	t.Helper()
	if testing.Short() {
		t.Skip("uses this machine's Nix")
	}
	return macTool(t)
}

func TestWays(t *testing.T) {
	for text, want := range map[string]way{
		"nix (Nix) 2.8.0": wayRelay, "nix (Nix) 2.18.1": wayRelay, "nix (Nix) 2.26.3": wayBridge, "nix (Nix) 2.34.8": wayBridge, "nix (Nix) 2.35.0": wayRelay,
		"nix (Lix, like Nix) 2.93.0": wayRelay, "nix (Determinate Nix 3.6.2) 2.29.0": wayRelay,
	} {
		v, err := nix.ParseVersion(text)
		if err != nil || wayFor(v) != want {
			t.Errorf("%s: %v, %v", text, wayFor(v), err)
		}
	}
}

func TestContainerParts(t *testing.T) {
	if got := pullRef(DefaultImage); !strings.HasPrefix(got, "docker.io/nixos/nix@sha256:") {
		t.Error(got)
	}
	if got := pullRef("localhost:5000/a:b@sha256:c"); got != "localhost:5000/a@sha256:c" {
		t.Error(got)
	}
	if got := pullRef("localhost:5000/a"); got != "localhost:5000/a" {
		t.Error(got)
	}
	if got := reachable([]string{"https://cache.nixos.org/", "http://127.0.0.1:8080", "http://localhost/", "file:///x", "ssh://h", "s3://b"}); !slices.Equal(got, []string{"https://cache.nixos.org/", "s3://b"}) {
		t.Error(got)
	}
	for w, want := range map[string]string{"arm64": "aarch64-linux", "amd64": "x86_64-linux", "aarch64-linux": "aarch64-linux", "x86_64": "x86_64-linux", "riscv64-linux": "riscv64-linux", "aarch64-darwin": "aarch64-darwin"} {
		if got := systemOf(w); got != want {
			t.Errorf("%s: %s", w, got)
		}
	}
	// The words of Docker 20 to 28 and Podman 4 and 5.
	t.Setenv("DOCKER_HOST", "")
	docker, _ := kindOf("docker")
	for text, want := range map[string]string{
		"permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get \"http://…\": dial unix /var/run/docker.sock: connect: permission denied":                                      "no permission to use it",
		"Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?":                                                                                                                       "not running",
		"failed to connect to the docker API at unix:///Users/x/.docker/run/docker.sock; check if the path is correct":                                                                                                            "not running",
		"Cannot connect to Podman. Please verify your connection to the Linux system using `podman system connection list`":                                                                                                       "not running",
		"WARNING: Error loading config file: /home/x/.docker/config.json: open /home/x/.docker/config.json: permission denied\nCannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?": "not running",
		"something new": "does not work: something new",
	} {
		if got, hints := engineTrouble(docker, text); got != want || len(hints) == 0 {
			t.Errorf("%q: %q %q", text, got, hints)
		}
	}
	if _, hints := engineTrouble(docker, "permission denied"); !slices.Equal(hints, []string{"sudo usermod -aG docker $USER, then log in again"}) {
		t.Errorf("%q", hints)
	}
	c := &container{eng: &Engine{Name: "Docker", Kind: "docker"}}
	e := c.eng.trouble("doing", &engineError{"docker: Error response from daemon: x is bad.\nSee 'docker run --help'.\n", errors.New("exit status 125")})
	if text := fault.Render(e); text != "error: Docker: doing failed: docker: Error response from daemon: x is bad.\n" {
		t.Errorf("%q", text)
	}
}
