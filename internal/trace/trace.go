// Package trace writes a run as a trace that browsers and Perfetto show: what each host was
// busy with, and when. The form is Chrome's "Trace Event Format" (JSON array): times are
// microseconds, "X" is a span, "b" and "e" are the ends of one that may overlap others, "i" is
// a moment, "M" names a row.
package trace

import (
	"bufio"
	"cmp"
	"encoding/json"
	"io"
	"slices"
	"sync"
	"time"

	"godwit/internal/event"
	"godwit/internal/ui/text"
)

// Writer is an event.Sink that writes a trace. A host is a process in it, and each of its
// steps a thread: steps of a host overlap. The run itself is process 0.
type Writer struct {
	mu     sync.Mutex
	to     io.WriteCloser
	out    *bufio.Writer
	err    error
	first  bool
	start  time.Time
	last   time.Time
	hosts  map[string]int
	steps  map[row]span // open ones
	named  map[row]bool
	builds map[build]bool // open ones
}

// row is a line of the picture.
type row struct {
	host string
	step event.Step
}

type span struct {
	from time.Time
	text string
}

// build is an activity of Nix.
type build struct {
	row
	id uint64
}

// New starts a trace.
func New(to io.WriteCloser) *Writer {
	return &Writer{to: to, out: bufio.NewWriter(to), first: true, hosts: map[string]int{"": 0}, steps: map[row]span{}, named: map[row]bool{}, builds: map[build]bool{}}
}

// entry is one object of the format.
type entry struct {
	Name string         `json:"name"`
	Cat  string         `json:"cat,omitempty"`
	Ph   string         `json:"ph"`
	Ts   int64          `json:"ts"`
	Dur  *int64         `json:"dur,omitempty"`
	Pid  int            `json:"pid"`
	Tid  int            `json:"tid"`
	ID   string         `json:"id,omitempty"`
	S    string         `json:"s,omitempty"`
	Args map[string]any `json:"args,omitempty"`
}

// order is the order of rows in a host.
var order = []event.Step{"", event.StepEvaluate, event.StepConnect, event.StepBuilder, event.StepBuild, event.StepCopy, event.StepPlan, event.StepSecrets,
	event.StepPreCheck, event.StepActivate, event.StepCheck, event.StepReboot, event.StepGC, event.StepExec}

func tid(s event.Step) int { return max(0, slices.Index(order, s)) + 1 }

// Emit takes one event.
func (w *Writer) Emit(e event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if w.start.IsZero() {
		w.start = e.Time
	}
	if e.Time.After(w.last) {
		w.last = e.Time
	}
	r := row{e.Host, e.Step}
	switch e.Kind {
	case event.Started:
		w.end(r, e.Time, nil) // a step that said nothing of its end
		w.steps[r] = span{e.Time, e.Text}
	case event.Done, event.Failed, event.Skipped:
		w.end(r, e.Time, map[string]any{"result": string(e.Kind), "text": text.Clean(cmp.Or(e.Error, e.Text))})
	case event.Progress:
		w.activity(r, e)
	case event.Warning, event.Waiting:
		w.write(r, entry{Name: text.Clean(e.Text), Cat: string(e.Kind), Ph: "i", Ts: w.at(e.Time), S: "t"})
	case event.Result:
		w.write(r, entry{Name: string(e.Outcome), Cat: "result", Ph: "i", Ts: w.at(e.Time), S: "p", Args: map[string]any{"text": text.Clean(cmp.Or(e.Error, e.Text))}})
	}
}

// activity is a build or a download of Nix, which overlaps others.
func (w *Writer) activity(r row, e event.Event) {
	if e.Activity == nil || e.Data["activity"] == "" {
		return
	}
	b := build{r, e.Activity.ID}
	ph := "e"
	if e.Data["activity"] == "started" {
		ph = "b"
	}
	if w.builds[b] == (ph == "b") {
		return
	}
	w.builds[b] = ph == "b"
	id, _ := json.Marshal(e.Activity.ID)
	w.write(r, entry{Name: text.Clean(e.Activity.Path), Cat: e.Activity.Type, Ph: ph, Ts: w.at(e.Time), ID: string(id)})
}

func (w *Writer) at(t time.Time) int64 { return t.Sub(w.start).Microseconds() }

// end writes the span of a step.
func (w *Writer) end(r row, at time.Time, args map[string]any) {
	s, open := w.steps[r]
	if !open {
		if args == nil || args["result"] != string(event.Skipped) {
			return
		}
		s = span{at, ""} // skipped at once
	}
	delete(w.steps, r)
	dur := at.Sub(s.from).Microseconds()
	name := string(r.step)
	if s.text != "" {
		name += ": " + text.Clean(s.text)
	}
	w.write(r, entry{Name: name, Cat: string(r.step), Ph: "X", Ts: w.at(s.from), Dur: &dur, Args: args})
}

// write adds an entry to a row, and names the row when it is new.
func (w *Writer) write(r row, e entry) {
	pid, known := w.hosts[r.host]
	if !known {
		pid = len(w.hosts)
		w.hosts[r.host] = pid
	}
	e.Pid, e.Tid = pid, tid(r.step)
	if !w.named[r] {
		w.named[r] = true
		if own := (row{r.host, "\x00"}); !w.named[own] {
			w.named[own] = true
			w.put(entry{Name: "process_name", Ph: "M", Pid: pid, Args: map[string]any{"name": text.Clean(cmp.Or(r.host, "godwit"))}})
			w.put(entry{Name: "process_sort_index", Ph: "M", Pid: pid, Args: map[string]any{"sort_index": pid}})
		}
		w.put(entry{Name: "thread_name", Ph: "M", Pid: pid, Tid: e.Tid, Args: map[string]any{"name": cmp.Or(string(r.step), "run")}})
		w.put(entry{Name: "thread_sort_index", Ph: "M", Pid: pid, Tid: e.Tid, Args: map[string]any{"sort_index": e.Tid}})
	}
	w.put(e)
}

func (w *Writer) put(e entry) {
	if w.err != nil {
		return
	}
	b, err := json.Marshal(e)
	if err != nil {
		w.err = err
		return
	}
	sep := ",\n"
	if w.first {
		sep, w.first = "[\n", false
	}
	if _, w.err = w.out.WriteString(sep); w.err == nil {
		_, w.err = w.out.Write(b)
	}
}

// Close ends the trace. Steps that have not ended end with it.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var open []row
	for r := range w.steps {
		open = append(open, r)
	}
	slices.SortFunc(open, func(a, b row) int { return cmp.Or(cmp.Compare(a.host, b.host), cmp.Compare(tid(a.step), tid(b.step))) })
	for _, r := range open {
		w.end(r, w.last, map[string]any{"result": "unfinished"})
	}
	end := "\n]\n"
	if w.first {
		end = "[]\n"
	}
	if w.err == nil {
		_, w.err = w.out.WriteString(end)
	}
	if w.err == nil {
		w.err = w.out.Flush()
	}
	if err := w.to.Close(); w.err == nil {
		w.err = err
	}
	return w.err
}
