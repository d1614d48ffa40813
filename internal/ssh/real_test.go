package ssh_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/ssh"
	"godwit/internal/ssh/sshtest"
	"godwit/test/leftover"
)

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return c
}

func output(t *testing.T, h *ssh.Host, c host.Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := h.Output(ctx(t), c)
	if err != nil {
		t.Fatalf("%s: %v\nstderr: %s", c, err, stderr.String())
	}
	return out
}

var odd = []string{
	"", " ", "one word", "two  words", "tab\there", "line\nbreak", "\n", "end\n", "'", "''", `"`, `\`, `\\n`, `a'b"c\d`,
	"$HOME", "${x}", "$(id)", "`id`", "*", "?", "[a]", "~", "#c", "!!", "a;b", "a&b", "a|b", ">x", "<x", "(", ")", "{", "}",
	"-n", "--", "=", "é ü 日本", "\x1b[31m", "\x01", "%s", "a\r\nb", strings.Repeat("x", 5000),
}

func TestQuotingOfOddWords(t *testing.T) {
	s := sshtest.Start(t)
	h := s.Host(t, "web1")
	argv := append([]string{"printf", "%s\\000"}, odd...)
	if got := output(t, h, host.Cmd{Argv: argv}); got != strings.Join(odd, "\x00")+"\x00" {
		t.Errorf("argv: got %q", got)
	}
	script := "# a comment with ' and \"\nprintf '%s\\000' \"$@\"\ncat <<EOF\nhere $#\nEOF\n# no line break at the end"
	want := strings.Join(odd, "\x00") + fmt.Sprintf("\x00here %d\n", len(odd))
	if got := output(t, h, host.Cmd{Script: script, Args: odd}); got != want {
		t.Errorf("script: got %q", got)
	}
	if got := output(t, h, host.Cmd{Shell: `x='a  b'; echo "$x" | tr a c; echo $((1+1))`}); got != "c  b\n2\n" {
		t.Errorf("shell: got %q", got)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	h := sshtest.Start(t).Host(t, "web1")
	for _, code := range []int{0, 1, 3, 98, 99, 127, 254, 255} {
		for _, fresh := range []bool{false, true} {
			if fresh && code != 0 && code != 3 && code != 255 {
				continue
			}
			for _, c := range []host.Cmd{
				{Argv: []string{"/bin/sh", "-c", fmt.Sprintf("echo out; echo err >&2; exit %d", code)}},
				{Shell: fmt.Sprintf("echo out; echo err >&2; exit %d", code)},
				{Script: fmt.Sprintf("echo out; echo err >&2; exit %d\necho never", code)},
			} {
				var out, stderr bytes.Buffer
				c.Fresh, c.Stdout, c.Stderr = fresh, &out, &stderr
				err := h.Run(ctx(t), c)
				var ee *host.ExitError
				switch {
				case code == 0 && err != nil:
					t.Errorf("%s: %v", c, err)
				case code != 0 && (!errors.As(err, &ee) || ee.Code != code):
					t.Errorf("%s: status %d became %v", c, code, err)
				case code != 0 && ee.Stderr != "err\n":
					t.Errorf("%s: stderr tail %q", c, ee.Stderr)
				}
				if out.String() != "out\n" || stderr.String() != "err\n" {
					t.Errorf("%s: out %q, err %q", c, out.String(), stderr.String())
				}
			}
		}
	}
}

func TestWrongAndUnknownHostKey(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t)
	other := sshtest.NewKey(t, filepath.Join(s.Dir, "other"))
	name := fmt.Sprintf("[127.0.0.1]:%d", s.Port)
	connections := func() int { // once sshd, which may be slow, writes of no more
		for n := -1; ; time.Sleep(300 * time.Millisecond) {
			before := n
			if n = strings.Count(s.Log(), "Connection from"); n == before {
				return n
			}
		}
	}
	for _, strict := range []string{"StrictHostKeyChecking ask", "StrictHostKeyChecking yes"} {
		s.WriteConfig(strict)
		if err := os.WriteFile(s.KnownHosts, []byte(name+" "+other+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		logins := connections()
		err := s.Host(t, "web1").Connect(ctx(t))
		if host.KindOf(err) != host.HostKeyChanged || host.Retryable(err) {
			t.Errorf("%s: changed key: kind %q, error %v", strict, host.KindOf(err), err)
		}
		text := fault.Render(err)
		for _, want := range []string{"web1: 127.0.0.1:", "another host key", "it shows SHA256:", "ssh-keygen -f ", name} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", strict, want, text)
			}
		}
		if n := connections() - logins; n != 1 {
			t.Errorf("%s: %d connections, want 1: a wrong host key is not retried", strict, n)
		}

		if err := os.WriteFile(s.KnownHosts, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		err = s.Host(t, "web1").Run(ctx(t), host.Cmd{Argv: []string{"true"}, Fresh: true})
		if host.KindOf(err) != host.HostKeyUnknown || host.Retryable(err) {
			t.Errorf("%s: unknown key: kind %q, error %v", strict, host.KindOf(err), err)
		}
		if text := fault.Render(err); !strings.Contains(text, fmt.Sprintf("ssh-keyscan -p %d -- 127.0.0.1 >>", s.Port)) {
			t.Errorf("no ssh-keyscan in\n%s", text)
		}
		if data, _ := os.ReadFile(s.KnownHosts); len(data) != 0 {
			t.Errorf("%s: known_hosts was written: %s", strict, data)
		}
	}
	o := s.Options()
	o.SkipHostKeyCheck = true
	if err := s.HostWith(t, "web1", o).Connect(ctx(t)); err != nil {
		t.Errorf("without the check: %v", err)
	}
	if data, _ := os.ReadFile(s.KnownHosts); len(data) != 0 {
		t.Errorf("without the check, known_hosts was written: %s", data)
	}
}

func TestConnectionErrors(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t)
	o := s.Options()
	o.ConnectTimeout = time.Second
	p, err := ssh.NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, c := range []struct {
		target ssh.Target
		kind   host.Kind
		text   string
	}{
		{ssh.Target{Name: "a", Host: "127.0.0.1", Port: 1}, host.Refused, "a: 127.0.0.1:1 refuses connections"},
		{ssh.Target{Name: "b", Host: "no-such-host.invalid"}, host.NameNotFound, `b: cannot find the address of "no-such-host.invalid"`},
	} {
		for _, fresh := range []bool{false, true} {
			err := p.Host(c.target).Run(ctx(t), host.Cmd{Argv: []string{"true"}, Fresh: fresh})
			var f *fault.Error
			if !errors.As(err, &f) || host.KindOf(err) != c.kind || !strings.HasPrefix(err.Error(), c.text) || len(f.Hints) == 0 {
				t.Errorf("fresh=%v: kind %q, error %v", fresh, host.KindOf(err), err)
			}
		}
	}

	// Something that listens and says nothing.
	silent := s.Target("c")
	silent.Port = silentPort(t)
	start := time.Now()
	if err := p.Host(silent).Connect(ctx(t)); host.KindOf(err) != host.Timeout || time.Since(start) > 20*time.Second {
		t.Errorf("silent port: kind %q, error %v, after %s", host.KindOf(err), err, time.Since(start))
	}

	o.ConnectTimeout = 10 * time.Second // the answer ends it, on a busy machine, too
	o.IdentityFile = filepath.Join(s.Dir, "stranger")
	sshtest.NewKey(t, o.IdentityFile)
	s.IdentityFile = o.IdentityFile
	s.WriteConfig()
	err = s.HostWith(t, "web1", o).Connect(ctx(t))
	if host.KindOf(err) != host.AuthFailed || !strings.Contains(fault.Render(err), "it takes: publickey") {
		t.Errorf("stranger: kind %q\n%s", host.KindOf(err), fault.Render(err))
	}

	s.WriteConfig("NoSuchOption yes")
	if err := s.Host(t, "web1").Connect(ctx(t)); host.KindOf(err) != host.BadConfig {
		t.Errorf("bad configuration: kind %q, error %v", host.KindOf(err), err)
	}
}

func TestDroppedConnection(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t)
	h := s.Host(t, "web1")
	for _, fresh := range []bool{false, true} {
		r, w := io.Pipe()
		go func() {
			buf := make([]byte, 3)
			_, _ = io.ReadFull(r, buf)
			s.Drop()
			io.Copy(io.Discard, r)
		}()
		err := h.Run(ctx(t), host.Cmd{Script: "echo up; sleep 50", Stdout: w, Fresh: fresh})
		var d *host.DroppedError
		if !errors.As(err, &d) || d.Killed || !host.Retryable(err) {
			t.Fatalf("fresh=%v: %T %v", fresh, err, err)
		}
		if !strings.HasPrefix(err.Error(), "web1: the connection was lost during script") {
			t.Errorf("fresh=%v: %v", fresh, err)
		}
	}
	// The next command connects again.
	if got := output(t, h, host.Cmd{Argv: []string{"echo", "back"}}); got != "back\n" {
		t.Errorf("got %q", got)
	}
	s.Stop()
	time.Sleep(100 * time.Millisecond)
	if err := h.Run(ctx(t), host.Cmd{Argv: []string{"true"}}); host.KindOf(err) != host.Refused {
		t.Errorf("after the end of sshd: %v", err)
	}
	s.Restart()
	output(t, h, host.Cmd{Argv: []string{"true"}})
}

func TestStreaming(t *testing.T) {
	t.Parallel()
	h := sshtest.Start(t).Host(t, "web1")
	size := 50 << 20
	if testing.Short() {
		size = 8 << 20
	}
	data := make([]byte, size)
	rand.New(rand.NewSource(1)).Read(data)
	var out, stderr bytes.Buffer
	err := h.Run(ctx(t), host.Cmd{Argv: []string{"cat"}, Stdin: bytes.NewReader(data), Stdout: &out, Stderr: &stderr, MaxOutput: host.NoMaxOutput})
	if err != nil || sha256.Sum256(out.Bytes()) != sha256.Sum256(data) {
		t.Errorf("run: %v, %d of %d bytes", err, out.Len(), len(data))
	}

	p, err := h.Open(ctx(t), host.Cmd{Script: "cat; echo tail >&2; exit 7"})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = p.Stdin.Write(data); p.Stdin.Close() }()
	sum := sha256.New()
	n, err := io.Copy(sum, p.Stdout)
	if want := sha256.Sum256(data); err != nil || n != int64(len(data)) || !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Errorf("open: %v, %d bytes", err, n)
	}
	var ee *host.ExitError
	if err := p.Wait(); !errors.As(err, &ee) || ee.Code != 7 || p.Stderr() != "tail\n" {
		t.Errorf("open: %v, stderr %q", err, p.Stderr())
	}
}

func TestParallelRuns(t *testing.T) {
	t.Parallel()
	for _, lines := range [][]string{nil, {"MaxSessions 2"}} {
		s := sshtest.Start(t, lines...)
		h := s.Host(t, "web1")
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				want := fmt.Sprintf("%d\n", i)
				var out, stderr strings.Builder
				if err := h.Run(ctx(t), host.Cmd{Script: `echo "$1"; sleep 0.2`, Args: []string{fmt.Sprint(i)}, Stdout: &out, Stderr: &stderr}); err != nil || out.String() != want || stderr.String() != "" {
					t.Errorf("%v: run %d: %q, %q, %v", lines, i, out.String(), stderr.String(), err)
				}
			})
		}
		wg.Wait()
		checkLogins(t, s, 4)
	}
}

// checkLogins checks that no more than limit connections were made by us.
// Where sshd refuses a session (its MaxSessions is small, or it still counts
// one that has ended here) ssh makes a connection for that one command by
// itself, so every refusal may cost one more.
func checkLogins(t *testing.T, s *sshtest.Server, limit int) {
	t.Helper()
	// What sshd writes about several connections comes in any order.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		log := s.Log()
		logins, refused := strings.Count(log, "Accepted publickey"), strings.Count(log, "no more sessions")
		if logins <= limit+refused {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%d connections, %d sessions refused, want at most %d connections and one more a refusal", logins, refused, limit)
			return
		}
	}
}

// TestConnectionLimit starts more commands than the connections to a host have
// room for, none of which ends by itself.
func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	const connections, sessions, more = 4, 8, 10 // what Options promise when they say nothing
	s := sshtest.Start(t)
	h := s.Host(t, "web1")
	up, release := make(chan bool, connections*sessions+more), make(chan bool)
	var wg sync.WaitGroup
	finish := sync.OnceFunc(func() { close(release); wg.Wait() })
	defer finish()
	for range cap(up) {
		wg.Go(func() {
			p, err := h.Open(ctx(t), host.Cmd{Script: "echo up; read -r _"})
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := io.ReadFull(p.Stdout, make([]byte, 3)); err != nil {
				t.Error(err)
			}
			up <- true
			<-release
			_, _ = io.WriteString(p.Stdin, "\n")
			io.Copy(io.Discard, p.Stdout)
			if err := p.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	for n := range connections * sessions {
		select {
		case <-up:
		case <-time.After(50 * time.Second):
			t.Fatalf("%d commands run at a time, want %d", n, connections*sessions)
		}
	}
	select {
	case <-up:
		t.Errorf("more than %d commands run at a time", connections*sessions)
	case <-time.After(500 * time.Millisecond): // the others wait for room
	}
	if n := s.Connections(); n != connections {
		t.Errorf("%d connections, want %d", n, connections)
	}
	finish()
	checkLogins(t, s, connections)
}

func TestCloseLeavesNothing(t *testing.T) {
	s := sshtest.Start(t)
	runtime := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	if len(runtime) > 50 {
		short, err := os.MkdirTemp("/tmp", "gw")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(short) })
		runtime = short
		t.Setenv("XDG_RUNTIME_DIR", runtime)
	}
	p, err := ssh.NewPool(s.Options())
	if err != nil {
		t.Fatal(err)
	}
	h := p.Host(s.Target("web1"))
	output(t, h, host.Cmd{Argv: []string{"true"}})
	entries, _ := os.ReadDir(runtime)
	if len(entries) != 1 {
		t.Fatalf("%d entries in the runtime directory, want the control directory", len(entries))
	}
	dir := filepath.Join(runtime, entries[0].Name())
	if info, _ := os.Stat(dir); info.Mode().Perm() != 0o700 {
		t.Errorf("control directory has mode %v", info.Mode())
	}
	c, cancel := context.WithCancel(ctx(t))
	running := make(chan error, 1)
	up, w := io.Pipe()
	go func() { running <- h.Run(c, host.Cmd{Script: "echo up; sleep 60", Stdout: w}) }()
	_, _ = io.ReadFull(up, make([]byte, 3))
	cancel() // as after a Ctrl-C
	if err := <-running; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	start := time.Now()
	if err := p.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("close took %s", d)
	}
	if entries, _ := os.ReadDir(runtime); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
	if err := h.Run(ctx(t), host.Cmd{Argv: []string{"true"}}); err == nil {
		t.Error("a closed pool still runs commands")
	}
}

func TestCancelKillsRemote(t *testing.T) {
	s := sshtest.Start(t)
	h := s.Host(t, "web1")
	c, cancel := context.WithCancel(ctx(t))
	up, w := io.Pipe()
	running := make(chan error, 1)
	go func() {
		running <- h.Run(c, host.Cmd{Script: "echo $$; sleep 3127; echo x", Stdout: w, KillOnCancel: true})
	}()
	var pid int
	_, _ = fmt.Fscan(up, &pid)
	go io.Copy(io.Discard, up)
	cancel()
	if err := <-running; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	for try := 0; syscall.Kill(pid, 0) == nil; try++ {
		if try == 100 {
			t.Fatal("the remote command still runs")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestStrangeShells(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "dash", "fish", "csh", "zsh"} {
		t.Run(shell, func(t *testing.T) {
			if _, err := exec.LookPath(shell); err != nil {
				if testing.Short() {
					t.Skip("needs " + shell)
				}
				t.Fatalf("%s is missing: run test/setup.sh (apt-get install %s)", shell, shell)
			}
			s := sshtest.Start(t, `ForceCommand echo noise; echo more noise >&2; printf 'no line break'; exec `+shell+` -c "$SSH_ORIGINAL_COMMAND"`)
			h := s.Host(t, "web1")
			if got := output(t, h, host.Cmd{Argv: append([]string{"printf", "%s\\000"}, odd...)}); got != strings.Join(odd, "\x00")+"\x00" {
				t.Errorf("got %q", got)
			}
			var stderr strings.Builder
			err := h.Run(ctx(t), host.Cmd{Script: "echo e >&2; exit 255", Stderr: &stderr})
			var ee *host.ExitError
			if !errors.As(err, &ee) || ee.Code != 255 || stderr.String() != "e\n" {
				t.Errorf("%v, %q", err, stderr.String())
			}
		})
	}
	s := sshtest.Start(t, `ForceCommand echo This account is currently not available.; exit 1`)
	err := s.Host(t, "web1").Connect(ctx(t))
	if host.KindOf(err) != host.NoLogin {
		t.Errorf("nologin: %v", err)
	}
}

func silentPort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// TestKilledProcessLeavesNoMaster kills a process that holds a connection in
// the way that it cannot handle: the master goes with it.
func TestKilledProcessLeavesNoMaster(t *testing.T) {
	if config := os.Getenv("GODWIT_TEST_HOLD"); config != "" {
		p, err := ssh.NewPool(ssh.Options{ConfigFile: config})
		if err != nil {
			t.Fatal(err)
		}
		var port int
		_, _ = fmt.Sscan(os.Getenv("GODWIT_TEST_PORT"), &port)
		if err := p.Host(ssh.Target{Name: "web1", Host: "127.0.0.1", Port: port}).Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		fmt.Println("connected")
		time.Sleep(time.Hour)
	}
	s := sshtest.Start(t)
	runtime, err := os.MkdirTemp("/tmp", "gw")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(runtime)
	c := exec.Command(os.Args[0], "-test.run=^TestKilledProcessLeavesNoMaster$", "-test.v")
	c.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+runtime, "GODWIT_TEST_HOLD="+s.ConfigFile, fmt.Sprintf("GODWIT_TEST_PORT=%d", s.Port))
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for b := bufio.NewScanner(out); b.Scan() && b.Text() != "connected"; {
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	deadline := time.Now().Add(time.Minute)
	for !strings.Contains(s.Log(), "Disconnected from user") {
		if time.Now().After(deadline) {
			t.Fatal("the master is still connected")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func BenchmarkRun(b *testing.B) {
	h := sshtest.Start(b).Host(b, "web1")
	for b.Loop() {
		if err := h.Run(b.Context(), host.Cmd{Argv: []string{"true"}}); err != nil {
			b.Fatal(err)
		}
	}
}

// A configuration with the options that leave a session without streams, or without a
// command, does not get in the way; a shell whose startup files close its output, or
// read its input, is said to be one.
func TestSessionsOfAConfiguration(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t)
	for _, lines := range [][]string{{"SessionType none"}, {"StdinNull yes"}, {"ForkAfterAuthentication yes"}, {"RequestTTY force", "RemoteCommand cat"}, {"ForwardAgent yes", "ForwardX11 yes"}} {
		s.WriteConfig(lines...)
		if got := output(t, s.Host(t, "web1"), host.Cmd{Argv: []string{"echo", "hello"}}); got != "hello\n" {
			t.Errorf("%s: %q", lines, got)
		}
	}
	s.WriteConfig()
	for _, c := range []struct{ forced, want string }{
		{`exec >/dev/null 2>&1; sleep 100`, "closed its output and stayed"},
		{`exec sleep 100`, "no shell came up within 6s"},
		{`cat >/dev/null`, "no shell came up within 6s"},
		{`read answer; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"`, "reads from standard input"},
		{`yes 'this is a tunnel'`, "does not stop sending"},
	} {
		t.Run(c.forced, func(t *testing.T) {
			t.Parallel()
			forced := sshtest.Start(t, "ForceCommand "+c.forced)
			o := forced.Options()
			o.LoginLimit = 15 * time.Second // what it does ends the wait, on a busy machine, too
			if strings.Contains(c.want, "within") {
				o.LoginLimit = 6 * time.Second
			}
			if err := forced.HostWith(t, "web1", o).Connect(ctx(t)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Error(err)
			}
		})
	}
}

// A key that is marked as revoked is called that, and no way to accept it is offered.
func TestRevokedHostKey(t *testing.T) {
	s := sshtest.Start(t)
	name := fmt.Sprintf("[127.0.0.1]:%d", s.Port)
	if err := os.WriteFile(s.KnownHosts, []byte("@revoked "+name+" "+s.HostKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := s.Host(t, "web1").Connect(ctx(t))
	text := fault.Render(err)
	if host.KindOf(err) != host.HostKeyRevoked || !host.WrongKey(err) || host.Retryable(err) || !strings.Contains(text, "marked as revoked") || strings.Contains(text, "ssh-keygen -R") {
		t.Errorf("%s\n%s", host.KindOf(err), text)
	}
}

// A configuration that hangs (Match exec) is not waited for without end.
func TestConfigurationThatHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for twenty seconds")
	}
	t.Parallel()
	s := sshtest.Start(t)
	config, err := os.ReadFile(s.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	nap := fmt.Sprintf("sleep 4321%d", os.Getpid())
	if err := os.WriteFile(s.ConfigFile, append([]byte("Match exec \""+nap+"\"\n  Port 1\n"), config...), 0o600); err != nil {
		t.Fatal(err)
	}
	o := s.Options()
	o.ConnectTimeout = 2 * time.Second
	p, err := ssh.NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	h := p.Host(s.Target("web1"))
	// It naps for hours: that there is an end is what counts.
	if err := h.Connect(t.Context()); err == nil {
		t.Error("connected")
	}
	if _, err := h.Address(t.Context()); err == nil {
		t.Error("ssh -G: answered")
	}
	p.Close()
	leftover.None(t, nap)
}
