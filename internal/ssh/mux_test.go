package ssh_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/host"
	"godwit/internal/ssh/sshtest"
)

// TestSessionsOfOurs counts the programs that commands need: one for the connection, whatever the
// number of commands, which get what the configuration has ssh send. Where ssh does not say
// what that is, and where the master gives no session, ssh is started for each command.
func TestSessionsOfOurs(t *testing.T) {
	t.Setenv("GODWIT_TEST_A", "one with 'quotes'\nand a line")
	for _, c := range []struct {
		name, script string
		server       []string
		started      string
	}{
		{name: "of the master", started: "master"},
		{name: "ssh says nothing", script: `[ "$1" != -G ] || exit 1`, started: "master command command command command"},
		{name: "refused", server: []string{"MaxSessions 1"}, started: "master command command command command"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := sshtest.Start(t, append(c.server, "AcceptEnv GODWIT_TEST_*")...)
			s.WriteConfig("SendEnv GODWIT_TEST_A*", "SetEnv GODWIT_TEST_B=two")
			dir := t.TempDir()
			program := filepath.Join(dir, "ssh")
			text := "#!/bin/sh\n" + c.script + `
case "$1 $*" in -G*|-V*) ;; *ControlMaster=yes*) echo master >>DIR/started ;; *) echo command >>DIR/started ;; esac
exec ssh "$@"
`
			if err := os.WriteFile(program, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o755); err != nil {
				t.Fatal(err)
			}
			o := s.Options()
			o.Program = program
			h := s.HostWith(t, "web", o)
			for range 2 {
				out := output(t, h, host.Cmd{Script: `printf '%s|%s' "$GODWIT_TEST_A" "$GODWIT_TEST_B"`})
				if want := "one with 'quotes'\nand a line|two"; out != want {
					t.Errorf("%q, want %q", out, want)
				}
			}
			for code := range 2 {
				var errs bytes.Buffer
				err := h.Run(context.Background(), host.Cmd{Script: `cat; echo "to stderr" >&2; exit "$1"`, Args: []string{string(rune('0' + code))}, Stdin: strings.NewReader("in"), Stderr: &errs})
				if (err != nil) != (code != 0) || errs.String() != "to stderr\n" {
					t.Errorf("status %d: %v, %q", code, err, errs.String())
				}
			}
			started, _ := os.ReadFile(filepath.Join(dir, "started"))
			if got := strings.Join(strings.Fields(string(started)), " "); got != c.started {
				t.Errorf("%q was started, want %q", got, c.started)
			}
		})
	}
}
