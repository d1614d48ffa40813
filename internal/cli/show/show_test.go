package show

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"godwit/internal/action"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/hoststate"
)

func TestStatusText(t *testing.T) {
	behind := 3
	out := &action.Fleet{Source: history.Source{Commit: "4f2a91c0000"}, Hosts: []hoststate.Status{
		{Host: "web1", OK: true, Answers: true, InSync: new(bool), Running: &hoststate.System{Version: "24.05.20260911"},
			Deployed: &hoststate.Deployed{Ago: 7200, By: "ana", Commit: "4f2a91c0000"}},
		{Host: "web2", Answers: true, Running: &hoststate.System{Version: "24.05.20260830"},
			Deployed: &hoststate.Deployed{Ago: 12 * 86400, By: "ana", Commit: "77c0e1d0000", Tree: "dirty", Behind: &behind},
			Problems: []hoststate.Problem{{Kind: hoststate.Drift, Text: "3 commits behind"}}, Notes: []string{"rolled back 4 min ago"}},
		{Host: "db1", Answers: true, Running: &hoststate.System{Path: "/n", Version: "24.05"},
			Pending:  &hoststate.PendingDeployment{New: "/n", By: "bo", Ago: 30, Commit: "4f2a91c0000"},
			Problems: []hoststate.Problem{{Kind: hoststate.Pending, Text: "a deployment waits for its confirmation by bo since 30s"}}},
		hoststate.NoAnswer("pi3", "no answer on 192.168.1.23:22", nil, hoststate.Wanted{}),
	}}
	want := `repository at 4f2a91c (clean)

HOST  SYSTEM          DEPLOYED     BY   COMMIT    STATE
web1  24.05.20260911  2 hours ago  ana  4f2a91c   ✓ as in repository
web2  24.05.20260830  12 days ago  ana  77c0e1d+  ⚠ 3 commits behind · rolled back 4 min ago
db1   24.05           30 s ago     bo   4f2a91c   ⚠ a deployment waits for its confirmation by bo since 30s
pi3   ?               –            –    –         ✗ no answer on 192.168.1.23:22
`
	if got := Status(0, out, false); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	out.Source = history.Source{}
	for _, line := range strings.Split(Status(60, out, false), "\n") {
		if n := len([]rune(line)); n > 60 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestHints(t *testing.T) {
	got := Hints([]hoststate.Status{
		{Host: "a", Hints: []string{"godwit confirm n a", "godwit rollback --pending n a"}},
		{Host: "b", Hints: []string{"godwit confirm n b", "plug it in"}},
		{Host: "c", Hints: []string{"plug it in"}},
	})
	want := "godwit confirm n a b|godwit rollback --pending n a|plug it in"
	if strings.Join(got, "|") != want {
		t.Errorf("%q", got)
	}
}

// TestHostsTable: an address with colons and its port can be told apart.
func TestHostsTable(t *testing.T) {
	got := Hosts([]fleet.Host{{Name: "a", At: fleet.Address{Host: "fe80::1%eth0", Port: 22, User: "root"}}, {Name: "b", At: fleet.Address{Host: "b.example", Port: 2222}}})
	for _, want := range []string{" root@[fe80::1%eth0]:22 ", " b.example:2222 "} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestProfilesColumn: the table has a column for profiles only where there is more than
// systems.
func TestProfilesColumn(t *testing.T) {
	hosts := []fleet.Host{
		{Name: "a", Profiles: []fleet.Profile{{Name: "system", Kind: fleet.NixOS}, {Name: "ana", Kind: fleet.Home, User: "ana"}}},
		{Name: "b", Profiles: []fleet.Profile{{Name: "system", Kind: fleet.NixOS}}},
	}
	if s := Hosts(hosts); !strings.Contains(s, "PROFILES") || !strings.Contains(s, "system,ana") {
		t.Error(s)
	}
	if s := Hosts(hosts[1:]); strings.Contains(s, "PROFILES") {
		t.Error(s)
	}
	if list := HostsJSON(hosts); len(list) != 2 || len(list[0].Profiles) != 2 || list[0].Profiles[1].User != "ana" || list[1].Profiles != nil {
		t.Errorf("%+v", list)
	}
}

// TestOfProfile: --profile of history leaves what the profile is part of; an entry
// without profiles is of the system.
func TestOfProfile(t *testing.T) {
	entries := []history.Entry{{Host: "a", New: "/n", Profiles: []history.Profile{{Name: "system", New: "/n"}, {Name: "ana", Old: "/h1", New: "/h2"}}}, {Host: "b", New: "/m"}}
	if got := OfProfile(entries, "ana"); len(got) != 1 || got[0].Old != "/h1" || got[0].New != "/h2" || entries[0].New != "/n" {
		t.Errorf("%+v", got)
	}
	if got := OfProfile(entries, "system"); len(got) != 2 || got[1].New != "/m" {
		t.Errorf("%+v", got)
	}
	if got := OfProfile(entries, ""); len(got) != 2 {
		t.Errorf("%+v", got)
	}
}

// TestReasons: what many hosts failed of is told once, and nothing is lost.
func TestReasons(t *testing.T) {
	broken := func(host string) deploy.Outcome {
		return deploy.Outcome{Host: host, State: deploy.Failed, Err: fault.New("lab-fails does not build").On(host).Detail("exit 1").Hint("nix log x")}
	}
	var bad []deploy.Outcome
	for i := range 6 {
		bad = append(bad, broken(fmt.Sprintf("web%d", i)))
	}
	bad = append(bad,
		deploy.Outcome{Host: "db", State: deploy.Failed, Err: fault.New("lab-fails does not build").On("db").Detail("exit 2").Hint("nix log x")},
		deploy.Outcome{Host: "pi", State: deploy.Interrupted, Err: fault.New("interrupted").On("pi")},
		deploy.Outcome{Host: "mail", State: deploy.Failed, Err: errors.New("mail: no room")},
	)
	var got strings.Builder
	for _, err := range Reasons(bad) {
		got.WriteString(fault.Render(err))
	}
	want := `error: web0, web1, web2 and 3 more: lab-fails does not build
  exit 1
hint: nix log x
error: db: lab-fails does not build
  exit 2
hint: nix log x
error: mail: no room
`
	if got.String() != want {
		t.Errorf("got\n%s", got.String())
	}
	if f := bad[0].Err.(*fault.Error); f.Host != "web0" {
		t.Errorf("the outcome's own error was changed: %v", f)
	}
}
