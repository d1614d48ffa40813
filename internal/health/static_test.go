package health

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// TestPreflight: what can never succeed is named with host, kind and
// description; what can is let through.
func TestPreflight(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"run.sh": 0o755, "text": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	page := func(change func(*fleet.HTTPCheck)) fleet.Checks {
		c := fleet.HTTPCheck{Description: "d", Scheme: "http", Port: 80, Path: "/"}
		change(&c)
		return fleet.Checks{HTTP: []fleet.HTTPCheck{c}}
	}
	cmd := func(words ...string) fleet.Checks {
		return fleet.Checks{Cmd: []fleet.CmdCheck{{Description: "d", Cmd: words}}}
	}
	port := func(host string, n int) fleet.Checks {
		return fleet.Checks{TCP: []fleet.TCPCheck{{Description: "d", Host: host, Port: n}}}
	}
	unit := func(name string) fleet.Checks {
		return fleet.Checks{Unit: []fleet.UnitCheck{{Description: "d", Unit: name}}}
	}
	local := func(words ...string) fleet.Checks {
		return fleet.Checks{Local: []fleet.LocalCheck{{Description: "d", Cmd: words, Dir: dir}}}
	}
	ignore := func(p string) fleet.Checks {
		return fleet.Checks{FailedUnits: []fleet.FailedUnitsCheck{{Description: "d", Ignore: []string{p}}}}
	}
	for _, c := range []struct {
		kind   string
		checks fleet.Checks
		says   string // empty: it can work
	}{
		{"cmd", cmd(), "it has no command"},
		{"cmd", cmd(""), "it has no command"},
		{"cmd", cmd("", "x"), "the first word"},
		{"cmd", cmd("sudo"), "nothing follows sudo"},
		{"cmd", cmd("sudo", "true"), ""},
		{"cmd", cmd("a\x00b"), "NUL"},
		{"http", page(func(c *fleet.HTTPCheck) { c.Scheme = "htps" }), `the scheme "htps" is neither`},
		{"http", page(func(c *fleet.HTTPCheck) { c.Port = 0 }), "port 0 is not"},
		{"http", page(func(c *fleet.HTTPCheck) { c.Port = 70000 }), "port 70000 is not"},
		{"http", page(func(c *fleet.HTTPCheck) { c.Host = "a b" }), `"a b" is not a host`},
		{"http", page(func(c *fleet.HTTPCheck) { c.Host = "a/b" }), "is not a host"},
		{"http", page(func(c *fleet.HTTPCheck) { c.Host = "u@h" }), "is not a host"},
		{"http", page(func(c *fleet.HTTPCheck) { c.Host = "h:80" }), "is not a host"},
		{"http", page(func(c *fleet.HTTPCheck) { c.Host = "http://h" }), "is not a host"},
		{"http", page(func(c *fleet.HTTPCheck) { c.Host = "[fe80::1%eth0]" }), ""},
		{"http", page(func(c *fleet.HTTPCheck) { c.Path = "/%zz" }), "cannot be asked for"},
		{"http", page(func(c *fleet.HTTPCheck) { c.Path = "a b?c" }), ""},
		{"http", page(func(c *fleet.HTTPCheck) { c.Path = "//x/y" }), ""},
		{"http", page(func(c *fleet.HTTPCheck) { c.Path = "" }), ""},
		{"http", page(func(c *fleet.HTTPCheck) { c.Headers = map[string]string{"a b": "c"} }), `"a b" is not the name of a header`},
		{"http", page(func(c *fleet.HTTPCheck) { c.Headers = map[string]string{"a": "b\nc"} }), "control character"},
		{"http", page(func(c *fleet.HTTPCheck) { c.Timeout = -1 }), "timeout is negative"},
		{"http", page(func(c *fleet.HTTPCheck) { c.Period = -time.Second }), "period is negative"},
		{"tcp", port("", 70000), "port 70000 is not"},
		{"tcp", port("", 25), ""},
		{"tcp", port("smtp.example.org", 25), ""},
		{"tcp", port("smtp:25", 25), "is not a host"},
		{"unit", unit(""), "names no unit"},
		{"unit", unit("my app.service"), "is not the name of a unit"},
		{"unit", unit("-x"), "is not the name of a unit"},
		{"unit", unit("nginx*"), "is not the name of a unit"},
		{"unit", unit("backup@.service"), "is a template"},
		{"unit", unit("backup@"), "is a template"},
		{"unit", unit("backup@a-b.service"), ""},
		{"unit", unit(`dev-a\x2db.device`), ""},
		{"failedUnits", ignore("a b"), "neither the name of a unit"},
		{"failedUnits", ignore("a*"), ""},
		{"local", local(), "it has no command"},
		{"local", local("./run.sh", "x"), ""},
		{"local", local("sh"), ""},
		{"local", local("./not-there.sh"), "./not-there.sh: no such file"},
		{"local", local("./text"), "permission denied"},
		{"local", local("no-such-program-at-all"), "executable file not found"},
	} {
		for _, list := range []string{Before, After} {
			h := fleet.Host{Name: "web1", At: fleet.Address{Host: "192.0.2.7"}, PreDeployChecks: c.checks}
			if list == After {
				h.PreDeployChecks, h.HealthChecks = fleet.Checks{}, c.checks
			}
			err := Preflight([]fleet.Host{h}, true, true)
			if c.says == "" {
				if err != nil {
					t.Errorf("%+v: %v", c.checks, err)
				}
				continue
			}
			want := `error: web1: the check "d" (` + list + "." + c.kind + ") can never succeed: "
			if text := fault.Render(err); err == nil || !strings.HasPrefix(text, want) || !strings.Contains(text, c.says) || !strings.Contains(text, "hint: ") {
				t.Errorf("%+v: %s", c.checks, text)
			}
			if Preflight([]fleet.Host{h}, list == After, list == Before) != nil {
				t.Errorf("%+v: the list that is not run counts", c.checks)
			}
			h.BuildOnly = true
			if Preflight([]fleet.Host{h}, true, true) != nil {
				t.Errorf("%+v: checks of a host that is only built are not run", c.checks)
			}
		}
	}
	all := fleet.Host{Name: "web1", HealthChecks: cmd().With(unit("a b")).With(port("", 25))}
	if text := fault.Render(Preflight([]fleet.Host{all, {Name: "web2", HealthChecks: cmd()}}, true, true)); strings.Count(text, "error: ") != 4 || !strings.Contains(text, "it has no host") {
		t.Errorf("%s", text)
	}
}
