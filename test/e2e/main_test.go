// Package e2e runs godwit, the program, against real hosts: containers with
// their own sshd, systemd, sudo and Nix (test/lab), systems made by the small
// NixOS (test/nixos), this machine's Nix or that of another Debian suite.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"godwit/test/canary"
	"godwit/test/images"
	"godwit/test/lab"
)

// shared is what all tests of a run use: the program and hosts that are started when first asked for.
var shared struct {
	dir    string // removed at the end
	began  time.Time
	godwit string
	images sync.Map // files that builders were made from
}

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		os.Exit(m.Run()) // every test here needs containers
	}
	// Tests wait for hosts, not for each other: all may be under way.
	if err := flag.Set("test.parallel", "1000"); err != nil {
		panic(err)
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	shared.dir, shared.began = dir, time.Now()
	shared.godwit = filepath.Join(dir, "godwit")
	for _, name := range []string{"godwit", "godwit-secrets"} {
		out := filepath.Join(dir, name)
		if name != "godwit" {
			out += "-linux-amd64" // as beside a godwit that was installed
		}
		build := exec.Command("go", "build", "-o", out, "godwit/cmd/"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("cannot build %s: %w\n%s", name, err, out)
		}
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		for _, image := range usedImages() {
			rm := exec.CommandContext(ctx, shared.godwit, "builder", "rm", "--all", "--image-file", image)
			rm.Env = append(os.Environ(), stateEnv(filepath.Join(dir, "state"))...)
			if out, err := rm.CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "e2e: cannot remove the builders: %v\n%s", err, out)
			}
		}
	}()
	watcher := canary.Watch()
	code := m.Run()
	if err := nowhereInClear(watcher); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: a secret is in clear where it must not be:\n%v\n", err)
		code = max(code, 1)
	}
	return code, nil
}

// stateEnv is where godwit keeps its memory.
func stateEnv(dir string) []string {
	return []string{"XDG_STATE_HOME=" + dir, "XDG_CONFIG_HOME=" + filepath.Join(shared.dir, "config")}
}

// needLab skips in short mode, which promises no containers. Anything else that
// is missing fails the test.
func needLab(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs containers")
	}
}

// world is a directory with a configuration, and the environment that godwit is run in.
type world struct {
	t   *testing.T
	dir string
	env []string
	// in runs godwit in another place than this machine: a deployer.
	in *lab.Deployer
	// stdin is what godwit reads, unless it is empty.
	stdin string
	// reveals says that godwit is to show a secret.
	reveals bool
}

// newWorld makes a world whose hosts can be reached by their names.
func newWorld(t *testing.T, hosts ...*lab.Host) *world {
	t.Helper()
	needLab(t)
	w := &world{t: t, dir: t.TempDir()}
	config := filepath.Join(w.dir, "ssh_config")
	if err := lab.WriteSSHConfig(config, hosts...); err != nil {
		t.Fatal(err)
	}
	// A memory of its own: its history has no rows of tests that run beside it, its cache nothing that they evaluated.
	state, err := os.MkdirTemp(shared.dir, "state-")
	if err != nil {
		t.Fatal(err)
	}
	w.env = append(stateEnv(state),
		"SSH_CONFIG_FILE="+config,
		"NIX_PATH=nixpkgs="+repo(t, "test/nixos"),
		"NIX_CONFIG=build-users-group =\nsandbox = false\nsubstituters =\nexperimental-features = nix-command flakes",
		"CI=1", "LC_ALL=C.UTF-8",
	)
	return w
}

// repo is the absolute path of a file of the repository.
func repo(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(filepath.Join("../..", path))
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// as is the same world for a subtest, which fails on its own.
func (w *world) as(t *testing.T) *world {
	sub := *w
	sub.t = t
	return &sub
}

// file writes a file of the world and gives its path.
func (w *world) file(name, content string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// builderImage is the file that arm64 builders are made from.
func builderImage(t *testing.T) string {
	t.Helper()
	needLab(t)
	path, err := images.BuilderArchive(context.Background(), "arm64", os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	shared.images.Store(path, true)
	return path
}

// usedImages are the images whose builders are removed at the end.
func usedImages() (list []string) {
	shared.images.Range(func(k, _ any) bool {
		list = append(list, k.(string))
		return true
	})
	return list
}

// result is what a run of godwit left.
type result struct {
	t              *testing.T
	args           []string
	stdout, stderr string
	code           int
	took           time.Duration
}

// run runs godwit to its end.
func (w *world) run(args ...string) result { return w.runEnv(nil, args...) }

func (w *world) runEnv(env []string, args ...string) result {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	p := w.start(ctx, env, args...)
	return p.wait()
}

// feed is run with standard input.
func (w *world) feed(stdin string, args ...string) result {
	w.t.Helper()
	fed := *w
	fed.stdin = stdin
	return fed.run(args...)
}

// reveal is run that shows a secret, and has to.
func (w *world) reveal(value string, args ...string) {
	w.t.Helper()
	open := *w
	open.reveals = true
	if r := open.run(args...).exits(0); strings.TrimSuffix(r.stdout, "\n") != value {
		w.t.Errorf("godwit %s shows %q", strings.Join(args, " "), r.stdout)
	}
}

// process is a running godwit.
type process struct {
	w              *world
	cmd            *exec.Cmd
	args           []string
	stdout, stderr lab.Buffer
	began          time.Time
}

func (w *world) start(ctx context.Context, env []string, args ...string) *process {
	w.t.Helper()
	p := &process{w: w, args: args, began: time.Now()}
	all := append(append([]string{}, w.env...), env...)
	if w.in != nil {
		p.cmd = w.in.Command(ctx, w.dir, all, append([]string{shared.godwit}, args...)...)
	} else {
		p.cmd = exec.CommandContext(ctx, shared.godwit, args...)
		p.cmd.Dir = w.dir
		p.cmd.Env = append(os.Environ(), all...)
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if w.stdin != "" {
		p.cmd.Stdin = strings.NewReader(w.stdin)
	}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	// A test that fails before it has waited leaves nothing behind for the next.
	w.t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	return p
}

func (p *process) wait() result {
	p.w.t.Helper()
	err := p.cmd.Wait()
	r := result{t: p.w.t, args: p.args, stdout: p.stdout.String(), stderr: p.stderr.String(), took: time.Since(p.began)}
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	default:
		p.w.t.Fatalf("godwit %s: %v\n%s", strings.Join(p.args, " "), err, r.stderr)
	}
	if !p.w.reveals && canary.Has([]byte(r.stdout+r.stderr)) {
		p.w.t.Errorf("godwit %s shows a secret:\n%s\n%s", strings.Join(p.args, " "), r.stdout, r.stderr)
	}
	if r.code >= 0 { // else it was killed, maybe in the middle of a line
		r.keepsSchema()
	}
	return r
}

// until waits for text on stderr.
func (p *process) until(text string, limit time.Duration) {
	p.w.t.Helper()
	deadline := time.Now().Add(limit)
	for time.Now().Before(deadline) {
		if strings.Contains(p.stderr.String(), text) || strings.Contains(p.stdout.String(), text) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	out := p.stdout.String()
	p.w.t.Fatalf("godwit %s did not say %q within %s:\n%s%s", strings.Join(p.args, " "), text, limit, p.stderr.String(), out[max(0, len(out)-8000):])
}

// exits checks the exit code.
func (r result) exits(code int) result {
	r.t.Helper()
	if r.code != code {
		r.t.Fatalf("godwit %s: exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", strings.Join(r.args, " "), r.code, code, r.stdout, r.stderr)
	}
	return r
}

// says checks that each text is on stderr.
func (r result) says(texts ...string) result {
	r.t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.stderr, text) {
			r.t.Errorf("godwit %s: stderr lacks %q:\n%s", strings.Join(r.args, " "), text, r.stderr)
		}
	}
	return r
}

// saysNot checks that no text is on stderr or stdout.
func (r result) saysNot(texts ...string) result {
	r.t.Helper()
	for _, text := range texts {
		if strings.Contains(r.stderr, text) || strings.Contains(r.stdout, text) {
			r.t.Errorf("godwit %s: output has %q:\n%s\n%s", strings.Join(r.args, " "), text, r.stdout, r.stderr)
		}
	}
	return r
}

// forget deletes paths of a host's store that a push has brought. What served the push there may live a
// little longer than the push, and holds them.
func forget(t *testing.T, h *lab.Host, paths ...string) {
	t.Helper()
	on(t, h, "rm -f /nix/var/nix/gcroots/godwit-pushed*; for try in $(seq 50); do said=$(nix-store --delete "+strings.Join(paths, " ")+" 2>&1) && exit; sleep 0.2; done; echo \"$said\" >&2; exit 1")
}

// answers waits until a host that has booted lets somebody in.
func answers(t *testing.T, h *lab.Host) {
	t.Helper()
	var r lab.Result
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if r = h.Run(t.Context(), lab.Deploy, "true"); r.OK() {
			return
		}
	}
	t.Fatalf("%s does not answer: %s", h.Name, r)
}

// on runs a script as root on a host, from outside, and gives its output.
func on(t *testing.T, h *lab.Host, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r := h.Exec(ctx, script)
	if !r.OK() {
		t.Fatalf("on %s: %s: %s", h.Name, script, r)
	}
	return strings.TrimSpace(r.Stdout)
}
