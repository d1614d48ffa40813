package ssh_test

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
	"godwit/internal/host"
	"godwit/internal/ssh"
	"godwit/internal/ssh/sshtest"
	"godwit/test/lab"
)

// fakeHost is a host whose user is not root and has the given programs.
func fakeHost(t *testing.T, programs map[string]string) (*sshtest.Server, string) {
	t.Helper()
	bin := t.TempDir()
	programs["id"] = "#!/bin/sh\ncase \"$*\" in '') echo 'uid=1000(user) gid=100(users) groups=100(users)' ;; *) exit 97 ;; esac\n"
	for name, text := range programs {
		text = strings.ReplaceAll(text, "DIR", bin)
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return sshtest.Start(t, `ForceCommand PATH=`+bin+`:$PATH exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"`), bin
}

func asked(n *int, answer string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { *n++; return answer, nil }
}

func read(path string) string {
	data, _ := os.ReadFile(path)
	return string(data)
}

func TestSudoWithPassword(t *testing.T) {
	t.Parallel()
	s, bin := fakeHost(t, map[string]string{"sudo": sshtest.FakeSudo})
	var n int
	o := s.Options()
	o.Password = asked(&n, "correct horse")
	p, err := ssh.NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	h := p.Host(s.Target("web1"))
	for _, fresh := range []bool{false, true} {
		var out, stderr bytes.Buffer
		err := h.Run(ctx(t), host.Cmd{Script: `echo "$GODWIT_FAKE_ROOT $1"; cat; echo e >&2; exit 255`, Args: []string{"x y"}, Elevate: true, Fresh: fresh,
			Stdin: strings.NewReader("in\nput"), Stdout: &out, Stderr: &stderr})
		var ee *host.ExitError
		if !errors.As(err, &ee) || ee.Code != 255 || out.String() != "1 x y\nin\nput" || stderr.String() != "e\n" {
			t.Errorf("fresh=%v: %v, out %q, err %q", fresh, err, out.String(), stderr.String())
		}
	}
	data := bytes.Repeat([]byte("0123456789abcde\n"), 1<<18)
	var out bytes.Buffer
	if err := h.Run(ctx(t), host.Cmd{Argv: []string{"cat"}, Elevate: true, Stdin: bytes.NewReader(data), Stdout: &out}); err != nil || !bytes.Equal(out.Bytes(), data) {
		t.Errorf("stream: %v, %d bytes", err, out.Len())
	}
	if way, err := h.Elevation(ctx(t)); way != "sudo with a password" || err != nil {
		t.Errorf("%q, %v", way, err)
	}
	second := s.Target("web2")
	if err := p.Host(second).Run(ctx(t), host.Cmd{Argv: []string{"true"}, Elevate: true}); err != nil {
		t.Error(err)
	}
	if n != 1 {
		t.Errorf("the password was asked for %d times", n)
	}
	if calls := read(bin + "/calls"); strings.Contains(calls, "correct") {
		t.Errorf("the password is in an argument: %s", calls)
	}
	if wrong := read(bin + "/wrong"); wrong != "" {
		t.Errorf("wrong passwords: %q", wrong)
	}
}

func TestSudoRefuses(t *testing.T) {
	t.Parallel()
	s, bin := fakeHost(t, map[string]string{"sudo": sshtest.FakeSudo})
	run := func(o ssh.Options) error {
		return s.HostWith(t, "web1", o).Run(ctx(t), host.Cmd{Argv: []string{"touch", bin + "/ran"}, Elevate: true})
	}
	o := s.Options()
	err := run(o)
	if text := fault.Render(err); !strings.Contains(text, "web1: sudo needs a password for user") || !strings.Contains(text, "hint: give it with --passwd") {
		t.Errorf("%s", text)
	}
	var n int
	o.Password = asked(&n, "wrong")
	err = run(o)
	var refused *host.ElevateError
	if text := fault.Render(err); !errors.As(err, &refused) || !strings.Contains(text, "web1: sudo did not accept the password of user") {
		t.Errorf("%s", text)
	}
	// One failed attempt, and nothing but the password was ever tried.
	if wrong := read(bin + "/wrong"); wrong != "wrong\n\n" {
		t.Errorf("tried: %q", wrong)
	}
	o.Password = func(context.Context) (string, error) { return "", errors.New("no terminal") }
	if err := run(o); err == nil || err.Error() != "web1: no password for sudo: no terminal" {
		t.Errorf("%v", err)
	}
	o.Elevate = ssh.ElevateDoas
	if err := run(o); err == nil || err.Error() != "web1: there is no doas" {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(bin + "/ran"); err == nil {
		t.Error("it ran all the same")
	}
	// sudo that does not want the password after all, though one is given.
	if err := os.WriteFile(bin+"/nopasswd", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o = s.Options()
	n = 0
	o.Password = asked(&n, "wrong")
	if err := run(o); err != nil || n != 0 {
		t.Errorf("%v, asked %d times", err, n)
	}
}

func TestDoas(t *testing.T) {
	s, bin := fakeHost(t, map[string]string{"doas": sshtest.FakeDoas})
	// The machine of the test may have a sudo of its own.
	o := s.Options()
	o.Elevate = ssh.ElevateDoas
	err := s.HostWith(t, "web1", o).Run(ctx(t), host.Cmd{Argv: []string{"true"}, Elevate: true})
	if text := fault.Render(err); !strings.Contains(text, "only on a terminal") || !strings.Contains(text, "permit nopass user") {
		t.Errorf("%s", text)
	}
	if err := os.WriteFile(bin+"/nopasswd", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := output(t, s.HostWith(t, "web1", o), host.Cmd{Shell: "echo root=$GODWIT_FAKE_ROOT", Elevate: true}); got != "root=1\n" {
		t.Errorf("%q", got)
	}
	o.Elevate = ssh.ElevateNone
	if got := output(t, s.HostWith(t, "web1", o), host.Cmd{Argv: []string{"/bin/sh", "-c", "echo root=$GODWIT_FAKE_ROOT"}, Elevate: true}); got != "root=\n" {
		t.Errorf("%q", got)
	}
}

// TestLab becomes root in all ways on real hosts.
func TestLab(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Docker")
	}
	machine := lab.New(t, lab.Spec{})
	config := filepath.Join(t.TempDir(), "config")
	if err := lab.WriteSSHConfig(config, machine); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]string{
		lab.Root: ssh.ElevateNone, lab.Deploy: ssh.ElevateSudo, lab.PasswordUser: "sudo with a password", lab.DoasUser: ssh.ElevateDoas,
	} {
		t.Run(user, func(t *testing.T) {
			var n int
			o := ssh.Options{ConfigFile: config, ConnectTimeout: 20 * time.Second, Password: asked(&n, lab.Password)}
			p, err := ssh.NewPool(o)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			h := p.Host(ssh.Target{Name: "lab", Host: machine.Name, User: user})
			data := bytes.Repeat([]byte("0123456789abcde\n"), 1<<18)
			for _, fresh := range []bool{false, true} {
				var out, stderr bytes.Buffer
				err := h.Run(ctx(t), host.Cmd{Script: `id -u; cat; exit 5`, Elevate: true, Fresh: fresh, Stdin: bytes.NewReader(data), Stdout: &out, Stderr: &stderr, MaxOutput: host.NoMaxOutput})
				var ee *host.ExitError
				if !errors.As(err, &ee) || ee.Code != 5 || out.String() != "0\n"+string(data) || stderr.String() != "" {
					t.Fatalf("fresh=%v: %v, %d bytes out, err %q", fresh, err, out.Len(), stderr.String())
				}
			}
			if way, err := h.Elevation(ctx(t)); way != want || err != nil {
				t.Errorf("%q, %v", way, err)
			}
			if wantAsked := map[bool]int{true: 1}[user == lab.PasswordUser]; n != wantAsked {
				t.Errorf("asked for the password %d times", n)
			}
			if got := output(t, h, host.Cmd{Argv: []string{"id", "-un"}}); got != user+"\n" {
				t.Errorf("not elevated: %q", got)
			}
			if user == lab.PasswordUser {
				o.Password = asked(&n, "wrong")
				q, err := ssh.NewPool(o)
				if err != nil {
					t.Fatal(err)
				}
				defer q.Close()
				err = q.Host(ssh.Target{Name: "lab", Host: machine.Name, User: user}).Run(ctx(t), host.Cmd{Argv: []string{"true"}, Elevate: true})
				if err == nil || !strings.Contains(err.Error(), "sudo did not accept the password of pwuser") {
					t.Errorf("wrong password: %v", err)
				}
			}
		})
	}
	t.Run("agent", func(t *testing.T) { testAgent(t, machine, config) })
	o := ssh.Options{ConfigFile: config, ConnectTimeout: 20 * time.Second}
	p, err := ssh.NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	err = p.Host(ssh.Target{Name: "lab", Host: machine.Name, User: lab.Nobody}).Run(ctx(t), host.Cmd{Argv: []string{"true"}, Elevate: true})
	var refused *host.ElevateError
	if !errors.As(err, &refused) {
		t.Errorf("nobody: %v", err)
	}
}

// The words that a configuration says make a command root's.
func TestBecome(t *testing.T) {
	t.Parallel()
	const asroot = "#!/bin/sh\n[ \"$1 $2\" = '-u root' ] || exit 97\nshift 2\nGODWIT_FAKE_ROOT=1 exec \"$@\"\n"
	const sudo = `#!/bin/sh
case "$1 $2 $3 $4" in
"-k -n -u root") echo "sudo: a password is required" >&2; exit 1 ;;
"-k -S -u root") IFS= read -r pw; [ "$pw" = "correct horse" ] || { echo "sudo: no" >&2; exit 1; } ;;
*) echo "sudo: unexpected: $*" >&2; exit 97 ;;
esac
shift 4
GODWIT_FAKE_ROOT=1 exec "$@"
`
	s, _ := fakeHost(t, map[string]string{"asroot": asroot, "sudo": sudo})
	var n int
	o := s.Options()
	o.Password, o.PasswordOnRequest = asked(&n, "correct horse"), true
	for _, c := range []struct {
		become string
		ask    bool
		words  string
	}{
		{become: "asroot -u root"},
		{become: "sudo -u root", ask: true},
		{become: "sudo -u root", words: "sudo needs a password for user"},
		{become: "asroot", words: "cannot become root with asroot"},
		{words: "sudo needs a password"},
	} {
		target := s.Target("web1")
		target.Become, target.AskPassword = ssh.JoinWords(strings.Fields(c.become)), c.ask
		p, err := ssh.NewPool(o)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err = p.Host(target).Run(ctx(t), host.Cmd{Shell: "echo root=$GODWIT_FAKE_ROOT", Elevate: true, Stdout: &out})
		p.Close()
		switch {
		case c.words == "" && (err != nil || out.String() != "root=1\n"):
			t.Errorf("%s: %v %q", c.become, err, out.String())
		case c.words != "" && (err == nil || !strings.Contains(fault.Render(err), c.words)):
			t.Errorf("%s: no %q in %v", c.become, c.words, err)
		}
	}
	if n != 1 {
		t.Errorf("the password was asked for %d times", n)
	}
}
