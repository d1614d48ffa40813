package lab

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// containers skips a test in -short mode. Otherwise a machine that cannot run
// the lab is an error: test/setup.sh makes it able. Tests have hosts of their
// own and run beside each other.
func containers(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("starts containers")
	}
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	t.Cleanup(cancel)
	if err := Check(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// mustRun fails the test unless the result is good, and returns what it printed.
func mustRun(t *testing.T, what string, r Result) string {
	t.Helper()
	if !r.OK() {
		t.Fatalf("%s: %s", what, r)
	}
	return strings.TrimSpace(r.Stdout)
}

// value fails the test on an error.
func value[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// checkHost looks at everything that a host of any kind promises.
func checkHost(t *testing.T, ctx context.Context, h *Host, machine, nix string) {
	t.Helper()
	if state := h.Exec(ctx, "systemctl is-system-running"); strings.TrimSpace(state.Stdout) != "running" {
		t.Errorf("the system is %s, failed units: %v", state, value(h.FailedUnits(ctx))(t))
	}
	for _, user := range []string{Root, Deploy, PasswordUser, DoasUser, Nobody} {
		if got := mustRun(t, user, h.Run(ctx, user, "id -un && uname -m")); got != user+"\n"+machine {
			t.Errorf("%s: got %q", user, got)
		}
		got := mustRun(t, user, h.Run(ctx, user, "nix-store --query --requisites /run/current-system"))
		if !strings.HasSuffix(got, "-nixos-system-factory") {
			t.Errorf("%s: requisites of the system: %q", user, got)
		}
	}
	if got := mustRun(t, "nix", h.Run(ctx, Deploy, "nix --version")); !strings.Contains(got, " "+nix) {
		t.Errorf("got %q, want Nix %s", got, nix)
	}
	if got := mustRun(t, "sudo", h.Run(ctx, Deploy, "sudo -n id -u")); got != "0" {
		t.Errorf("sudo: got uid %s", got)
	}
	if r := h.Run(ctx, PasswordUser, "sudo -n true"); r.OK() {
		t.Error("sudo of the password user asks for no password")
	}
	if got := mustRun(t, "sudo -S", h.RunInput(ctx, PasswordUser, "sudo -S -p '' id -u", Password+"\n")); got != "0" {
		t.Errorf("sudo -S: got uid %s", got)
	}
	if got := mustRun(t, "doas", h.Run(ctx, DoasUser, "doas -n id -u")); got != "0" {
		t.Errorf("doas: got uid %s", got)
	}
	if r := h.Run(ctx, Nobody, "sudo -n true || doas -n true"); r.OK() {
		t.Error("the user without rights became root")
	}
	mustRun(t, "systemd-run", h.Run(ctx, Deploy, "sudo systemd-run --wait --quiet --collect /bin/true"))
	mustRun(t, "timer", h.Run(ctx, Root, `systemd-run --quiet --unit lab-timer --on-active=0.2s --timer-property=AccuracySec=50ms touch /run/lab/timer
i=0; while [ ! -e /run/lab/timer ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done; test -e /run/lab/timer`))
	if left := value(h.GodwitLeftovers(ctx))(t); len(left) != 0 {
		t.Errorf("leftovers on a new host: %q", left)
	}
	// dpkg's records are in order: nothing is half-installed, and a package can be installed and removed.
	if got := mustRun(t, "packages", h.Run(ctx, Root, `dpkg --audit
mkdir -p /tmp/p/DEBIAN /tmp/p/opt/p && echo p >/tmp/p/opt/p/file
printf '%s\n' 'Package: p' 'Version: 1' 'Architecture: all' 'Maintainer: m <m@example.org>' 'Depends: nix-bin, openssh-client' 'Description: d' >/tmp/p/DEBIAN/control
dpkg-deb --build /tmp/p /tmp/p.deb >/dev/null && dpkg --install /tmp/p.deb >/dev/null && cat /opt/p/file
dpkg --remove p >/dev/null && [ ! -e /opt/p ]`)); got != "p" {
		t.Errorf("installing a package: %q", got)
	}
	built := mustRun(t, "build", h.Run(ctx, Root, `cat >/tmp/d.nix <<'END'
derivation { name = "lab"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo $system > $out" ]; }
END
nix-build --option sandbox false --no-out-link /tmp/d.nix`))
	if got := mustRun(t, "built", h.Run(ctx, Nobody, "cat "+built)); !strings.HasPrefix(got, strings.Replace(machine, "amd64", "x86_64", 1)) {
		t.Errorf("built on the host: %q", got)
	}
	if listening := mustRun(t, "port", Result{Stdout: value(docker(ctx, "port", h.ContainerID))(t)}); strings.Contains(listening, "0.0.0.0") {
		t.Errorf("the host is open to the network: %s", listening)
	}
}

func TestHostOfEachSuite(t *testing.T) {
	ctx := containers(t)
	for suite, nix := range map[string]string{"bookworm": "2.8.", "trixie": "2.26.", "forky": "2."} {
		t.Run(suite, func(t *testing.T) {
			checkHost(t, ctx, New(t, Spec{Suite: suite}), "x86_64", nix)
		})
	}
}

// A host that ends at once is not waited for, and is told how it ended.
func TestDeadHost(t *testing.T) {
	ctx := containers(t)
	h, err := Start(ctx, Spec{RunArgs: []string{"--entrypoint", "/bin/false"}})
	if err == nil {
		_ = h.Remove(ctx)
		t.Fatal("it started")
	}
	if !strings.Contains(err.Error(), "exit code 1") || !strings.Contains(err.Error(), "tries") {
		t.Error(err)
	}
}

func TestARM64Host(t *testing.T) {
	ctx := containers(t)
	h := New(t, Spec{Arch: "aarch64-linux"})
	checkHost(t, ctx, h, "aarch64", "2.8.")
	// Who cuts the power is the engine, as TestPower has it; what an emulated host does itself is to reboot.
	other := anotherSystem(t, ctx, h)
	mustRun(t, "oneshot", h.Run(ctx, Root, "echo "+other+" > /boot/loader/oneshot"))
	reboots(t, ctx, h, other)
	mustRun(t, "after the boot", h.Run(ctx, Root, "test -e /run/other-was-activated && test ! -e /boot/loader/oneshot"))
}

// anotherSystem makes another system than the factory's in a host's store: one that says that it was activated.
func anotherSystem(t *testing.T, ctx context.Context, h *Host) string {
	return mustRun(t, "second system", h.Run(ctx, Root, `cp -r "$(readlink -f /run/current-system)" /root/nixos-system-other
chmod -R u+w /root/nixos-system-other
sed -i '1a touch /run/other-was-activated' /root/nixos-system-other/activate
nix-store --add /root/nixos-system-other && rm -r /root/nixos-system-other`))
}

// reboots reboots a host from inside, which boots want. It ends what runs in the host, and is not kept by it.
func reboots(t *testing.T, ctx context.Context, h *Host, want string) {
	bootID := value(h.BootID(ctx))(t)
	under := make(chan Result, 1)
	go func() {
		under <- h.Exec(ctx, "touch /run/lab/under; trap 'exit 9' TERM; while :; do sleep 0.1; done")
	}()
	mustRun(t, "a command", h.Run(ctx, Root, "i=0; until [ -e /run/lab/under ] || [ $i = 300 ]; do sleep 0.1; i=$((i+1)); done; [ $i != 300 ]"))
	h.Run(ctx, Root, "systemctl reboot")
	deadline := time.Now().Add(3 * time.Minute) // an emulated host takes its time
	for {
		r := h.Run(ctx, Root, "cat /proc/sys/kernel/random/boot_id && systemctl is-system-running --wait")
		if r.OK() && !strings.HasPrefix(r.Stdout, bootID) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no reboot: %s", r)
		}
		time.Sleep(200 * time.Millisecond)
	}
	if got := value(h.CurrentSystem(ctx))(t); got != want {
		t.Errorf("after a reboot the current system is %s, want %s", got, want)
	}
	select {
	case r := <-under:
		if r.OK() {
			t.Errorf("a command in a host that was rebooted: %s", r)
		}
	case <-time.After(time.Minute):
		t.Error("a command in a host that was rebooted does not end")
	}
}

// TestPower cuts the power and reboots a host, with other systems in its boot loader.
func TestPower(t *testing.T) {
	ctx := containers(t)
	h := New(t, Spec{})
	factory := value(h.CurrentSystem(ctx))(t)
	for name, ask := range map[string]func(context.Context) (string, error){
		"booted system": h.BootedSystem, "boot default": h.BootDefault, "profile": h.Profile} {
		if got := value(ask(ctx))(t); got != factory {
			t.Errorf("%s is %s, not the factory system %s", name, got, factory)
		}
	}
	other := anotherSystem(t, ctx, h)
	bootID, port, key := value(h.BootID(ctx))(t), h.Port, h.HostKey
	mustRun(t, "oneshot", h.Run(ctx, Root, "echo "+other+" > /boot/loader/oneshot; touch /run/lab/lost"))
	if err := h.PowerCut(ctx); err != nil {
		t.Fatal(err)
	}
	if r := h.Run(ctx, Root, "true"); r.OK() {
		t.Error("a host without power answers")
	}
	if err := h.Boot(ctx); err != nil {
		t.Fatal(err)
	}
	if h.Port != port || h.HostKey != key {
		t.Error("the host came back with another port or key")
	}
	if got := value(h.CurrentSystem(ctx))(t); got != other {
		t.Errorf("one-shot boot: current system is %s, want %s", got, other)
	}
	if got := value(h.BootID(ctx))(t); got == bootID {
		t.Error("the boot id did not change")
	}
	mustRun(t, "after the boot", h.Run(ctx, Root, "test -e /run/other-was-activated && test ! -e /run/lab/lost && test ! -e /boot/loader/oneshot"))

	// The one-shot entry is used up: a reboot from inside boots the default.
	reboots(t, ctx, h, factory)

	// switch-to-configuration boot of the other system changes the default only.
	mustRun(t, "boot", h.Run(ctx, Deploy, "sudo "+other+"/bin/switch-to-configuration boot"))
	if got := value(h.BootDefault(ctx))(t); got != other {
		t.Errorf("boot default is %s, want %s", got, other)
	}
	if got := value(h.CurrentSystem(ctx))(t); got != factory {
		t.Errorf("boot changed the current system to %s", got)
	}
	if err := h.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if got := value(h.CurrentSystem(ctx))(t); got != other {
		t.Errorf("after a restart the current system is %s, want %s", got, other)
	}
}

func TestFactoryRestoresItself(t *testing.T) {
	ctx := containers(t)
	h := New(t, Spec{})
	// What a later generation may leave: units, links, a lost sudo, a cut network.
	mustRun(t, "later generation", h.Run(ctx, Root, `set -e
mkdir /root/later
printf '[Service]\nExecStart=/usr/bin/sleep infinity\n' >/root/later/hello.service
printf '[Service]\nEnvironment=LATER=1\n' >/root/later/later.conf
later=$(nix-store --add /root/later)
ln -s "$later" /etc/static
ln -s /etc/static/later.conf /etc/motd-later
ln -s "$later/hello.service" /etc/systemd/system/hello.service
mkdir -p /etc/systemd/system/ssh.service.d
ln -s "$later/later.conf" /etc/systemd/system/ssh.service.d/later.conf
rm /etc/sudoers.d/deploy
systemctl daemon-reload
systemctl restart ssh
systemctl start hello
nft add table inet cut
nft add chain inet cut input '{ type filter hook input priority 0; policy drop; }'`))
	quick, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	if r := h.Run(quick, Root, "true"); r.OK() {
		t.Error("a host behind a closed packet filter answers")
	}
	mustRun(t, "switch", h.Exec(ctx, "/nix/var/nix/profiles/system/bin/switch-to-configuration switch"))
	mustRun(t, "ssh", h.Run(ctx, Deploy, "sudo -n true"))
	mustRun(t, "state", h.Run(ctx, Root, `set -x
test ! -e /etc/static && test ! -L /etc/motd-later && test ! -L /etc/systemd/system/hello.service &&
! systemctl is-active hello.service && ! systemctl show -p Environment ssh.service | grep LATER &&
systemctl is-system-running`))

	for _, c := range []struct {
		args, prepare string
		want          int
	}{
		{args: "check", want: 0},
		{args: "dry-activate", want: 0},
		{args: "test", want: 0},
		{args: "nonsense", want: 1},
		{args: "switch", prepare: "printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/false\n[Install]\nWantedBy=multi-user.target\n' >/etc/systemd/system/broken.service; systemctl daemon-reload; systemctl enable broken; systemctl start broken", want: 4},
		{args: "switch", prepare: "rm /etc/systemd/system/*/broken.service /etc/systemd/system/broken.service; rm /etc/NIXOS", want: 1},
	} {
		h.Exec(ctx, c.prepare)
		if r := h.Exec(ctx, "/run/current-system/bin/switch-to-configuration "+c.args); r.Exit != c.want {
			t.Errorf("switch-to-configuration %s after %q: %s", c.args, c.prepare, r)
		}
	}
}

func TestSmallStore(t *testing.T) {
	ctx := containers(t)
	h := New(t, Spec{NixSize: "24m"})
	r := h.Run(ctx, Root, "dd if=/dev/zero of=/root/big bs=1M count=40 status=none; nix-store --add /root/big")
	if r.OK() || !strings.Contains(strings.ToLower(r.Stderr), "no space left") {
		t.Errorf("a full store: %s", r)
	}
	mustRun(t, "the store works on", h.Run(ctx, Deploy, "nix-store --query --hash /run/current-system"))
}

func TestFreeze(t *testing.T) {
	ctx := containers(t)
	h := New(t, Spec{})
	if err := h.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	quick, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if r := h.Run(quick, Root, "true"); r.OK() {
		t.Error("a frozen host answers")
	}
	if err := h.Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "thawed", h.Run(ctx, Root, "true"))
}

func TestDeployerReachesHosts(t *testing.T) {
	ctx := containers(t)
	dir := t.TempDir()
	h := New(t, Spec{Name: "web", Dir: dir})
	config := filepath.Join(dir, "ssh_config")
	if err := WriteSSHConfig(config, h); err != nil {
		t.Fatal(err)
	}
	for suite, nix := range map[string]string{"bookworm": " 2.8.", "trixie": " 2.26."} {
		t.Run(suite, func(t *testing.T) {
			d := NewDeployer(t, suite, dir)
			if got := mustRun(t, "nix", d.Run(ctx, dir, "nix", "--version")); !strings.Contains(got, nix) {
				t.Errorf("got %q, want Nix%s", got, nix)
			}
			if got := mustRun(t, "ssh", d.Run(ctx, dir, "ssh", "-F", "ssh_config", "root@web", "hostname")); got != "web" {
				t.Errorf("got host name %q", got)
			}
			if got := mustRun(t, "docker", d.Run(ctx, dir, "docker", "inspect", "--format", "{{.Config.Hostname}}", h.ContainerID)); got != "web" {
				t.Errorf("got host name %q from the engine", got)
			}
			copied := mustRun(t, "nix-copy-closure", d.Exec(ctx, `set -e
echo "$0 to copy" >/root/thing-$$
path=$(nix-store --add /root/thing-$$)
NIX_SSHOPTS="-F `+config+`" nix-copy-closure --to root@web "$path" >&2
echo "$path"`))
			mustRun(t, "copied", h.Run(ctx, Nobody, "nix-store --query --hash "+copied))

			// A cancelled command ends inside too.
			quick, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
			defer cancel()
			if r := d.Run(quick, dir, "sleep", "4711"); r.Err == nil {
				t.Errorf("a cancelled command: %s", r)
			}
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
				r := d.Exec(ctx, "grep -l '^sleep.4711' /proc/[0-9]*/cmdline")
				if !r.OK() {
					break
				}
				if time.Now().After(end) {
					t.Errorf("a cancelled command still runs: %s", r)
					break
				}
			}
		})
	}
}

func TestKeptHostIsReused(t *testing.T) {
	ctx := containers(t)
	spec := Spec{Name: "kept", Dir: t.TempDir(), Run: "test-" + RunID(), Keep: true}
	t.Cleanup(func() {
		if err := Sweep(context.Background(), spec.Run); err != nil {
			t.Error(err)
		}
	})
	first := value(Start(ctx, spec))(t)
	if again := value(Start(ctx, spec))(t); again.ContainerID != first.ContainerID {
		t.Error("a running host was made anew")
	}
	if err := first.PowerCut(ctx); err != nil {
		t.Fatal(err)
	}
	again := value(Start(ctx, spec))(t)
	if again.ContainerID != first.ContainerID || again.Port != first.Port {
		t.Error("a stopped host was made anew")
	}
	if names := value(Names(spec.Dir))(t); !slices.Equal(names, []string{"kept"}) {
		t.Errorf("names: %q", names)
	}
	if err := again.Remove(ctx); err != nil {
		t.Fatal(err)
	}
	if names := value(Names(spec.Dir))(t); len(names) != 0 {
		t.Errorf("names after the removal: %q", names)
	}
	if data := value(os.ReadFile(KnownHostsFile(spec.Dir)))(t); len(data) != 0 {
		t.Errorf("known hosts after the removal: %q", data)
	}
}

func TestDeadOwnersAreSwept(t *testing.T) {
	ctx := containers(t)
	dead := exec.Command("sleep", "60")
	if err := dead.Start(); err != nil {
		t.Fatal(err)
	}
	who := ownerOf(dead.Process.Pid)
	id := value(docker(ctx, "create", "--label", labelRun+"=swept", "--label", labelOwner+"="+who,
		value(Start(ctx, Spec{Name: "owner", Dir: t.TempDir(), Run: "swept"}))(t).Image))(t)
	sweepDead(ctx)
	if _, err := docker(ctx, "inspect", id); err != nil {
		t.Errorf("swept the container of a living process: %v", err)
	}
	_ = dead.Process.Kill()
	_ = dead.Wait()
	sweepDead(ctx)
	if _, err := docker(ctx, "inspect", id); err == nil {
		t.Error("the container of a dead process is still there")
	}
	if err := Sweep(ctx, "swept"); err != nil {
		t.Fatal(err)
	}
	if left := value(docker(ctx, "ps", "-aq", "--filter", "label="+labelRun+"=swept"))(t); left != "" {
		t.Errorf("left after a sweep: %s", left)
	}
}

func TestWriteSSHConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	h := &Host{Name: "web", Port: 20022, Identity: "/with blank/key", KnownHosts: "/kh"}
	if err := WriteSSHConfig(path, h); err != nil {
		t.Fatal(err)
	}
	got := string(value(os.ReadFile(path))(t))
	for _, want := range []string{"Host web\n", "Port 20022\n", `IdentityFile "/with blank/key"`, "UserKnownHostsFile /kh\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
}

func TestSpecDefaults(t *testing.T) {
	for _, c := range []struct{ arch, suite, wantArch, wantSuite string }{
		{"", "", "amd64", "trixie"},
		{"x86_64-linux", "bookworm", "amd64", "bookworm"},
		{"aarch64-linux", "", "arm64", "bookworm"},
	} {
		s := value(Spec{Arch: c.arch, Suite: c.suite}.normalize())(t)
		if s.Arch != c.wantArch || s.Suite != c.wantSuite {
			t.Errorf("%+v: got %s %s", c, s.Arch, s.Suite)
		}
	}
	if _, err := (Spec{Arch: "riscv64"}).normalize(); err == nil {
		t.Error("took an unknown architecture")
	}
}

func TestKnownHosts(t *testing.T) {
	dir := t.TempDir()
	for _, step := range []struct {
		port int
		key  string
		want string
	}{
		{20001, "ssh-ed25519 A", "[127.0.0.1]:20001 ssh-ed25519 A\n"},
		{20002, "ssh-ed25519 B", "[127.0.0.1]:20001 ssh-ed25519 A\n[127.0.0.1]:20002 ssh-ed25519 B\n"},
		{20001, "ssh-ed25519 C", "[127.0.0.1]:20002 ssh-ed25519 B\n[127.0.0.1]:20001 ssh-ed25519 C\n"},
		{20002, "", "[127.0.0.1]:20001 ssh-ed25519 C\n"},
	} {
		if err := setKnownHost(dir, step.port, step.key); err != nil {
			t.Fatal(err)
		}
		if got := string(value(os.ReadFile(KnownHostsFile(dir)))(t)); got != step.want {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
}
