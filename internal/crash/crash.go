// Package crash is how an internal fault ends: with one line for the person,
// the trace in a file, the terminal as it was and exit status 1, in place of a page
// of goroutines over a half-drawn screen and a status that means something else.
//
// Go ends the process where a goroutine panics, and nobody else can catch that. So
// every goroutine of ours begins with
//
//	defer crash.Catch()
//
// and so does every function of ours that others call on goroutines of theirs: what
// os/exec writes to, timers. A test in this package reads the source and finds those
// that forgot. What cannot be caught at all (a map that two goroutines write, a stack
// that has no end) still has its trace in the file: see Open.
package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"godwit/internal/paths"
	"godwit/internal/redact"
	"godwit/internal/ui/text"
)

// Version is what the trace says of the program.
var Version = "unknown"

// Exit is the status of a process that ended by a fault of its own.
const Exit = 1

// exit is os.Exit, but for tests.
var exit = os.Exit

// Catch ends the process when the function that defers it panics.
func Catch() {
	if v := recover(); v != nil {
		Die(v)
	}
}

// Func is fn with Catch, for functions that are not written out where they are
// started.
func Func(fn func()) func() {
	return func() {
		defer Catch()
		fn()
	}
}

var dying sync.Mutex // never released

// Die is Catch for who recovered v. It does not return.
func Die(v any) {
	trace := debug.Stack()
	dying.Lock()
	Restore()
	where := ""
	file, err := keep(v, trace)
	if err != nil {
		where = fmt.Sprintf("the trace could not be kept (%s):\n%s", text.OneLine(err.Error()), trace)
	} else {
		where = "the trace is in " + text.Clean(file) + "\n"
	}
	fmt.Fprintf(os.Stderr, "godwit: an internal fault: %s; %s", short(v), where)
	exit(Exit)
	select {}
}

// short is what a panic says in a line.
func short(v any) string {
	s := text.OneLine(fmt.Sprint(v))
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

// fileName is in the folder of godwit's state. Only its owner may read it: a trace
// may hold words of a configuration.
const fileName = "crash.log"

// mostKept is how large the file grows before it begins anew.
const mostKept = 1 << 20

// open opens the file for appending.
func open() (*os.File, error) {
	dir, err := paths.State()
	if err != nil {
		return nil, err
	}
	name := filepath.Join(dir, fileName)
	flags := os.O_WRONLY | os.O_APPEND | os.O_CREATE
	if st, err := os.Lstat(name); err == nil && (!st.Mode().IsRegular() || st.Size() > mostKept) {
		if err := os.Remove(name); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	return f, f.Chmod(0o600)
}

// keep writes a trace down and says where.
func keep(v any, trace []byte) (string, error) {
	f, err := open()
	if err != nil {
		if f, err = os.CreateTemp("", "godwit-crash-*.log"); err != nil {
			return "", err
		}
	}
	_, err = f.WriteString(redact.String(fmt.Sprintf("%s\npanic: %v\n\n%s\n", header(), v, trace)))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return f.Name(), err
}

func header() string {
	return fmt.Sprintf("---- %s godwit %s (%s, %s/%s), %d arguments: %s",
		time.Now().UTC().Format(time.RFC3339), Version, runtime.Version(), runtime.GOOS, runtime.GOARCH, len(os.Args)-1, text.OneLine(strings.Join(os.Args, " ")))
}

// Open has the trace of a fault that cannot be caught kept, too. Where there is no
// folder to keep it in, that is how it is: the run goes on.
func Open() {
	f, err := open()
	if err != nil {
		return
	}
	defer f.Close() // the runtime has its own
	_ = debug.SetCrashOutput(f, debug.CrashOptions{})
}

var (
	hooksMu sync.Mutex
	hooks   = map[int]func(){}
	last    int
)

// OnExit has fn called before the process ends by a fault, or at once for another
// reason (Restore): it gives the terminal back. fn must not wait for a lock, since
// whoever holds it may be what failed. The function that it gives takes fn away; do
// not defer it, since a panic would run it first.
func OnExit(fn func()) (remove func()) {
	hooksMu.Lock()
	defer hooksMu.Unlock()
	last++
	n := last
	hooks[n] = fn
	return func() {
		hooksMu.Lock()
		defer hooksMu.Unlock()
		delete(hooks, n)
	}
}

// Restore calls what OnExit was given, the last first, each once.
func Restore() {
	hooksMu.Lock()
	defer hooksMu.Unlock()
	for n := last; n > 0; n-- {
		if fn := hooks[n]; fn != nil {
			delete(hooks, n)
			func() {
				defer func() { _ = recover() }() // one fault is enough
				fn()
			}()
		}
	}
}
