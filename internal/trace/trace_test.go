package trace

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"godwit/internal/event"
)

type buffer struct{ bytes.Buffer }

func (*buffer) Close() error { return nil }

func TestTrace(t *testing.T) {
	var out buffer
	w := New(&out)
	at := time.Date(2026, 11, 28, 22, 0, 0, 0, time.UTC)
	emit := func(ms int, e event.Event) {
		e.Time = at.Add(time.Duration(ms) * time.Millisecond)
		w.Emit(e)
	}
	act := &event.Activity{ID: 1<<63 + 5, Type: "build", Path: "/nix/store/x.drv"}
	emit(0, event.Event{Step: event.StepEvaluate, Kind: event.Started})
	emit(100, event.Event{Step: event.StepEvaluate, Kind: event.Done, Text: "1 host"})
	emit(100, event.Event{Host: "web", Step: event.StepBuild, Kind: event.Started, Text: "on local"})
	emit(110, event.Event{Host: "web", Step: event.StepBuild, Kind: event.Progress, Activity: act, Data: map[string]string{"activity": "started"}})
	emit(120, event.Event{Host: "web", Step: event.StepConnect, Kind: event.Started})
	emit(150, event.Event{Host: "web", Step: event.StepConnect, Kind: event.Failed, Error: "no \x1b[31manswer"})
	emit(190, event.Event{Host: "web", Step: event.StepBuild, Kind: event.Progress, Activity: act, Data: map[string]string{"activity": "stopped"}})
	emit(195, event.Event{Host: "web", Step: event.StepBuild, Kind: event.Progress, Done: 1, Total: 2})
	emit(200, event.Event{Host: "web", Step: event.StepBuild, Kind: event.Done})
	emit(210, event.Event{Host: "web", Step: event.StepCheck, Kind: event.Skipped})
	emit(220, event.Event{Host: "web", Step: event.StepActivate, Kind: event.Started})
	emit(250, event.Event{Host: "web", Kind: event.Result, Outcome: event.OutcomeInterrupted})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var all []entry
	if err := json.Unmarshal(out.Bytes(), &all); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	type seen struct {
		name, ph string
		ts, dur  int64
		pid, tid int
		result   any
	}
	var got []seen
	for _, e := range all {
		if e.Ph == "M" {
			continue
		}
		s := seen{name: e.Name, ph: e.Ph, ts: e.Ts, pid: e.Pid, tid: e.Tid, result: e.Args["result"]}
		if e.Dur != nil {
			s.dur = *e.Dur
		}
		got = append(got, s)
	}
	want := []seen{
		{"evaluate", "X", 0, 100000, 0, 2, "done"},
		{"/nix/store/x.drv", "b", 110000, 0, 1, 5, nil},
		{"connect", "X", 120000, 30000, 1, 3, "failed"},
		{"/nix/store/x.drv", "e", 190000, 0, 1, 5, nil},
		{"build: on local", "X", 100000, 100000, 1, 5, "done"},
		{"check", "X", 210000, 0, 1, 11, "skipped"},
		{"interrupted", "i", 250000, 0, 1, 1, nil},
		{"activate", "X", 220000, 30000, 1, 10, "unfinished"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d entries: %+v", len(got), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%d: got %+v, want %+v", i, got[i], want[i])
		}
	}
	if bytes.ContainsRune(out.Bytes(), 0x1b) || !bytes.Contains(out.Bytes(), []byte(`"id":"9223372036854775813"`)) {
		t.Errorf("%s", out.String())
	}
	var empty buffer
	if err := New(&empty).Close(); err != nil || empty.String() != "[]\n" {
		t.Errorf("%q, %v", empty.String(), err)
	}
}
