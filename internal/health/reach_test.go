package health

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"godwit/internal/fleet"
	"godwit/internal/host"
)

// TestReach: checks from this machine go where ssh goes, under the name that the
// configuration has for the host.
func TestReach(t *testing.T) {
	var asked string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = r.Host }))
	defer s.Close()
	u, _ := url.Parse(s.URL)
	port, _ := strconv.Atoi(u.Port())
	checks := fleet.Checks{
		HTTP: []fleet.HTTPCheck{{Description: "page", Port: port, Timeout: 2 * time.Second}},
		TCP:  []fleet.TCPCheck{{Description: "port", Port: port, Timeout: 2 * time.Second}},
	}
	for _, c := range []struct {
		target string
		where  host.Where
		want   string // the Host that is asked for; empty: it fails
	}{
		{"127.0.0.1", host.Where{}, "127.0.0.1"},
		{"web1", host.Where{Host: "127.0.0.1"}, "127.0.0.1"},
		{"web1.nowhere.invalid", host.Where{Host: "127.0.0.1"}, "web1.nowhere.invalid"},
		{"web1.nowhere.invalid", host.Where{}, ""},
		// Behind a jump host the address is somebody else's here.
		{"web1.nowhere.invalid", host.Where{Host: "127.0.0.1", Via: "bastion"}, ""},
	} {
		asked = ""
		h := fleet.Host{Name: "web1", At: fleet.Address{Host: c.target}}
		list, err := prepare(nil, h, checks, Options{Where: c.where})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range list {
			failure, _ := x.try(t.Context())
			if (failure == "") != (c.want != "") || c.where.Via != "" && !strings.Contains(failure, "by way of bastion") {
				t.Errorf("%s, %+v: %s: %s", c.target, c.where, x.description, failure)
			}
		}
		if want := c.want + ":" + u.Port(); c.want != "" && asked != want {
			t.Errorf("%s, %+v: asked for %s, want %s", c.target, c.where, asked, want)
		}
		env := strings.Join(localEnv(h, Options{Where: c.where}), "\n")
		if want := map[bool]string{true: "", false: "127.0.0.1"}[c.where.Via != ""]; c.where.Host != "" && !strings.Contains(env+"\n", "\nGODWIT_ADDRESS="+want+"\n") {
			t.Errorf("%+v: %s", c.where, env)
		}
	}
	// A host that the check names itself is no host of ssh's.
	own := fleet.Checks{TCP: []fleet.TCPCheck{{Description: "own", Host: "127.0.0.1", Port: port}}}
	list, err := prepare(nil, fleet.Host{At: fleet.Address{Host: "web1"}}, own, Options{Where: host.Where{Host: "192.0.2.7", Via: "bastion"}})
	if err != nil {
		t.Fatal(err)
	}
	if failure, _ := list[0].try(t.Context()); failure != "" {
		t.Error(failure)
	}
}
