package nixlog

import (
	"io"
	"sync"
	"time"

	"godwit/internal/crash"
	"godwit/internal/event"
)

// forwardEvery is how often numbers are reported.
const forwardEvery = 100 * time.Millisecond

// Forward reads Nix's log to its end and emits events about it: the start and
// the end of each build and copy, phases and log lines with Activity set, the
// numbers at most ten times a second, warnings. Errors of Nix are emitted as
// log lines; the caller reads them from the tracker and decides what failed.
//
// route names the host that a derivation is built for; "" (and a nil route)
// means the scope's own. Numbers are of the whole log and go to the scope.
func Forward(r io.Reader, scope event.Scope, route func(drvPath string) (host string)) *Tracker {
	t := NewTracker()
	ForwardTo(t, r, scope, route)
	return t
}

// ForwardTo is Forward with a tracker of the caller's, for instance one that
// has seen an earlier log of the same step.
func ForwardTo(t *Tracker, r io.Reader, scope event.Scope, route func(drvPath string) (host string)) {
	if scope.Sink == nil {
		scope.Sink = event.Discard
	}
	f := &forwarder{t: t, scope: scope, route: route}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer crash.Catch()
		tick := time.NewTicker(forwardEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				f.numbers()
			case <-stop:
				return
			}
		}
	})
	d := NewDecoder(r)
	for {
		m, err := d.Next()
		if err != nil {
			break
		}
		f.change(t.Apply(m))
	}
	close(stop)
	wg.Wait()
	f.numbers()
}

type forwarder struct {
	t     *Tracker
	scope event.Scope
	route func(string) string

	mu   sync.Mutex
	last event.Event // the numbers that were emitted last
}

func (f *forwarder) emit(w Work, e event.Event) {
	if w.Type != "" {
		e.Activity = &event.Activity{ID: w.ID, Type: w.Type, Path: w.Path, From: w.From, Phase: w.Phase}
	}
	if f.route != nil && w.Type == "build" {
		e.Host = f.route(w.Path)
	}
	f.scope.Emit(e)
}

func (f *forwarder) change(c Change) {
	switch c.Kind {
	case Started, Stopped, Phase:
		e := f.current()
		e.Text = Name(c.Work.Path)
		if c.Kind != Phase {
			e.Data = map[string]string{"activity": "started"}
			if c.Kind == Stopped {
				e.Data["activity"] = "stopped"
			}
		}
		if c.Kind == Stopped {
			// What is shown is what still runs.
			e.Text = ""
		}
		if f.route != nil && c.Work.Type == "build" && f.route(c.Work.Path) != "" {
			// The numbers are not this host's.
			e.Done, e.Total, e.Unit = 0, 0, ""
			e.Text = Name(c.Work.Path)
		}
		f.emit(c.Work, e)
	case Log:
		f.emit(c.Work, event.Event{Kind: event.Log, Text: c.Text})
	case Notice:
		f.emit(Work{}, event.Event{Kind: event.Log, Text: c.Text})
	case Warning:
		f.emit(Work{}, event.Event{Kind: event.Warning, Text: c.Text})
	case Failed:
		f.emit(Work{Type: errorType(c.Error), Path: c.Error.Drv}, event.Event{Kind: event.Log, Text: "error: " + c.Error.Error()})
	}
}

func errorType(e *Error) string {
	if e.Drv != "" {
		return "build"
	}
	return ""
}

// current is a progress event with the numbers of now: derivations as long as
// any are to be built, otherwise bytes.
func (f *forwarder) current() event.Event {
	s := f.t.Snapshot()
	e := event.Event{Kind: event.Progress}
	switch {
	case s.Builds.Expected > 0 && (s.Builds.Running > 0 || s.Builds.Done+s.Builds.Failed < s.Builds.Expected && s.Copied.Expected <= s.Copied.Done):
		e.Done, e.Total, e.Unit = s.Builds.Done, s.Builds.Expected, event.Derivations
	case s.Copied.Expected > 0:
		e.Done, e.Total, e.Unit = s.Copied.Done, s.Copied.Expected, event.Bytes
	case s.Downloaded.Done > 0:
		e.Done, e.Total, e.Unit = s.Downloaded.Done, s.Downloaded.Expected, event.Bytes
	case s.Builds.Expected > 0:
		e.Done, e.Total, e.Unit = s.Builds.Done, s.Builds.Expected, event.Derivations
	case s.Paths.Expected > 0:
		e.Done, e.Total, e.Unit = s.Paths.Done, s.Paths.Expected, event.Paths
	}
	for i := len(s.Working) - 1; i >= 0; i-- {
		w := s.Working[i]
		if e.Text == "" || w.Type == "build" {
			e.Text = Name(w.Path)
			e.Activity = &event.Activity{ID: w.ID, Type: w.Type, Path: w.Path, From: w.From, Phase: w.Phase}
			if w.Type == "build" {
				break
			}
		}
	}
	if e.Text == "" {
		e.Text = s.Waiting
	}
	return e
}

// numbers emits the numbers when they have moved.
func (f *forwarder) numbers() {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.current()
	if e.Done == f.last.Done && e.Total == f.last.Total && e.Unit == f.last.Unit && e.Text == f.last.Text {
		return
	}
	f.last = e
	f.scope.Emit(e)
}
