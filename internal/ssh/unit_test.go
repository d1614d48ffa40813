package ssh

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/shell"
)

func TestSplitWords(t *testing.T) {
	for in, want := range map[string][]string{
		"":                          nil,
		"  ":                        nil,
		"-p 22":                     {"-p", "22"},
		`-i "/a b/id" -o 'X=y z'`:   {"-i", "/a b/id", "-o", "X=y z"},
		`a\ b ''`:                   {"a b", ""},
		`"\$HOME \n \" \\"`:         {`$HOME \n " \`},
		"a\tb\nc":                   {"a", "b", "c"},
		`-oProxyCommand="nc %h %p"`: {"-oProxyCommand=nc %h %p"},
	} {
		got, err := shell.Split(in)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{`'a`, `"a`, `a\`, `"a\"`} {
		if got, err := shell.Split(in); err == nil {
			t.Errorf("%q: %q", in, got)
		}
	}
	for _, w := range [][]string{{"a b", "it's", `\`, "", "$x"}, {"-o", "ProxyCommand=nc %h"}} {
		if got, err := shell.Split(shell.Join(w)); err != nil || !reflect.DeepEqual(got, w) {
			t.Errorf("%q came back as %q, %v", w, got, err)
		}
	}
}

func TestOptionsFromEnv(t *testing.T) {
	env := map[string]string{
		"SSH_CONFIG_FILE": "/c", "SSH_IDENTITY_FILE": "/k", "SSH_USER": "ana", "SSH_SKIP_HOST_KEY_CHECK": "0",
		"GODWIT_SSHOPTS": "-o 'ProxyJump=a b'", "NIX_SSHOPTS": "-p 7",
	}
	o, err := OptionsFromEnv(func(k string) string { return env[k] })
	want := Options{ConfigFile: "/c", IdentityFile: "/k", User: "ana", SkipHostKeyCheck: true, ExtraArgs: []string{"-o", "ProxyJump=a b", "-p", "7"}}
	if err != nil || !reflect.DeepEqual(o, want) {
		t.Errorf("%+v, %v", o, err)
	}
	for _, bad := range []string{"-o 'x", "host", "-p"} {
		env["NIX_SSHOPTS"] = bad
		if _, err := OptionsFromEnv(func(k string) string { return env[k] }); err == nil || !strings.HasPrefix(err.Error(), "NIX_SSHOPTS: ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestOwnArgs(t *testing.T) {
	got, err := ownArgs([]string{"-4CM", "-S", "/x", "-fNp22", "-tt", "-o", "A=b", "-Jbastion", "-L1:2:3", "-v"})
	if want := []string{"-4C", "-p", "22", "-o", "A=b", "-J", "bastion", "-v"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

func testHost(t *testing.T, o Options, target Target) *Host {
	t.Helper()
	o.Program = "sh" // never started
	p, err := NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p.Host(target)
}

func TestArguments(t *testing.T) {
	h := testHost(t, Options{User: "env", ExtraArgs: []string{"-o", "ConnectTimeout=3"}}, Target{Host: "[::1]", Port: 2222})
	if h.target != (Target{Name: "::1", Host: "::1", User: "env", Port: 2222}) {
		t.Errorf("%+v", h.target)
	}
	a := strings.Join(h.args("/run/x/m1", false, "exec true"), " ")
	for _, want := range []string{"-l env", "-p 2222", "BatchMode=yes", "PermitLocalCommand=no", "ClearAllForwardings=yes", "-S /run/x/m1 -- ::1 exec true"} {
		if !strings.Contains(a, want) {
			t.Errorf("no %q in %s", want, a)
		}
	}
	if strings.Count(a, "ConnectTimeout=") != 1 || !strings.Contains(a, "ConnectTimeout=3") || h.pool.opts.LoginLimit != 9*time.Second {
		t.Errorf("the user's ConnectTimeout: a login limit of %s, %s", h.pool.opts.LoginLimit, a)
	}
	if strings.Contains(a, "StrictHostKeyChecking") {
		t.Errorf("StrictHostKeyChecking is the user's: %s", a)
	}
	h = testHost(t, Options{User: "env", ExtraArgs: []string{"-o", "ProxyCommand=nc a b"}}, Target{Host: "own@h"})
	if h.target.User != "own" || h.target.Host != "h" {
		t.Errorf("%+v", h.target)
	}
	n := h.NixSSHOpts()
	for _, want := range []string{"ControlPath=none", "-l own", "'ProxyCommand=nc a b'"} {
		if !strings.Contains(n, want) {
			t.Errorf("no %q in %s", want, n)
		}
	}
	if strings.Contains(n, "LocalCommand") {
		t.Errorf("Nix needs its LocalCommand: %s", n)
	}
	if got := h.CommandLine("-v"); got != "ssh -v -o 'ProxyCommand=nc a b' -- own@h" {
		t.Errorf("%s", got)
	}
}

// A host's own options come behind those of all hosts, without those that would take
// the connection out of our hands.
func TestOwnOptions(t *testing.T) {
	own := JoinWords([]string{"-A", "-o", "ProxyJump=bastion", "-o ConnectTimeout=7", "-i", "/a b"})
	h := testHost(t, Options{ExtraArgs: []string{"-o", "ProxyJump=first"}}, Target{Host: "h", Options: own})
	a := strings.Join(h.args("", false, "true"), "|")
	if !strings.Contains(a, "-o|ProxyJump=first|-o|ProxyJump=bastion|-o| ConnectTimeout=7|-i|/a b|") || strings.Count(a, "ConnectTimeout") != 1 || strings.Contains(a, "|-A") {
		t.Error(a)
	}
	if got := h.CommandLine(); got != "ssh -o ProxyJump=first -o ProxyJump=bastion -o ' ConnectTimeout=7' -i '/a b' -- h" {
		t.Error(got)
	}
	h = testHost(t, Options{}, Target{Host: "h", Options: JoinWords([]string{"uptime"})})
	if err := h.check(); err == nil || !strings.Contains(err.Error(), `the host's own options of ssh: "uptime" is not an option of ssh`) {
		t.Error(err)
	}
	for _, words := range [][]string{nil, {""}, {"a", "", "b c"}} {
		if got := JoinWords(words).List(); !slices.Equal(got, words) {
			t.Errorf("%q, want %q", got, words)
		}
	}
}

// The one -F that ssh takes is the one that a hint repeats.
func TestOneConfigFile(t *testing.T) {
	h := testHost(t, Options{ConfigFile: "/dev/null", ExtraArgs: []string{"-F", "a", "-p", "7", "-F", "b c"}}, Target{Host: "h"})
	if got := h.CommandLine(); got != "ssh -F 'b c' -p 7 -- h" {
		t.Error(got)
	}
	if a := strings.Join(h.args("", false, "x"), " "); strings.Count(a, "-F ") != 1 || !strings.Contains(a, "-F b c ") {
		t.Error(a)
	}
}

// What looks like an option is no address, and a hint is one command whatever the names.
func TestDashes(t *testing.T) {
	h := testHost(t, Options{}, Target{Name: "web1", Host: "-oProxyCommand=touch x"})
	if err := h.Run(t.Context(), host.Cmd{Argv: []string{"true"}}); host.KindOf(err) != host.BadConfig || !strings.Contains(err.Error(), "begins with a dash") {
		t.Errorf("%v", err)
	}
	if _, err := h.Open(t.Context(), host.Cmd{Argv: []string{"true"}, Fresh: true}); host.KindOf(err) != host.BadConfig {
		t.Errorf("%v", err)
	}
	h = testHost(t, Options{}, Target{Host: "h", User: "-oa; b"})
	for _, hint := range []string{string(h.Typed([]string{"-v"}, "journalctl", "-u", "a; touch x.service")), h.classify("").Hints[0]} {
		words, err := shell.Split(hint)
		if err != nil || words[0] != "ssh" || words[1] != "-v" || words[2] != "--" || words[3] != "-oa; b@h" || len(words) != 5 {
			t.Errorf("%s: %q, %v", hint, words, err)
		}
	}
	remote, err := shell.Split(mustWords(t, string(h.Typed(nil, "journalctl", "-u", "a; touch x.service")))[3])
	if err != nil || len(remote) != 3 || remote[2] != "a; touch x.service" {
		t.Errorf("on the host: %q, %v", remote, err)
	}
}

func mustWords(t *testing.T, s string) []string {
	t.Helper()
	words, err := shell.Split(s)
	if err != nil {
		t.Fatal(err)
	}
	return words
}

func TestSkipWarnsOnce(t *testing.T) {
	n := 0
	sink := event.SinkFunc(func(e event.Event) {
		if e.Kind == event.Warning {
			n++
		}
	})
	h := testHost(t, Options{SkipHostKeyCheck: true, Sink: sink}, Target{Host: "a"})
	h.pool.Host(Target{Host: "b"})
	if a := strings.Join(h.args("", false, "x"), " "); n != 1 || !strings.Contains(a, "StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null") {
		t.Errorf("%d warnings, %s", n, a)
	}
}

// TestCancelledBefore: a command that was given up before its ssh started.
func TestCancelledBefore(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	pool, err := NewPool(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	why := errors.New("somebody pressed Ctrl-C")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	_, err = pool.Host(Target{Name: "web1", Host: "192.0.2.1"}).launch(ctx, host.Cmd{Argv: []string{"true"}}, false, nil, nil)
	if !errors.Is(err, why) || err.Error() != "web1: true interrupted" {
		t.Errorf("%v", err)
	}
}

func TestNewPoolErrors(t *testing.T) {
	for _, o := range []Options{{Program: "no-such-ssh"}, {Elevate: "su"}, {ConfigFile: "/no/such"}, {IdentityFile: "/no/such"}} {
		if _, err := NewPool(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

func TestControlDir(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 90))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, base := range []string{long, "", "relative", "/no/such/dir", "/tmp/%h"} {
		dir, err := controlDir(base)
		if err != nil {
			t.Errorf("%q: %v", base, err)
			continue
		}
		if !strings.HasPrefix(dir.Path, "/tmp/godwit-") {
			t.Errorf("%q: %q", base, dir.Path)
		}
		if err := dir.Remove(); err != nil {
			t.Error(err)
		}
	}
}

func TestClassify(t *testing.T) {
	h := testHost(t, Options{}, Target{Name: "web1", Host: "h", Port: 2222})
	for _, c := range []struct {
		said string
		kind host.Kind
		msg  string
	}{
		{"ssh: connect to host h port 2222: Connection refused", host.Refused, "web1: h:2222 refuses connections: no ssh server listens there"},
		{"ssh: connect to host 10.0.0.9 port 22: No route to host\r\n", host.Unreachable, "web1: cannot reach 10.0.0.9:22: no route to host"},
		{"ssh: connect to host h port 2222: Network is unreachable", host.Unreachable, "web1: cannot reach h:2222: network is unreachable"},
		{"ssh: connect to host h port 2222: Connection timed out", host.Timeout, "web1: no answer on h:2222 within 10s"},
		{"ssh: connect to host h port 2222: Operation timed out", host.Timeout, ""},
		{"Connection timed out during banner exchange\nConnection to 127.0.0.1 port 2 timed out", host.Timeout, ""},
		{"ssh: Could not resolve hostname h: Name or service not known", host.NameNotFound, `web1: cannot find the address of "h"`},
		{"ssh: Could not resolve hostname h: nodename nor servname provided, or not known", host.NameNotFound, ""},
		{"ana@h: Permission denied (publickey,password).", host.AuthFailed, "web1: h:2222 did not accept any of our keys for user ana"},
		{"Received disconnect from 1.2.3.4 port 22:2: Too many authentication failures\nDisconnected from 1.2.3.4 port 22", host.AuthFailed, ""},
		{"Host key verification failed.", host.HostKeyUnknown, "web1: the host key of h:2222 is not known here: not connecting"},
		{"No ED25519 host key is known for [h]:2222 and you have requested strict checking.\r\nHost key verification failed.\r\n", host.HostKeyUnknown, ""},
		{"@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nSHA256:abc.\nHost key verification failed.", host.HostKeyChanged, ""},
		{"@       WARNING: REVOKED HOST KEY DETECTED!               @\nHost key verification failed.", host.HostKeyRevoked, "web1: h:2222 shows a host key that is marked as revoked here: not connecting"},
		{"kex_exchange_identification: Connection closed by remote host\nConnection closed by 1.2.3.4 port 22", host.Dropped, ""},
		{"kex_exchange_identification: read: Connection reset by peer", host.Dropped, ""},
		{"ssh: connect to host bastion port 22: Connection refused\nkex_exchange_identification: Connection closed by remote host\nConnection closed by UNKNOWN port 65535", host.Refused, "web1: bastion:22 refuses connections: no ssh server listens there"},
		{"Unable to negotiate with 1.2.3.4 port 22: no matching host key type found. Their offer: ssh-rsa", host.Other, ""},
		{"/c: line 2: Bad configuration option: nosuch\n/c: terminating, 1 bad configuration options", host.BadConfig, ""},
		{"something new", host.Other, "web1: ssh could not connect to h:2222"},
		{"", host.Other, ""},
	} {
		f := h.classify(c.said)
		if host.KindOf(f) != c.kind || c.msg != "" && f.Error() != c.msg || len(f.Hints) == 0 {
			t.Errorf("%q: %s, %q, hints %q", c.said, host.KindOf(f), f.Error(), f.Hints)
		}
		if strings.Contains(f.Error(), "\n") {
			t.Errorf("more than a line: %q", f.Error())
		}
	}
	nowhere := testHost(t, Options{}, Target{Name: "web1"})
	if f := nowhere.classify("ssh: Could not resolve hostname : Name or service not known"); f.Error() != "web1: it has no address to connect to" || host.Retryable(f) {
		t.Errorf("%v", f)
	}
}

func TestCmdCheck(t *testing.T) {
	for _, c := range []host.Cmd{{}, {Argv: []string{"a"}, Shell: "b"}, {Argv: []string{"a\x00b"}}, {Script: "x", Args: []string{"\x00"}}} {
		if c.Check() == nil {
			t.Errorf("%+v passes", c)
		}
	}
	if line := line(host.Cmd{Script: "a\nb\n", Args: []string{"c\nd"}}, "m"); strings.Contains(line, "\n") {
		t.Errorf("%q is not one line", line)
	}
	if b := bootstrap([]string{"sudo", "-n"}, "m", true, true); strings.ContainsAny(b, "\\\n!") || strings.Count(b, "'") != 2 {
		t.Errorf("not the same in every shell: %s", b)
	}
}

func TestStderrFilter(t *testing.T) {
	whole := "[sudo] password for x: \nmark\nerr\n\x1eodd" + "\x1emark\n" + "rest"
	for size := 1; size <= len(whole); size++ {
		var out strings.Builder
		f := &stderrFilter{mark: "mark", w: &out}
		for i := 0; i < len(whole); i += size {
			_, _ = f.Write([]byte(whole[i:min(i+size, len(whole))]))
		}
		f.flush()
		if out.String() != "err\n\x1eoddrest" || !f.own255() || !f.started() || f.before() != "[sudo] password for x: " {
			t.Fatalf("size %d: %q, %q", size, out.String(), f.before())
		}
	}
}

func TestErrorTexts(t *testing.T) {
	for err, want := range map[error]string{
		&host.ExitError{Host: "a", Command: "false", Code: 3, Stderr: "one\ntwo\x1b\n\n"}:                     "a: false ended with status 3: two\\u001b",
		&host.ExitError{Host: "a", Command: "false", Code: 3}:                                                 "a: false ended with status 3",
		&host.DroppedError{Host: "a", Command: "x", Stderr: "noise\nTimeout, server 1.2.3.4 not responding."}: "a: the connection was lost during x: Timeout, server 1.2.3.4 not responding.",
		&host.Interrupted{Host: "a", Cmd: "x", Err: context.DeadlineExceeded}:                                 "a: x timed out",
		&host.Interrupted{Host: "a", Cmd: "x", Err: context.Canceled}:                                         "a: x interrupted",
	} {
		if err.Error() != want {
			t.Errorf("got  %q\nwant %q", err.Error(), want)
		}
	}
	if host.KindOf(errors.New("x")) != "" || host.Retryable(errors.New("x")) || host.Retryable(fault.New("x")) {
		t.Error("an ordinary error is no connection error")
	}
}

// Nothing of a person's configuration may take a session, or its streams, from us.
func TestGuards(t *testing.T) {
	old := filepath.Join(t.TempDir(), "ssh")
	if err := os.WriteFile(old, []byte("#!/bin/sh\necho OpenSSH_8.4p1 Debian-5, OpenSSL 1.1.1 >&2\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for program, want := range map[string]bool{"ssh": true, old: false, "/nowhere/ssh": false} {
		g := strings.Join(Guards(program), " ")
		if strings.Contains(g, "SessionType=default") != want || !strings.HasPrefix(g, "-T -a -x ") || !strings.Contains(g, "ForwardAgent=no") {
			t.Errorf("%s: %s", program, g)
		}
	}
	words, err := NixArgs(func(string) string { return "-A -o ProxyJump=b -tt -N -p 7" })
	if err != nil || strings.Join(words, " ") != "-o ProxyJump=b -p 7" {
		t.Errorf("%q, %v", words, err)
	}
}

// A session that ends without a word, over a connection that stood, has lost it; nobody is
// told that the host could not be connected to.
func TestLostWithoutAWord(t *testing.T) {
	p, err := NewPool(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	h := p.Host(Target{Name: "web1", Host: "192.0.2.1"})
	for _, c := range []struct {
		lane    *lane
		said    string
		dropped bool
	}{{&lane{}, "", true}, {&lane{}, "\r\n", true}, {&lane{}, "Connection reset by peer", true}, {nil, "", false}, {&lane{}, "some other words", false}} {
		err := h.notStarted(&process{host: h, lane: c.lane, cmd: host.Cmd{Argv: []string{"reboot"}}, out: &markReader{said: []byte(c.said)}, err: &stderrFilter{}}, 255)
		var d *host.DroppedError
		if errors.As(err, &d) != c.dropped || host.Retryable(err) != c.dropped {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
