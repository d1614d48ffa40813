package lab

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"
)

// Terminal runs a program on a pseudo-terminal of its own, and gives what it wrote there.
// For each pair of texts the second is typed when the first has been shown. It is an error
// when one is not; how the program ended is in cmd.
func Terminal(ctx context.Context, cmd *exec.Cmd, dialog [][2]string) (screen string, err error) {
	tty, err := pty.StartWithAttrs(cmd, &pty.Winsize{Rows: 40, Cols: 100}, &syscall.SysProcAttr{Setsid: true, Setctty: true})
	if err != nil {
		return "", err
	}
	defer tty.Close()
	var out Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, err := tty.Read(b)
			_, _ = out.Write(b[:n])
			if err != nil {
				return
			}
		}
	}()
	from := 0
	for _, d := range dialog {
		for {
			if i := strings.Index(out.String()[from:], d[0]); i >= 0 {
				from += i + len(d[0])
				break
			}
			select {
			case <-done:
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
				continue
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			return out.String(), fmt.Errorf("%s never showed %q", strings.Join(cmd.Args, " "), d[0])
		}
		if _, err := tty.WriteString(d[1]); err != nil {
			return out.String(), err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	_ = cmd.Wait()
	<-done
	return out.String(), nil
}
