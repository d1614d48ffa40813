package bundle

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	ok := Entry{Name: "wifi", Mode: 0o400, Phase: Services}
	for _, c := range []struct {
		change func(*Entry)
		want   string
	}{
		{func(*Entry) {}, ""},
		{func(e *Entry) { e.Destination, e.User, e.Restart = "/etc/x/key", "git", []string{"sshd@1.service"} }, ""},
		{func(e *Entry) { e.Name = "../x" }, "other characters"},
		{func(e *Entry) { e.Name = "-x" }, "other characters"},
		{func(e *Entry) { e.Destination = "etc/x" }, "plain absolute"},
		{func(e *Entry) { e.Destination = "/etc/../x" }, "plain absolute"},
		{func(e *Entry) { e.Destination = "/etc/x\ny" }, "control character"},
		{func(e *Entry) { e.Destination = "/nix/store/x" }, "Nix store"},
		{func(e *Entry) { e.User = "-x" }, "not the name of a user"},
		{func(e *Entry) { e.Group = "a:b" }, "not the name of a group"},
		{func(e *Entry) { e.Mode = 0o4755 }, "permissions"},
		{func(e *Entry) { e.Phase = "" }, "phase"},
		{func(e *Entry) { e.Restart = []string{"nginx"} }, "name of a unit"},
		{func(e *Entry) { e.Restart = []string{"-H.service"} }, "name of a unit"},
	} {
		e := ok
		c.change(&e)
		err := e.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", e, err, c.want)
		}
	}
}

func TestBundle(t *testing.T) {
	a, b := Entry{Name: "a", Mode: 0o400, Phase: Users}, Entry{Name: "b", Mode: 0o400, Phase: Services}
	one := &Bundle{Machine: "m", Entries: []Entry{a, b}}
	if err := one.Check(); err != nil {
		t.Fatal(err)
	}
	if got := one.Of(Users); len(got) != 1 || got[0].Name != "a" || got[0].Path() != "/run/godwit/secrets/a" {
		t.Errorf("%+v", got)
	}
	if err := (&Bundle{Entries: []Entry{b, a}}).Check(); err == nil {
		t.Error("out of order, and no error")
	}
	b.Destination = "/run/godwit/secrets/a"
	two := &Bundle{Machine: "m", Entries: []Entry{a, b}}
	if err := two.Check(); err == nil || !strings.Contains(err.Error(), "same destination") {
		t.Error(err)
	}
	if one.ID() == two.ID() || one.ID() != (&Bundle{Machine: "m", Entries: []Entry{a, {Name: "b", Mode: 0o400, Phase: Services}}}).ID() {
		t.Error("the ID does not say what is in it")
	}
}
