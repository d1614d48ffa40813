package builder

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A transcript is what programs answered: "$ PROGRAM ARGS" ("$~" with * for anything),
// then lines of stdout (>, or >x in hexadecimal) and stderr (!), and the exit status (=).
// Of the same call the first answer that was not given yet is given, then the last again.
// A line break in an argument is a blank.

// replayDir names the environment variable that makes an engine of this test program.
const replayDir = "GODWIT_TEST_REPLAY"

// call is one entry of a transcript.
type call struct {
	Command     string
	Glob        bool
	Out, Stderr []byte
	Status      int
}

func (c call) fits(said string) bool {
	if !c.Glob {
		return c.Command == said
	}
	parts := strings.Split(c.Command, "*")
	rest, ok := strings.CutPrefix(said, parts[0])
	for _, p := range parts[1:] {
		if !ok {
			return false
		}
		_, rest, ok = strings.Cut(rest, p)
	}
	return ok && (rest == "" || parts[len(parts)-1] == "")
}

// transcript is the text of a file of testdata/engines.
func transcript(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata/engines", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	labels := labelBuilder + "=b --label " + labelSystem + "=x86_64-linux --label " + labelImage + "=r --label " + labelGeneration + "=g --label " + labelVolume + "=v"
	return strings.NewReplacer("RUN", strings.Replace(transcriptRun, "LABELS", labels, 1), "IDLE", transcriptIdle).Replace(string(text))
}

// replay puts programs on PATH, and nothing else, that answer as a transcript says. A
// call that the transcript does not have fails the test, and so does one that nobody made.
func replay(t *testing.T, name, text string) {
	t.Helper()
	var calls []call
	var c call
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		kind, rest, _ := strings.Cut(line, " ")
		switch kind {
		case "#", "":
		case "$", "$~":
			c = call{Command: rest, Glob: kind == "$~"}
		case ">":
			c.Out = append(c.Out, rest+"\n"...)
		case ">x":
			b, err := hex.DecodeString(strings.ReplaceAll(rest, " ", ""))
			if err != nil {
				t.Fatalf("%s, line %d: %v", name, i+1, err)
			}
			c.Out = append(c.Out, b...)
		case "!":
			c.Stderr = append(c.Stderr, rest+"\n"...)
		case "=":
			n, err := strconv.Atoi(rest)
			if err != nil || c.Command == "" {
				t.Fatalf("%s, line %d: %q", name, i+1, line)
			}
			c.Status = n
			calls = append(calls, c)
			c = call{}
		default:
			t.Fatalf("%s, line %d: %q", name, i+1, line)
		}
	}
	dir := t.TempDir()
	b, err := json.Marshal(calls)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("calls.json", string(b), 0o600)
	write("given", "", 0o600)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range calls {
		program, _, _ := strings.Cut(c.Command, " ")
		write(program, fmt.Sprintf("#!/bin/sh\n%s=%s exec '%s' \"${0##*/}\" \"$@\"\n", replayDir, dir, self), 0o700)
	}
	t.Setenv("PATH", dir+":/bin-of-no-engine")
	t.Cleanup(func() {
		b, _ := os.ReadFile(filepath.Join(dir, "given"))
		given := strings.Split(strings.TrimSpace(string(b)), "\n")
		for _, line := range given {
			if unknown, ok := strings.CutPrefix(line, "unknown "); ok {
				t.Errorf("%s does not know: %s", name, unknown)
			}
		}
		for i, c := range calls {
			if !slices.Contains(given, strconv.Itoa(i)) {
				t.Errorf("%s: nobody said: %s", name, c.Command)
			}
		}
	})
}

// answer is one call of a program of a transcript.
func answer(dir string, args []string) {
	die := func(err error) {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(98)
	}
	b, err := os.ReadFile(filepath.Join(dir, "calls.json"))
	var calls []call
	if err == nil {
		err = json.Unmarshal(b, &calls)
	}
	if err != nil {
		die(err)
	}
	said := strings.ReplaceAll(strings.Join(args, " "), "\n", " ")
	f, err := os.OpenFile(filepath.Join(dir, "given"), os.O_RDWR, 0)
	if err != nil {
		die(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		die(err)
	}
	b, err = io.ReadAll(f)
	if err != nil {
		die(err)
	}
	given, last := strings.Split(string(b), "\n"), -1
	for i, c := range calls {
		if c.fits(said) {
			if last = i; !slices.Contains(given, strconv.Itoa(i)) {
				break
			}
		}
	}
	line := strconv.Itoa(last)
	if last < 0 {
		line = "unknown " + said
	}
	if _, err := fmt.Fprintln(f, line); err != nil {
		die(err)
	}
	f.Close()
	if last < 0 {
		os.Exit(99)
	}
	c := calls[last]
	_, _ = os.Stdout.Write(c.Out)
	_, _ = os.Stderr.Write(c.Stderr)
	if c.Status == 0 && (strings.HasSuffix(said, " --stdio") || strings.Contains(said, " --serve")) {
		_, _ = io.Copy(io.Discard, os.Stdin) // as a daemon: to the end of its input
	}
	os.Exit(c.Status)
}
