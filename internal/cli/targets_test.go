package cli

import (
	"strings"
	"testing"

	"godwit/internal/fleet"
)

func TestTargets(t *testing.T) {
	all := []string{"web", "db"}
	for _, c := range []struct {
		targets  []string
		selected []string
		host     string
		want     fleet.Destination
		err      string
	}{
		{[]string{"root@10.0.0.1:2222"}, []string{"web"}, "web", fleet.Destination{User: "root", Host: "10.0.0.1", Port: 2222}, ""},
		{[]string{"db=ssh://10.0.0.2", "web=admin@w"}, all, "web", fleet.Destination{User: "admin", Host: "w"}, ""},
		{[]string{"db=[::1]:22"}, all, "db", fleet.Destination{Host: "::1", Port: 22}, ""},
		{[]string{"db=x"}, all, "web", fleet.Destination{}, ""},
		{[]string{"x"}, all, "", fleet.Destination{}, "--target x is for a single host, and this run has 2"},
		{[]string{"bd=x"}, all, "", fleet.Destination{}, "there is no host `bd' (did you mean db?)"},
		{[]string{"db=x", "db=y"}, all, "", fleet.Destination{}, "two addresses of db"},
		{[]string{"db=a b"}, all, "", fleet.Destination{}, "--target db=a b: "},
	} {
		g := globals{targets: c.targets}
		err := g.checkTargets(all, c.selected)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %v, want %q", c.targets, err, c.err)
		}
		if c.host == "" {
			continue
		}
		if got, ok := g.reach(c.host); got != c.want || ok != (c.want.Host != "") {
			t.Errorf("%q: %s is at %+v", c.targets, c.host, got)
		}
	}
	for _, c := range []struct {
		g         globals
		want, err string
	}{
		{globals{builder: "local"}, "local", ""},
		{globals{buildHost: "root@big"}, "ssh-ng://root@big", ""},
		{globals{buildHost: "localhost"}, "local", ""},
		{globals{buildHost: "big", builder: "auto"}, "", "both say where to build"},
	} {
		got, err := c.g.wantedBuilder()
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%+v: %q %v", c.g, got, err)
		}
	}
}
