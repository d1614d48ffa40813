package nixlog

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"godwit/internal/event"
)

var update = flag.Bool("update", false, "write the golden files anew")

var hash = regexp.MustCompile(`[0-9a-z]{32}-`)

// TestGolden replays logs that testdata/record.sh recorded from real runs.
func TestGolden(t *testing.T) {
	logs, _ := filepath.Glob("testdata/nix-*/*.log")
	if len(logs) < 60 {
		t.Fatalf("only %d recordings", len(logs))
	}
	for _, name := range logs {
		t.Run(strings.TrimPrefix(name, "testdata/"), func(t *testing.T) {
			in, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := describe(in)
			golden := strings.TrimSuffix(name, ".log") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s differs (go test ./internal/nixlog -update):\n%s", golden, got)
			}
		})
	}
}

// describe writes what a log came to, without what differs between recordings.
func describe(in []byte) string {
	var b strings.Builder
	tr := NewTracker()
	d := NewDecoder(bytes.NewReader(in))
	for {
		m, err := d.Next()
		if err != nil {
			break
		}
		c := tr.Apply(m)
		switch c.Kind {
		case Started, Stopped:
			fmt.Fprintf(&b, "%s %s %s", map[ChangeKind]string{Started: "start", Stopped: "stop"}[c.Kind], c.Work.Type, Name(c.Work.Path))
			if c.Work.From != "" {
				fmt.Fprintf(&b, " from %s", c.Work.From)
			}
			s := tr.Snapshot()
			fmt.Fprintf(&b, "  builds %v paths %v\n", s.Builds, s.Paths)
		case Phase:
			fmt.Fprintf(&b, "phase %s %s\n", Name(c.Work.Path), c.Work.Phase)
		case Log:
			fmt.Fprintf(&b, "log %s %q\n", Name(c.Work.Path), c.Text)
		case Warning:
			fmt.Fprintf(&b, "warning %q\n", c.Text)
		case Notice:
			fmt.Fprintf(&b, "notice %q\n", c.Text)
		case Failed:
			fmt.Fprintf(&b, "error %q pos %q drv %q\n", c.Error.Message, c.Error.Pos, Name(c.Error.Drv))
			for _, l := range c.Error.Lines {
				fmt.Fprintf(&b, "  | %s\n", l)
			}
			for _, p := range c.Error.Trace {
				fmt.Fprintf(&b, "  at %s\n", p)
			}
		}
	}
	s := tr.Snapshot()
	fmt.Fprintf(&b, "end builds %v paths %v copied %v downloaded %v working %d\n", s.Builds, s.Paths, s.Copied, s.Downloaded, len(s.Working))
	for _, f := range tr.Failures() {
		fmt.Fprintf(&b, "failure %s: %s (dependency %v, %d lines of log)\n", Name(f.Drv), f.Reason, f.Dependency, len(f.Log))
	}
	if e := tr.Err(); e != nil {
		fmt.Fprintf(&b, "the error: %s\n", e)
	}
	return hash.ReplaceAllString(b.String(), "HASH-")
}

// TestFailures says in words what the golden files hold, for all versions.
func TestFailures(t *testing.T) {
	for _, c := range []struct {
		log  string
		want []string // "name: reason", dependents with a +
	}{
		{"fail", []string{"nixlog-bad: builder failed with exit code 3", "+nixlog-top1", "+nixlog-top2"}},
		{"fail-quiet", []string{"nixlog-bad: builder failed with exit code 3", "+nixlog-top1"}},
		{"foreign", []string{"nixlog-foreign: it needs a builder for riscv64-linux; this one is x86_64-linux"}},
		{"mismatch", []string{"nixlog-mismatch: hash mismatch in fixed-output derivation nixlog-mismatch"}},
		{"noout", []string{"nixlog-noout: builder failed to produce output path for output 'out' at"}},
		{"killed", []string{"nixlog-killed: builder failed due to signal 9 (Killed)"}},
		{"timeout", []string{"nixlog-slow: timed out after 2 seconds"}},
		{"ok", nil}, {"again", nil}, {"substitute", nil}, {"copy", nil},
	} {
		files, _ := filepath.Glob("testdata/nix-*/" + c.log + ".log")
		for _, name := range files {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			tr := Forward(f, event.On(nil, "h", event.StepBuild), nil)
			f.Close()
			var got []string
			for _, f := range tr.Failures() {
				if f.Dependency {
					got = append(got, "+"+Name(f.Drv))
				} else {
					got = append(got, Name(f.Drv)+": "+f.Reason)
				}
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if len(got) != len(c.want) {
				t.Errorf("%s: %q", name, got)
				continue
			}
			for i := range got {
				if !strings.HasPrefix(got[i], c.want[i]) {
					t.Errorf("%s: got %q, want %q", name, got[i], c.want[i])
				}
			}
			if s := tr.Snapshot(); len(s.Working) != 0 || s.Builds.Running != 0 {
				t.Errorf("%s: something still runs: %+v", name, s)
			}
		}
	}
}

// TestMissingFeatures: what a builder must be for a derivation, in the words of all versions.
func TestMissingFeatures(t *testing.T) {
	drv := "/nix/store/9lk14k9k610cbd3d8kd8savi18l0qkg3-f.drv"
	for said, want := range map[string]string{
		"Cannot build '" + drv + "'.\n       Reason: missing system features\n       Required features: {foo, kvmx}\n       Available features: {benchmark}":                                                        "it needs a builder with the features foo, kvmx",
		"Cannot build '" + drv + "'.\n       Reason: required system or feature not available\n       Required system: 'aarch64-linux' with features {kvm}\n       Current system: 'x86_64-linux' with features {}": "it needs a builder for aarch64-linux with kvm; this one is x86_64-linux",
		"a 'aarch64-linux' with features {} is required to build '" + drv + "', but I am a 'x86_64-linux' with features {benchmark}":                                                                                "it needs a builder for aarch64-linux; this one is x86_64-linux",
	} {
		l := NewBuildLog(event.Scope{})
		if _, err := io.WriteString(l, `@nix {"action":"msg","level":0,"msg":`+strconv.Quote("error: "+said)+"}\n"); err != nil {
			t.Fatal(err)
		}
		l.Close()
		f := l.Failures()
		if len(f) != 1 || f[0].Drv != drv || f[0].Reason != want || f[0].Required == "" {
			t.Errorf("%s: %+v", said, f)
		}
	}
}

func TestEvaluationErrors(t *testing.T) {
	for _, c := range []struct{ log, message, pos string }{
		{"eval-throw", "the option `services.openshh' does not exist", ""},
		{"eval-throw-trace", "the option `services.openshh' does not exist", "/fleet/eval.nix:2:"},
		{"eval-multi", "Failed assertions:", ""},
		{"eval-undefined", "undefined variable 'nowhere'", "/fleet/undefined.nix:1:19"},
		{"eval-missing", "attribute 'b' missing", "/fleet/eval.nix:5:13"},
		{"eval-recursion", "infinite recursion encountered", "/fleet/eval.nix:6:23"},
		{"eval-syntax", "syntax error, unexpected ';'", "/fleet/syntax.nix:1:9"},
		{"eval-type", "cannot coerce an integer to a string", "/fleet/eval.nix:7:16"},
	} {
		files, _ := filepath.Glob("testdata/nix-*/" + c.log + ".log")
		if len(files) == 0 {
			t.Errorf("no recording of %s", c.log)
		}
		for _, name := range files {
			in, _ := os.ReadFile(name)
			e := Forward(bytes.NewReader(in), event.Scope{}, nil).Err()
			if e == nil {
				t.Errorf("%s: no error", name)
				continue
			}
			if !strings.HasPrefix(e.Message, c.message) {
				t.Errorf("%s: message %q", name, e.Message)
			}
			if !strings.HasPrefix(e.Pos, c.pos) {
				t.Errorf("%s: position %q, want %q", name, e.Pos, c.pos)
			}
		}
	}
}

// TestParseError reads errors as Nix prints them without JSON.
func TestParseError(t *testing.T) {
	for _, c := range []struct {
		name, in, message, pos string
		lines                  []string
	}{
		{"2.3", "error: undefined variable 'x' at /a/b.nix:1:14\n", "undefined variable 'x'", "/a/b.nix:1:14", nil},
		{"2.8", "error: attribute 'b' missing\n\n       at /w/eval.nix:5:13:\n\n            4|   u\n            5|   missing = { a = 1; }.b;\n             |             ^\n       Did you mean a?",
			"attribute 'b' missing", "/w/eval.nix:5:13", []string{"Did you mean a?"}},
		{"2.26", "error:\n       … while calling the 'throw' builtin\n         at /w/eval.nix:3:11:\n            2|   throw = 1;\n             |           ^\n\n       error: Failed assertions:\n       - first of them\n       - second of them\n",
			"Failed assertions:", "/w/eval.nix:3:11", []string{"- first of them", "- second of them"}},
		{"in colour", "\x1b[31;1merror:\x1b[0m build of '\x1b[35;1m/nix/store/x.drv\x1b[0m' failed\n", "build of '/nix/store/x.drv' failed", "", nil},
		{"among others", "copying 3 paths\nwarning: dirty\nerror: cannot connect to socket\n", "cannot connect to socket", "", nil},
		{"log lines that look like errors", "error: builder for '/nix/store/x.drv' failed with exit code 2;\n       last 2 log lines:\n       > error: no such file\n       > make: error: stop\n       For full logs, run 'nix log /nix/store/x.drv'.",
			"builder for '/nix/store/x.drv' failed with exit code 2;", "", []string{"last 2 log lines:", "> error: no such file", "> make: error: stop", "For full logs, run 'nix log /nix/store/x.drv'."}},
	} {
		e := ParseError(c.in)
		if e == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		if e.Message != c.message || e.Pos != c.pos || !slices.Equal(e.Lines, c.lines) {
			t.Errorf("%s: %q at %q, lines %q", c.name, e.Message, e.Pos, e.Lines)
		}
	}
	if e := ParseError("all is well\n"); e != nil {
		t.Error("found an error in", e.Text)
	}
}

func TestDecoder(t *testing.T) {
	long := strings.Repeat("x", MaxLine+10)
	in := strings.Join([]string{
		"plain \x1b[31mtext\x1b[0m",
		`@nix {"action":"start","id":18446744073709551615,"level":3,"parent":9007199254740993,"text":"t","type":105,"fields":["/nix/store/x.drv","",1,1]}`,
		`@nix {"action":"start","id":"a string","type":105}`,
		`@nix {"action":"result","id":1,"type":4711,"fields":[1.5,null,{},[],-1,"s\u001b[1m"]}`,
		`@nix {"action":"whatever"}`,
		`@nix not json`,
		`@nix {"action":"msg","level":0,"msg":"` + long + `"}`,
		long,
		``,
		`password: @nix {"action":"stop","id":5}`,
		`@nix {"action":"stop","id":7}` + "\r",
		`no line feed`,
	}, "\n")
	d := NewDecoder(strings.NewReader(in))
	var got []string
	for {
		m, err := d.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		s := fmt.Sprintf("%s %d %d %.30s", m.Action, m.ID, m.Parent, m.Text)
		for _, f := range m.Fields {
			s += fmt.Sprintf(" %d/%s", f.Int, f.Str)
		}
		got = append(got, s)
	}
	want := []string{
		"text 0 0 plain text",
		"start 18446744073709551615 9007199254740993 t 0//nix/store/x.drv 0/ 1/ 1/",
		`text 0 0 @nix {"action":"start","id":"a`,
		"result 1 0  0/ 0/ 0/ 0/ 0/ 0/s",
		"text 0 0 @nix not json",
		"text 0 0 " + strings.Repeat("x", 30),
		"stop 5 0 ",
		"stop 7 0 ",
		"text 0 0 no line feed",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestForward(t *testing.T) {
	files, _ := filepath.Glob("testdata/nix-*/fail.log")
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var mu sync.Mutex
		var events []event.Event
		sink := event.SinkFunc(func(e event.Event) { mu.Lock(); events = append(events, e); mu.Unlock() })
		Forward(f, event.On(sink, "", event.StepBuild), func(drv string) string {
			if strings.Contains(drv, "bad") {
				return "web1"
			}
			return ""
		})
		logs, starts := 0, 0
		var lastDone, lastTotal int64
		for _, e := range events {
			if e.Step != event.StepBuild || e.Time.IsZero() {
				t.Fatalf("%s: an event without a step or a time: %+v", name, e)
			}
			if e.Host == "web1" {
				if e.Activity == nil || !strings.Contains(e.Activity.Path, "nixlog-bad.drv") {
					t.Errorf("%s: on the wrong host: %+v", name, e)
				}
				if e.Kind == event.Log {
					logs++
				}
			}
			if e.Data["activity"] == "started" {
				starts++
			}
			if e.Unit == event.Derivations && e.Host == "" {
				lastDone, lastTotal = e.Done, e.Total
			}
		}
		if logs != 27 || starts != 3 { // 26 lines of the builder and Nix's error
			t.Errorf("%s: %d log lines, %d starts", name, logs, starts)
		}
		if lastDone != 2 || lastTotal < 2 {
			t.Errorf("%s: %d of %d derivations in the end", name, lastDone, lastTotal)
		}
	}
}

func FuzzDecoder(f *testing.F) {
	files, _ := filepath.Glob("testdata/nix-*/*.log")
	for i, name := range files {
		if i%7 == 0 {
			in, _ := os.ReadFile(name)
			f.Add(in[:min(len(in), 4000)])
		}
	}
	f.Add([]byte(`@nix {"action":"result","id":1,"type":106,"fields":[101,18446744073709551615]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		d := NewDecoder(bytes.NewReader(in))
		tr := NewTracker()
		for {
			m, err := d.Next()
			if err != nil {
				break
			}
			if !utf8.ValidString(m.Text) || strings.ContainsAny(m.Text, "\x1b\r\a") {
				t.Fatalf("not clean: %q", m.Text)
			}
			tr.Apply(m)
		}
		tr.Snapshot()
		tr.Failures()
		_ = tr.Err()
		_ = ParseError(string(in))
	})
}
