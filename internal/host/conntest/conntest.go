// Package conntest has what every host.Conn must do, whatever is behind it. A new one that
// passes needs no reading by who wrote the others.
package conntest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"godwit/internal/bounded"
	"godwit/internal/fault"
	"godwit/internal/host"
)

// Options say what is different about a connection.
type Options struct {
	// Root tells that it can become root, or takes who it is for root.
	Root bool
	// Typed tells that what a person is told to type can be run on this machine.
	Typed bool
}

// Run holds h, a connection to a host with the file system of this machine, to the
// contract.
func Run(t *testing.T, o Options, h host.Conn) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, h host.Conn)
	}{
		{"words", words}, {"shell", shellLine}, {"script", script}, {"unseen", unseen}, {"input", input}, {"status", status},
		{"no command", noCommand}, {"outputs", outputs}, {"deaf reader", deaf}, {"limit", limit}, {"too much", tooMuch}, {"cancelled", cancelled},
		{"cancelled before", cancelledBefore}, {"killed on cancel", killOnCancel}, {"open", duplex}, {"open and kill", openKill},
		{"at once", atOnce}, {"left behind", leftBehind}, {"connect", connect},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, h) })
	}
	if o.Root {
		t.Run("root", func(t *testing.T) { root(t, h) })
	}
	if o.Typed {
		t.Run("typed", func(t *testing.T) { typed(t, h) })
	}
}

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return c
}

// odd is what must arrive as it is.
var odd = []string{"", " ", "a b", "'", `"`, `\`, `\n`, "$HOME", "`id`", "a\nb\n", "*", "ü€", "-n", "!!", "\t", "#", "~", "a;b&c|d", strings.Repeat("x", 1<<17)}

func says(t *testing.T, h host.Conn, c host.Cmd, want string) {
	t.Helper()
	if got, err := h.Output(ctx(t), c); err != nil || got != want {
		t.Errorf("%s: %.300q, %v; want %.300q", c, got, err, want)
	}
}

func words(t *testing.T, h host.Conn) {
	says(t, h, host.Cmd{Argv: append([]string{"printf", `%s\0`}, odd...)}, strings.Join(odd, "\x00")+"\x00")
}

func shellLine(t *testing.T, h host.Conn) {
	says(t, h, host.Cmd{Shell: `echo "a  b" | tr a c; exit 0`}, "c  b\n")
}

func script(t *testing.T, h host.Conn) {
	says(t, h, host.Cmd{Script: "x() {\n  printf '%s\\0' \"$@\"\n}\n# it's a comment\nx \"$@\"\n", Args: odd}, strings.Join(odd, "\x00")+"\x00")
	long := "# " + strings.Repeat("it's long\n# ", 20<<10) + "\nprintf '%s' \"$1\"; cat"
	says(t, h, host.Cmd{Script: long, Args: odd[:1]}, odd[0])
	says(t, h, host.Cmd{Script: long, Args: odd[:1], Stdin: strings.NewReader("input")}, odd[0]+"input")
	// What answers says nothing before it was asked.
	said, answer := io.Pipe()
	in, says := io.Pipe()
	go func() {
		_ = h.Run(ctx(t), host.Cmd{Script: long + " | tr a-z A-Z", Args: []string{"go\n"}, Stdin: in, Answers: true, Stdout: answer})
		answer.Close()
	}()
	asked := bufio.NewReader(said)
	if line, err := asked.ReadString('\n'); line != "go\n" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
	_, _ = io.WriteString(says, "answer")
	says.Close()
	if rest, err := io.ReadAll(asked); string(rest) != "ANSWER" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
}

// unseen: a command shows in nobody's list of processes.
func unseen(t *testing.T, h host.Conn) {
	word := "seen-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	out, err := h.Output(ctx(t), host.Cmd{Script: "ps -A -o args= | cat; : " + word})
	if err != nil || strings.Contains(out, word) || !strings.Contains(out, "ps -A") {
		t.Errorf("the list of processes shows the script (%v)", err)
	}
}

func input(t *testing.T, h host.Conn) {
	data := bytes.Repeat([]byte("0123456789abcde\n"), 1<<17) // 2 MiB
	var out bytes.Buffer
	if err := h.Run(ctx(t), host.Cmd{Argv: []string{"cat"}, Stdin: bytes.NewReader(data), Stdout: &out, MaxOutput: host.NoMaxOutput}); err != nil || !bytes.Equal(out.Bytes(), data) {
		t.Errorf("%d bytes came back: %v", out.Len(), err)
	}
	says(t, h, host.Cmd{Argv: []string{"cat"}}, "") // an empty one
	// A command that reads nothing of it ends all the same.
	if err := h.Run(ctx(t), host.Cmd{Argv: []string{"true"}, Stdin: endless{}}); err != nil {
		t.Errorf("a command that reads no input: %v", err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func status(t *testing.T, h host.Conn) {
	for _, code := range []int{1, 3, 126, 255} {
		err := h.Run(ctx(t), host.Cmd{Script: "echo one >&2; echo 'the reason' >&2; exit " + strconv.Itoa(code)})
		var exit *host.ExitError
		if !errors.As(err, &exit) || exit.Code != code || exit.Host != h.Name() || !strings.Contains(exit.Stderr, "one\nthe reason\n") || host.Retryable(err) {
			t.Errorf("status %d: %#v", code, err)
		} else if want := fmt.Sprintf("%s: script ended with status %d: the reason", h.Name(), code); err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}

func noCommand(t *testing.T, h host.Conn) {
	for _, c := range []host.Cmd{{}, {Argv: []string{"a"}, Shell: "b"}, {Argv: []string{"a\x00b"}}} {
		if err := h.Run(ctx(t), c); err == nil {
			t.Errorf("%+v ran", c)
		}
		if _, err := h.Open(ctx(t), c); err == nil {
			t.Errorf("%+v was opened", c)
		}
	}
}

func outputs(t *testing.T, h host.Conn) {
	var out, errs bytes.Buffer
	if err := h.Run(ctx(t), host.Cmd{Script: "printf 'o\\0\\001'; printf 'e\\036x' >&2", Stdout: &out, Stderr: &errs}); err != nil || out.String() != "o\x00\x01" || errs.String() != "e\x1ex" {
		t.Errorf("%q, %q, %v", out.String(), errs.String(), err)
	}
}

var errFull = errors.New("the disk is full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func deaf(t *testing.T, h host.Conn) {
	if err := h.Run(ctx(t), host.Cmd{Script: "while :; do echo x; done", Stdout: full{}, MaxOutput: host.NoMaxOutput}); !errors.Is(err, errFull) {
		t.Errorf("nobody reads what it says: %v", err)
	}
}

func limit(t *testing.T, h host.Conn) {
	start := time.Now()
	err := h.Run(ctx(t), host.Cmd{Script: "echo begun >&2; sleep 30", Name: "the long wait", Limit: 700 * time.Millisecond, KillOnCancel: true})
	var late *host.DroppedError
	if !errors.As(err, &late) || !late.TimedOut() || time.Since(start) > 15*time.Second || host.Retryable(err) || !strings.Contains(late.Stderr, "begun") {
		t.Errorf("%#v after %s", err, time.Since(start))
	} else if want := h.Name() + ": the long wait did not end within 700ms"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

func tooMuch(t *testing.T, h host.Conn) {
	for _, where := range []string{"1", "2"} {
		err := h.Run(ctx(t), host.Cmd{Script: `while :; do echo xxxxxxxxxxxxxxxx >&` + where + `; done`, MaxOutput: 1 << 16, KillOnCancel: true})
		if !bounded.Is(err) {
			t.Errorf("output %s: %v", where, err)
		}
	}
}

func cancelled(t *testing.T, h host.Conn) {
	why := errors.New("somebody pressed Ctrl-C")
	if err := h.Connect(ctx(t)); err != nil {
		t.Fatal(fault.Render(err))
	}
	c, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(300*time.Millisecond, func() { cancel(why) })
	start := time.Now()
	err := h.Run(c, host.Cmd{Argv: []string{"sleep", "20"}})
	if !errors.Is(err, why) || time.Since(start) > 10*time.Second || err.Error() != h.Name()+": sleep 20 interrupted" {
		t.Errorf("%v after %s", err, time.Since(start))
	}
	says(t, h, host.Cmd{Argv: []string{"echo", "again"}}, "again\n")
}

func cancelledBefore(t *testing.T, h host.Conn) {
	c, cancel := context.WithCancel(t.Context())
	cancel()
	file := filepath.Join(t.TempDir(), "ran")
	if err := h.Run(c, host.Cmd{Argv: []string{"touch", file}}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("it ran")
	}
}

func killOnCancel(t *testing.T, h host.Conn) {
	for what, script := range map[string]string{
		"a child": `sleep 60 & echo $! >"$1.new"; mv "$1.new" "$1"; wait`,
		// As a Nix does that has lost its interrupt.
		"a builder, in a session of its own": `trap '' TERM; setsid sh -c 'echo $$ >"$1.new"; mv "$1.new" "$1"; sleep 60; :' sh "$1" & wait`,
		"a builder of what its shell leaves": `sh -c 'trap "" TERM; setsid sh -c "echo \$\$ >\"$1.new\"; mv \"$1.new\" \"$1\"; sleep 60; :" & wait' sh "$1"; :`,
	} {
		file := filepath.Join(t.TempDir(), "pid")
		c, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- h.Run(c, host.Cmd{Script: script, Args: []string{file}, KillOnCancel: true})
		}()
		pid := waitPID(t, file)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
		for try := 0; syscall.Kill(pid, 0) == nil; try++ {
			if try == 200 {
				t.Errorf("%s: process %d still runs", what, pid)
				_ = syscall.Kill(pid, syscall.SIGKILL)
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

func waitPID(t *testing.T, file string) int {
	t.Helper()
	for range 400 {
		if b, err := os.ReadFile(file); err == nil && len(b) > 0 {
			pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("it never began")
	return 0
}

func duplex(t *testing.T, h host.Conn) {
	p, err := h.Open(ctx(t), host.Cmd{Script: `while read -r l; do echo "<$l>"; done; echo noise >&2; exit 4`})
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	for _, l := range []string{"a", "b c"} {
		if _, err := io.WriteString(p.Stdin, l+"\n"); err != nil {
			t.Fatal(err)
		}
		if n, err := io.ReadAtLeast(p.Stdout, b, len(l)+3); err != nil || string(b[:n]) != "<"+l+">\n" {
			t.Fatalf("%q, %v", b[:n], err)
		}
	}
	if err := p.Stdin.Close(); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(p.Stdout); err != nil || len(rest) != 0 {
		t.Errorf("%q, %v", rest, err)
	}
	var exit *host.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.Code != 4 || p.Stderr() != "noise\n" {
		t.Errorf("%v, %q", err, p.Stderr())
	}
	if again := p.Wait(); !errors.As(again, &exit) {
		t.Errorf("asked again: %v", again)
	}
}

func openKill(t *testing.T, h host.Conn) {
	p, err := h.Open(ctx(t), host.Cmd{Script: "echo up; cat"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(p.Stdout, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	_, _ = io.Copy(io.Discard, p.Stdout)
	var cut *host.DroppedError
	if err := p.Wait(); !errors.As(err, &cut) || !cut.Killed || host.Retryable(err) {
		t.Errorf("%v", err)
	}
}

func atOnce(t *testing.T, h host.Conn) {
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			says(t, h, host.Cmd{Script: `cat; echo "$1"`, Args: []string{strconv.Itoa(n)}, Stdin: strings.NewReader("in ")}, "in "+strconv.Itoa(n)+"\n")
		})
	}
	wg.Wait()
}

// leftBehind: what a command leaves running does not keep it from ending, even if it
// holds the output open.
func leftBehind(t *testing.T, h host.Conn) {
	file := filepath.Join(t.TempDir(), "pid")
	start := time.Now()
	out, err := h.Output(ctx(t), host.Cmd{Script: `(trap '' HUP; sleep 30 & echo $! >"$1"; wait) </dev/null >/dev/null 2>&1 & echo done`, Args: []string{file}})
	if err != nil || out != "done\n" || time.Since(start) > 15*time.Second {
		t.Errorf("%q, %v after %s", out, err, time.Since(start))
	}
	_ = syscall.Kill(waitPID(t, file), syscall.SIGKILL)
}

func connect(t *testing.T, h host.Conn) {
	for range 2 {
		if err := h.Connect(ctx(t)); err != nil {
			t.Fatal(fault.Render(err))
		}
	}
	h.Disconnect()
	says(t, h, host.Cmd{Argv: []string{"echo", "back"}}, "back\n")
	says(t, h, host.Cmd{Argv: []string{"echo", "new"}, Fresh: true}, "new\n")
	if w, err := h.Where(ctx(t)); err != nil || w.Host == "" || w.Address() == "" {
		t.Errorf("it is at %+v, %v", w, err)
	}
	if h.Name() == "" {
		t.Error("it has no name")
	}
}

func root(t *testing.T, h host.Conn) {
	says(t, h, host.Cmd{Argv: append([]string{"printf", `%s\0`}, odd...), Elevate: true}, strings.Join(odd, "\x00")+"\x00")
	var out, errs bytes.Buffer
	err := h.Run(ctx(t), host.Cmd{Script: `cat; echo oops >&2; exit 6`, Elevate: true, Stdin: strings.NewReader("secret\n"), Stdout: &out, Stderr: &errs})
	var exit *host.ExitError
	if !errors.As(err, &exit) || exit.Code != 6 || out.String() != "secret\n" || errs.String() != "oops\n" {
		t.Errorf("%v, %q, %q", err, out.String(), errs.String())
	}
}

// typed runs what a person is told to type.
func typed(t *testing.T, h host.Conn) {
	want := "it's *a* \"word\"\\ $HOME"
	line := string(h.Typed(nil, "printf", "%s", want))
	if out, err := exec.Command("sh", "-c", line).Output(); err != nil || string(out) != want {
		t.Errorf("%s gives %q, %v", line, out, err)
	}
}
