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
