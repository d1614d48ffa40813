package awake

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A gap in which nobody looked counts as a second, however long it was.
func TestGap(t *testing.T) {
	begin := time.Now()
	c := &clock{last: begin}
	for _, s := range []struct{ at, want time.Duration }{
		{200 * time.Millisecond, 200 * time.Millisecond}, {900 * time.Millisecond, 900 * time.Millisecond},
		{time.Hour, 1900 * time.Millisecond}, {time.Hour, 1900 * time.Millisecond}, {time.Minute, 1900 * time.Millisecond},
		{time.Hour + 100*time.Millisecond, 2 * time.Second},
	} {
		if got := c.now(begin.Add(s.at)); got != s.want {
			t.Errorf("at %s: %s, want %s", s.at, got, s.want)
		}
	}
}

func TestTimer(t *testing.T) {
	begin := time.Now()
	ctx, cancel := WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	<-ctx.Done()
	if took := time.Since(begin); took < 290*time.Millisecond || ctx.Err() != context.DeadlineExceeded {
		t.Errorf("ended after %s by %v", took, ctx.Err())
	}
	child, stop := context.WithCancel(ctx)
	defer stop()
	<-child.Done()
	if !errors.Is(child.Err(), context.DeadlineExceeded) || !errors.Is(context.Cause(child), context.DeadlineExceeded) {
		t.Errorf("what is derived ended by %v, %v", child.Err(), context.Cause(child))
	}
	parent, why := context.WithCancelCause(t.Context())
	ctx, cancel = WithTimeout(parent, time.Minute)
	defer cancel()
	why(errors.New("why"))
	<-ctx.Done()
	if ctx.Err() != context.Canceled || context.Cause(ctx).Error() != "why" {
		t.Errorf("a parent's end: %v, %v", ctx.Err(), context.Cause(ctx))
	}
	never := AfterFunc(50*time.Millisecond, func() { t.Error("a stopped timer fired") })
	never.Stop()
	never.Reset(time.Millisecond)
	fired := make(chan time.Time, 2)
	later := AfterFunc(50*time.Millisecond, func() { fired <- time.Now() })
	later.Reset(400 * time.Millisecond)
	begin = time.Now()
	if at := <-fired; at.Sub(begin) < 390*time.Millisecond {
		t.Errorf("fired after %s", at.Sub(begin))
	}
}

// A process that is stopped for longer than its wait has the rest of it when it
// goes on.
func TestStopped(t *testing.T) {
	if os.Getenv("GODWIT_AWAKE_CHILD") != "" {
		start := Now()
		ctx, cancel := WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		fmt.Println("waiting")
		<-ctx.Done()
		fmt.Println("ended", Since(start).Seconds() >= 2)
		return
	}
	child := exec.Command(os.Args[0], "-test.run", "^TestStopped$")
	child.Env = append(os.Environ(), "GODWIT_AWAKE_CHILD=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "waiting" {
	}
	_ = child.Process.Signal(syscall.SIGSTOP)
	time.Sleep(3 * time.Second)
	begin := time.Now()
	_ = child.Process.Signal(syscall.SIGCONT)
	said := ""
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "ended") {
			said = lines.Text()
			break
		}
	}
	if took := time.Since(begin); said != "ended true" || took < 500*time.Millisecond {
		t.Errorf("the wait ended %s after the process went on: %q", took, said)
	}
	_ = child.Wait()
}
