package hostile_test

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"godwit/internal/host"
	"godwit/internal/ssh"
	"godwit/test/hostile"
)

// The zero value can be logged in to, and has no commands.
func TestAlone(t *testing.T) {
	s := hostile.Start(t, hostile.Host{})
	pool, err := ssh.NewPool(ssh.Options{ConfigFile: s.ConfigFile})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	h := pool.Host(ssh.Target{Name: "web", Host: "127.0.0.1", Port: s.Port})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := h.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	if out, err := h.Output(ctx, host.Cmd{Argv: []string{"hostname"}}); err == nil || !strings.Contains(err.Error(), "127") {
		t.Errorf("a command gave %q, %v", out, err)
	}
	if s.Connections() != 1 || s.Commands() != 2 {
		t.Errorf("%d connections, %d commands", s.Connections(), s.Commands())
	}
}

// A host behind runs what is asked for, whole; its words can be rewritten.
func TestBehind(t *testing.T) {
	behind := func(ctx context.Context, user, line string) *exec.Cmd {
		// A stand-in that has nothing to do with this machine: it answers with what it was sent.
		return exec.CommandContext(ctx, "sh", "-c", `echo `+mark(line)+` 1; { echo; echo `+mark(line)+`; } >&2; IFS= read -r l; printf '%s\n' "${#l} first"; cat; exit 3`)
	}
	for _, rewritten := range []bool{false, true} {
		s := hostile.Start(t, hostile.Host{Behind: behind, Command: func(c *hostile.Command) {
			if rewritten {
				c.Rewritten(func(l string) string { return "+" + l })
			} else {
				c.Good()
			}
		}})
		cmd := exec.Command("ssh", "-F", s.ConfigFile, "-p", strconv.Itoa(s.Port), "127.0.0.1", "exec /bin/sh -c 'echo; echo godwit-00 $$; '")
		cmd.Stdin = strings.NewReader("abc\nrest of\nit")
		out, err := cmd.Output()
		want := "godwit-00 1\n3 first\nrest of\nit"
		if rewritten {
			want = "godwit-00 1\n+3 first\n+rest of\n+it"
		}
		if string(out) != want || cmd.ProcessState.ExitCode() != 3 {
			t.Errorf("rewritten %v: %q, %v", rewritten, out, err)
		}
	}
}

func mark(line string) string {
	_, rest, _ := strings.Cut(line, "echo; echo ")
	m, _, _ := strings.Cut(rest, " ")
	return m
}

func TestDirty(t *testing.T) {
	if got := hostile.Dirty("fine\nand \x1b[1;31mred\x1b[0m text\r\n", true); got != "" {
		t.Error(got)
	}
	if got := hostile.Dirty("\x1b[1;31mred", false); got == "" {
		t.Error("colour passes where none is allowed")
	}
	for _, bad := range []string{"\x1b[2J", "\x1b]0;t\x07", "\x1bc", "a\rb", "\r", "\x07", "\b", "\u009b1m", "\u202e", hostile.Dirt} {
		if hostile.Dirty(bad, true) == "" {
			t.Errorf("%q passes", bad)
		}
	}
}
