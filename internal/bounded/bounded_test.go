package bounded_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"godwit/internal/bounded"
)

// endless gives one byte for ever, and counts.
type endless struct {
	b    byte
	read int64
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.b
	}
	e.read += int64(len(p))
	return len(p), nil
}

func TestBuffer(t *testing.T) {
	full := 0
	b := bounded.NewBuffer("the answer", 10).OnFull(func() { full++ })
	if n, err := b.Write([]byte("12345")); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := b.Write([]byte("67890")); n != 5 || err != nil || b.Err() != nil {
		t.Fatalf("exactly the limit: %d, %v", n, err)
	}
	for range 2 {
		if _, err := b.Write([]byte("x")); !bounded.Is(err) {
			t.Fatalf("over the limit: %v", err)
		}
	}
	if b.String() != "1234567890" || b.Len() != 10 || full != 1 {
		t.Errorf("kept %q, told %d times", b.String(), full)
	}
	if got := b.Err().Error(); got != "the answer is longer than 10 B, the limit" {
		t.Error(got)
	}
}

func TestTail(t *testing.T) {
	for _, step := range []int{1, 3, 7, 100} {
		b := bounded.NewTail(5)
		all := "abcdefghijklmnopqrstuvwxyz"
		for s := all; s != ""; {
			n := min(step, len(s))
			_, _ = b.Write([]byte(s[:n]))
			s = s[n:]
		}
		if b.String() != "vwxyz" || !b.Cut() {
			t.Errorf("step %d: %q, cut %v", step, b.String(), b.Cut())
		}
	}
	b := bounded.NewTail(5)
	_, _ = b.Write([]byte("abcde"))
	if b.String() != "abcde" || b.Cut() {
		t.Errorf("%q, cut %v", b.String(), b.Cut())
	}
}

func TestReader(t *testing.T) {
	for _, c := range []struct {
		in   string
		over bool
	}{{"", false}, {"12345", false}, {"1234567890", false}, {"12345678901", true}, {strings.Repeat("x", 5000), true}} {
		for name, r := range map[string]io.Reader{
			"whole": strings.NewReader(c.in), "bytes": iotest.OneByteReader(strings.NewReader(c.in)), "data with EOF": iotest.DataErrReader(strings.NewReader(c.in)),
		} {
			got, err := bounded.ReadAll(r, "it", 10)
			if string(got) != c.in[:min(10, len(c.in))] || bounded.Is(err) != c.over || !c.over && err != nil {
				t.Errorf("%s of %d: %q, %v", name, len(c.in), got, err)
			}
		}
	}
	broken := errors.New("broken")
	if _, err := bounded.ReadAll(iotest.ErrReader(broken), "it", 10); err != broken {
		t.Error(err)
	}
	e := &endless{b: 'x'}
	if got, err := bounded.ReadAll(e, "it", 1<<20); !bounded.Is(err) || len(got) != 1<<20 || e.read > 1<<20+1 {
		t.Errorf("endless: %d kept, %d read, %v", len(got), e.read, err)
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("l", 100<<10)
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "data with EOF": iotest.DataErrReader,
	} {
		l := bounded.NewLines(wrap(strings.NewReader("one\n\ntwo\r\n"+long+"\n"+"12345678\n"+"last")), "a line", 8).Cut()
		var got []string
		for l.Next() {
			s := l.Text()
			if l.Long() {
				s += "…"
			}
			if l.Broken() {
				s += "$"
			}
			got = append(got, s)
		}
		if want := "one||two|llllllll…|12345678|last$"; strings.Join(got, "|") != want || l.Err() != nil {
			t.Errorf("%s: %q, %v", name, got, l.Err())
		}
		l = bounded.NewLines(wrap(strings.NewReader("12345678\n123456789\nx\n")), "a line", 8)
		if !l.Next() || l.Text() != "12345678" {
			t.Errorf("%s: %q, %v", name, l.Text(), l.Err())
		}
		if l.Next() || !bounded.Is(l.Err()) || l.Next() {
			t.Errorf("%s: a line over the limit: %q, %v", name, l.Text(), l.Err())
		}
	}
	l := bounded.NewLines(strings.NewReader("a\nrest of\nit"), "a line", 100)
	l.Next()
	if rest, _ := io.ReadAll(l.Reader()); string(rest) != "rest of\nit" {
		t.Errorf("the rest is %q", rest)
	}
}

// An endless line costs its limit, not memory.
func TestEndlessLine(t *testing.T) {
	e := &endless{b: 'x'}
	l := bounded.NewLines(e, "a line of it", 64<<10)
	if l.Next() || !bounded.Is(l.Err()) || e.read > 256<<10 {
		t.Errorf("%d read, %v", e.read, l.Err())
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l = bounded.NewLines(io.LimitReader(&endless{b: 'x'}, 200<<20), "a line of it", 64<<10).Cut()
	if !l.Next() || !l.Long() || len(l.Bytes()) != 64<<10 {
		t.Errorf("%d bytes, %v", len(l.Bytes()), l.Err())
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("200 MiB of a line took %d bytes of memory", grown)
	}
}

func TestOutput(t *testing.T) {
	out, err := bounded.Output(exec.Command("sh", "-c", "echo hello; echo oops >&2"), "sh's output", 100)
	if string(out) != "hello\n" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	_, err = bounded.Output(exec.Command("sh", "-c", "echo oops >&2; exit 3"), "sh's output", 100)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || string(exit.Stderr) != "oops\n" {
		t.Errorf("status 3 became %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, script := range []string{"yes", "yes | tr -d '\\n'", "trap '' PIPE TERM; while :; do echo x; done"} {
		start := time.Now()
		out, err = bounded.Output(exec.CommandContext(ctx, "sh", "-c", script), "sh's output", 1<<20)
		if !bounded.Is(err) || len(out) != 1<<20 || time.Since(start) > 20*time.Second {
			t.Errorf("%s: %d bytes, %v, %s", script, len(out), err, time.Since(start))
		}
	}
	var said bytes.Buffer
	c := exec.Command("sh", "-c", "echo oops >&2; exit 1")
	c.Stderr = &said
	if _, err = bounded.Output(c, "sh's output", 10); said.String() != "oops\n" || err == nil {
		t.Errorf("the caller's stderr got %q, %v", said.String(), err)
	}
}

func TestLineWriter(t *testing.T) {
	in := "one\n\ntwo\r\n" + strings.Repeat("é", 1000) + "\n12345678\nlast"
	for _, step := range []int{1, 2, 3, 1 << 20} {
		var got []string
		w := bounded.NewLineWriter(8, func(l string) { got = append(got, l) })
		for s := in; s != ""; {
			n := min(step, len(s))
			_, _ = w.Write([]byte(s[:n]))
			s = s[n:]
		}
		w.Flush()
		w.Flush()
		if want := "one||two|éééé…|12345678|last"; strings.Join(got, "|") != want {
			t.Errorf("step %d: %q", step, got)
		}
	}
}
