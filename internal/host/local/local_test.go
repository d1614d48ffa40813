package local

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/host/conntest"
	"godwit/internal/host/hosttest"
	"godwit/internal/ssh/sshtest"
)

// open is this machine as web1.
func open(t *testing.T, o Options) host.Conn {
	t.Helper()
	p := NewPool(o, func(fleet.Host) bool { return true }, nil)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p.Conn(fleet.Host{Name: "web1"})
}

func TestConn(t *testing.T) {
	for _, sh := range []string{"dash", "bash"} {
		t.Run(sh, func(t *testing.T) {
			t.Parallel()
			conntest.Run(t, conntest.Options{Root: true, Typed: true}, open(t, Options{Elevate: "none", Sh: sh}))
		})
	}
}

// asUser makes the one who runs the test a user with these programs.
func asUser(t *testing.T, programs map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "DIR", dir)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	before := isRoot
	isRoot = func() bool { return false }
	t.Cleanup(func() { isRoot = before })
	return dir
}

func TestRoot(t *testing.T) {
	const password = "correct horse"
	for name, c := range map[string]struct {
		programs map[string]string
		nopasswd bool
		elevate  string
		password string // "": nobody is there
		want     string // of the error
	}{
		"sudo":                   {programs: map[string]string{"sudo": sshtest.FakeSudo}, nopasswd: true},
		"doas":                   {programs: map[string]string{"doas": sshtest.FakeDoas}, nopasswd: true},
		"sudo with a password":   {programs: map[string]string{"sudo": sshtest.FakeSudo}, password: password},
		"a wrong password":       {programs: map[string]string{"sudo": sshtest.FakeSudo}, password: "wrong", want: "web1: sudo did not accept the password of "},
		"nobody knows it":        {programs: map[string]string{"sudo": sshtest.FakeSudo}, want: "web1: sudo needs a password for "},
		"doas asks":              {programs: map[string]string{"doas": sshtest.FakeDoas}, want: "web1: doas does not let "},
		"neither":                {programs: map[string]string{}, elevate: "doas", want: " is not root, and there is neither sudo nor doas"},
		"none is wanted":         {programs: map[string]string{}, elevate: "none"},
		"a password of two":      {programs: map[string]string{"sudo": sshtest.FakeSudo}, password: "a\nb", want: "web1: no password for sudo: a password cannot hold a line break"},
		"sudo that wants a tty":  {programs: map[string]string{"sudo": "#!/bin/sh\necho 'sudo: sorry, you must have a tty to run sudo' >&2\nexit 1\n"}, want: "web1: sudo needs a password for "},
		"sudo says much, and no": {programs: map[string]string{"sudo": "#!/bin/sh\nyes | head -c 300000 >&2\nexit 1\n"}, want: "web1: sudo needs a password for "},
	} {
		t.Run(name, func(t *testing.T) {
			dir := asUser(t, c.programs)
			if c.nopasswd {
				if err := os.WriteFile(filepath.Join(dir, "nopasswd"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			asked := 0
			o := Options{Elevate: c.elevate}
			if c.password != "" {
				o.Password = func(context.Context) (string, error) { asked++; return c.password, nil }
			}
			h := open(t, o)
			for range 2 {
				var out, stderr bytes.Buffer
				err := h.Run(t.Context(), host.Cmd{Script: `printf '%s' "$GODWIT_FAKE_ROOT $1 "; cat; echo e >&2; exit 255`, Args: []string{"x y"}, Elevate: true,
					Stdin: strings.NewReader("in\nput"), Stdout: &out, Stderr: &stderr})
				if c.want != "" {
					var refused *host.ElevateError
					if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &refused) && !strings.Contains(c.want, "line break") {
						t.Errorf("%v", err)
					}
					continue
				}
				root := "1"
				if c.elevate == "none" {
					root = ""
				}
				var exit *host.ExitError
				if !errors.As(err, &exit) || exit.Code != 255 || out.String() != root+" x y in\nput" || stderr.String() != "e\n" {
					t.Errorf("%s, out %q, err %q", fault.Render(err), out.String(), stderr.String())
				}
			}
			if c.password == password && asked != 1 {
				t.Errorf("the password was asked for %d times", asked)
			}
			if b, _ := os.ReadFile(filepath.Join(dir, "calls")); c.password != "" && bytes.Contains(b, []byte(c.password)) {
				t.Errorf("the password is among the words of a command: %s", b)
			}
		})
	}
}

func TestGreeting(t *testing.T) {
	h := open(t, Options{Greeting: "echo runs this; false"})
	if _, _, ok := h.Greeting(); ok {
		t.Error("it said something before it was asked")
	}
	if err := h.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if said, age, ok := h.Greeting(); !ok || said != "runs this" || age > time.Minute {
		t.Errorf("%q, %s, %v", said, age, ok)
	}
	h.Disconnect()
	if _, _, ok := h.Greeting(); ok {
		t.Error("it holds on to what was said before")
	}
}

// TestPool: this machine's hosts are here, all others elsewhere; a closed pool ends what
// runs, and takes nothing more.
func TestPool(t *testing.T) {
	rest := elsewhere{t: t}
	p := NewPool(Options{}, func(h fleet.Host) bool { return h.Name == "me" }, &rest)
	me := p.Conn(fleet.Host{Name: "me"})
	if me != p.Conn(fleet.Host{Name: "me"}) || me.Name() != "me" {
		t.Error("one host has two connections")
	}
	if c := p.Conn(fleet.Host{Name: "web1"}); c.Name() != "web1" || rest.asked != 1 {
		t.Errorf("web1 is %s, asked %d times", c.Name(), rest.asked)
	}
	done := make(chan error, 1)
	go func() { done <- me.Run(t.Context(), host.Cmd{Argv: []string{"sleep", "60"}, KillOnCancel: true}) }()
	time.Sleep(200 * time.Millisecond)
	start := time.Now()
	if err := p.Close(); err != nil || !rest.closed {
		t.Error(err)
	}
	var cut *host.DroppedError
	if err := <-done; !errors.As(err, &cut) || !cut.Killed || time.Since(start) > 10*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
	if err := me.Run(t.Context(), host.Cmd{Argv: []string{"true"}}); err == nil || err.Error() != "me: "+errClosed.Error() {
		t.Errorf("%v", err)
	}
}

type elsewhere struct {
	t      *testing.T
	asked  int
	closed bool
}

func (e *elsewhere) Conn(h fleet.Host) host.Conn { e.asked++; return hosttest.New(e.t, h.Name) }
func (e *elsewhere) Close() error                { e.closed = true; return nil }
