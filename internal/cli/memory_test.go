package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/hoststate"
)

// TestFleetArgs finds the deployment file that is meant.
func TestFleetArgs(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	known := filepath.Join(dir, "known.nix")
	for _, f := range []string{known, filepath.Join(dir, "plain")} {
		if err := os.WriteFile(f, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for host, file := range map[string]string{"web": known, "moved": filepath.Join(dir, "gone.nix")} {
		r := history.Record("", history.Run{File: file}, []string{host}, func(err error) { t.Error(err) })
		r.Close()
	}
	a := &app{stdout: io.Discard, stderr: io.Discard, getenv: func(string) string { return "" }}
	try := func(args string) string {
		f := a.fleetArgs(t.Context(), strings.Fields(args))
		where := strings.Join(f.Wish.Words, ",") + f.Wish.File
		return strings.TrimPrefix(where, dir+"/") + " " + strings.Join(f.Hosts, ",")
	}
	check := func(cases [][2]string) {
		t.Helper()
		for _, c := range cases {
			if got := try(c[0]); got != c[1] {
				t.Errorf("%q: %q, want %q", c[0], got, c[1])
			}
		}
	}
	check([][2]string{
		{"x.nix", "x.nix "},
		{"./x a b", "./x a,b"},
		{"plain a", "plain a"},
		{"web other", "known.nix web,other"},
		{"web", "known.nix web"},
		{"moved", " moved"},
		{"", " "},
	})

	if needHosts(action.Where{Hosts: []string{"web*"}}, &cobra.Command{}, fleet.Selection{Every: 1}) != nil || needHosts(action.Where{}, &cobra.Command{}, fleet.Selection{Every: 1}) == nil {
		t.Error("needHosts")
	}
}

func TestParseAge(t *testing.T) {
	for s, want := range map[string]time.Duration{"": 0, "30d": 720 * time.Hour, "2w": 336 * time.Hour, "12h": 12 * time.Hour, "0d": 0} {
		if got, err := parseAge(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"d", "30", "3m", "-1d", "x", "99999999d"} {
		if _, err := parseAge(s); err == nil {
			t.Errorf("%q is an age", s)
		}
	}
}

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
	if got := statusText(0, out, false); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	out.Source = history.Source{}
	for _, line := range strings.Split(statusText(60, out, false), "\n") {
		if n := len([]rune(line)); n > 60 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestJoinHints(t *testing.T) {
	got := joinHints([]hoststate.Status{
		{Host: "a", Hints: []string{"godwit confirm n a", "godwit rollback --pending n a"}},
		{Host: "b", Hints: []string{"godwit confirm n b", "plug it in"}},
		{Host: "c", Hints: []string{"plug it in"}},
	})
	want := "godwit confirm n a b|godwit rollback --pending n a|plug it in"
	if strings.Join(got, "|") != want {
		t.Errorf("%q", got)
	}
}
