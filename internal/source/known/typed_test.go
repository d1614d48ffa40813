package known

import (
	"os"
	"path/filepath"
	"testing"
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
		h, err := ParseTo(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if got := [4]any{h.Name, h.At.Host, h.At.User, h.At.Port}; got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
	for _, in := range []string{"", "@", "root@", "-oProxyCommand=x", "root@-x", "web:0", "web:99999", "web:http", "a b", "web?x=y", "web/x", "ssh://web", "a\nb"} {
		if h, err := ParseTo(in); err == nil {
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
		if got, err := Resolve(in); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
}
