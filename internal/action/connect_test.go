package action

import (
	"context"
	"slices"
	"strings"
	"testing"

	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/ssh"
)

func TestReached(t *testing.T) {
	for _, c := range []struct {
		user    string
		targets []string
		want    string
	}{
		{"", nil, "deploy"}, {"root", nil, "root"}, {"root", []string{"web1=ana@x"}, "deploy"}, {"root", []string{"web1=x"}, "root"},
	} {
		s := &session{Env: &Env{Options: Options{User: c.user, Targets: c.targets}}}
		// What --target says is in the host already.
		if h := s.reached(fleet.Host{Name: "web1", At: fleet.Address{Host: "web1", User: "deploy"}}); h.At.User != c.want {
			t.Errorf("%+v: %s", c, h.At.User)
		}
	}
	for user, bad := range map[string]bool{"": false, "deploy": false, "-l": true, "a b": true, "a@b": true} {
		if err := ssh.CheckUser(user); (err != nil) != bad {
			t.Errorf("%q: %v", user, err)
		}
	}
}

func TestLogin(t *testing.T) {
	pool, err := ssh.NewPool(ssh.Options{ConfigFile: "/dev/null", SkipHostKeyCheck: true})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	s := &session{Env: &Env{}, pool: pool}
	h := fleet.Host{Name: "web1", At: fleet.Address{Host: "10.0.0.1", User: "deploy", Port: 22, Options: []string{"-o", "ProxyJump=b"}}}
	want := "ssh -t -F /dev/null -p 22 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ProxyJump=b -- deploy@10.0.0.1|echo 'a  b'"
	if got := s.login(h, true, []string{"echo", "'a  b'"}); strings.Join(got[:len(got)-1], " ")+"|"+got[len(got)-1] != want {
		t.Errorf("%q", got)
	}
	t.Setenv("SHELL", "/bin/bash")
	s.Local = "web1"
	if got := s.login(h, false, []string{"id"}); !slices.Equal(got, []string{"/bin/bash", "-c", "id"}) {
		t.Errorf("%q", got)
	}
	if got := s.login(h, false, nil); !slices.Equal(got, []string{"/bin/bash"}) {
		t.Errorf("%q", got)
	}
}

// TestPools: what ssh is told, by how closures travel. Nothing is connected to.
func TestPools(t *testing.T) {
	for compress, want := range map[string]string{"on": "Compression=yes", "off": "Compression=no", "ssh": "", "auto": ""} {
		e, _ := tested(t)
		asked := 0
		e.Copy.Compress, e.Local, e.User = compress, "here", "ana"
		e.Password = func(context.Context) (string, error) { asked++; return "x", nil }
		s := e.open()
		if err := s.openPool(); err != nil {
			t.Fatal(err)
		}
		words := strings.Join(s.login(fleet.Host{Name: "web", At: fleet.Address{Host: "10.0.0.1"}}, false, nil), " ")
		if !strings.Contains(words, want) || want == "" && strings.Contains(words, "Compression") || !strings.HasSuffix(words, "ana@10.0.0.1") {
			t.Errorf("%s: %s", compress, words)
		}
		if (s.slow != nil) != (compress == "auto") || s.overSSH(fleet.Host{Name: "here"}) != nil || s.overSSH(fleet.Host{Name: "web"}) == nil || s.conns.Conn(fleet.Host{Name: "web"}) == nil {
			t.Errorf("%s: the pools are %v, %v", compress, s.pool, s.slow)
		}
		s.close()
		if asked != 0 {
			t.Error("the password was asked for")
		}
	}
	e, _ := tested(t)
	e.User = "-l"
	if err := e.open().openPool(); err == nil {
		t.Error("-l is no user")
	}
}

// TestTwins: hosts that ssh reaches at one address are not both changed.
func TestTwins(t *testing.T) {
	e, _ := tested(t)
	s := e.open()
	defer s.close()
	if err := s.openPool(); err != nil {
		t.Fatal(err)
	}
	at := func(name, address string) fleet.Host { return fleet.Host{Name: name, At: fleet.Address{Host: address}} }
	s.hosts = []fleet.Host{at("a", "192.0.2.1"), at("b", "192.0.2.2"), at("c", "192.0.2.1"), {Name: "image", BuildOnly: true}}
	err := s.preflight(t.Context(), deployment{Options: deploy.Options{Goal: deploy.GoalActivate, Action: activate.Switch}}, s.hosts)
	if err == nil || !strings.HasPrefix(err.Error(), "a and c have the same address, and the last of them would win; no host was changed") || !strings.Contains(fault.Render(err), "--accept-risk=same-address") {
		t.Error(err)
	}
	if err := s.preflight(t.Context(), deployment{Options: deploy.Options{Goal: deploy.GoalActivate, Action: activate.Switch}, accept: []string{"same-address"}}, s.hosts); err != nil {
		t.Error(err)
	}
}

// TestLocal: the host that is this machine.
func TestLocal(t *testing.T) {
	e, _ := fleetOf(t, []fleet.Host{{Name: "here", BuildOnly: true, At: fleet.Address{Local: true}}, {Name: "web"}})
	e.Local = "here"
	s := e.open()
	if err := s.load(t.Context(), loadRequest{selection: everyHost}); err != nil || len(s.hosts) != 1 || s.hosts[0].BuildOnly {
		t.Errorf("%+v %v", s.hosts, err)
	}
	e.Local, e.LocalAllowed = "web", true
	if err := e.open().load(t.Context(), loadRequest{selection: everyHost}); err == nil || !strings.Contains(err.Error(), "does not allow it to deploy itself") {
		t.Error(err)
	}
	e.Local, e.LocalAllowed = ThisMachine, false
	if name := e.open().localName(); name == "" || strings.Contains(name, ".") {
		t.Errorf("this machine is %q", name)
	}
	e.Local, e.Targets = "", fleet.Targets{"web=10.0.0.1"}
	s = e.open()
	if err := s.load(t.Context(), loadRequest{selection: everyHost}); err != nil || len(s.hosts) != 2 || s.hosts[1].At.Host != "10.0.0.1" || s.hosts[0].At.Host != "" {
		t.Errorf("%v %+v", err, s.hosts)
	}
	e.Targets = fleet.Targets{"wep=10.0.0.1"}
	if err := e.open().load(t.Context(), loadRequest{selection: everyHost}); err == nil || !strings.Contains(err.Error(), "there is no host 'wep' (did you mean web?)") {
		t.Error(err)
	}
}
