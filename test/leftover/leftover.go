// Package leftover finds the processes that a test left behind on this machine.
package leftover

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience is how long what was killed may still be there: until it gets its turn on a
// busy machine. What a test looks for sleeps for hours.
const patience = 10 * time.Second

// Processes lists, one a line, the processes with text in their arguments, outside of
// containers. One that is dead and not reaped has no arguments.
func Processes(text string) (string, error) {
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return "", err
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(lines) == 0 {
		return "", errors.Join(err, errors.New("no process is seen in /proc"))
	}
	var found strings.Builder
	for _, f := range lines {
		dir := filepath.Dir(f)
		if args, err := os.ReadFile(f); err != nil || !strings.Contains(strings.ReplaceAll(string(args), "\x00", " "), text) {
			continue // else it has ended, or is another
		} else if ns, err := os.Readlink(dir + "/ns/pid"); err == nil && ns == own {
			found.WriteString(filepath.Base(dir) + " " + strings.ReplaceAll(string(args), "\x00", " ") + "\n")
		}
	}
	return found.String(), nil
}

// None checks that no process with text in its arguments is left.
func None(t testing.TB, text string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		left, err := Processes(text)
		switch {
		case err != nil:
			t.Fatal(err)
		case left == "":
			return
		case time.Now().After(end):
			t.Errorf("left:\n%s", left)
			return
		}
	}
}
