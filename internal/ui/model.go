package ui

import (
	"slices"
	"strings"
	"time"

	"godwit/internal/event"
	"godwit/internal/ui/text"
)

// model is what the events so far add up to. Renderers read it; it knows
// nothing of terminals.
type model struct {
	keep  int // log lines kept per host
	order []string
	hosts map[string]*host
	run   *host // events without a host
	begin time.Time
	now   time.Time // time of the latest event
}

type state int

const (
	waiting state = iota
	running
	finished
)

type host struct {
	name    string
	state   state
	active  []*task // started and not ended, oldest first
	waits   string  // what it waits for
	began   time.Time
	ended   time.Time
	outcome event.Outcome // of the Result
	text    string        // of the Result, or of the step that ended last
	err     string        // of the step that failed last
	failed  event.Step
	lastOK  event.Step
	well    map[event.Step]bool // steps that ended well, and did not begin again
	tail    []logLine
	copied  int64 // bytes of store paths
}

// task is one step of one host that is under way.
type task struct {
	step     event.Step
	began    time.Time
	text     string
	from     string
	done     int64
	total    int64
	unit     event.Unit
	rate     float64
	phase    string
	last     string // last line of its log
	mark     time.Time
	markDone int64
	// for plain output
	printed time.Time
	quarter int64
}

type logLine struct {
	step  event.Step
	text  string
	shown bool
}

func newModel(keep int) *model {
	return &model{keep: keep, hosts: map[string]*host{}, run: &host{}}
}

func (m *model) announce(names []string) {
	for _, n := range names {
		m.host(n)
	}
	// The order of the latest announcement wins; hosts that it does not name
	// keep theirs, behind.
	rest := slices.DeleteFunc(slices.Clone(m.order), func(n string) bool { return slices.Contains(names, n) })
	seen := map[string]bool{}
	m.order = m.order[:0]
	for _, n := range append(slices.Clone(names), rest...) {
		if n != "" && !seen[n] {
			seen[n] = true
			m.order = append(m.order, n)
		}
	}
}

func (m *model) host(name string) *host {
	if name == "" {
		return m.run
	}
	h := m.hosts[name]
	if h == nil {
		h = &host{name: name}
		m.hosts[name] = h
		m.order = append(m.order, name)
	}
	return h
}

// bad says whether h ended badly.
func (h *host) bad() bool {
	switch h.outcome {
	case "":
		return h.err != "" && h.state == finished
	case "failed", "rolled-back", "unreachable", "interrupted":
		return true
	}
	return false
}

func (h *host) current() *task {
	if len(h.active) == 0 {
		return nil
	}
	return h.active[len(h.active)-1]
}

func (h *host) task(s event.Step) *task {
	for _, t := range h.active {
		if t.step == s {
			return t
		}
	}
	return nil
}

func (h *host) start(e event.Event) *task {
	h.end(e.Step)
	delete(h.well, e.Step)
	t := &task{step: e.Step, began: e.Time, text: e.Text, mark: e.Time, printed: e.Time}
	h.active = append(h.active, t)
	if h.began.IsZero() {
		h.began = e.Time
	}
	h.state, h.waits = running, ""
	h.outcome, h.ended = "", time.Time{}
	return t
}

func (h *host) end(s event.Step) *task {
	for i, t := range h.active {
		if t.step == s {
			h.active = slices.Delete(h.active, i, i+1)
			return t
		}
	}
	return nil
}

// apply takes one event in and gives the step that it ended, if it did.
func (m *model) apply(e event.Event) (*host, *task) {
	if m.begin.IsZero() {
		m.begin = e.Time
	}
	if e.Time.After(m.now) {
		m.now = e.Time
	}
	h := m.host(e.Host)
	var t *task
	switch e.Kind {
	case event.Started:
		t = h.start(e)
	case event.Progress:
		if t = h.task(e.Step); t == nil {
			if h.state == finished {
				return h, nil // late: the host is done already
			}
			t = h.start(e)
		}
		h.waits = ""
		t.progress(e)
		if e.Unit == event.Bytes && e.Step == event.StepCopy {
			h.copied = max(h.copied, e.Done)
		}
	case event.Waiting:
		if h.state == finished {
			return h, nil
		}
		h.waits = e.Text
		if h.waits == "" {
			h.waits = "waits"
		}
	case event.Log:
		if t = h.task(e.Step); t != nil {
			if e.Activity != nil && e.Activity.Phase != "" {
				t.phase = e.Activity.Phase
			}
			if e.Text != "" {
				t.last = e.Text
			}
		}
		if e.Data[event.Part] == event.WayBack {
			return h, t // a tail is there to say why
		}
		h.tail = append(h.tail, logLine{step: e.Step, text: e.Text})
		if n := len(h.tail) - m.keep; n > 0 {
			h.tail = slices.Delete(h.tail, 0, n)
		}
	case event.Done:
		t = h.end(e.Step)
		h.text, h.lastOK = e.Text, e.Step
		if h.well == nil {
			h.well = map[event.Step]bool{}
		}
		h.well[e.Step] = true
	case event.Skipped:
		t = h.end(e.Step)
	case event.Failed:
		t = h.end(e.Step)
		h.err, h.failed, h.text = e.Error, e.Step, e.Text
		if h.err == "" {
			h.err = e.Text
		}
		if h.began.IsZero() {
			h.began = e.Time
		}
		if h.err == "" {
			h.err = "failed"
		}
		if len(h.active) == 0 {
			h.state, h.ended = finished, e.Time
		}
	case event.Result:
		h.state, h.ended, h.active, h.waits = finished, e.Time, nil, ""
		h.outcome, h.text = e.Outcome, e.Text
		if h.outcome == "" {
			h.outcome = "ok"
			if e.Error != "" {
				h.outcome = "failed"
			}
		}
		if e.Error != "" {
			h.err = e.Error
		}
	}
	return h, t
}

func (t *task) progress(e event.Event) {
	if e.Text != "" {
		t.text = e.Text
	}
	if a := e.Activity; a != nil {
		if a.Phase != "" {
			t.phase = a.Phase
		}
		t.from = a.From
	}
	if e.Unit != t.unit {
		t.mark, t.markDone, t.rate = e.Time, e.Done, 0
	}
	t.done, t.total, t.unit = e.Done, e.Total, e.Unit
	if e.Rate > 0 {
		t.rate = e.Rate
		return
	}
	// A rate of its own, over stretches of at least two seconds.
	if d := e.Time.Sub(t.mark).Seconds(); d >= 2 {
		now := float64(t.done-t.markDone) / d
		if t.rate > 0 {
			now = 0.5*now + 0.5*t.rate
		}
		t.rate = max(now, 0)
		t.mark, t.markDone = e.Time, t.done
	}
}

// forever is more than anybody wants to be told.
const forever = 48 * time.Hour

// left is the time that the step takes yet, at its rate.
func (t *task) left() time.Duration {
	return time.Duration(min(float64(t.total-t.done)/t.rate, forever.Seconds()) * float64(time.Second))
}

// numbers writes how far a step is: "61/148 MiB  24 MiB/s  4s left", "[4/23]".
func (t *task) numbers() string {
	switch {
	case t.done == 0 && t.total == 0:
		return ""
	case t.unit == event.Bytes:
		parts := []string{text.SizeOf(t.done, t.total)}
		if t.rate >= 1 && t.done < t.total {
			parts = append(parts, text.Size(int64(t.rate))+"/s")
			if left := t.left(); left < forever {
				if s := text.Ticking(left); s != "" {
					parts = append(parts, s+" left")
				}
			}
		}
		return strings.Join(parts, "  ")
	case t.total > 0:
		return "[" + itoa(t.done) + "/" + itoa(t.total) + "]"
	}
	return "[" + itoa(t.done) + "]"
}

// copies is the copying of all hosts together.
type copies struct {
	active      int // hosts that copy
	done, total int64
	rate        float64
	left        time.Duration // of the host that takes longest
}

// copies adds up the hosts. What a host that has failed did not get is not in
// the total any more.
func (m *model) copies() (c copies) {
	for _, h := range m.hosts {
		c.done += h.copied
		c.total += h.copied
		t := h.task(event.StepCopy)
		if t == nil || t.unit != event.Bytes || t.done >= t.total {
			continue
		}
		c.active++
		c.total += t.total - t.done
		if t.rate >= 1 {
			c.rate += t.rate
			c.left = max(c.left, t.left())
		}
	}
	return c
}

// verbs name a step while it runs and after it.
var verbs = map[event.Step][2]string{
	event.StepEvaluate: {"evaluating", "evaluated"},
	event.StepConnect:  {"connecting", "connected"},
	event.StepBuilder:  {"builder", "builder ready"},
	event.StepBuild:    {"building", "built"},
	event.StepCopy:     {"copying", "copied"},
	event.StepSecrets:  {"secrets", "secrets in place"},
	event.StepPreCheck: {"pre-checks", "pre-checks passed"},
	event.StepActivate: {"activating", "activated"},
	event.StepReboot:   {"rebooting", "rebooted"},
	event.StepCheck:    {"checking", "checks passed"},
	event.StepGC:       {"collecting garbage", "collected garbage"},
	event.StepExec:     {"running", "ran"},
	event.StepPlan:     {"planning", "planned"},
}

func doing(s event.Step) string {
	if v, ok := verbs[s]; ok {
		return v[0]
	}
	return string(s)
}

func did(s event.Step) string {
	if v, ok := verbs[s]; ok {
		return v[1]
	}
	return string(s)
}

// sum says what a step or a host came to, without saying the verb twice.
func sum(verb, txt string) string {
	if txt == "" {
		return verb
	}
	first, _, _ := strings.Cut(verb, " ")
	if strings.HasPrefix(strings.ToLower(txt), strings.ToLower(first)) {
		return txt
	}
	return verb + ": " + txt
}

// final is the line of a finished host, without symbol, name and time.
func (h *host) final() string {
	switch {
	case h.outcome == "" && h.err != "":
		return stepFailed(h.failed, h.err)
	case h.outcome == "" && h.lastOK != "":
		return sum(did(h.lastOK), h.text)
	case h.outcome == "failed" && h.text == "" && h.err != "":
		if h.failed != "" {
			return stepFailed(h.failed, h.err)
		}
		return h.err
	case h.text != "":
		return h.text
	case h.err != "":
		return strings.ReplaceAll(string(h.outcome), "-", " ") + ": " + h.err
	}
	switch h.outcome {
	case "", "ok":
		return "done"
	case "rolled-back":
		return "rolled back"
	case "unreachable":
		return "no answer"
	}
	return string(h.outcome)
}

func stepFailed(s event.Step, err string) string {
	if s == "" || strings.HasPrefix(err, string(s)) {
		return err
	}
	return string(s) + " failed: " + err
}

// interrupt settles everything that has not ended, for the last screen, and
// gives the hosts that were stopped in the middle.
func (m *model) interrupt(now time.Time) (stopped []*host) {
	// A run that gives results gives one to each host: who has none is not done.
	cut := false
	for _, h := range m.hosts {
		cut = cut || h.outcome != "" || len(h.active) > 0
	}
	for _, n := range m.order {
		h := m.hosts[n]
		switch {
		case h.state == finished:
		case len(h.active) > 0 || h.state == running && (h.waits != "" || cut):
			t := h.current()
			h.text = "interrupted"
			if h.waits != "" {
				h.text = "interrupted while waiting"
			} else if t != nil {
				h.text += " while " + doing(t.step)
				switch t.step {
				case event.StepBuilder:
					h.text = "interrupted while starting a builder"
				case event.StepSecrets:
					h.text = "interrupted while uploading secrets"
				case event.StepPreCheck:
					h.text = "interrupted while checking"
				}
			}
			h.state, h.outcome, h.ended, h.active = finished, "interrupted", now, nil
			stopped = append(stopped, h)
		case h.state == running && (h.lastOK != "" || h.err != ""):
			h.state, h.ended = finished, m.now
		case h.state == running:
			h.state, h.outcome, h.ended = finished, "ok", m.now
		case h.waits != "":
			h.state, h.outcome, h.text = finished, "skipped", "not started"
		}
	}
	return stopped
}

// tails gives the kept log lines of each host that ended badly. Hosts that
// failed of the same thing (one derivation for many) share a block. With
// unshown only blocks of which something has not been printed yet are given.
type tailBlock struct {
	hosts []string
	step  event.Step
	lines []logLine
}

func (m *model) tails(unshown bool) []tailBlock {
	var out []tailBlock
	add := func(name string, lines []logLine) {
		if len(lines) == 0 || unshown && !slices.ContainsFunc(lines, func(l logLine) bool { return !l.shown }) {
			return
		}
		for i := range out {
			if slices.EqualFunc(out[i].lines, lines, func(a, b logLine) bool { return a.text == b.text && a.step == b.step }) {
				out[i].hosts = append(out[i].hosts, name)
				return
			}
		}
		out = append(out, tailBlock{[]string{name}, lines[len(lines)-1].step, lines})
	}
	if m.run.err != "" && m.run.failed != event.StepEvaluate {
		add(string(m.run.failed), m.run.tail)
	}
	for _, n := range m.order {
		if h := m.hosts[n]; h.bad() && h.outcome != "unreachable" && h.outcome != "interrupted" {
			add(n, h.failedTail())
		}
	}
	return out
}

// failedTail is the tail of the step that failed. What other steps said has
// nothing to do with the failure.
func (h *host) failedTail() []logLine {
	step := h.failed
	if step == "" && len(h.tail) > 0 {
		step = h.tail[len(h.tail)-1].step
		if h.well[step] || step == event.StepBuilder { // which tells why, not what happened
			return nil
		}
	}
	var of []logLine
	for _, l := range h.tail {
		if l.step == step {
			of = append(of, l)
		}
	}
	return of
}
