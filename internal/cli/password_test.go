package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"godwit/internal/fault"
	"godwit/internal/ui"
)

// TestPasswordPrompt asks on a real terminal. Whatever ends the question, the
// terminal shows afterwards what is typed.
func TestPasswordPrompt(t *testing.T) {
	if os.Getenv("GODWIT_PASSWORD_TEST") != "" {
		askPassword()
	}
	for _, c := range []struct{ name, typed, want string }{
		{"typed", "s3cret\r", "got 6 characters"},
		{"Ctrl-C", "\x03", "interrupted true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			master, tty, err := pty.Open()
			if err != nil {
				t.Fatalf("no terminal to be had: %v (/dev/ptmx must be there and writable)", err)
			}
			defer master.Close()
			defer tty.Close()
			before, err := term.GetState(int(tty.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			same := func() bool {
				now, err := term.GetState(int(tty.Fd()))
				return err == nil && reflect.DeepEqual(now, before)
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPasswordPrompt$")
			cmd.Env = append(os.Environ(), "GODWIT_PASSWORD_TEST=1", "CI=1")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			var screen strings.Builder
			go func() {
				b := make([]byte, 1024)
				for {
					n, err := master.Read(b)
					mu.Lock()
					screen.Write(b[:n])
					mu.Unlock()
					if err != nil {
						return
					}
				}
			}()
			shows := func(text string) bool {
				mu.Lock()
				defer mu.Unlock()
				return strings.Contains(screen.String(), text)
			}
			await := func(what string, ok func() bool) {
				t.Helper()
				for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
					if time.Now().After(deadline) {
						_ = cmd.Process.Kill()
						mu.Lock()
						defer mu.Unlock()
						t.Fatalf("%s: not within a minute:\n%s", what, screen.String())
					}
				}
			}
			await("the question", func() bool { return shows("sudo password: ") && !same() })
			if _, err := io.WriteString(master, c.typed); err != nil {
				t.Fatal(err)
			}
			await(c.want, func() bool { return shows(c.want) })
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			if !same() {
				t.Error("the terminal is not as it was")
			}
			if shows("s3cret") {
				t.Error("the password was shown")
			}
		})
	}
}

// askPassword is what TestPasswordPrompt runs on the terminal.
func askPassword() {
	ctx, stop := interruptible(context.Background())
	defer stop()
	v := &view{UI: ui.New(ui.Options{}), app: &app{stderr: os.Stderr}}
	pw, err := v.password(ctx, &passwords{ask: true})
	switch {
	case errors.Is(context.Cause(ctx), errInterrupted):
		fmt.Println("interrupted", errors.Is(err, context.Canceled))
	case err != nil:
		fmt.Print(fault.Render(err))
	default:
		fmt.Println("got", len(pw), "characters")
	}
	os.Exit(0)
}
