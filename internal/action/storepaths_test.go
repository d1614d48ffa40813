package action

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/host/hosttest"
	"godwit/internal/store/storetest"
)

func TestParseTo(t *testing.T) {
	for in, want := range map[string][4]any{
		"web":                      {"web", "web", "", 0},
		"root@web":                 {"web", "web", "root", 0},
		"me@web.example.org:2222":  {"web.example.org:2222", "web.example.org", "me", 2222},
		"::1":                      {"::1", "::1", "", 0},
		"root@2001:db8::1":         {"2001:db8::1", "2001:db8::1", "root", 0},
		"[::1]":                    {"::1", "::1", "", 0},
		"root@[2001:db8::1]:22":    {"[2001:db8::1]:22", "2001:db8::1", "root", 22},
		"dom@in@web":               {"web", "web", "dom@in", 0},
		"fe80::1%eth0":             {"fe80::1%eth0", "fe80::1%eth0", "", 0},
		"192.0.2.1":                {"192.0.2.1", "192.0.2.1", "", 0},
		"deploy@[fe80::1%en0]:222": {"[fe80::1%en0]:222", "fe80::1%en0", "deploy", 222},
	} {
		h, err := parseTo(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if got := [4]any{h.Name, h.At.Host, h.At.User, h.At.Port}; got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
	for _, in := range []string{"", "@", "root@", "-oProxyCommand=x", "root@-x", "web:0", "web:99999", "web:http", "a b", "web?x=y", "web/x", "ssh://web", "a\nb"} {
		if h, err := parseTo(in); err == nil {
			t.Errorf("%q was taken as %+v", in, h)
		}
	}
}

func TestResolve(t *testing.T) {
	const path = "/nix/store/0c5bfdqsnrmlpxpqpvfhqkwbqmzwxw2v-x"
	link := filepath.Join(t.TempDir(), "result")
	if err := os.Symlink("/", link); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{path: path, path + "/": path, link: "", path + "/bin/sh": "", "": "", "/nix/store": ""} {
		if got, err := resolve(in); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
}

// TestStorePaths: what is refused before anything is copied.
func TestStorePaths(t *testing.T) {
	const path = "/nix/store/0c5bfdqsnrmlpxpqpvfhqkwbqmzwxw2v-x"
	for want, o := range map[string]StorePaths{
		"x is not a store path":         {Paths: []string{"x"}, To: []string{"web"}},
		"is not [USER@]HOST[:PORT]":     {Paths: []string{path}, To: []string{"a b"}},
		"--to names web twice":          {Paths: []string{path}, To: []string{"web", "root@web"}},
		"there is no builder elsewhere": {Paths: []string{path}, To: []string{"web"}, From: "elsewhere"},
	} {
		e, _ := tested(t)
		e.fakes = func(s *session) { s.conns = hosttest.Pool{} }
		if _, err := Push(t.Context(), e, PushRequest{Hosts: o}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}

// TestCheckReady: the paths must be there, and what is activated must be a system.
func TestCheckReady(t *testing.T) {
	st := storetest.New()
	file := st.Add("x", "no system")
	src := st.Endpoint("a store")
	if err := checkReady(t.Context(), src, []string{file}, false); err != nil {
		t.Error(err)
	}
	if err := checkReady(t.Context(), src, []string{file}, true); err == nil || !strings.HasSuffix(err.Error(), "is not a NixOS system: it has no bin/switch-to-configuration") {
		t.Error(err)
	}
	if err := checkReady(t.Context(), src, []string{sysA}, false); err == nil || !strings.HasSuffix(err.Error(), "is not in a store") {
		t.Error(err)
	}
}
