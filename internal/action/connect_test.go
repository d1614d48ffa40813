package action

import (
	"godwit/internal/fleet"
	"godwit/internal/ssh"
	"slices"
	"strings"
	"testing"
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
		if err := checkUser(user); (err != nil) != bad {
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
