//go:build unix

package ui

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"godwit/internal/event"
	"godwit/internal/tools/vt"
)

// TestMain turns the test binary into a program that uses a UI on its own
// stdout and stderr when it is told to.
func TestMain(m *testing.M) {
	switch os.Getenv("GODWIT_UI_TEST") {
	case "":
		os.Exit(m.Run())
	case "run":
		os.Exit(program())
	}
}

func program() int {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt)
	u := New(Options{Hosts: []string{"web1", "web2", "web3"}})
	defer u.Close()
	u.Println("Selected 3/3 hosts")
	for _, h := range []string{"web1", "web2"} {
		u.Emit(event.Event{Host: h, Step: event.StepBuild, Kind: event.Started, Text: "linux-6.6.51"})
	}
	u.Emit(event.Event{Host: "web2", Kind: event.Result, Outcome: "ok", Text: "built"})
	for i := 0; ; i++ {
		u.Emit(event.Event{Host: "web1", Step: event.StepBuild, Kind: event.Log, Text: fmt.Sprintf("line %d", i)})
		select {
		case <-c:
			return 130
		case <-time.After(10 * time.Millisecond):
			if i == 1000 {
				return 0
			}
		}
	}
}

// onPTY runs the program on a real terminal of that size until it has shown
// text, does something to it, and gives the final screen.
func onPTY(t *testing.T, w, h int, env []string, text string, then func(f *os.File, p *os.Process)) (*vt.Screen, string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append([]string{"GODWIT_UI_TEST=run", "TERM=xterm-256color", "LANG=C.UTF-8",
		// With -cover the program writes there, and warns on the terminal when there is nowhere.
		"GOCOVERDIR=" + t.TempDir()}, env...)
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: uint16(h), Cols: uint16(w)})
	if err != nil {
		t.Fatalf("no terminal to be had: %v (/dev/ptmx must be there and writable)", err)
	}
	defer f.Close()
	screen := vt.New(w, h)
	var mu sync.Mutex
	var raw strings.Builder
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(writerFunc(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			raw.Write(p)
			return screen.Write(p)
		}), f)
	}()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		mu.Lock()
		ok := strings.Contains(screen.Text(), text)
		mu.Unlock()
		if ok {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q did not appear:\n%s", text, screen.Text())
		}
	}
	kill := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	then(f, cmd.Process)
	_ = cmd.Wait()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		f.Close()
	}
	return screen, raw.String()
}

func TestPTYInterrupt(t *testing.T) {
	s, _ := onPTY(t, 80, 24, nil, "line ", func(f *os.File, _ *os.Process) { _, _ = f.Write([]byte{3}) })
	if !s.Cursor || !s.Wrap || s.Sync || s.X != 0 {
		t.Errorf("the terminal is not as it was: cursor %v, wrap %v, sync %v, column %d", s.Cursor, s.Wrap, s.Sync, s.X)
	}
	want := "Selected 3/3 hosts\n⚠ web1  interrupted while building\n✓ web2  built\n○ web3  not started"
	if got := s.AllText(); got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestPTYPlain(t *testing.T) {
	for _, env := range [][]string{{"CI=true"}, {"TERM=dumb"}} {
		_, raw := onPTY(t, 80, 24, env, "web1 | building", func(f *os.File, _ *os.Process) { _, _ = f.Write([]byte{3}) })
		if strings.ContainsAny(strings.ReplaceAll(raw, "\r\n", "\n"), "\x1b\r") && env[0] != "CI=true" {
			t.Errorf("%v: control characters in %q", env, raw)
		}
	}
}

func TestPTYResizeAndStop(t *testing.T) {
	s, _ := onPTY(t, 80, 24, []string{"XTERM_VERSION=1", "NO_COLOR=1"}, "line ", func(f *os.File, p *os.Process) {
		_ = pty.Setsize(f, &pty.Winsize{Rows: 24, Cols: 60})
		time.Sleep(150 * time.Millisecond)
		_, _ = f.Write([]byte{26}) // Ctrl-Z
		time.Sleep(150 * time.Millisecond)
		// The stop may come late on a busy machine.
		go func() {
			for range 100 {
				if p.Signal(syscall.SIGCONT) != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		}()
		time.Sleep(150 * time.Millisecond)
		_, _ = f.Write([]byte{3})
	})
	got := s.AllText()
	if strings.Count(got, "web1") != 1 || !s.Cursor {
		t.Errorf("cursor %v, screen\n%s", s.Cursor, got)
	}
}
