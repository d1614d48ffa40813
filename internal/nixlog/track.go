package nixlog

import (
	"slices"
	"strings"
	"sync"
)

// Count is how far something is.
type Count struct{ Done, Expected, Running, Failed int64 }

// Work is something that goes on now.
type Work struct {
	ID    uint64
	Type  string // as in event.Activity
	Path  string // derivation or store path
	From  string // builder or substituter; empty for this machine
	Phase string
	Done  int64 // bytes
	Total int64
}

// Snapshot is what a log adds up to.
type Snapshot struct {
	Builds     Count // derivations
	Paths      Count // store paths to copy or fetch
	Downloaded Count // bytes over the network, compressed
	Copied     Count // bytes of store paths, as they are in the store
	Working    []Work
	Waiting    string // what Nix waits for, such as a lock
}

// Failure is a derivation that could not be built.
type Failure struct {
	Drv    string
	Reason string // one line, lower case: "builder failed with exit code 3"; may be empty
	// Dependency says that it failed only because something it needs did.
	Dependency bool
	// Log are the last lines of its build log, or what Nix says in place of one.
	Log []string
	// Required and Have are set when nobody could build it: what it needs
	// ("aarch64-linux") and what the refusing machine is.
	Required, Have string
}

// Tracker adds messages up. It is safe for concurrent use.
type Tracker struct {
	// Keep is how many lines of log are kept for each derivation; set it before
	// the first message. 0 means 50.
	Keep int

	mu       sync.Mutex
	acts     map[uint64]*activity
	order    []uint64
	totals   map[int]*total
	logs     map[string][]string
	logBytes int      // of logs, about
	errBytes int      // of errors
	open     []*build // started builds whose end is not known yet, oldest first
	doneOwed int      // ends that Nix counted and that are not matched with a build yet
	failOwed int
	failPaid int // failures that were named before Nix counted them
	failures []Failure
	errors   []*Error
	warnings []string
	rest     []string // plain lines, the last of them
}

type activity struct {
	id, parent uint64
	typ        int
	text       string
	build      *build
	path, from string
	phase      string
	count      Count
	expected   map[int]int64
}

// build is one attempt at a derivation.
type build struct {
	drv     string
	stopped bool
	end     byte // 0 while it is not known, 'd' done, 'f' failed
}

// total is the sum over the activities of one type that have stopped, and what
// others said is to be expected of it.
type total struct{ done, failed, expected int64 }

// NewTracker makes an empty tracker.
func NewTracker() *Tracker {
	return &Tracker{acts: map[uint64]*activity{}, totals: map[int]*total{}, logs: map[string][]string{}}
}

func (t *Tracker) total(typ int) *total {
	s := t.totals[typ]
	if s == nil && len(t.totals) > maxKept {
		return &total{} // of a type that no Nix has
	}
	if s == nil {
		s = &total{}
		t.totals[typ] = s
	}
	return s
}

// Change is what a message meant.
type Change struct {
	Kind  ChangeKind
	Work  Work   // of Started, Stopped, Phase and Log
	Text  string // of Log, Warning, Notice
	Error *Error // of Failed
}

// ChangeKind names a change.
type ChangeKind int

// Changes. Counted says that only numbers moved.
const (
	Nothing ChangeKind = iota
	Started
	Stopped
	Counted
	Phase
	Log
	Warning
	Failed
	Notice
)

// Apply takes a message in and says what it meant.
func (t *Tracker) Apply(m Message) Change {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch m.Action {
	case Start:
		return t.start(m)
	case Stop:
		return t.stop(m.ID)
	case Result:
		return t.result(m)
	case Msg:
		return t.message(m)
	case Text:
		// A Nix elsewhere, or one that did not come to its options yet.
		if strings.HasPrefix(m.Text, "error:") {
			return t.message(Message{Action: Msg, Level: LevelError, Text: m.Text})
		}
		t.rest = ring(t.rest, clip(m.Text, maxText), 200)
		return Change{Kind: Notice, Text: m.Text}
	}
	return Change{}
}

// What a log without an end can make of us: activities that never stop, texts, and
// lines of build logs that are kept, in bytes.
const (
	maxActivities = 1 << 14
	maxText       = 16 << 10
	maxLogs       = 16 << 20
	maxErrors     = 16 << 20
)

// clip cuts a text, and does not hold on to the rest.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(strings.Clone(s[:n]), "")
}

func (t *Tracker) start(m Message) Change {
	if len(t.acts) >= maxActivities {
		return Change{}
	}
	m.Fields = slices.Clone(m.Fields)
	for i := range m.Fields {
		m.Fields[i].Str = clip(m.Fields[i].Str, 1024)
	}
	a := &activity{id: m.ID, parent: m.Parent, typ: m.Type, text: clip(m.Text, 1024)}
	switch m.Type {
	case TypeBuild:
		a.path, a.from = m.str(0), m.str(1)
		if a.path == "" {
			a.path = drvPath.FindString(m.Text)
		}
		t.forget(a.path)
		a.build = &build{drv: a.path}
		t.open = ring(t.open, a.build, maxKept)
	case TypeSubstitute, TypeQueryPathInfo, TypeCopyPath:
		a.path, a.from = m.str(0), m.str(1)
	case TypeFileTransfer:
		a.from = m.str(0)
	case TypePostBuildHook:
		a.path = m.str(0)
	}
	if _, again := t.acts[m.ID]; again {
		t.stop(m.ID)
	}
	t.acts[m.ID] = a
	t.order = append(t.order, m.ID)
	if !t.shown(a) {
		return Change{Kind: Counted}
	}
	return Change{Kind: Started, Work: a.work()}
}

func (t *Tracker) stop(id uint64) Change {
	a := t.acts[id]
	if a == nil {
		return Change{}
	}
	s := t.total(a.typ)
	s.done += a.count.Done
	s.failed += a.count.Failed
	for typ, n := range a.expected {
		t.total(typ).expected -= n
	}
	shown := t.shown(a)
	delete(t.acts, id)
	if i := slices.Index(t.order, id); i >= 0 {
		t.order = slices.Delete(t.order, i, i+1)
	}
	if b := a.build; b != nil {
		b.stopped = true
		switch {
		case b.end != 0:
		case t.doneOwed > 0 && t.failOwed == 0:
			t.doneOwed--
			t.close(b, 'd')
		case t.failOwed > 0 && t.doneOwed == 0:
			t.failOwed--
			t.close(b, 'f')
		}
	}
	if !shown {
		return Change{Kind: Counted}
	}
	return Change{Kind: Stopped, Work: a.work()}
}

func (t *Tracker) result(m Message) Change {
	a := t.acts[m.ID]
	if a == nil {
		return Change{}
	}
	switch m.Type {
	case ResultLogLine, ResultPostLogLine, ResultFetchStatus:
		line := m.str(0)
		if a.path != "" && m.Type != ResultFetchStatus {
			keep := t.Keep
			if keep <= 0 {
				keep = 50
			}
			t.keep(a.path, line, keep)
		}
		return Change{Kind: Log, Work: a.work(), Text: line}
	case ResultSetPhase:
		a.phase = m.str(0)
		return Change{Kind: Phase, Work: a.work()}
	case ResultProgress:
		before := a.count
		a.count = Count{m.num(0), m.num(1), m.num(2), m.num(3)}
		if a.typ == TypeBuilds {
			t.settle(a.count.Done-before.Done, a.count.Failed-before.Failed)
		}
		if a.count == before {
			return Change{}
		}
		return Change{Kind: Counted}
	case ResultSetExpected:
		if len(m.Fields) < 2 || len(a.expected) > 100 {
			return Change{}
		}
		typ, n := int(m.num(0)&0xffff), m.num(1)
		if a.expected == nil {
			a.expected = map[int]int64{}
		}
		t.total(typ).expected += n - a.expected[typ]
		a.expected[typ] = n
		return Change{Kind: Counted}
	case ResultUntrusted, ResultCorrupted:
		w := "untrusted path " + m.str(0)
		if m.Type == ResultCorrupted {
			w = "corrupted path " + m.str(0)
		}
		t.warn(w)
		return Change{Kind: Warning, Text: w}
	}
	return Change{}
}

// settle matches the counts of done and failed builds with builds. Nix has no
// event for the end of one build: its counters move before or after the build's
// stop, and a stop may come as late as the end of the whole run.
func (t *Tracker) settle(done, failed int64) {
	for ; done > 0 && done < maxKept; done-- {
		if b := t.candidate(); b != nil {
			t.close(b, 'd')
		} else {
			t.doneOwed++
		}
	}
	for ; failed > 0 && failed < maxKept; failed-- {
		if t.failPaid > 0 {
			t.failPaid--
		} else if b := t.candidate(); b != nil {
			t.close(b, 'f')
		} else {
			t.failOwed++
		}
	}
}

// candidate is the build that must have ended: the only one, or the only one
// that stopped.
func (t *Tracker) candidate() *build {
	if len(t.open) == 1 {
		return t.open[0]
	}
	var found *build
	for _, b := range t.open {
		if b.stopped {
			if found != nil {
				return nil
			}
			found = b
		}
	}
	return found
}

func (t *Tracker) close(b *build, end byte) {
	b.end = end
	if i := slices.Index(t.open, b); i >= 0 {
		t.open = slices.Delete(t.open, i, i+1)
	}
	if end == 'f' {
		t.fail(Failure{Drv: b.drv})
	} else if !t.hasFailed(b.drv) {
		t.forget(b.drv)
	}
}

// keep adds a line to the log of a derivation, as long as there is room for all logs.
func (t *Tracker) keep(drv, line string, most int) {
	had := t.logs[drv]
	if t.logBytes > maxLogs && len(had) == 0 {
		return
	}
	line = clip(line, maxText)
	if len(had) >= most {
		t.logBytes -= len(had[0]) + lineCost
	}
	t.logs[drv] = ring(had, line, most)
	t.logBytes += len(line) + lineCost
}

// lineCost is what a line costs beside its bytes.
const lineCost = 32

// forget drops the log of a derivation.
func (t *Tracker) forget(drv string) {
	for _, l := range t.logs[drv] {
		t.logBytes -= len(l) + lineCost
	}
	delete(t.logs, drv)
}

// named takes in that a message names a derivation whose own build failed.
func (t *Tracker) named(drv string) {
	for _, b := range t.open {
		if b.drv == drv {
			t.close(b, 'f')
			if t.failOwed > 0 {
				t.failOwed--
			} else {
				t.failPaid++
			}
			return
		}
	}
}

func (t *Tracker) hasFailed(drv string) bool {
	return slices.ContainsFunc(t.failures, func(f Failure) bool { return f.Drv == drv && !f.Dependency })
}

// maxKept bounds lists that a log fills.
const maxKept = 1000

func (t *Tracker) fail(f Failure) {
	if f.Drv == "" {
		return
	}
	for i := range t.failures {
		if had := &t.failures[i]; had.Drv == f.Drv {
			if had.Reason == "" {
				*had = f
			}
			return
		}
	}
	if len(t.failures) < maxKept {
		t.failures = append(t.failures, f)
	}
}

func (t *Tracker) warn(w string) {
	w = clip(w, maxText)
	if len(t.warnings) < maxKept && !slices.Contains(t.warnings, w) {
		t.warnings = append(t.warnings, w)
	}
}

func (t *Tracker) message(m Message) Change {
	switch {
	case m.Level == LevelError:
		e := errorOf(m)
		if e == nil {
			if m.Text == "(use '--show-trace' to show detailed location information)" {
				return Change{}
			}
			m.Text = clip(m.Text, maxText)
			if w, ok := strings.CutPrefix(m.Text, "trace: warning: "); ok {
				t.warn(w)
				return Change{Kind: Warning, Text: oneLine(w)}
			}
			t.rest = ring(t.rest, clip(m.Text, maxText), 200)
			return Change{Kind: Notice, Text: oneLine(m.Text)}
		}
		if f, ok := failureOf(e); ok {
			if !f.Dependency {
				t.named(f.Drv)
			}
			t.fail(f)
		} else if len(t.failures) > 0 && strings.HasPrefix(e.Message, "timed out after ") {
			// 2.34 does not say what.
			for i := range t.failures {
				if f := &t.failures[i]; f.Reason == "" {
					f.Reason, e.Drv = e.Message, f.Drv
				}
			}
		}
		if t.errBytes < maxErrors && len(t.errors) < maxKept {
			t.errors = append(t.errors, e)
			t.errBytes += 3 * len(e.Text)
		}
		return Change{Kind: Failed, Error: e}
	case m.Level == LevelWarn:
		w := strings.TrimPrefix(strings.TrimPrefix(m.Text, "evaluation "), "warning: ")
		if strings.HasPrefix(w, "you did not specify '--add-root'") {
			return Change{} // godwit keeps roots of its own
		}
		t.warn(w)
		return Change{Kind: Warning, Text: oneLine(w)}
	case m.Level <= LevelInfo:
		t.rest = ring(t.rest, clip(m.Text, maxText), 200)
		return Change{Kind: Notice, Text: oneLine(m.Text)}
	}
	return Change{}
}

func oneLine(s string) string {
	if !strings.Contains(s, "\n") {
		return s
	}
	var out []string
	for _, l := range strings.Split(s, "\n") {
		if l = strings.TrimSpace(l); l != "" {
			out = append(out, l)
		}
	}
	return strings.Join(out, " ")
}

func ring[T any](lines []T, line T, keep int) []T {
	lines = append(lines, line)
	if n := len(lines) - keep; n > 0 {
		lines = slices.Delete(lines, 0, n)
	}
	return lines
}

// shown says whether an activity is worth a person's attention by itself:
// downloads on behalf of a copy are not, nor is a copy within a substitution.
func (t *Tracker) shown(a *activity) bool {
	switch a.typ {
	case TypeBuild, TypeSubstitute:
		return true
	case TypeCopyPath:
		return !t.within(a, TypeSubstitute)
	case TypeFileTransfer:
		return !t.within(a, TypeCopyPath, TypeQueryPathInfo, TypeSubstitute)
	case TypeFetchTree:
		return true
	}
	return false
}

func (t *Tracker) within(a *activity, types ...int) bool {
	for n := 0; n < 32; n++ {
		p := t.acts[a.parent]
		if a.parent == 0 || p == nil {
			return false
		}
		if slices.Contains(types, p.typ) {
			return true
		}
		a = p
	}
	return false
}

var typeNames = map[int]string{
	TypeBuild: "build", TypeSubstitute: "substitute", TypeCopyPath: "copy", TypeFileTransfer: "download",
	TypeFetchTree: "download", TypeQueryPathInfo: "query",
}

func (a *activity) work() Work {
	w := Work{ID: a.id, Type: typeNames[a.typ], Path: a.path, From: a.from, Phase: a.phase}
	if a.typ == TypeCopyPath || a.typ == TypeFileTransfer {
		w.Done, w.Total = a.count.Done, a.count.Expected
	}
	if w.Path == "" {
		w.Path = a.from
	}
	return w
}

// Snapshot adds up what is known now.
func (t *Tracker) Snapshot() Snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Snapshot{
		Builds: t.count(TypeBuilds), Paths: t.count(TypeCopyPaths),
		Downloaded: t.count(TypeFileTransfer), Copied: t.count(TypeCopyPath),
	}
	for _, id := range t.order {
		a := t.acts[id]
		if a.typ == TypeBuildWaiting {
			s.Waiting = a.text
		}
		if t.shown(a) && (a.build == nil || a.build.end == 0) {
			s.Working = append(s.Working, a.work())
		}
	}
	return s
}

func (t *Tracker) count(typ int) Count {
	s := t.total(typ)
	c := Count{Done: s.done, Expected: s.done, Failed: s.failed}
	for _, a := range t.acts {
		if a.typ == typ {
			c.Done += a.count.Done
			c.Expected += a.count.Expected
			c.Running += a.count.Running
			c.Failed += a.count.Failed
		}
	}
	c.Expected = max(c.Expected, s.expected)
	return c
}

// Err is the error to tell: the first one about a derivation that failed
// itself, otherwise the last one; nil when there was none.
func (t *Tracker) Err() *Error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.errors {
		if f, ok := failureOf(e); ok && !f.Dependency {
			return e
		}
	}
	for i := len(t.errors) - 1; i >= 0; i-- {
		if e := t.errors[i]; i == 0 || !summary.MatchString(e.Message) {
			return e
		}
	}
	return nil
}

// Failures are the derivations that could not be built: first those that failed
// themselves, in the order in which they did, then those that needed them.
func (t *Tracker) Failures() []Failure {
	t.mu.Lock()
	defer t.mu.Unlock()
	var own, needed []Failure
	for _, f := range t.failures {
		if len(f.Log) == 0 {
			f.Log = slices.Clone(t.logs[f.Drv])
		}
		if f.Dependency {
			needed = append(needed, f)
		} else {
			own = append(own, f)
		}
	}
	return append(own, needed...)
}

// others are the messages of errors that are not about one derivation.
func (t *Tracker) others() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for _, e := range t.errors {
		if _, ok := failureOf(e); !ok && !summary.MatchString(e.Message) {
			out = append(out, e.Message)
		}
	}
	return out
}

// Text are the last lines that were neither errors nor warnings nor build logs.
func (t *Tracker) Text() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.rest)
}
