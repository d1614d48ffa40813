// Package cli is godwit's command line: one file per verb, each of which turns
// flags into an options struct and hands that to a run function. It is the only
// package that knows all the others.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/settings"
	"godwit/internal/ui"
)

// Exit codes. They are API: documented in every command's help and in
// docs/reference/exit-codes.md, and tested.
const (
	ExitOK          = 0   // everything went as asked
	ExitFailure     = 1   // nothing was done, or the command as a whole could not go on
	ExitDrift       = 2   // godwit status: a host is not as the configuration says, not well, or does not answer; godwit plan --detailed-exitcode: a host changes
	ExitHosts       = 3   // at least one host did not reach what was asked for; the others did or were not started
	ExitRisk        = 4   // the plan stopped the run: a risk that was not accepted, a plan out of date, or the answer no
	ExitNoBuilder   = 5   // nothing here can build what a host needs
	ExitInterrupted = 130 // Ctrl-C or SIGTERM
)

// exits are the exit codes as help and the reference tell them. There are no others:
// exitCode sees to it.
var exits = []struct {
	code  int
	means string
}{
	{ExitOK, "everything was done"},
	{ExitFailure, "the command could not start or continue (usage, configuration, Nix)"},
	{ExitDrift, "godwit status: a host differs from the configuration, is not well or does not answer;\ngodwit plan --detailed-exitcode: a host changes"},
	{ExitHosts, "at least one host failed; the others continued"},
	{ExitRisk, "stopped at the plan, no host was changed: a risk was not accepted, the saved\nplan is out of date, or the answer was no"},
	{ExitNoBuilder, "nothing here can build what a host needs"},
	{ExitInterrupted, "interrupted, or the reader of the output is gone"},
}

var exitStatusHelp = func() string {
	var b strings.Builder
	b.WriteString("\nExit status:")
	for _, e := range exits {
		fmt.Fprintf(&b, "\n  %-4d %s", e.code, strings.ReplaceAll(e.means, "\n", "\n       "))
	}
	return b.String()
}()

// exitCode is the code of a command that ended with err. Packages below this one give
// their errors codes of their own, such as that of a host that is busy: what is not in
// the table is a host that failed, or else the command.
func exitCode(err error) int {
	var f *fault.Error
	if !errors.As(err, &f) {
		return ExitFailure
	}
	for _, e := range exits {
		if f.Code == e.code && e.code != ExitOK {
			return f.Code
		}
	}
	if f.Code != 0 && f.Host != "" {
		return ExitHosts
	}
	return ExitFailure
}

// app is what every verb gets: the outside world, replaceable in tests.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
	// interrupt stops the run as Ctrl-C does; set by Main.
	globals globals
	trace   string // the file of --trace; empty: none
	conf    struct {
		once sync.Once
		is   *settings.Settings
		err  error
	}
}

// settings are the user's file, read when it is first asked for.
func (a *app) settings() (*settings.Settings, error) {
	a.conf.once.Do(func() { a.conf.is, a.conf.err = settings.Load() })
	return a.conf.is, a.conf.err
}

// silent is an error whose message has been shown already.
type silent struct{ code int }

func (s silent) Error() string { return fmt.Sprintf("exit status %d", s.code) }

// Main runs godwit with args (without the program's name) and returns its exit code.
func Main(args []string) int {
	defer crash.Catch()
	crash.Version = version()
	ctx, stop := interruptible(context.Background())
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stdout := &output{file: os.Stdout, unread: cancel}
	stderr := &output{file: os.Stderr, unread: cancel}
	a := &app{stdin: os.Stdin, stdout: ui.NewStdout(stdout, os.Stdout), stderr: ui.NewStderr(stderr, os.Stderr), getenv: os.Getenv}
	return stdout.verdict(a.execute(ctx, args), a.stderr)
}

// execute runs args and turns the error into a message and an exit code.
func (a *app) execute(ctx context.Context, args []string) int {
	root := newRoot(a)
	args = joinOptionPairs(args)
	root.SetArgs(args)
	err := unknownCommand(root, root, args)
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	return a.report(ctx, err)
}

func (a *app) report(ctx context.Context, err error) int {
	var s silent
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &s):
		return s.code
	case errors.Is(context.Cause(ctx), errUnread):
		return ExitInterrupted
	case errors.Is(context.Cause(ctx), errInterrupted):
		fmt.Fprintln(a.stderr, "godwit: interrupted")
		return ExitInterrupted
	}
	fmt.Fprint(a.stderr, fault.Render(err))
	return exitCode(err)
}

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("interrupted")

// interruptible returns a context that the first SIGINT, SIGTERM or SIGHUP (the
// terminal is gone) cancels. A further SIGINT or SIGTERM ends the process at
// once: a person who presses Ctrl-C twice does not want to wait for a clean-up.
func interruptible(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	hup := make(chan os.Signal, 1)
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signal.Notify(hup, syscall.SIGHUP)
	}
	// Without this a write to a pipe that nobody reads would end the process on
	// the spot. With it the write fails, which output notices.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	done := make(chan struct{})
	go func() {
		defer crash.Catch()
		select {
		case <-ch:
			cancel(errInterrupted)
		case <-hup:
			cancel(errInterrupted)
		case <-done:
			return
		}
		first := time.Now()
		for {
			select {
			case <-ch:
				if time.Since(first) < 250*time.Millisecond {
					continue // of the same kill: timeout(1) signals the process and its group
				}
				crash.Restore()
				os.Exit(ExitInterrupted)
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(ch)
		signal.Stop(hup)
		close(done)
		cancel(nil)
	}
}
