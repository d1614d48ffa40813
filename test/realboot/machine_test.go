package realboot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"godwit/test/images"
	"godwit/test/lab"
)

// machine is a computer of its own: qemu-system-x86_64 in software, one disk,
// a network card whose port 22 answers on the loopback address.
type machine struct {
	t      *testing.T
	dir    string // disk, serial log, sockets
	recipe string // kernel, initrd, keys
	host   *lab.Host
	qemu   *exec.Cmd
	ended  chan struct{}
	boots  int
	bootID string
}

// newMachine makes the disk unless it is cached, and a copy of it to run on.
func newMachine(t *testing.T) *machine {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	// The builder's archive is the root of the lab host.
	archive, err := images.BuilderArchive(ctx, "amd64", os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(ctx, "bash", "./make-disk", archive)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("make-disk: %v", err)
	}
	m := &machine{t: t, dir: t.TempDir(), recipe: strings.TrimSpace(string(out))}
	if out, err := exec.CommandContext(ctx, "cp", "--sparse=always", "--reflink=auto", filepath.Join(m.recipe, "disk.img"), m.file("disk.img")).CombinedOutput(); err != nil {
		t.Fatalf("copying the disk: %v\n%s", err, out)
	}
	identity, err := os.ReadFile(filepath.Join(m.recipe, "id_ed25519"))
	if err != nil {
		t.Fatal(err)
	}
	m.write("id_ed25519", string(identity))
	key, err := os.ReadFile(filepath.Join(m.recipe, "known-host"))
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	m.write("known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s", port, key))
	m.host = &lab.Host{Name: name, Port: port, Identity: m.file("id_ed25519"), KnownHosts: m.file("known_hosts")}
	t.Cleanup(m.powerCut)
	t.Logf("%6.1fs the disk is ready", time.Since(began).Seconds())
	return m
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (m *machine) file(name string) string { return filepath.Join(m.dir, name) }

func (m *machine) write(name, content string) {
	m.t.Helper()
	if err := os.WriteFile(m.file(name), []byte(content), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// powerOn starts the machine. The disk has no write cache of its own: what the
// kernel wrote is there after a power cut, and nothing else is.
func (m *machine) powerOn() {
	m.t.Helper()
	log, err := os.OpenFile(m.file("serial"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024",
		"-display", "none", "-monitor", "none", "-parallel", "none",
		"-kernel", filepath.Join(m.recipe, "kernel"), "-initrd", filepath.Join(m.recipe, "initrd"),
		"-append", "console=ttyS0 net.ifnames=0 mitigations=off random.trust_cpu=on panic=10",
		"-drive", "file="+m.file("disk.img")+",if=virtio,format=raw",
		"-netdev", fmt.Sprintf("user,id=n,hostfwd=tcp:127.0.0.1:%d-:22", m.host.Port),
		"-device", "virtio-net-pci,netdev=n,romfile=",
		"-serial", "stdio", "-qmp", "unix:"+m.file("qmp")+",server=on,wait=off")
	cmd.Stdout = log
	cmd.Stderr = os.Stderr
	// It ends with this process, killed or not: the signal comes when the thread
	// that started it ends, so that one waits for it.
	endWithThread(cmd)
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		m.t.Fatal(err)
	}
	m.qemu, m.ended = cmd, ended
}

// powerCut takes the power away.
func (m *machine) powerCut() {
	if m.qemu == nil {
		return
	}
	_ = m.qemu.Process.Kill()
	<-m.ended
	m.qemu = nil
}

// reset presses the reset button.
func (m *machine) reset() {
	m.t.Helper()
	conn, err := net.DialTimeout("unix", m.file("qmp"), 5*time.Second)
	if err != nil {
		m.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	lines := bufio.NewScanner(conn)
	for _, command := range []string{"qmp_capabilities", "system_reset"} {
		fmt.Fprintf(conn, "{\"execute\":%q}\n", command)
		for lines.Scan() && !strings.Contains(lines.Text(), `"return"`) {
		}
	}
	if err := lines.Err(); err != nil {
		m.t.Fatalf("the reset button: %v", err)
	}
}

// fsck checks the file system of a machine without power, as the kernel would
// find it: the journal is replayed, then nothing may be wrong.
func (m *machine) fsck() {
	m.t.Helper()
	out, err := exec.Command("/sbin/e2fsck", "-f", "-p", m.file("disk.img")).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 1) {
		m.t.Errorf("e2fsck: %v\n%s", err, out)
	}
}

// booted waits until a boot that was not seen before has ended.
func (m *machine) booted(began time.Time) {
	m.t.Helper()
	end := time.Now().Add(8 * time.Minute)
	var last lab.Result
	for time.Now().Before(end) {
		ctx, cancel := context.WithTimeout(m.t.Context(), 90*time.Second)
		last = m.host.Run(ctx, lab.Root, "systemctl is-system-running --wait; cat /proc/sys/kernel/random/boot_id")
		cancel()
		words := strings.Fields(last.Stdout)
		if last.OK() && len(words) == 2 && words[1] != m.bootID {
			m.boots++
			m.bootID = words[1]
			m.t.Logf("%6.1fs to be up again (boot %d, %s)", time.Since(began).Seconds(), m.boots, words[0])
			if words[0] != "running" {
				m.t.Errorf("the machine is %s: %s", words[0], m.must("systemctl list-units --failed --plain --no-legend"))
			}
			return
		}
		select {
		case <-m.ended:
			m.t.Fatalf("qemu ended by itself\n%s", m.console(0, 2000))
		case <-time.After(time.Second):
		}
	}
	m.t.Fatalf("the machine does not come up: %s\n%s", last, m.console(0, 4000))
}

// must runs a script as root.
func (m *machine) must(script string) string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 3*time.Minute)
	defer cancel()
	r := m.host.Run(ctx, lab.Root, script)
	if !r.OK() {
		m.t.Fatalf("on the machine: %s\n%s", script, r)
	}
	return strings.TrimSpace(r.Stdout)
}

// console is the end of what the machine wrote to its serial line since an offset.
func (m *machine) console(from int64, limit int) string {
	data, _ := os.ReadFile(m.file("serial"))
	data = data[min(from, int64(len(data))):]
	return string(data[max(0, len(data)-limit):])
}

// mark is where the console's log ends now.
func (m *machine) mark() int64 {
	info, err := os.Stat(m.file("serial"))
	if err != nil {
		return 0
	}
	return info.Size()
}

// waitConsole waits for a word on the console after an offset.
func (m *machine) waitConsole(from int64, word string, p *process) {
	m.t.Helper()
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if strings.Contains(m.console(from, 1<<20), word) {
			return
		}
		select {
		case <-p.done:
			m.t.Fatalf("godwit ended before the console said %q:\n%s", word, p.out.String())
		default:
		}
	}
	m.t.Fatalf("waited in vain for %q on the console; godwit says:\n%s\nconsole:\n%s", word, p.out.String(), m.console(from, 2000))
}
