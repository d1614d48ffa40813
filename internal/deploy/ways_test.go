package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host/hosttest"
	"godwit/internal/nix"
	"godwit/internal/nixlog"
	"godwit/internal/ssh"
	"godwit/internal/store"
)

func someSSH(t *testing.T) *ssh.Pool {
	t.Helper()
	pool, err := ssh.NewPool(ssh.Options{ConfigFile: "/dev/null"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	return pool
}

// TestNixCopySource: what nix copy can read, and what it is told in place of it.
func TestNixCopySource(t *testing.T) {
	old, current := &nix.Tool{Version: nix.Version{Major: 2, Minor: 26}}, &nix.Tool{Version: nix.Version{Major: 2, Minor: 31}}
	for _, c := range []struct {
		tool *nix.Tool
		src  string
		port int
		uri  string
		want string // of the error
	}{
		{old, "this machine's store", 0, "", ""},
		{old, "ssh-ng://b@builder", 0, "ssh-ng://b@builder", ""},
		{old, "the builder x86_64-linux", 0, "", "nix copy cannot read the builder x86_64-linux"},
		{old, "ssh-ng://b@builder:22", 0, "", "cannot use the port in ssh-ng://b@builder:22"},
		{current, "ssh-ng://b@builder:22", 0, "ssh-ng://b@builder:22", ""},
		{current, "ssh-ng://b@builder", 2222, "", "nix copy has one set of ssh options for both ends"},
	} {
		n := &NixCopy{Tool: c.tool}
		uri, err := n.from(store.Endpoint{Name: c.src}, fleet.Host{Name: "web1", At: fleet.Address{Host: "web1", Port: c.port}})
		if uri != c.uri || (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || len(err.Hints) == 0) {
			t.Errorf("%s: %q, %v", c.src, uri, err)
		}
	}
	for target, want := range map[ssh.Target]string{
		{Host: "web1"}: "ssh-ng://web1", {Host: "2001:db8::1", User: "root", Port: 22}: "ssh-ng://root@[2001:db8::1]",
	} {
		if got := nixURI(target); got != want {
			t.Errorf("%+v: %s, want %s", target, got, want)
		}
	}
}

// TestNixCopyFaults: each known failure says what to do.
func TestNixCopyFaults(t *testing.T) {
	h := someSSH(t).Host(ssh.Target{Name: "web1", Host: "web1", User: "deploy"})
	for said, hint := range map[string]string{
		"error: path '/nix/store/x' lacks a signature by a trusted key": "add deploy to trusted-users",
		"error: No space left on device":                                "nix-collect-garbage -d",
		"bash: line 1: nix-daemon: command not found":                   "not in the PATH",
		"error: cannot connect to 'root@web1'":                          "ssh -F /dev/null -- deploy@web1 nix-daemon --version",
		"error: something new":                                          "the Nix of this machine does not matter",
	} {
		log := nixlog.Forward(strings.NewReader(said+"\n"), event.On(event.Discard, "web1", event.StepCopy), nil)
		f := copyFault(h, log, errors.New("exit status 1"))
		if !strings.Contains(fault.Render(f), hint) {
			t.Errorf("%s:\n%s", said, fault.Render(f))
		}
	}
}

// TestMissing: nix copy's progress in our numbers.
func TestMissing(t *testing.T) {
	var last event.Event
	m := &missing{size: map[string]int64{"a": 10, "b": 30}, total: 40}
	sc := m.watch(event.On(event.SinkFunc(func(e event.Event) { last = e }), "web1", event.StepCopy))
	sc.Emit(event.Event{Kind: event.Progress, Activity: &event.Activity{Path: "b"}, Data: map[string]string{"activity": "stopped"}})
	if last.Done != 30 || last.Total != 40 || last.Unit != event.Bytes {
		t.Errorf("%+v", last)
	}
	if none := (*missing)(nil).watch(sc); none.Host != sc.Host {
		t.Error("another scope")
	}
}

// TestNixCopy runs a stand-in for nix, strict about its words, which sends nothing: the
// roots are there before it, so that nothing can be collected behind it.
func TestNixCopy(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	pool := someSSH(t)
	for _, broken := range []bool{false, true} {
		s := onStage(t).connects()
		asked := s.served()
		asked.Want, asked.Root = `^nix-store --serve$`, false
		s.add(asked, hosttest.Call{Want: `room_of /nix/store`, Name: "room", Out: "1000000 1000000\n"}, hosttest.Call{Want: `(?s)sync -f /nix/store`, Name: "protect", Root: true})
		script := fmt.Sprintf("#!/bin/sh\ncase \"$* \" in *'copy --log-format internal-json -v --no-check-sigs --to ssh-ng://web1 %s ') ;; *) echo \"error: unexpected: $*\" >&2; exit 9;; esac\n[ %v = false ] || { echo 'error: No space left on device' >&2; exit 1; }\n", s.top, broken)
		if err := os.WriteFile(filepath.Join(dir, "nix"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		s.run.Goal = GoalPush
		s.job.Host.At.Host = "web1"
		s.run.Pushers.SSH = func(h fleet.Host) *ssh.Host { return pool.Host(ssh.TargetOf(h)) }
		s.run.Pushers.Nix = &NixCopy{Tool: &nix.Tool{Version: nix.Version{Major: 2, Minor: 26}}, Pool: pool, Sink: s.run.Sink}
		s.job.Source.Name = "this machine's store"
		o, made := s.play(greetsOld)
		if got := strings.Join(made, " "); got != "connect room protect" {
			t.Errorf("asked %q", got)
		}
		if broken && (o.State != Failed || !errors.Is(o.Err, store.ErrDiskFull)) || !broken && o.State != Pushed {
			t.Errorf("broken %v: %s %s", broken, o.State, fault.Render(o.Err))
		}
	}
}

// TestHop: the words that a builder runs check the host's key against what this machine
// knows, in a real shell.
func TestHop(t *testing.T) {
	dir := t.TempDir()
	fake := "#!/bin/sh\nprintf '%s\\n' \"$@\" >" + dir + "/words\nfor a; do case $a in UserKnownHostsFile=*) cat \"${a#*=}\" >" + dir + "/known;; esac; done\n"
	if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(a ssh.Address) (words, known string) {
		t.Helper()
		argv := hop(a, "true")
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		w, err := os.ReadFile(filepath.Join(dir, "words"))
		if err != nil {
			t.Fatal(err)
		}
		k, _ := os.ReadFile(filepath.Join(dir, "known"))
		return string(w), string(k)
	}
	words, known := run(ssh.Address{Host: "10.0.0.1", User: "root", Port: "22", Keys: []string{"ssh-ed25519 AAAA", "@cert-authority ssh-rsa BBBB"}})
	if known != "godwit-host ssh-ed25519 AAAA\n@cert-authority godwit-host ssh-rsa BBBB\n" {
		t.Errorf("known: %q", known)
	}
	for _, want := range []string{"StrictHostKeyChecking=yes\n", "HostKeyAlias=godwit-host\n", "ForwardAgent=no\n", "-l\nroot\n-p\n22\n--\n10.0.0.1\ntrue\n"} {
		if !strings.Contains(words, want) {
			t.Errorf("no %q in\n%s", want, words)
		}
	}
	// Where no key is known here, the builder's own files count: never none at all.
	if words, _ := run(ssh.Address{Host: "h", User: "u", Port: "22"}); strings.Contains(words, "UserKnownHostsFile") || !strings.Contains(words, "StrictHostKeyChecking=yes\n") {
		t.Errorf("words:\n%s", words)
	}
}

// TestDirect: when a builder sends by itself.
func TestDirect(t *testing.T) {
	pool := someSSH(t)
	over := func(h fleet.Host) *ssh.Host { return pool.Host(ssh.TargetOf(h)) }
	h := fleet.Host{Name: "web1", At: fleet.Address{Host: "web1"}}
	for _, c := range []struct {
		name string
		p    *Pushers
		src  string
		want bool
	}{
		{"auto", &Pushers{SSH: over, Builders: pool, Direct: DirectAuto}, "ssh-ng://b@builder", true},
		{"on", &Pushers{SSH: over, Builders: pool, Direct: DirectOn}, "ssh-ng://b@builder", true},
		{"off", &Pushers{SSH: over, Builders: pool, Direct: DirectOff}, "ssh-ng://b@builder", false},
		{"not a builder", &Pushers{SSH: over, Builders: pool, Direct: DirectOn}, "this machine's store", false},
		{"a key of its own", &Pushers{SSH: over, Builders: pool, Direct: DirectOn}, "ssh-ng://b@builder?ssh-key=/k", false},
		{"no ssh to the host", &Pushers{SSH: func(fleet.Host) *ssh.Host { return nil }, Builders: pool, Direct: DirectOn}, "ssh-ng://b@builder", false},
	} {
		d := c.p.direct(store.Endpoint{Name: c.src}, h)
		if (d != nil) != c.want || d != nil && d.Quiet != (c.p.Direct == DirectAuto) {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}

// TestLink: a link is measured by what a host acknowledges, and a host that says nothing
// is not compressed for.
// A link is as slow as most of what was measured says, whenever this machine was late.
func TestLinkOfBusyMachine(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name  string
		trip  time.Duration
		times [][2]time.Duration // until the answer to each of two pieces
		mbit  [2]float64
	}{
		{"quick and near", ms, [][2]time.Duration{{2 * ms, 5 * ms}}, [2]float64{500, 600}},
		{"slow and near", ms, [][2]time.Duration{{100 * ms, 400 * ms}}, [2]float64{4, 6}},
		{"slow, both answers found at once", 5 * ms, [][2]time.Duration{{58 * ms, 58 * ms}, {60 * ms, 220 * ms}, {60 * ms, 220 * ms}}, [2]float64{38, 42}},
		{"slow and far, both answers found at once", 20 * ms, [][2]time.Duration{{75 * ms, 75 * ms}, {70 * ms, 230 * ms}, {70 * ms, 230 * ms}}, [2]float64{38, 42}},
		{"slow and far, and the same once more", 20 * ms, [][2]time.Duration{{75 * ms, 75 * ms}, {70 * ms, 230 * ms}, {230 * ms, 230 * ms}}, [2]float64{500, 1e6}},
		{"quick and far", 50 * ms, [][2]time.Duration{{150 * ms, 250 * ms}, {200 * ms, 230 * ms}, {200 * ms, 230 * ms}}, [2]float64{200, 220}},
		{"quick and far, once late", 50 * ms, [][2]time.Duration{{150 * ms, 250 * ms}, {200 * ms, 330 * ms}, {200 * ms, 230 * ms}}, [2]float64{45, 55}},
	} {
		n := 0
		rate, err := decide(c.trip, func([2]int) (time.Duration, time.Duration, error) {
			n++
			return c.times[n-1][0], c.times[n-1][1], nil
		})
		if mbit := rate * 8 / 1e6; err != nil || n != len(c.times) || mbit < c.mbit[0] || mbit > c.mbit[1] {
			t.Errorf("%s: %.1f Mbit/s after %d measurements, %v", c.name, mbit, n, err)
		}
	}
}

func TestLink(t *testing.T) {
	answers := func(in io.Reader, out io.Writer) error {
		if _, err := io.WriteString(out, "\n"); err != nil {
			return err
		}
		for _, n := range []int{1, 1, 1, probeFirst[0], probeFirst[1], probeSecond[0], probeSecond[1]} {
			if _, err := io.CopyN(io.Discard, in, int64(n)); err != nil {
				return nil
			}
			if _, err := io.WriteString(out, "\n"); err != nil {
				return nil
			}
		}
		return nil
	}
	call := hosttest.Call{Want: `head -c`, Serve: answers}
	rate, err := linkRate(t.Context(), hosttest.New(t, "web1", call))
	if err != nil || rate < slowLink {
		t.Errorf("%s, %v", mbits(rate), err)
	}
	deaf := hosttest.Call{Want: `head -c`, Serve: func(io.Reader, io.Writer) error { return errors.New("no head there") }}
	if _, err := linkRate(t.Context(), hosttest.New(t, "web1", deaf)); err == nil {
		t.Error("a rate of nothing")
	}

	// The choice: little is not worth it, a quick link needs it not.
	pool := someSSH(t)
	var said bytes.Buffer
	p := &Pushers{Slow: pool, SSH: func(h fleet.Host) *ssh.Host { return pool.Host(ssh.TargetOf(h)) }}
	p.Options.Sink = event.SinkFunc(func(e event.Event) { said.WriteString(e.Text + "\n") })
	h := fleet.Host{Name: "web1", At: fleet.Address{Host: "web1"}}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	choose, done := p.wire(h, hosttest.New(t, "web1", call, deaf))
	defer done()
	if choose(ctx, 1) != nil || said.Len() > 0 {
		t.Errorf("a little: %s", &said)
	}
	if choose(ctx, worthProbing) != nil || !strings.Contains(said.String(), "or more: ssh does not compress") {
		t.Errorf("a quick link: %s", &said)
	}
	if choose(ctx, worthProbing) != nil || !strings.Contains(said.String(), "cannot measure the link") {
		t.Errorf("a host without head: %s", &said)
	}
	none, _ := (&Pushers{}).wire(h, nil)
	if none != nil {
		t.Error("compressed without a connection for it")
	}
}
