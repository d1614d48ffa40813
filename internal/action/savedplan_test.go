package action

import (
	"strings"
	"testing"

	"godwit/internal/fleet"
	"godwit/internal/plan"
)

func TestFillSecrets(t *testing.T) {
	saved := func() []fleet.Host {
		return []fleet.Host{{Name: "a", Secrets: []fleet.Secret{
			{Name: "file", From: fleet.Content{File: "/f"}},
			{Name: "text", Destination: "/run/text", From: fleet.Content{Withheld: "text"}},
			{Name: "said", Destination: "/run/said", From: fleet.Content{Withheld: "command"}},
		}}}
	}
	hosts := saved()
	now := []fleet.Host{{Name: "b"}, {Name: "a", Secrets: []fleet.Secret{
		{Name: "said", Destination: "/run/said", From: fleet.Content{Command: []string{"pass", "x"}}},
		{Name: "text", Destination: "/run/text", From: fleet.Content{Text: "t"}},
	}}}
	if err := fillSecrets(hosts, now); err != nil {
		t.Fatal(err)
	}
	s := hosts[0].Secrets
	if s[0].From.File != "/f" || s[1].From.Text != "t" || strings.Join(s[2].From.Command, " ") != "pass x" || s[1].From.Withheld != "" {
		t.Errorf("%q %q %q", s[0].From.File, s[1].From.Text, s[2].From.Command)
	}
	for name, now := range map[string][]fleet.Host{
		"no such host":   {{Name: "b"}},
		"no such secret": {{Name: "a"}},
		"elsewhere":      {{Name: "a", Secrets: []fleet.Secret{{Name: "text", Destination: "/run/other", From: fleet.Content{Text: "t"}}}}},
	} {
		if err := fillSecrets(saved(), now); err == nil || !strings.Contains(err.Error(), "a: the configuration has no secret 'text' for /run/text any more") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLiteral(t *testing.T) {
	for _, name := range []string{"web", "a*b", "a?b[c]", `a\b`, "{x}"} {
		sel := fleet.Selection{On: []string{literal(name)}, Every: 1}
		if got, err := sel.Names([]string{"web", "aXb", name}); err != nil || len(got) == 0 || got[len(got)-1] != name || len(got) > 1 && name != "web" {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
}

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
	if err := retarget(hosts, fleet.Targets{"a=10.0.0.1,x:2"}); err != nil || hosts[0].At.Host != "10.0.0.1" || hosts[0].At.Also[0] != "x:2" || hosts[0].At.User != "u" || hosts[1].At.Host != "b" {
		t.Errorf("%v, %+v", err, hosts)
	}
	if err := retarget(hosts, fleet.Targets{"c=x"}); err == nil || !strings.Contains(err.Error(), "there is no host 'c'") {
		t.Error(err)
	}
}
