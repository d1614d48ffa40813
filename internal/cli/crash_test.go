package cli

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"godwit/internal/action"
	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/tools/vt"
	"godwit/internal/ui"
)

// panicking is a run that fails of godwit's own fault in the midst of a live view.
func panicking(how string) int {
	defer crash.Catch()
	a := &app{stdin: os.Stdin, stdout: ui.NewStdout(os.Stdout, os.Stdout), stderr: ui.NewStderr(os.Stderr, os.Stderr), getenv: os.Getenv}
	a.globals.progress = "live"
	return a.report(context.Background(), a.run(context.Background(), nil, func(ctx context.Context, _ *action.Env, v *view) error {
		v.Announce([]string{"web1", "web2"})
		event.On(v, "web1", event.StepBuild).Start("linux")
		time.Sleep(300 * time.Millisecond) // it has been drawn
		var m map[string]int
		fail := func(m map[string]int) { m["x"] = 1 }
		switch how {
		case "main":
			fail(m)
		case "goroutine":
			go func() { defer crash.Catch(); fail(m) }()
			for { // and others go on
				event.On(v, "web1", event.StepBuild).Log("line")
			}
		}
		return nil
	}))
}

func TestPanicInLiveView(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"main", "goroutine"} {
		state := t.TempDir()
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), "GODWIT_TEST_PANIC="+how, "XDG_STATE_HOME="+state, "TERM=xterm", "LANG=C.UTF-8", "CI=")
		f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 200})
		if err != nil {
			t.Fatal(err)
		}
		screen := vt.New(200, 24)
		kill := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		_, _ = io.Copy(screen, f) // ends with an error when the other end is closed
		_ = cmd.Wait()
		kill.Stop()
		f.Close()
		if code := cmd.ProcessState.ExitCode(); code != ExitFailure {
			t.Errorf("%s: status %d", how, code)
		}
		if !screen.Cursor || !screen.Wrap || screen.Sync || screen.X != 0 {
			t.Errorf("%s: the terminal is not as it was: cursor %v, wrap %v, sync %v, column %d", how, screen.Cursor, screen.Wrap, screen.Sync, screen.X)
		}
		said := strings.TrimRight(screen.AllText(), "\n")
		last := said[strings.LastIndexByte(said, '\n')+1:]
		if last != "godwit: an internal fault: assignment to entry in nil map; the trace is in "+state+"/godwit/crash.log" || strings.Contains(said, "goroutine ") {
			t.Errorf("%s: the screen is\n%s", how, said)
		}
		if b, err := os.ReadFile(state + "/godwit/crash.log"); err != nil || !strings.Contains(string(b), "crash_test.go") {
			t.Errorf("%s: the trace is %q, %v", how, b, err)
		}
	}
}
