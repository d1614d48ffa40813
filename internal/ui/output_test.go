package ui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"godwit/internal/event"
	"godwit/internal/ui/text/texttest"
)

// hostile is what a host, a builder, Nix or a repository may send.
const hostile = "a\x1b[2J\x1b[31mb\x1b]0;title\x07c\rd\x1b[1A\u009b2Je\u009d0;t\u009cf\u202eg\u2066h\x00\x7f\x1b"

// allowed says what of b is neither text nor ours.
func allowed(b string, colours bool) error {
	var but []string
	for _, s := range ours {
		if colours {
			but = append(but, string(s))
		}
	}
	return texttest.Harmless(b, but...)
}

func TestOutput(t *testing.T) {
	in := "\x1b[1mweb1\x1b[0m | " + hostile + "é世👨‍👩‍👧\n\x1b[31mred\x1b[0m\xff\n\x1b[34mblue, which is not ours\n"
	for chunk := 1; chunk < 9; chunk++ {
		var b bytes.Buffer
		o := NewStderr(&b, nil)
		for rest := in; rest != ""; {
			n := min(chunk, len(rest))
			if got, err := o.Write([]byte(rest[:n])); got != n || err != nil {
				t.Fatal(got, err)
			}
			rest = rest[n:]
		}
		got := b.String()
		if err := allowed(got, false); err != nil {
			t.Errorf("%d bytes at a time: %v", chunk, err)
		}
		if !strings.Contains(got, `\u001b[1mweb1\u001b[0m | a\u001b[2J`) || !strings.Contains(got, "é世👨‍👩‍👧\n") || !strings.HasSuffix(got, "ours\n") {
			t.Errorf("%q", got)
		}
	}
	got := NewStderr(nil, nil).line(in, true)
	if err := allowed(got, true); err != nil || !strings.HasPrefix(got, "\x1b[1mweb1\x1b[0m | ") || !strings.Contains(got, `\u001b[34mblue`) {
		t.Errorf("%v: %q", err, got)
	}
}

func TestOutputBounds(t *testing.T) {
	var b bytes.Buffer
	o := NewStderr(&b, nil)
	for range 1000 {
		fmt.Fprint(o, strings.Repeat("x", 1000))
	}
	fmt.Fprint(o, "\nnext\n")
	line, rest, _ := strings.Cut(b.String(), "\n")
	if len(line) > maxLine+30 || !strings.HasSuffix(line, "x… (961 KiB more)") || rest != "next\n" {
		t.Errorf("%d bytes, …%s, %q", len(line), line[len(line)-30:], rest)
	}
	b.Reset()
	fmt.Fprintln(NewStdout(&b, nil), strings.Repeat("x", 1<<20)) // data is not cut
	if b.Len() != 1<<20+1 {
		t.Error("stdout was cut to", b.Len())
	}
}

// TestHostileEvents sends every kind of event, in every field that a person is
// shown, through every renderer.
func TestHostileEvents(t *testing.T) {
	for _, mode := range []Mode{Plain, Live, JSON} {
		for _, colour := range []Color{ColorNever, ColorAlways} {
			var out, errs bytes.Buffer
			u := New(Options{Stdout: &out, Stderr: &errs, Mode: mode, Color: colour, Hosts: []string{"plain", hostile}, Verbose: true,
				Width: func() int { return 80 }, Height: func() int { return 10 }, Getenv: func(n string) string { return map[string]string{"LANG": "C.UTF-8"}[n] }})
			for _, host := range []string{"", "plain", hostile} {
				for _, k := range []event.Kind{event.Started, event.Progress, event.Log, event.Note, event.Warning, event.Waiting, event.Failed, event.Started, event.Done, event.Skipped, event.Result} {
					for _, step := range []event.Step{event.StepBuild, event.StepExec, event.StepActivate, event.Step(hostile)} {
						u.Emit(event.Event{Host: host, Kind: k, Step: step, Text: hostile, Error: hostile, Hints: []string{hostile}, Outcome: "failed",
							Activity: &event.Activity{Phase: hostile, From: hostile, Path: hostile}, Data: map[string]string{"x": hostile}})
					}
				}
			}
			u.Println(hostile)
			u.Output(hostile)
			if u.live != nil {
				u.live.paint(false)
			}
			if err := u.Close(); err != nil {
				t.Fatal(err)
			}
			if err := allowed(out.String(), false); err != nil {
				t.Errorf("mode %d: stdout: %v", mode, err)
			}
			said := errs.String()
			if mode == Live { // which knows what it draws
				for _, s := range []string{syncBegin, syncEnd, hideCursor, showCursor, wrapOff, wrapOn, eraseLine, eraseBelow, "\x1b[1B", "\r"} {
					said = strings.ReplaceAll(said, s, "")
				}
				for n := range 20 {
					said = strings.ReplaceAll(said, fmt.Sprintf("\x1b[%dA", n), "")
				}
				if strings.Contains(errs.String(), "d\x1b[1A") || strings.Contains(errs.String(), "\x1b[31mb") {
					t.Errorf("a foreign sequence got through: %q", errs.String())
				}
			}
			if err := allowed(said, mode == Live && colour == ColorAlways); err != nil {
				t.Errorf("mode %d: stderr: %v", mode, err)
			}
			if mode != JSON {
				continue
			}
			exact := 0
			for _, l := range strings.Split(out.String(), "\n") {
				var e event.Event
				if json.Unmarshal([]byte(l), &e) == nil && e.Text == hostile && e.Host == hostile {
					exact++
				}
			}
			if exact < 40 {
				t.Errorf("JSON does not say what was said: %d events", exact)
			}
		}
	}
}
