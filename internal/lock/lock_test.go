package lock

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/host"
	"godwit/internal/host/hosttest"
)

// machine is a host whose scripts run here, with the file in a folder of the test.
func machine(t *testing.T, shell string) host.Conn {
	t.Helper()
	dir := t.TempDir()
	file = filepath.Join(dir, "var", "lock.json")
	t.Cleanup(func() { file = File })
	return hosttest.Func{Host: "web", Do: func(ctx context.Context, c host.Cmd) error {
		cmd := exec.CommandContext(ctx, shell, "-c", c.Script)
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = c.Stdout, &stderr
		if err := cmd.Run(); err != nil || stderr.Len() > 0 {
			return fmt.Errorf("%w %s", err, stderr.String())
		}
		return nil
	}}
}

func TestLock(t *testing.T) {
	for _, shell := range []string{"dash", "bash"} {
		t.Run(shell, func(t *testing.T) {
			conn, ctx := machine(t, shell), t.Context()
			l := Lock{Host: "web", User: "ana", Deployer: "laptop", Message: `it's "new" <b> & $HOME`, Since: time.Date(2026, 11, 28, 22, 10, 0, 0, time.UTC)}
			for _, look := range []func(context.Context, host.Conn, string) (*Lock, error){Of, Clear} {
				if was, err := look(ctx, conn, "web"); was != nil || err != nil {
					t.Fatalf("nobody locked it: %v, %v", was, err)
				}
			}
			if was, err := Set(ctx, conn, l, true); was != nil || err != nil {
				t.Fatalf("set: %v, %v", was, err)
			}
			if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o644 {
				t.Errorf("%v, %v", st, err)
			}
			got, err := Of(ctx, conn, "web")
			if err != nil || got == nil || *got != l {
				t.Fatalf("%+v, %v", got, err)
			}
			other := l
			other.User = "bo"
			if was, err := Set(ctx, conn, other, true); err != nil || was == nil || was.User != "ana" {
				t.Errorf("two locks: %v, %v", was, err)
			}
			if was, err := Set(ctx, conn, other, false); was != nil || err != nil {
				t.Errorf("replaced: %v, %v", was, err)
			}
			if was, err := Clear(ctx, conn, "web"); err != nil || was == nil || was.User != "bo" {
				t.Errorf("cleared: %v, %v", was, err)
			}
			if left, _ := filepath.Glob(filepath.Dir(file) + "/*"); len(left) > 0 {
				t.Errorf("left over: %v", left)
			}

			// Of many who lock at once, one gets it, and the others are told who.
			var wg sync.WaitGroup
			got1 := make([]*Lock, 12)
			for i := range got1 {
				wg.Go(func() {
					mine := l
					mine.User = fmt.Sprintf("user%d", i)
					was, err := Set(ctx, conn, mine, true)
					if err != nil {
						t.Error(err)
					}
					got1[i] = was
				})
			}
			wg.Wait()
			winner, err := Of(ctx, conn, "web")
			if err != nil {
				t.Fatal(err)
			}
			won := 0
			for i, was := range got1 {
				if was == nil {
					won++
					if winner.User != fmt.Sprintf("user%d", i) {
						t.Errorf("user%d was told to have it, and %s has", i, winner.User)
					}
				} else if was.User != winner.User {
					t.Errorf("user%d was told %s, and %s has it", i, was.User, winner.User)
				}
			}
			if won != 1 {
				t.Errorf("%d got it", won)
			}
		})
	}
}

func TestRead(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"\n", ""},
		{"{}", "somebody"},
		{"x", "somebody: the file /var/lib/godwit-lock.json cannot be understood"},
		{`{"user":"a\u001b[31m\nb","message":"x\u202ey"}`, `a b: x\u202ey`},
	} {
		got := ""
		if l := Read(c.in); l != nil {
			got = l.String()
		}
		if got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
	err := (&Lock{User: "ana", Message: "disk"}).Err("web 1")
	if s := strings.Join(err.HintLines(), "\n"); !strings.Contains(s, "godwit unlock 'web 1'") || !strings.Contains(err.Error(), "locked by ana: disk") {
		t.Errorf("%s\n%s", err, s)
	}
}

// TestScripts: under every shell that a host may have.
func TestScripts(t *testing.T) {
	for _, s := range []string{set, clear, read} {
		cmd := exec.Command("shellcheck", "-s", "sh", "-e", "SC2154", "-")
		cmd.Stdin = strings.NewReader(s)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}
