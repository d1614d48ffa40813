package crash

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain makes this program one that fails the way that it is told to.
func TestMain(m *testing.M) {
	how := os.Getenv("GODWIT_CRASH")
	if how == "" {
		os.Exit(m.Run())
	}
	defer Catch()
	Open()
	OnExit(func() { _, _ = os.Stderr.WriteString("[terminal given back]\n") })
	OnExit(func() { panic("in a hook") })
	OnExit(func() { _, _ = os.Stderr.WriteString("[not called]\n") })()
	index := func() { _ = make([]string, 1)[len(os.Args)+5] }
	switch how {
	case "main":
		index()
	case "goroutine":
		go func() { defer Catch(); index() }()
		select {}
	case "many":
		for range 20 {
			go Func(index)()
		}
		select {}
	case "foreign": // os/exec calls the writer
		cmd := exec.Command("echo", "x")
		cmd.Stdout = bad{}
		_ = cmd.Run()
		select {}
	case "words":
		panic(errors.New("\x1b[2J\u202e many\nlines " + strings.Repeat("x", 1<<20)))
	case "fatal": // cannot be caught
		m := map[int]int{}
		for range 8 {
			go func() {
				for i := 0; ; i++ {
					m[i%100] = i
				}
			}()
		}
		time.Sleep(time.Minute)
	}
}

type bad struct{}

func (bad) Write([]byte) (int, error) { defer Catch(); panic("in Write") }

func TestCrash(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(t *testing.T, how, state string) (said string, code int) {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), "GODWIT_CRASH="+how, "XDG_STATE_HOME="+state, "TMPDIR="+state)
		var b strings.Builder
		cmd.Stdout, cmd.Stderr = &b, &b
		var exit *exec.ExitError
		if err := cmd.Run(); !errors.As(err, &exit) {
			t.Fatalf("%v: %s", err, b.String())
		}
		return b.String(), cmd.ProcessState.ExitCode()
	}
	for how, want := range map[string]string{
		"main": "index out of range [6] with length 1", "goroutine": "index out of range", "many": "index out of range",
		"foreign": "in Write", "words": `\u202e many lines xxx`,
	} {
		t.Run(how, func(t *testing.T) {
			state := t.TempDir()
			file := filepath.Join(state, "godwit", "crash.log")
			said, code := run(t, how, state)
			first, rest, _ := strings.Cut(said, "\n")
			if code != Exit || first != "[terminal given back]" {
				t.Errorf("status %d, said %q", code, first)
			}
			if !strings.HasPrefix(rest, "godwit: an internal fault: ") || !strings.Contains(rest, want) ||
				!strings.HasSuffix(rest, "; the trace is in "+file+"\n") || strings.Count(rest, "\n") != 1 || len(rest) > 1000 || strings.Contains(said, "\x1b") {
				t.Errorf("said %q", said)
			}
			trace, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if s := string(trace); !strings.Contains(s, "crash_test.go:") || !strings.Contains(s, "panic: ") || !strings.Contains(s, " godwit unknown (go") {
				t.Errorf("the trace: %.2000s", s)
			}
			if st, _ := os.Stat(file); st.Mode().Perm() != 0o600 {
				t.Error("the trace is", st.Mode())
			}
		})
	}
	t.Run("fatal", func(t *testing.T) {
		state := t.TempDir()
		said, _ := run(t, "fatal", state)
		trace, err := os.ReadFile(filepath.Join(state, "godwit", "crash.log"))
		if err != nil || !strings.Contains(string(trace), "crash_test.go:") {
			t.Errorf("%v: %.500s\nsaid %.500s", err, trace, said)
		}
	})
	t.Run("no state", func(t *testing.T) {
		state := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(state, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		// Neither there nor in TMPDIR: the person gets it all.
		if said, code := run(t, "main", state); code != Exit || !strings.Contains(said, "the trace could not be kept") || !strings.Contains(said, "crash_test.go:") {
			t.Errorf("status %d: %s", code, said)
		}
	})
}

func TestFileIsBounded(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				if _, err := keep("x", make([]byte, 100<<10)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	f, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if st, _ := f.Stat(); st.Size() > mostKept+500<<10 {
		t.Error(st.Size())
	}
	// What is no file is replaced, not written to.
	if err := os.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", f.Name()); err != nil {
		t.Fatal(err)
	}
	if _, err := keep("x", []byte("y")); err != nil {
		t.Error(err)
	}
}
