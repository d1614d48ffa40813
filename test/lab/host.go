// Package lab runs real hosts for godwit's tests and demo: containers with
// systemd, sshd, sudo and Nix of a Debian suite, that boot "NixOS" systems
// from their Nix store the way a machine does and can lose their power.
//
// Hosts are reachable on the loopback address only. See the folder
// test/images for what is in them.
package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/awake"
	"godwit/test/images"
)

// Users of every host. All accept the lab's client key.
const (
	// Root has uid 0.
	Root = "root"
	// Deploy has sudo without a password, by the file /etc/sudoers.d/deploy.
	Deploy = "deploy"
	// PasswordUser has sudo with the password Password.
	PasswordUser = "pwuser"
	// DoasUser has doas without a password, and no sudo.
	DoasUser = "doasuser"
	// Nobody cannot become root.
	Nobody = "nobodyuser"

	// Password is the password of PasswordUser.
	Password = "correct horse"
)

// Suites are the Debian suites that hosts can be made of: Nix 2.8, 2.26, 2.34.
var Suites = []string{"bookworm", "trixie", "forky"}

// Spec says what host to start. The zero value is an amd64 host of trixie with
// a made-up name.
type Spec struct {
	// Name is the host's name; made up when empty.
	Name string
	// Suite is the Debian suite: bookworm, trixie or forky. Empty means
	// trixie, or bookworm for another architecture than amd64.
	Suite string
	// Arch is amd64 (also x86_64-linux) or arm64 (aarch64-linux).
	Arch string
	// Dir is the state directory for keys; a temporary one when empty.
	Dir string
	// Keys is the state directory whose client key the host takes; Dir when empty.
	Keys string
	// Run labels the container, for Sweep. Empty means this process's RunID.
	Run string
	// Keep reuses a host of the same name in the same state directory, and
	// leaves it running when this process ends.
	Keep bool
	// NixSize puts /nix on a tmpfs of this size ("64m"), for full disks. Such a
	// host forgets its store when it loses its power.
	NixSize string
	// RunArgs are further arguments of "docker create".
	RunArgs []string
	// Log takes progress lines; nil discards them.
	Log io.Writer
}

// Host is a running host of the lab.
type Host struct {
	Name        string `json:"name"`
	Suite       string `json:"suite"`
	Arch        string `json:"arch"`
	Image       string `json:"image"`
	ContainerID string `json:"container"`
	// Port is sshd's port on 127.0.0.1; it stays the same over restarts.
	Port int `json:"port"`
	// KnownHosts and Identity are the files that a client needs.
	KnownHosts string `json:"known_hosts"`
	Identity   string `json:"identity"`
	// HostKey is the host's public key, "ssh-ed25519 AAAA...".
	HostKey string `json:"host_key"`
	// Dir is the state directory.
	Dir string `json:"state"`

	group   string
	tempDir bool

	enter sync.Mutex
	first string // see init
}

var runID = sync.OnceValue(func() string {
	return fmt.Sprintf("%d-%s", os.Getpid(), randomHex(3))
})

// RunID is the label of what this process starts.
func RunID() string { return runID() }

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// normalize fills in the defaults of a spec.
func (s Spec) normalize() (Spec, error) {
	switch s.Arch {
	case "", "amd64", "x86_64", "x86_64-linux":
		s.Arch = "amd64"
	case "arm64", "aarch64", "aarch64-linux":
		s.Arch = "arm64"
	default:
		return s, fmt.Errorf("unknown architecture %q: use amd64 or arm64", s.Arch)
	}
	if s.Suite == "" {
		s.Suite = "trixie"
		if s.Arch != "amd64" {
			s.Suite = "bookworm"
		}
	}
	if s.Name == "" {
		s.Name = "host-" + randomHex(2)
	}
	if s.Run == "" {
		s.Run = RunID()
	}
	if s.Log == nil {
		s.Log = io.Discard
	}
	return s, nil
}

// New starts a host for a test and removes it when the test ends.
func New(t testing.TB, spec Spec) *Host {
	t.Helper()
	if spec.Dir == "" {
		spec.Dir = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	h, err := Start(ctx, spec)
	if err != nil {
		t.Fatalf("cannot start a lab host: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := h.Remove(ctx); err != nil {
			t.Errorf("cannot remove the lab host %s: %v", h.Name, err)
		}
	})
	return h
}

// Start makes the image if it must, starts a host and waits until ssh answers
// and the host has booted.
func Start(ctx context.Context, spec Spec) (_ *Host, err error) {
	spec, err = spec.normalize()
	if err != nil {
		return nil, err
	}
	if err := Check(ctx); err != nil {
		return nil, err
	}
	sweepOnce.Do(func() { sweepDead(ctx) })
	image, err := images.Make(ctx, spec.Suite, spec.Arch, spec.Log)
	if err != nil {
		return nil, err
	}
	h := &Host{Name: spec.Name, Suite: spec.Suite, Arch: spec.Arch, Image: image, Dir: spec.Dir}
	if h.Dir == "" {
		h.tempDir = true
		if h.Dir, err = os.MkdirTemp("", "lab-"); err != nil {
			return nil, err
		}
	} else if h.Dir, err = filepath.Abs(h.Dir); err != nil {
		return nil, err
	}
	keys := h.Dir
	if spec.Keys != "" {
		if keys, err = filepath.Abs(spec.Keys); err != nil {
			return nil, err
		}
	}
	key, err := ensureKey(keys)
	if err != nil {
		return nil, err
	}
	h.KnownHosts, h.Identity = KnownHostsFile(h.Dir), IdentityFile(keys)

	if spec.Keep {
		old, err := Load(h.Dir, spec.Name)
		if err == nil {
			if old.Image == image && old.reuse(ctx) == nil {
				return old, nil
			}
			fmt.Fprintf(spec.Log, "lab: making %s anew\n", spec.Name)
			if err := old.Remove(ctx); err != nil {
				return nil, err
			}
		}
	}
	defer func() {
		if err != nil {
			clean, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			_ = h.Remove(clean)
		}
	}()
	start := time.Now()
	if err := h.create(ctx, spec, key); err != nil {
		return nil, err
	}
	if err := h.waitReady(ctx); err != nil {
		return nil, err
	}
	if err := h.save(); err != nil {
		return nil, err
	}
	fmt.Fprintf(spec.Log, "lab: %s (%s, %s) answers at 127.0.0.1:%d after %.1f s\n",
		h.Name, h.Suite, h.Arch, h.Port, time.Since(start).Seconds())
	return h, nil
}

// create makes and starts the container; a port that somebody else was quicker
// to take is replaced by another.
func (h *Host) create(ctx context.Context, spec Spec, key string) error {
	for try := 0; ; try++ {
		port, err := freePort()
		if err != nil {
			return err
		}
		h.Port = port
		container := fmt.Sprintf("godwit-lab-%s-%s", spec.Name, randomHex(4))
		h.group = container
		args := []string{"run", "--detach", "--name", container, "--hostname", spec.Name,
			"--label", labelRun + "=" + spec.Run,
			"--env", "container=docker", "--env", "LAB_CGROUP=" + groupDir + "/" + container, "--env", "LAB_KEY=" + key,
			"--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_BOOT",
			"--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
			"--tmpfs", "/run:exec", "--tmpfs", "/tmp:exec",
			// systemctl reboot ends the container with a status of its own.
			"--restart", "on-failure",
			"--log-opt", "max-size=1m",
			"--publish", fmt.Sprintf("127.0.0.1:%d:22", port)}
		if !spec.Keep {
			args = append(args, "--label", labelOwner+"="+owner())
		}
		if spec.NixSize != "" {
			args = append(args, "--env", "LAB_NIX_SIZE="+spec.NixSize)
		}
		if h.Arch != "amd64" {
			// Or, beside ten others, it takes minutes for what takes it seconds, and all wait for it.
			args = append(args, "--cpu-shares", "4096")
		}
		args = append(args, spec.RunArgs...)
		args = append(args, h.Image)
		id, err := docker(ctx, args...)
		if err == nil {
			// An engine may warn about a foreign architecture before the id.
			h.ContainerID = id[strings.LastIndexByte(id, '\n')+1:]
			return nil
		}
		_, _ = docker(context.WithoutCancel(ctx), "rm", "-f", "-v", container)
		if try >= 5 || !strings.Contains(err.Error(), "port") {
			return err
		}
	}
}

// freePort picks a loopback port outside the range that outgoing connections
// use, so that it is still free when a host comes back from a power cut.
func freePort() (int, error) {
	for range 200 {
		n, err := rand.Int(rand.Reader, big.NewInt(10000))
		if err != nil {
			return 0, err
		}
		port := 20000 + int(n.Int64())
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, errors.New("no free port on 127.0.0.1 between 20000 and 29999")
}

// waitReady waits for sshd, learns the host's key, and waits for the end of the
// boot. It gives up when the host does not run. The limit is one for a busy machine.
func (h *Host) waitReady(ctx context.Context) error {
	limit := 3 * time.Minute
	if h.Arch != "amd64" {
		limit = 6 * time.Minute
	}
	ctx, cancel := awake.WithTimeout(ctx, limit) // a paused machine is not a silent host
	defer cancel()
	start := time.Now()
	for try := 1; ; try++ {
		last := h.tryReady(ctx)
		if last == nil {
			return nil
		}
		gone := ""
		if try%10 == 0 {
			gone = h.notRunning(ctx)
		}
		if gone != "" || ctx.Err() != nil {
			logs, _ := docker(context.WithoutCancel(ctx), "logs", "--tail", "20", h.ContainerID)
			return fmt.Errorf("host %s does not answer after %.0f s and %d tries%s: %w\n%s",
				h.Name, time.Since(start).Seconds(), try, gone, last, logs)
		}
		select {
		case <-ctx.Done():
		case <-time.After(150 * time.Millisecond):
		}
	}
}

// notRunning says how a container that does not run, or ends each time that it
// is started, ended.
func (h *Host) notRunning(ctx context.Context) string {
	state, err := docker(ctx, "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}", h.ContainerID)
	if err != nil {
		return ""
	}
	var status string
	var code, restarts int
	if _, err := fmt.Sscan(state, &status, &code, &restarts); err != nil {
		return ""
	}
	if status == "exited" || status == "dead" || status == "restarting" && restarts >= 5 {
		return fmt.Sprintf(" (its container is %s, exit code %d, %d restarts)", status, code, restarts)
	}
	return ""
}

func (h *Host) tryReady(ctx context.Context) error {
	// Of its own, so that one that hangs is made again.
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(h.Port))
	if err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	banner := make([]byte, 4)
	_, err = io.ReadFull(conn, banner)
	conn.Close()
	if err != nil {
		return fmt.Errorf("no ssh banner: %w", err)
	}
	if string(banner) != "SSH-" {
		return fmt.Errorf("no ssh banner: %q", banner)
	}
	read := h.Exec(ctx, "cat /etc/ssh/ssh_host_ed25519_key.pub")
	fields := strings.Fields(read.Stdout)
	if !read.OK() || len(fields) < 2 {
		return fmt.Errorf("cannot read the host key: %s", read)
	}
	if key := fields[0] + " " + fields[1]; key != h.HostKey {
		h.HostKey = key
		if err := setKnownHost(h.Dir, h.Port, key); err != nil {
			return err
		}
	}
	// From here on people may log in. Asked from outside, as each first login of a user starts the user's systemd.
	state := h.Exec(ctx, "systemctl is-system-running --wait || true")
	if !state.OK() {
		return fmt.Errorf("cannot ask for the end of the boot: %s", state)
	}
	if s := strings.TrimSpace(state.Stdout); s != "running" && s != "degraded" {
		return fmt.Errorf("the host is %s", s)
	}
	return nil
}

// reuse makes sure that a host of an earlier process runs.
func (h *Host) reuse(ctx context.Context) error {
	running, err := docker(ctx, "inspect", "--format", "{{.State.Running}}", h.ContainerID)
	if err != nil {
		return err
	}
	if running != "true" {
		return h.Boot(ctx)
	}
	return h.waitReady(ctx)
}

func (h *Host) infoPath() string { return filepath.Join(h.Dir, "hosts", h.Name+".json") }

// save writes what Load reads.
func (h *Host) save() error {
	data, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(h.infoPath(), append(data, '\n'), 0o600)
}

// Load finds a host of an earlier process in its state directory.
func Load(dir, name string) (*Host, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, "hosts", name+".json"))
	if err != nil {
		return nil, fmt.Errorf("no host %s in %s: start it with labctl up", name, dir)
	}
	h := new(Host)
	if err := json.Unmarshal(data, h); err != nil {
		return nil, fmt.Errorf("cannot read the state of host %s: %w", name, err)
	}
	return h, nil
}

// Names lists the hosts of a state directory.
func Names(dir string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "hosts", "*.json"))
	var names []string
	for _, path := range paths {
		names = append(names, strings.TrimSuffix(filepath.Base(path), ".json"))
	}
	return names, err
}

// SSHOptions are ssh's arguments for this host without destination and command.
func (h *Host) SSHOptions() []string {
	return []string{"-F", "none", "-p", strconv.Itoa(h.Port), "-i", h.Identity,
		"-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes",
		"-o", "UserKnownHostsFile=" + quote(h.KnownHosts), "-o", "GlobalKnownHostsFile=/dev/null",
		"-o", "StrictHostKeyChecking=yes", "-o", "ControlMaster=no", "-o", "ControlPath=none",
		"-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"}
}

// SSHArgs are ssh's arguments for a user of this host, up to the command.
func (h *Host) SSHArgs(user string) []string {
	return append(h.SSHOptions(), user+"@127.0.0.1")
}

// Run runs a shell script over ssh. Exit 255 is ssh's own failure.
func (h *Host) Run(ctx context.Context, user, script string) Result {
	return collect(ctx, exec.CommandContext(ctx, "ssh", append(h.SSHArgs(user), "--", script)...))
}

// RunInput is Run with standard input.
func (h *Host) RunInput(ctx context.Context, user, script, stdin string) Result {
	cmd := exec.CommandContext(ctx, "ssh", append(h.SSHArgs(user), "--", script)...)
	cmd.Stdin = strings.NewReader(stdin)
	return collect(ctx, cmd)
}

// Exec runs a shell script as root from outside, also when ssh is broken.
func (h *Host) Exec(ctx context.Context, script string) Result {
	ctx, cancel := limited(ctx)
	defer cancel()
	return collect(ctx, h.inside(ctx, "/bin/sh", "-c", script))
}

// ExecInput is Exec with standard input, and with arguments ($1, …) of the script.
func (h *Host) ExecInput(ctx context.Context, script, stdin string, args ...string) Result {
	ctx, cancel := limited(ctx)
	defer cancel()
	cmd := h.inside(ctx, append([]string{"/bin/sh", "-c", script, "sh"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	return collect(ctx, cmd)
}

// limited bounds a command whose caller does not: one in a host that is frozen never ends.
func limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, bounded := ctx.Deadline(); bounded {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, 10*time.Minute)
}

// ask is Exec for one answer.
func (h *Host) ask(ctx context.Context, script string) (string, error) {
	r := h.Exec(ctx, script)
	if !r.OK() {
		return "", fmt.Errorf("host %s: %s", h.Name, r)
	}
	return strings.TrimSpace(r.Stdout), nil
}

// PowerCut takes the power away: every process dies at once and /run is lost.
func (h *Host) PowerCut(ctx context.Context) error {
	if _, err := docker(ctx, "kill", "--signal", "KILL", h.ContainerID); err != nil {
		return err
	}
	_, err := docker(ctx, "wait", h.ContainerID)
	return err
}

// Boot starts a host without power and waits until it has booted.
func (h *Host) Boot(ctx context.Context) error {
	if _, err := docker(ctx, "start", h.ContainerID); err != nil {
		return err
	}
	return h.waitReady(ctx)
}

// Restart shuts the host down in order and boots it.
func (h *Host) Restart(ctx context.Context) error {
	if _, err := docker(ctx, "stop", "--time", "30", h.ContainerID); err != nil {
		return err
	}
	return h.Boot(ctx)
}

// Freeze stops every process of the host: connections hang, none is closed.
func (h *Host) Freeze(ctx context.Context) error {
	_, err := docker(ctx, "pause", h.ContainerID)
	return err
}

// Thaw undoes Freeze.
func (h *Host) Thaw(ctx context.Context) error {
	_, err := docker(ctx, "unpause", h.ContainerID)
	return err
}

// Remove removes the host, running or not, and what the state directory says of it.
func (h *Host) Remove(ctx context.Context) error {
	var err error
	if h.ContainerID != "" {
		var name string
		if name, err = docker(ctx, "inspect", "--format", "{{.Name}}", h.ContainerID); err == nil {
			_, err = docker(ctx, "rm", "-f", "-v", h.ContainerID)
			removeGroup(strings.TrimPrefix(name, "/"))
		} else if strings.Contains(strings.ToLower(err.Error()), "no such") {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	if h.tempDir {
		return os.RemoveAll(h.Dir)
	}
	if _, statErr := os.Stat(h.Dir); statErr != nil {
		return nil
	}
	_ = os.Remove(h.infoPath())
	if h.Port == 0 {
		return nil
	}
	return setKnownHost(h.Dir, h.Port, "")
}

// CurrentSystem is the store path of the running system.
func (h *Host) CurrentSystem(ctx context.Context) (string, error) {
	return h.ask(ctx, "readlink -f /run/current-system")
}

// BootedSystem is the store path of the system that was booted.
func (h *Host) BootedSystem(ctx context.Context) (string, error) {
	return h.ask(ctx, "readlink -f /run/booted-system")
}

// BootDefault is the store path of the system that the next boot starts.
func (h *Host) BootDefault(ctx context.Context) (string, error) {
	return h.ask(ctx, "head -n 1 /boot/loader/default")
}

// Profile is the store path of the system profile's current generation.
func (h *Host) Profile(ctx context.Context) (string, error) {
	return h.ask(ctx, "readlink -f /nix/var/nix/profiles/system")
}

// BootID is the host's boot id; it changes with every boot.
func (h *Host) BootID(ctx context.Context) (string, error) {
	return h.ask(ctx, "cat /proc/sys/kernel/random/boot_id")
}

// FailedUnits lists the failed units.
func (h *Host) FailedUnits(ctx context.Context) ([]string, error) {
	out, err := h.ask(ctx, "systemctl list-units --state=failed --plain --no-legend --no-pager | awk '{print $1}'")
	return strings.Fields(out), err
}

// GodwitLeftovers lists what deployments left on the host: units, gc roots,
// files of unfinished deployments, processes.
func (h *Host) GodwitLeftovers(ctx context.Context) ([]string, error) {
	out, err := h.ask(ctx, `
systemctl list-units --all --plain --no-legend --no-pager 'godwit*' | awk '$3 == "inactive" && $1 ~ /^godwit-(recover|secrets|secrets-users).service$/ {next} {print "unit " $1 " (" $3 ")"}'
find /nix/var/nix/gcroots /nix/var/nix/temproots -name 'godwit*' -printf 'gc root %p\n'
[ ! -L /run/godwit/current ] || echo "lock /run/godwit/current -> $(readlink /run/godwit/current)"
find /run/godwit /tmp /root /var/tmp -maxdepth 1 -name 'godwit*' ! -path /run/godwit -printf 'file %p\n' 2>/dev/null
for p in /proc/[0-9]*; do
	c=$(tr '\0' ' ' <"$p/cmdline" 2>/dev/null)
	case $c in *[g]odwit*) [ "${p#/proc/}" = $$ ] || echo "process ${p#/proc/} $c" ;; esac
done
true`)
	var left []string
	for line := range strings.Lines(out) {
		left = append(left, strings.TrimSpace(line))
	}
	return left, err
}
