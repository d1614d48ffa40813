package cli

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestMain makes this program godwit itself where a test asks for that.
func TestMain(m *testing.M) {
	if os.Getenv("GODWIT_TEST_MAIN") != "" {
		os.Exit(Main(os.Args[1:]))
	}
	if how := os.Getenv("GODWIT_TEST_PANIC"); how != "" {
		os.Exit(panicking(how))
	}
	os.Exit(m.Run())
}

// TestOutputLost runs godwit with a stdout or stderr that takes nothing.
func TestOutputLost(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	closed := func() *os.File { // a pipe that nobody reads
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Close()
		t.Cleanup(func() { _ = w.Close() })
		return w
	}
	run := func(stdout, stderr io.Writer, args ...string) int {
		cmd := exec.Command(self, args...)
		cmd.Env = append(os.Environ(), "GODWIT_TEST_MAIN=1")
		cmd.Stdout, cmd.Stderr = stdout, stderr
		var exit *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode() // -1 when a signal ended it
	}
	for _, args := range [][]string{{"version"}, {"--help"}, {"completion", "bash"}} {
		var said strings.Builder
		if code := run(closed(), &said, args...); code != ExitInterrupted || said.String() != "" {
			t.Errorf("%q, and nobody reads: %d, %q", args, code, said.String())
		}
	}
	if code := run(io.Discard, closed(), "frobnicate"); code != ExitInterrupted && code != ExitFailure {
		t.Errorf("an error that nobody reads: %d", code)
	}
}

// full is a file on a disk without room.
type full struct{ err error }

func (f full) Write([]byte) (int, error) { return 0, f.err }

func TestOutputVerdict(t *testing.T) {
	for _, c := range []struct {
		err        error
		code, want int
		unread     bool
		says       string
	}{
		{nil, ExitOK, ExitOK, false, ""},
		{nil, ExitHosts, ExitHosts, false, ""},
		{syscall.ENOSPC, ExitOK, ExitFailure, false, "error: the output could not be written: no space left on device\n"},
		{syscall.ENOSPC, ExitHosts, ExitHosts, false, ""},
		{syscall.EPIPE, ExitOK, ExitInterrupted, true, ""},
		{syscall.EPIPE, ExitInterrupted, ExitInterrupted, true, ""},
	} {
		var cause error
		o := &output{file: full{c.err}, unread: func(err error) { cause = err }}
		if c.err == nil {
			o.file = io.Discard
		}
		_, _ = o.Write([]byte("x"))
		var said strings.Builder
		if code := o.verdict(c.code, &said); code != c.want || said.String() != c.says || errors.Is(cause, errInterrupted) != c.unread {
			t.Errorf("%v, %d: %d, %q, %v", c.err, c.code, code, said.String(), cause)
		}
	}
}
