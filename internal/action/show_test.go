package action

import (
	"context"
	"io"
	"strings"
	"testing"

	"godwit/internal/fleet"
	"godwit/internal/host/hosttest"
	"godwit/internal/source"
	"godwit/internal/source/known"
	"godwit/internal/store/storetest"
)

func TestList(t *testing.T) {
	e, _ := fleetOf(t, web("web", "db"))
	r := ListRequest{HostsRequest: everyone}
	r.Selection.On = []string{"w*"}
	if l, err := List(t.Context(), e, r); err != nil || len(l.Hosts) != 1 || l.Hosts[0].Name != "web" || l.Broken != nil {
		t.Errorf("%+v %v", l, err)
	}
	r.Selection.On = []string{"nobody"}
	if _, err := List(t.Context(), e, r); err == nil {
		t.Error("a host that there is not")
	}
}

// evaluating is a source that evaluates values, and one host less than it has names.
type evaluating struct{ *known.Source }

func (evaluating) Eval(_ context.Context, attr string, asJSON bool) (string, error) {
	return map[bool]string{true: "json ", false: "nix "}[asJSON] + attr, nil
}
func (evaluating) Apply(_ context.Context, f string) (string, error) { return "applied " + f, nil }

func TestEval(t *testing.T) {
	e, _ := fleetOf(t, web("web"))
	before := e.fakes
	opened := func(src source.Source) func(*session) {
		return func(s *session) { before(s); s.source = src }
	}
	e.fakes = opened(evaluating{known.New(source.About{Names: []string{"web"}}, nil, "")})
	for want, r := range map[string]EvalRequest{
		"nix web.x":      {Attribute: "web.x"},
		"json web.x":     {Attribute: "web.x", JSON: true},
		"applied n: n.x": {Function: "n: n.x"},
	} {
		if got, err := Eval(t.Context(), e, r); got != want || err != nil {
			t.Errorf("%q, want %q; %v", got, want, err)
		}
	}
	e.fakes = opened(known.New(source.About{Names: []string{"web"}}, nil, ""))
	if _, err := Eval(t.Context(), e, EvalRequest{Attribute: "x"}); err == nil || !strings.Contains(err.Error(), "has no nodes to evaluate") {
		t.Error(err)
	}
}

func TestLoginRefuses(t *testing.T) {
	e, _ := fleetOf(t, web("web", "db"))
	if _, err := Login(t.Context(), e, LoginRequest{Where: Where{Hosts: []string{"*"}}}); err == nil || err.Error() != "* selects 2 hosts, and ssh takes one" {
		t.Error(err)
	}
}

func TestDiff(t *testing.T) {
	st := storetest.New()
	old := st.Add("nixos-system-web-24.05", "a", st.Add("bash-5.1", "x"))
	now := st.Add("nixos-system-web-24.11", "b", st.Add("bash-5.2", "y"))
	serve := hosttest.Call{Want: `nix-store --serve`, Again: true, EitherWay: true, Serve: func(in io.Reader, out io.Writer) error { return st.Serve(in, out) }}
	m := machine{generations: []string{old, now}, more: []hosttest.Call{serve}}
	hosts := append(systems(map[string]string{"web": now}, "web"), fleet.Host{Name: "image", BuildOnly: true}, fleet.Host{Name: "db"})
	one := Where{Hosts: []string{"web"}}
	for _, c := range []struct {
		r    DiffRequest
		want string // changes, or the error
	}{
		{DiffRequest{Where: one, From: "1", To: "running"}, "bash"},
		{DiffRequest{Where: one, From: "running", To: "config"}, ""},
		{DiffRequest{Where: one, From: "booted", To: "profile"}, ""},
		{DiffRequest{Where: one, From: "7", To: "running"}, "web: there is no generation 7"},
		{DiffRequest{Where: Where{Hosts: []string{"image"}}, From: "1", To: "2"}, "image: a build-only host has no running system"},
		{DiffRequest{Where: Where{Hosts: []string{"*"}}, From: "1", To: "2"}, "diff is about one host, and '*' matches 3"},
	} {
		e, _ := fleetOf(t, hosts, m.on(t, "web"))
		d, err := Diff(t.Context(), e, c.r)
		var got []string
		if err != nil {
			got = append(got, err.Error())
		} else {
			for _, x := range d.Changes {
				got = append(got, x.Name)
			}
		}
		if !strings.Contains(strings.Join(got, " "), c.want) || c.want == "" && len(got) > 0 {
			t.Errorf("%+v: %q, want %q", c.r, got, c.want)
		}
	}
	if s := (Side{Name: "41", System: "/x"}).String() + (Side{Name: "boot", System: "/y"}).String(); s != "generation 41: /xboot: /y" {
		t.Error(s)
	}
	for word, ok := range map[string]bool{"1": true, "boot": true, "0": false, "-1": false, "bot": false} {
		if err := CheckSystemWord(word); (err == nil) != ok {
			t.Errorf("%s: %v", word, err)
		}
	}
	// What the configuration gives is not on the host, and not to be built.
	other := systems(map[string]string{"web": sysC}, "web")
	e, _ := fleetOf(t, other, m.on(t, "web"))
	if _, err := Diff(t.Context(), e, DiffRequest{Where: one, From: "running", To: "config", NoBuild: true}); err == nil || !strings.Contains(err.Error(), "nothing is built in this run") {
		t.Error(err)
	}
}
