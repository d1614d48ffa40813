package nix

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/nixlog"
	"godwit/internal/ui/text/texttest"
)

// harmless is a sink that finds what events must not have.
func harmless(t *testing.T) event.Sink {
	return event.SinkFunc(func(e event.Event) {
		for _, s := range []string{e.Text, e.Error} {
			if err := texttest.Harmless(s); err != nil || strings.Contains(s, "\n") {
				t.Errorf("%s: %v, in %.200q", e.Kind, err, s)
			}
		}
	})
}

// seedLogs are logs of real Nix of several versions.
func seedLogs(f *testing.F) {
	files, err := filepath.Glob("../nixlog/testdata/nix-*/*.log")
	if err != nil || len(files) == 0 {
		f.Fatal("no recorded logs", err)
	}
	for i, name := range files {
		if i%9 == 0 {
			b, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(b[:min(len(b), 3000)]))
		}
	}
}

// FuzzEvaluationLog reads what an evaluating Nix writes: marks, errors, the rest.
func FuzzEvaluationLog(f *testing.F) {
	seedLogs(f)
	f.Add(`@nix {"action":"msg","level":0,"msg":"trace: MARK begin web"}` + "\n" + `@nix {"action":"msg","level":0,"msg":"error: x","raw_msg":"x"}` + "\nwarning: \x1b]0;x")
	f.Fuzz(func(t *testing.T, log string) {
		w := watch{mark: "MARK", marked: func(string) {}, scope: func() event.Scope { return event.On(harmless(t), "web", event.StepEvaluate) }}
		for line := range strings.Lines(log) {
			w.line([]byte(strings.TrimSuffix(line, "\n")))
		}
		if e := Explain(w.errors()); e != nil {
			if err := texttest.Harmless(fault.Render(e)); err != nil {
				t.Error(err)
			}
		}
	})
}

// FuzzBuildLog reads what a building Nix writes, in pieces.
func FuzzBuildLog(f *testing.F) {
	seedLogs(f)
	f.Fuzz(func(t *testing.T, log string) {
		l := nixlog.NewBuildLog(event.On(harmless(t), "web", event.StepBuild))
		for rest := log; rest != ""; {
			n := min(len(rest), 1+len(rest)/3)
			if _, err := l.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		said := fmt.Sprint(l.Failures(), l.Errors())
		if len(said) > 8<<20 {
			t.Error(len(said), "bytes are kept")
		}
	})
}

// FuzzMissing reads what a dry run says is to be built and fetched.
func FuzzMissing(f *testing.F) {
	f.Add("these 2 derivations will be built:\n  /nix/store/00000000000000000000000000000000-a.drv\nthis path will be fetched (0.00 MiB download, 99999999999999999999999999 GiB unpacked):\n  /nix/store/x\ndon't know how to build these paths (may be caused by read-only store access):\n  /x\n")
	f.Fuzz(func(t *testing.T, s string) {
		m := ParseMissing(s)
		if m == nil || m.DownloadBytes < 0 || m.NarBytes < 0 {
			t.Errorf("%+v", m)
		}
	})
}

// FuzzSettings reads the version and the settings of Nix.
func FuzzSettings(f *testing.F) {
	f.Add("nix (Nix) 2.26.3")
	f.Add("nix (Lix, like Nix) 2.91.1")
	f.Add(`{"max-jobs":{"value":0},"system":{"value":"x86_64-linux"},"extra-platforms":{"value":["i686-linux"]},"access-tokens":{"value":{"a":"b"}},"x":null}`)
	f.Add("system = x86_64-linux\nmax-jobs = auto\n")
	f.Add("Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free: 99.\n")
	f.Add("(page size of ")
	f.Fuzz(func(t *testing.T, s string) {
		_, _ = ParseVersion(s)
		if c, err := parseConfig([]byte(s)); err == nil {
			_, _ = c.Get("system")
			if c.MaxJobs < -1 {
				t.Error("max-jobs", c.MaxJobs)
			}
		}
		parseMeminfo([]byte(s))
		parseVMStat([]byte(s))
	})
}
