package fleet

import (
	"fmt"
	"strings"
	"testing"
)

func TestTargets(t *testing.T) {
	all := []string{"web", "db"}
	for _, c := range []struct {
		targets  Targets
		selected []string
		host     string
		want     Destination
		err      string
	}{
		{Targets{"root@10.0.0.1:2222"}, []string{"web"}, "web", Destination{User: "root", Host: "10.0.0.1", Port: 2222}, ""},
		{Targets{"db=ssh://10.0.0.2", "web=admin@w"}, all, "web", Destination{User: "admin", Host: "w"}, ""},
		{Targets{"db=[::1]:22"}, all, "db", Destination{Host: "::1", Port: 22}, ""},
		{Targets{"db=ana@x,[::1]:22,y"}, all, "db", Destination{User: "ana", Host: "x"}, ""},
		{Targets{"db=x,"}, all, "", Destination{}, "has no usable host name"},
		{Targets{"db=x"}, all, "web", Destination{}, ""},
		{Targets{"x"}, all, "", Destination{}, "--target x is for a single host, and this run has 2"},
		{Targets{"bd=x"}, all, "", Destination{}, "there is no host 'bd' (did you mean db?)"},
		{Targets{"db=x", "db=y"}, all, "", Destination{}, "two addresses of db"},
		{Targets{"db=a b"}, all, "", Destination{}, "--target db=a b: "},
	} {
		err := c.targets.Check(all, c.selected)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %v, want %q", c.targets, err, c.err)
		}
		if c.host == "" {
			continue
		}
		got, ok := c.targets.Of(c.host)
		if got = append(got, Destination{}); got[0] != c.want || ok != (c.want.Host != "") {
			t.Errorf("%q: %s is at %+v", c.targets, c.host, got)
		}
	}
	h := Host{Name: "db", At: Address{Host: "old", User: "deploy", Port: 7, Also: []string{"older"}}}
	Targets{"db=x,ana@[::1]:22,y"}.Apply(&h)
	if got := fmt.Sprint(h.At.User, h.At.Host, h.At.Port, h.At.Also); got != "deployx7 [ana@[::1]:22 y]" {
		t.Error(got)
	}
}
