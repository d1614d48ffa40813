// Package sshtest runs a real sshd for tests: unprivileged, on a port of
// 127.0.0.1, with keys of its own, for the user who runs the test.
package sshtest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"godwit/internal/ssh"
)

// Server is a running sshd.
type Server struct {
	Port         int
	User         string
	Dir          string // holds everything below
	IdentityFile string // a private key that it accepts
	KnownHosts   string // holds its host key
	ConfigFile   string // an ssh_config that uses these files and nothing of the user's
	HostKey      string // its public host key, as in known_hosts

	t     testing.TB
	sshd  string
	args  []string
	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{}
	log   bytes.Buffer
}

// Start starts an sshd and stops it at the end of the test. The lines are put
// before those of its sshd_config.
func Start(t testing.TB, lines ...string) *Server {
	t.Helper()
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		sshd = "/usr/sbin/sshd"
		if _, err := os.Stat(sshd); err != nil {
			if testing.Short() { // ./test.sh -short installs nothing
				t.Skip("no sshd on this machine")
			}
			t.Fatal("sshtest: no sshd: run test/setup.sh (apt-get install openssh-server)")
		}
	}
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // privilege separation
			t.Fatal(err)
		}
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &Server{
		User: me.Username, Dir: dir, t: t, sshd: sshd,
		IdentityFile: filepath.Join(dir, "id"),
		KnownHosts:   filepath.Join(dir, "known_hosts"),
		ConfigFile:   filepath.Join(dir, "ssh_config"),
	}
	s.HostKey = NewKey(t, filepath.Join(dir, "host"))
	authorized := NewKey(t, s.IdentityFile)
	s.write("authorized_keys", authorized+"\n")
	s.Port = freePort(t)
	config := strings.Join(append(lines,
		"Port "+strconv.Itoa(s.Port),
		"ListenAddress 127.0.0.1",
		"HostKey "+filepath.Join(dir, "host"),
		"AuthorizedKeysFile "+filepath.Join(dir, "authorized_keys"),
		"PidFile none", "UsePAM no", "StrictModes no", "PrintMotd no",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"SetEnv HOME="+dir, // not the rc files of whoever runs the test
		// The one that OpenSSH prefers takes six sevenths of what a login costs a client of Debian 12.
		"KexAlgorithms curve25519-sha256",
		"PermitRootLogin yes", "MaxStartups 100", "LogLevel VERBOSE",
	), "\n") + "\n"
	s.write("sshd_config", config)
	s.args = []string{"-D", "-e", "-f", filepath.Join(dir, "sshd_config")}
	s.write("known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s\n", s.Port, s.HostKey))
	s.WriteConfig("StrictHostKeyChecking ask")
	s.Restart()
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			s.mu.Lock()
			defer s.mu.Unlock()
			t.Logf("sshd:\n%s", s.log.String())
		}
	})
	return s
}

// WriteConfig writes the client's configuration anew, with lines first.
func (s *Server) WriteConfig(lines ...string) {
	s.t.Helper()
	var b strings.Builder
	b.WriteString("Host *\n")
	for _, l := range append(lines,
		"UserKnownHostsFile "+s.KnownHosts, "GlobalKnownHostsFile /dev/null",
		"IdentityFile "+s.IdentityFile, "IdentitiesOnly yes", "IdentityAgent none",
	) {
		b.WriteString("  " + l + "\n")
	}
	s.write("ssh_config", b.String())
}

// Options are what a Pool needs to reach the server.
func (s *Server) Options() ssh.Options {
	return ssh.Options{ConfigFile: s.ConfigFile, ConnectTimeout: 10 * time.Second}
}

// Target is the server as a host of that name.
func (s *Server) Target(name string) ssh.Target {
	return ssh.Target{Name: name, Host: "127.0.0.1", User: s.User, Port: s.Port}
}

// Host is the server in a new pool, which is closed at the end of the test.
func (s *Server) Host(t testing.TB, name string) *ssh.Host {
	t.Helper()
	return s.HostWith(t, name, s.Options())
}

// HostWith is Host with options other than Options.
func (s *Server) HostWith(t testing.TB, name string, o ssh.Options) *ssh.Host {
	t.Helper()
	p, err := ssh.NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p.Host(s.Target(name))
}

// Restart starts sshd again, on the same port, after Stop.
func (s *Server) Restart() {
	s.t.Helper()
	cmd := exec.Command(s.sshd, s.args...)
	cmd.Stderr = &lockedWriter{s}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	s.mu.Lock()
	s.cmd, s.ended = cmd, ended
	s.mu.Unlock()
	deadline := time.Now().Add(20 * time.Second)
	for {
		c, err := net.DialTimeout("tcp", s.address(), time.Second)
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-ended:
			s.t.Fatalf("sshtest: sshd ended:\n%s", s.Log())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("sshtest: sshd does not listen:\n%s", s.Log())
		}
	}
}

// Stop ends sshd and all connections.
func (s *Server) Stop() {
	s.mu.Lock()
	cmd, ended := s.cmd, s.ended
	s.cmd = nil
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	kids := descendants(cmd.Process.Pid)
	_ = cmd.Process.Kill()
	for _, p := range kids {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	}
	<-ended
}

// Drop kills the connections, and leaves the listener alone: what the client
// sees is a connection that breaks.
func (s *Server) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	for _, p := range descendants(s.cmd.Process.Pid) {
		if strings.Contains(p.command, "sshd") {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
	}
}

// Connections is how many TCP connections to sshd are open at both ends.
func (s *Server) Connections() int {
	s.t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		s.t.Fatalf("sshtest: connections are counted on Linux alone: %v", err)
	}
	local, n := fmt.Sprintf(":%04X", s.Port), 0
	for line := range strings.Lines(string(table)) {
		const established = "01"
		if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[1], local) && f[3] == established {
			n++
		}
	}
	return n
}

// Log is what sshd wrote so far.
func (s *Server) Log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

func (s *Server) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

func (s *Server) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

type lockedWriter struct{ s *Server }

func (w *lockedWriter) Write(b []byte) (int, error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	return w.s.log.Write(b)
}

// NewKey makes an ed25519 key pair at path and gives its public half.
func NewKey(t testing.TB, path string) string {
	t.Helper()
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sshtest", "-f", path).CombinedOutput()
	if err != nil {
		t.Fatalf("sshtest: ssh-keygen: %v\n%s", err, out)
	}
	pub, err := os.ReadFile(path + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(pub))
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// descendants are the processes that pid started, those that these started, and so on:
// of one look at all processes, which costs some time.
func descendants(pid int) (all []process) {
	out, _ := exec.Command("ps", "-A", "-o", "pid=,ppid=,comm=").Output()
	kids := map[int][]process{}
	for line := range strings.Lines(string(out)) {
		var p process
		var parent int
		if n, _ := fmt.Sscan(line, &p.pid, &parent, &p.command); n == 3 {
			kids[parent] = append(kids[parent], p)
		}
	}
	for next := []int{pid}; len(next) > 0; next = next[1:] {
		for _, p := range kids[next[0]] {
			all, next = append(all, p), append(next, p.pid)
		}
	}
	return all
}

type process struct {
	pid     int
	command string // its first word
}
