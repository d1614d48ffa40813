package ssh_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"godwit/internal/bounded"
	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/ssh"
	"godwit/test/hostile"
	"godwit/test/leftover"
)

// hostileHost is a host of that kind in a pool with short limits.
func hostileHost(t *testing.T, h hostile.Host) (*hostile.Server, *ssh.Pool, *ssh.Host) {
	t.Helper()
	return hostileHostWith(t, h, 4*time.Second)
}

func hostileHostWith(t *testing.T, h hostile.Host, login time.Duration) (*hostile.Server, *ssh.Pool, *ssh.Host) {
	t.Helper()
	s := hostile.Start(t, h)
	p, err := ssh.NewPool(ssh.Options{ConfigFile: s.ConfigFile, ConnectTimeout: 2 * time.Second, LoginLimit: login, Elevate: ssh.ElevateSudo})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return s, p, p.Host(ssh.Target{Name: "web1", Host: "127.0.0.1", Port: s.Port})
}

// Whatever a host does, a command ends within its limits, with an error that says
// what the host did; the memory stays, no process is left, no connection is open.
func TestHostileHosts(t *testing.T) {
	t.Parallel()
	talkers := make(chan struct{}, 2)
	says := map[string]string{
		"silent after TCP":                         "no answer on 127.0.0.1:",
		"silent at the login":                      "no shell came up within 4s",
		"no answer to a session":                   "no shell came up within 4s",
		"no answer to the first command":           "no shell came up within 4s",
		"silent after the login":                   "no shell came up within 4s",
		"closed outputs after the login":           "it closed its output and stayed",
		"closed outputs after the mark":            "it closed its output and stayed",
		"silent after the mark":                    "a shell came up, but did not answer within 12s",
		"endless line before the shell":            "does not stop sending",
		"endless lines before the shell":           "does not stop sending",
		"endless lines before the shell on stderr": "does not stop sending",
		"first line of 100 KiB":                    "does not stop sending",
		"endless greeting lines":                   "does not stop sending",
		"endless greeting line":                    "does not stop sending",
		"silent under sudo":                        "sudo did not answer within 12s",
		"no answer to a command":                   "the host did not begin with",
		"silent in a command":                      "the question did not end within 3s",
		"closed outputs in a command":              "the connection was lost during the question",
		"endless lines in a command":               "what the question prints is longer than 4.0 MiB",
		"endless line in a command":                "what the question prints is longer than 4.0 MiB",
		"endless lines on stderr of a command":     "what the question prints on stderr is longer than 4.0 MiB",
		"endless line on stderr of a command":      "what the question prints on stderr is longer than 4.0 MiB",
		"one byte a second before the version":     "",
		"endless banners":                          "",
		"endless lines before the version":         "",
		"silent after the version":                 "",
		"closes before the version":                "",
		"refuses with a dirty banner":              "did not accept any of our keys",
		"refuses all commands":                     "runs no commands",
		"ends at once with dirty words":            "runs no commands",
		"dirty words in a command":                 "ended with status 3",
	}
	for i, k := range hostile.Kinds {
		want, known := says[k.Name]
		if !known {
			t.Errorf("nothing is said of %q", k.Name)
		}
		if testing.Short() && i%3 != 1 {
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			// Where another time ends it, what comes before must have its own on a busy machine, too.
			limit, login := 3*time.Second, 20*time.Second
			switch {
			case strings.Contains(k.Name, "endless"), strings.HasPrefix(k.Name, "first line"):
				// Bytes end it, not time, however slow the machine is.
				limit, login = time.Minute, time.Minute
				talkers <- struct{}{}
				defer func() { <-talkers }()
			case strings.Contains(want, "within 4s") || want == "":
				login = 4 * time.Second
			case strings.Contains(want, "within 12s"):
				login = 12 * time.Second
			}
			s, p, h := hostileHostWith(t, k.Alone, login)
			cmd := host.Cmd{Script: "echo hello", Limit: limit, Name: "the question", Elevate: k.Name == "silent under sudo"}
			begun := time.Now()
			var out bytes.Buffer
			cmd.Stdout = &out
			err := h.Run(t.Context(), cmd)
			took := time.Since(begun)
			t.Logf("%.1f s: %s", took.Seconds(), strings.TrimSpace(fault.Render(err)))
			switch {
			case err == nil:
				t.Fatalf("no error; it said %.100q", out.String())
			case took > 40*time.Second:
				t.Errorf("it took %s", took)
			case !strings.Contains(err.Error(), "web1: ") || want != "" && !strings.Contains(err.Error(), want):
				t.Errorf("no %q", want)
			}
			if strings.Contains(k.Name, "endless l") && strings.Contains(k.Name, "in a command") && !bounded.Is(err) {
				t.Errorf("not the error of a limit: %v", err)
			}
			if out.Len() > host.DefaultMaxOutput {
				t.Errorf("%d bytes were kept", out.Len())
			}
			dirty := hostile.Dirty(fault.Render(err), false)
			if i := strings.Index(dirty, "C1"); dirty != "" && i < 0 && !strings.Contains(dirty, "right-to-left") && dirty != "isolate" { // those are fault.Render's to clean
				t.Errorf("%s in %q", dirty, fault.Render(err))
			}
			begun = time.Now()
			p.Close()
			if took := time.Since(begun); took > 4*time.Second {
				t.Errorf("closing took %s", took)
			}
			for end := time.Now().Add(3 * time.Second); s.Connections() > 0 && time.Now().Before(end); {
				time.Sleep(20 * time.Millisecond)
			}
			if n := s.Connections(); n > 0 {
				t.Errorf("%d connections are left", n)
			}
			leftover.None(t, s.ConfigFile)
		})
	}
}

// A Ctrl-C ends the wait for a host in any of its states at once.
func TestHostileCancel(t *testing.T) {
	t.Parallel()
	for i, k := range hostile.Kinds {
		if testing.Short() && i%3 != 0 {
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			_, p, h := hostileHost(t, k.Alone)
			after := time.Second
			if strings.Contains(k.Name, "endless") { // its talk takes all that the processor has
				after = 300 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			begun := time.Now()
			for _, elevate := range []bool{false, true} {
				if err := h.Run(ctx, host.Cmd{Script: "echo hello", Elevate: elevate, KillOnCancel: true, Limit: host.NoLimit}); err == nil {
					t.Error("no error")
				}
			}
			p.Close()
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// Endless answers cost no memory, however long they go on: measured over all of them,
// one after another.
func TestHostileMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("reads endless answers, one after another")
	}
	var peak atomic.Uint64
	stop := make(chan struct{})
	defer close(stop)
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // a busy machine would leave as much garbage again
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak.Store(max(peak.Load(), m.HeapInuse))
			}
		}
	}()
	for _, k := range hostile.Kinds {
		if !strings.HasPrefix(k.Name, "endless") && !strings.HasPrefix(k.Name, "first line") {
			continue
		}
		_, p, h := hostileHostWith(t, k.Alone, 20*time.Second)
		out, err := h.Output(t.Context(), host.Cmd{Script: "echo hello", Limit: 20 * time.Second})
		if err == nil || len(out) > host.DefaultMaxOutput {
			t.Errorf("%s: %d bytes, %v", k.Name, len(out), err)
		}
		p.Close()
	}
	grown := int64(peak.Load()) - int64(before.HeapInuse)
	t.Logf("%d KiB at most", grown>>10)
	if grown > 48<<20 {
		t.Errorf("%d MiB", grown>>20)
	}
}

// Who comes right after an attempt that waited in vain does not wait as long again.
func TestSilenceIsRemembered(t *testing.T) {
	t.Parallel()
	s, _, h := hostileHost(t, hostile.Named("silent after TCP").Alone)
	dials := 0
	for _, again := range []bool{true, false, true} {
		if err := h.Connect(t.Context()); host.KindOf(err) != host.Timeout {
			t.Fatal(err)
		}
		if more := s.Accepted() > dials; more != again {
			t.Errorf("%d connections after %d: dialled %v, want %v", s.Accepted(), dials, more, again)
		}
		dials = s.Accepted()
		if !again {
			ssh.ForgetSilence(h)
		}
	}
}

// Startup files that read standard input take the command: said as that.
func TestLoginShellThatReads(t *testing.T) {
	t.Parallel()
	_, _, h := hostileHostWith(t, hostile.Host{Command: func(c *hostile.Command) {
		c.Begin() // the shell is there, and the first line is gone
		c.Script()
		c.Eat()
		c.Good()
	}}, 20*time.Second)
	err := h.Connect(t.Context())
	if host.KindOf(err) != host.NoLogin || !strings.Contains(err.Error(), "reads from standard input") {
		t.Errorf("%v", err)
	}
}

// A dial that ssh took for timed out before its time, as after a jump of the clock, is
// made again; one that took its time is not.
func TestClockJump(t *testing.T) {
	t.Parallel()
	s := hostile.Start(t, hostile.Host{})
	dir := t.TempDir()
	program := filepath.Join(dir, "ssh")
	script := `#!/bin/sh
case " $* " in *" -G "*|*" -V "*) exec ssh "$@" ;; esac
echo >>'` + dir + `/dials'
if [ "$(wc -l <'` + dir + `/dials')" -le "$(cat '` + dir + `/jumps')" ]; then
	echo "ssh: connect to host 127.0.0.1 port 22: Connection timed out" >&2
	exit 255
fi
exec ssh "$@"
`
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for jumps, good := range map[string]bool{"1": true, "2": true, "3": false} {
		for _, fresh := range []bool{false, true} {
			if err := os.WriteFile(filepath.Join(dir, "jumps"), []byte(jumps), 0o600); err != nil {
				t.Fatal(err)
			}
			os.Remove(filepath.Join(dir, "dials"))
			p, err := ssh.NewPool(ssh.Options{Program: program, ConfigFile: s.ConfigFile})
			if err != nil {
				t.Fatal(err)
			}
			h := p.Host(ssh.Target{Name: "web1", Host: "127.0.0.1", Port: s.Port})
			err = h.Run(t.Context(), host.Cmd{Argv: []string{"true"}, Fresh: fresh})
			var exit *host.ExitError // of a host that has no commands
			if reached := errors.As(err, &exit); reached != good || !good && host.KindOf(err) != host.Timeout {
				t.Errorf("%s jumps, fresh %v: %v", jumps, fresh, err)
			}
			p.Close()
		}
	}
}

// stays can be logged in to, and never ends a session.
var stays = hostile.Host{Command: func(c *hostile.Command) {
	if c.IsLogin() {
		c.LogIn()
	}
	c.Silent()
}}
