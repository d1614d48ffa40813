package bounded_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"godwit/internal/bounded"
)

// TestMain is also the program that talks as a Nix before 2.34 does that copies over ssh.
func TestMain(m *testing.M) {
	if os.Getenv("BOUNDED_TEST_TALKS") != "" {
		if err := talk(); err != nil {
			fmt.Println(err)
			os.Exit(2)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// spoken is what talk says, in lines: several pipes full.
const spoken = 10000

// talk says a line when its standard error does not block any more, as if its ssh had
// seen to that, and then many, each of which is lost where there is no room for it.
func talk() error {
	if err := syscall.SetNonblock(2, true); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "begin")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		flags, err := unix.FcntlInt(2, unix.F_GETFL, 0)
		if err != nil {
			return err
		}
		if flags&unix.O_NONBLOCK == 0 {
			break
		}
		if time.Now().After(end) {
			break // what is said is lost, as it was
		}
	}
	for i := range spoken {
		_, _ = syscall.Write(2, fmt.Appendf(nil, "%06d%058d\n", i, 0))
	}
	_, _ = syscall.Write(2, []byte("error: why\n"))
	return nil
}

func talker(ctx context.Context) *exec.Cmd {
	c := exec.CommandContext(ctx, os.Args[0])
	c.Env = append(os.Environ(), "BOUNDED_TEST_TALKS=1")
	return c
}

// late reads when all that is ever said could have been said.
type late struct {
	io.Writer
	once bool
}

func (l *late) Write(p []byte) (int, error) {
	if !l.once {
		l.once = true
		time.Sleep(time.Second)
	}
	return l.Writer.Write(p)
}

func TestSaid(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	all := func(t *testing.T, got string) {
		t.Helper()
		if n := strings.Count(got, "\n"); n != spoken+2 || !strings.HasPrefix(got, "begin\n000000") || !strings.HasSuffix(got, "\nerror: why\n") {
			t.Errorf("%d of %d lines came, the last is %q", n, spoken+2, got[max(0, len(got)-80):])
		}
	}
	exits := func(t *testing.T, err error) {
		t.Helper()
		if err == nil || err.Error() != "exit status 1" {
			t.Errorf("got %v", err)
		}
	}
	t.Run("to a reader", func(t *testing.T) {
		var got strings.Builder
		started := false
		err := bounded.Said(talker(ctx), func() { started = true }, func(r io.Reader) { _, _ = io.Copy(&late{Writer: &got}, r) })
		exits(t, err)
		all(t, got.String())
		if !started {
			t.Error("nobody was told that it is there")
		}
	})
	t.Run("to a writer", func(t *testing.T) {
		var got strings.Builder
		c := talker(ctx)
		c.Stderr = &late{Writer: &got}
		_, err := bounded.Output(c, "it", 100)
		exits(t, err)
		all(t, got.String())
	})
	t.Run("to nobody", func(t *testing.T) {
		exits(t, bounded.Said(talker(ctx), nil, func(io.Reader) {}))
	})
	t.Run("more than is held", func(t *testing.T) {
		var n int64
		c := exec.CommandContext(ctx, "sh", "-c", "head -c 20971520 /dev/zero >&2")
		err := bounded.Said(c, nil, func(r io.Reader) {
			time.Sleep(100 * time.Millisecond)
			n, _ = io.Copy(io.Discard, r)
		})
		if err != nil || n != 20<<20 {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
	t.Run("to a reader that comes after the delay", func(t *testing.T) {
		const all = 1<<20 + 100<<10 // what is held, and most of a pipe
		var n int64
		c := exec.CommandContext(ctx, "sh", "-c", fmt.Sprintf("head -c %d /dev/zero >&2", all))
		c.WaitDelay = 50 * time.Millisecond
		err := bounded.Said(c, nil, func(r io.Reader) {
			time.Sleep(time.Second)
			n, _ = io.Copy(io.Discard, r)
		})
		if err != nil || n != all {
			t.Errorf("%d of %d bytes, %v", n, all, err)
		}
	})
	t.Run("no such program", func(t *testing.T) {
		if err := bounded.Said(exec.CommandContext(ctx, "/no/such/program"), nil, func(io.Reader) { t.Error("read") }); err == nil {
			t.Error("it ran")
		}
	})
}

// What a program leaves behind may keep its standard error open for the delay, no longer.
func TestSaidLeftOpen(t *testing.T) {
	for name, script := range map[string]string{
		"ended":     "sleep 60 & echo one >&2",
		"cancelled": "sleep 60 & echo one >&2; wait",
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			c := exec.CommandContext(ctx, "sh", "-c", script)
			c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			c.WaitDelay = 200 * time.Millisecond
			defer func() { _ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }()
			var got []byte
			err := bounded.Said(c, nil, func(r io.Reader) {
				one := make([]byte, 4)
				_, _ = io.ReadFull(r, one)
				if name == "cancelled" {
					cancel()
				}
				got, _ = io.ReadAll(r)
				got = append(one, got...)
			})
			if string(got) != "one\n" || (err != nil) != (name == "cancelled") || ctx.Err() == context.DeadlineExceeded {
				t.Errorf("%q, %v, %v", got, err, ctx.Err())
			}
		})
	}
}
