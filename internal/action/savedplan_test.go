package action

import (
	"strings"
	"testing"

	"godwit/internal/fleet"
	"godwit/internal/plan"
)

func TestHostsOf(t *testing.T) {
	p := &plan.Plan{Hosts: []plan.Host{
		{Name: "a", Status: plan.Change, Config: &fleet.Host{Name: "a"}},
		{Name: "b", Status: plan.Unchanged, Config: &fleet.Host{Name: "b"}},
		{Name: "c", Status: plan.BuildOnly}, {Name: "d", Status: plan.Unreachable},
	}}
	hosts, names, without := hostsOf(p)
	if len(hosts) != 2 || strings.Join(names, " ") != "a b" || strings.Join(without, " ") != "d" {
		t.Errorf("%v %q %q", hosts, names, without)
	}
}

func TestRetarget(t *testing.T) {
	hosts := []fleet.Host{{Name: "a", At: fleet.Address{Host: "a", User: "u"}}, {Name: "b", At: fleet.Address{Host: "b"}}}
	if err := (fleet.Targets{"a=10.0.0.1,x:2"}).ApplyAll(hosts); err != nil || hosts[0].At.Host != "10.0.0.1" || hosts[0].At.Also[0] != "x:2" || hosts[0].At.User != "u" || hosts[1].At.Host != "b" {
		t.Errorf("%v, %+v", err, hosts)
	}
	if err := (fleet.Targets{"c=x"}).ApplyAll(hosts); err == nil || !strings.Contains(err.Error(), "there is no host 'c'") {
		t.Error(err)
	}
}
