package nix

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"godwit/internal/bounded"
	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/nixlog"
	"godwit/internal/ui/text"
)

// Quote writes s as a string literal of the Nix language.
func Quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "${", `\${`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}

// QuoteJSON writes v as an expression of the Nix language that gives v: it goes
// through JSON, so it holds any text.
func QuoteJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return "(builtins.fromJSON " + Quote(string(b)) + ")", nil
}

// QuotePath writes an absolute path as an expression of the Nix language. Any
// path will do; a path literal could not hold a space.
func QuotePath(path string) string { return "(/. + " + Quote(path) + ")" }

// SystemOption gives the arguments that make builtins.currentSystem system for
// one evaluation. Since Nix 2.17 there is a setting for just that, eval-system;
// before, only system itself does it (and then a derivation that is built in
// the midst of the evaluation is taken to be runnable here).
func (t *Tool) SystemOption(ctx context.Context, system string) ([]string, error) {
	if system == "" {
		return nil, nil
	}
	c, err := t.Config(ctx)
	if err != nil {
		return nil, err
	}
	if system == c.System {
		if set, _ := c.Get("eval-system"); set == "" || set == system {
			return nil, nil
		}
	}
	if _, ok := c.Get("eval-system"); ok {
		return []string{"--option", "eval-system", system}, nil
	}
	return []string{"--option", "system", system}, nil
}

// evalArgs begin every evaluation. Derivations are written to the store, since
// metadata may need one built (import from derivation), which morph's read-only
// evaluation cannot. The trace is always asked for: it is where Explain finds
// the person's own file, and only Explain decides whether they see it.
var evalArgs = []string{"--eval", "--strict", "--read-write-mode", "--log-format", "internal-json", "--show-trace"}

// Evaluation is one Nix expression, evaluated in one process.
type Evaluation struct {
	Expr string   // the expression; it goes in on stdin, so its length and its letters do not matter
	Args []string // further arguments, such as --arg or --attr
	Env  []string
	Dir  string // where relative paths in Expr begin; empty: here
	// Text asks for Nix syntax instead of JSON.
	Text bool
	// Scope takes what Nix says meanwhile; the zero value takes nothing.
	Scope event.Scope
}

// Eval evaluates an expression strictly and gives it as JSON, or as Nix writes
// it, without the final line break. Derivations that it names are instantiated.
func (t *Tool) Eval(ctx context.Context, e Evaluation) ([]byte, error) {
	if e.Scope.Sink == nil {
		e.Scope.Sink = event.Discard
	}
	args := slices.Clone(evalArgs)
	if !e.Text {
		args = append(args, "--json")
	}
	args = append(append(args, e.Args...), "-")
	cmd := t.command(ctx, killEvaluation, "nix-instantiate", args...)
	cmd.Dir = e.Dir
	cmd.Env = append(cmd.Env, e.Env...)
	cmd.Stdin = strings.NewReader(e.Expr)
	out := bounded.NewBuffer("the value of the expression", mostPrinted).OnFull(func() { _ = cmd.Cancel() })
	cmd.Stdout = out
	w := watch{scope: func() event.Scope { return e.Scope }, once: t.once}
	err := w.run(cmd, nil)
	if full := out.Err(); full != nil {
		err = full
	}
	if err != nil {
		return nil, t.Failure(ctx, cmd, err, w.errors())
	}
	return []byte(strings.TrimSuffix(out.String(), "\n")), nil
}

// Each evaluates the same function on many names, in as many processes as the
// machine has cores and memory for.
type Each struct {
	// Names are the work, in order.
	Names []string
	// Expr is an expression of the Nix language that gives a function from a
	// name to a value that has a JSON form. It is called once a process.
	Expr string
	// Lead makes the run begin on a guess: Expr then gives a set with the function
	// as each and, as lead, what tells whether the guess was right. The first
	// process evaluates lead before its first name. The others are started as well,
	// which takes as long as reading a small network, but get nothing to evaluate
	// before Lead took the JSON. An error of Lead ends the run at once.
	Lead func(value json.RawMessage) error
	Args []string
	Env  []string
	Dir  string
	// System is builtins.currentSystem for a name; nil or "" leaves it alone.
	// Names with different systems are not evaluated by the same process.
	System func(name string) string
	// Workers limits the processes; 0 leaves it to cores and memory.
	Workers int
	Sink    event.Sink
	// Got takes the JSON of one name as soon as it is there. It is called by
	// several goroutines, one at a time. A *fault.Error whose Host is name makes
	// that name fail; any other error ends the run.
	Got func(name string, value json.RawMessage) error
	// Explain, when set, may make an error better before Failed and the event
	// of the failure see it. It may take its time: nothing waits but its worker.
	Explain func(ctx context.Context, name string, err error) error
	// Aside begins lines that Expr traces for Saw, which are not shown. Saw takes the
	// rest of each before the value that it belongs to, like Got; an error of its own ends
	// the run. File takes each file that is evaluated.
	Aside string
	Saw   func(line string) error
	File  func(path string)
	// Began takes the text of each activity that Nix tells of, such as a copy to the
	// store, in the order of Saw; it is called like it.
	Began func(text string) error
	// Again, when set, is asked whether the failure of a name is not the last word. Then
	// nothing is said of it, and Failed is not called. said is all that Nix said; name is
	// "" for an error that concerns all names.
	Again func(name, said string) bool
	// Failed takes the error of one name that cannot be evaluated, however it
	// fails; the others go on. It is called like Got.
	Failed func(name string, err error)

	// Of tests: a machine of so many cores, and what takes the place of its memory.
	cores int
	gauge func(p *pool, begin int) *gauge
}

// Evaluation of each name is bracketed by two lines that builtins.trace writes:
// "MARK begin NAME" and "MARK done NAME JSON"; "MARK lead JSON" may come before
// all. The mark is made up anew for every process, so that nothing a configuration
// traces can be taken for one. The fold keeps no result: what one host needed can
// be collected before the next one starts.
const eachExpr = `let
  whole = %[1]s;
  f = whole%[2]s;
  step = done: name:
    builtins.trace (%[3]s + " begin " + name)
      (let v = builtins.toJSON (f name);
       in builtins.seq v (builtins.trace (%[3]s + " done " + name + " " + v) (done + 1)));
in %[4]s builtins.foldl' step 0 %[5]s
`

// expr is what one process evaluates.
func (e *Each) expr(mark, list string, lead bool) string {
	each, first := "", ""
	if e.Lead != nil {
		each = ".each"
	}
	if lead {
		first = "builtins.seq (builtins.trace (" + Quote(mark) + ` + " lead " + builtins.toJSON whole.lead) null) (`
		list += ")"
	}
	return fmt.Sprintf(eachExpr, e.Expr, each, Quote(mark), first, list)
}

// piece is a run of names that one process works through. Another worker may
// take its tail over: then end moves.
type piece struct {
	names  []string
	at     int // names[:at] are done or failed; names[at] is being evaluated when busy
	end    int // names[end:] were taken over
	busy   bool
	beside bool // others were evaluated when names[at] began
	system string
	said   string // by the process that failed last
	alone  bool   // there is to be no other process beside it
	pid    int    // of the process; 0: there is none
	held   uint64 // most memory of the process, as far as it was measured
	want   bool   // the process was ended for want of memory
	again  int    // one more than the at whose process was killed before it began
}

type pool struct {
	t      *Tool
	e      Each
	args   map[string][]string // by system
	heap   uint64              // GC_INITIAL_HEAP_SIZE of each process, 0: leave it to Nix
	mu     sync.Mutex
	turn   *sync.Cond // of mu: something to do, or room to do it, may be there
	gauge  *gauge
	wait   []*piece // not begun
	alone  []*piece // one name each that took too much memory in company
	active []*piece
	led    bool          // a process is to evaluate the lead, or did
	begin  chan struct{} // closed when all processes may begin
	procs  sync.WaitGroup
	broken error
}

// EvalEach runs e. Its error is one that concerns every name: Nix cannot run,
// ctx ended, Lead or Got failed, or evaluation failed before it came to any name.
//
// The names are dealt to the workers in equal pieces, since each process pays
// for importing nixpkgs' lib and modules (about as much as one host costs). A
// worker that has nothing left takes half of what the slowest one has not begun.
func (t *Tool) EvalEach(ctx context.Context, e Each) error {
	if e.Sink == nil {
		e.Sink = event.Discard
	}
	if len(e.Names) == 0 {
		return nil
	}
	p := &pool{t: t, e: e, args: map[string][]string{}, begin: make(chan struct{})}
	p.turn = sync.NewCond(&p.mu)
	if e.Lead == nil {
		close(p.begin)
	}

	bySystem := map[string][]string{}
	var systems []string
	for _, n := range e.Names {
		s := ""
		if e.System != nil {
			s = e.System(n)
		}
		if _, ok := bySystem[s]; !ok {
			args, err := t.SystemOption(ctx, s)
			if err != nil {
				return err
			}
			p.args[s] = args
			systems = append(systems, s)
		}
		bySystem[s] = append(bySystem[s], n)
	}

	res := resources()
	if e.cores > 0 {
		res.cores = e.cores
	}
	workers, begin, heap := plan(len(e.Names), e.Workers, res)
	if p.gauge = newGauge(begin, res.free); e.gauge != nil {
		p.gauge = e.gauge(p, begin)
	}
	if os.Getenv("GC_INITIAL_HEAP_SIZE") == "" {
		p.heap = heap
	}
	size := (len(e.Names) + begin - 1) / begin
	for _, s := range systems {
		for names := bySystem[s]; len(names) > 0; {
			n := min(size, len(names))
			p.wait = append(p.wait, &piece{names: names[:n:n], end: n, system: s})
			names = names[n:]
		}
	}

	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		go func() {
			defer crash.Catch() // processes that are done take their time to end
			p.procs.Wait()
			cancel()
		}()
	}()
	var wg sync.WaitGroup
	over := make(chan struct{})
	defer close(over)
	go func() {
		defer crash.Catch()
		p.observe(ctx, over)
	}()
	for range workers {
		wg.Go(func() {
			defer crash.Catch()
			for {
				w := p.next(ctx)
				if w == nil {
					return
				}
				if err := p.work(ctx, w); err != nil {
					p.mu.Lock()
					if p.broken == nil {
						p.broken = err
					}
					p.turn.Broadcast()
					p.mu.Unlock()
					cancel()
					return
				}
			}
		})
	}
	wg.Wait()
	if p.broken == nil {
		p.broken = ctx.Err()
	}
	return p.broken
}

// observe looks at memory as long as evaluation goes on. Where it is about to run out, the
// process that took most is ended, and its host is evaluated alone in the end.
func (p *pool) observe(ctx context.Context, over <-chan struct{}) {
	tick := time.NewTicker(gaugeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
		case <-over:
			return
		}
		p.mu.Lock()
		if len(p.active) > 1 && p.gauge.short() {
			var most *piece
			for _, w := range p.active {
				if w.busy && w.pid > 0 && (most == nil || p.gauge.taken(w) > p.gauge.taken(most)) {
					most = w
				}
			}
			if most != nil && !most.want {
				most.want = true
				kill(most.pid)
			}
		}
		p.turn.Broadcast()
		p.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
	}
}

// next gives a worker something to do, as soon as there is memory for it: a piece that
// nobody began, or the second half of what is left of the longest piece, or in the end one
// that is to be alone; nil when all is being done.
func (p *pool) next(ctx context.Context) *piece {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.broken != nil || ctx.Err() != nil {
			return nil
		}
		n := len(p.active)
		inCompany := !slices.ContainsFunc(p.active, func(a *piece) bool { return a.alone }) && p.gauge.room(p.active, true)
		switch {
		case len(p.wait) > 0 && inCompany:
			w := p.wait[0]
			p.wait = p.wait[1:]
			p.active = append(p.active, w)
			return w
		case len(p.wait) > 0:
		case len(p.alone) > 0 && n == 0:
			w := p.alone[0]
			p.alone = p.alone[1:]
			p.active = append(p.active, w)
			return w
		default:
			var victim *piece
			for _, a := range p.active {
				if left(a) >= 2 && (victim == nil || left(a) > left(victim)) {
					victim = a
				}
			}
			switch {
			case victim != nil && inCompany:
				cut := victim.end - (left(victim)+1)/2
				names := victim.names[cut:victim.end]
				w := &piece{names: names, end: len(names), system: victim.system}
				victim.end = cut
				p.active = append(p.active, w)
				return w
			case victim == nil && len(p.alone) == 0:
				return nil
			}
		}
		p.turn.Wait()
	}
}

// left is how many names of a piece have not been begun.
func left(a *piece) int {
	n := a.end - a.at
	if a.busy {
		n--
	}
	return n
}

// work evaluates a piece, in a new process after each name that fails.
func (p *pool) work(ctx context.Context, w *piece) error {
	defer func() {
		p.mu.Lock()
		p.active = slices.DeleteFunc(p.active, func(a *piece) bool { return a == w })
		p.turn.Broadcast()
		p.mu.Unlock()
	}()
	for {
		p.mu.Lock()
		done := w.at >= w.end
		p.mu.Unlock()
		if done {
			return nil
		}
		err := p.process(ctx, w)
		p.mu.Lock()
		w.pid, w.held, w.want = 0, 0, false
		p.mu.Unlock()
		if errors.Is(err, errRoom) {
			p.mu.Lock()
			p.wait = append(p.wait, &piece{names: w.names[w.at:w.end], end: w.end - w.at, system: w.system})
			w.end = w.at
			p.mu.Unlock()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			continue
		}
		var got *gotError
		if errors.As(err, &got) {
			return got.err
		}
		p.mu.Lock()
		busy, name := w.busy, ""
		if busy {
			name = w.names[w.at]
		}
		company := w.beside || len(p.active) > 1 || w.at > 0 // that may be why memory ran out
		if outOfMemory(err) && busy && !w.alone && company { // once more, in a fresh process and without company
			w.busy = false
			p.alone = append(p.alone, &piece{names: []string{name}, end: 1, system: w.system, alone: true})
			w.at++
			p.mu.Unlock()
			event.On(p.e.Sink, name, event.StepEvaluate).Note("there is not enough memory for it beside others: it is evaluated alone in the end")
			continue
		}
		if outOfMemory(err) && !busy && company && p.begun() && w.again <= w.at { // between two names: once more, too
			w.again = w.at + 1
			p.mu.Unlock()
			continue
		}
		p.mu.Unlock()
		if p.e.Again != nil && p.e.Again(name, w.said) && busy {
			p.mu.Lock()
			w.busy = false
			w.at++
			p.mu.Unlock()
			continue
		}
		if !busy {
			return err // before any name: it concerns all of them
		}
		var f *fault.Error
		if errors.As(err, &f) {
			f.Host = name
		}
		if p.e.Explain != nil {
			err = p.e.Explain(ctx, name, err)
		}
		p.mu.Lock()
		w.busy = false
		w.at++
		if p.e.Failed != nil {
			p.e.Failed(name, err)
		}
		p.mu.Unlock()
		event.On(p.e.Sink, name, event.StepEvaluate).End("", err)
	}
}

// begun says whether all processes may begin: the lead, if there is one, is there.
func (p *pool) begun() bool {
	select {
	case <-p.begin:
		return true
	default:
		return false
	}
}

// errRoom says that a process was ended before its next name, for want of memory.
var errRoom = errors.New("no memory for the next name")

// gotError marks an error of the caller's own.
type gotError struct{ err error }

func (e *gotError) Error() string { return e.err.Error() }

// process runs one Nix process over what is left of a piece.
func (p *pool) process(ctx context.Context, w *piece) error {
	p.mu.Lock()
	lead := p.e.Lead != nil && !p.led
	p.led = true
	p.mu.Unlock()

	mark := NewMark()
	args := append(slices.Clone(evalArgs), "--json")
	if p.e.File != nil {
		args = append(args, "-v")
	}
	args = append(append(append(args, p.args[w.system]...), p.e.Args...), "-")
	alone, stop := context.WithCancel(ctx) // of this process
	cmd := p.t.command(alone, killEvaluation, "nix-instantiate", args...)
	cmd.Dir = p.e.Dir
	cmd.Env = append(cmd.Env, p.e.Env...)
	if p.heap > 0 {
		cmd.Env = append(cmd.Env, "GC_INITIAL_HEAP_SIZE="+strconv.FormatUint(p.heap, 10))
	}
	cmd.Stdin = &lateReader{text: func() (string, error) {
		if !lead {
			select {
			case <-p.begin:
			case <-alone.Done():
				return "", alone.Err()
			}
		}
		p.mu.Lock()
		list, err := QuoteJSON(w.names[w.at:w.end])
		p.mu.Unlock()
		return p.e.expr(mark, list, lead), err
	}}

	var gotErr error
	cut, full := false, false
	finished := make(chan struct{}) // closed when the last name is done
	current := ""
	told := func(take func(string) error) func(string) {
		if take == nil {
			return nil
		}
		return func(line string) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if gotErr == nil {
				if gotErr = take(line); gotErr != nil {
					stop()
				}
			}
		}
	}
	var on watch
	on = watch{
		mark: mark,
		scope: func() event.Scope {
			return event.On(p.e.Sink, current, event.StepEvaluate)
		},
		once:  p.t.once,
		aside: p.e.Aside,
		saw:   told(p.e.Saw),
		began: told(p.e.Began),
		file:  p.file(),
		marked: func(line string) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if gotErr != nil {
				return
			}
			word, rest, _ := strings.Cut(line, " ")
			if word == "begin" && w.at >= w.end { // taken over by another worker
				cut = true
				stop()
				return
			}
			if on.over || full {
				return
			}
			if word == "begin" && !w.alone && w.held > 0 && !p.gauge.room(p.active, false) {
				full = true
				stop()
				return
			}
			switch word {
			case "lead":
				if gotErr = p.e.Lead(json.RawMessage(rest)); gotErr != nil {
					// At once: it may compute for long before it looks at a signal, and
					// nothing of what it does is wanted.
					kill(cmd.Process.Pid)
					return
				}
				close(p.begin)
			case "begin":
				current, w.busy, w.beside = rest, true, len(p.active) > 1
				event.On(p.e.Sink, rest, event.StepEvaluate).Start("")
			case "done":
				if cut {
					return
				}
				w.busy = false
				w.at++
				p.gauge.measured(w)
				p.turn.Broadcast()
				name := current
				value := strings.TrimPrefix(rest, name+" ")
				current = ""
				defer func() {
					if gotErr == nil && w.at >= w.end {
						on.over = true
						close(finished)
					}
				}()
				err := p.e.Got(name, json.RawMessage(value))
				if f, ok := err.(*fault.Error); ok && f.Host == name {
					if p.e.Failed != nil {
						p.e.Failed(name, f)
					}
					event.On(p.e.Sink, name, event.StepEvaluate).End("", f)
					return
				}
				if err != nil {
					gotErr = err
					stop()
					return
				}
				event.On(p.e.Sink, name, event.StepEvaluate).End("", nil)
			}
		},
	}
	ended := make(chan error, 1)
	p.procs.Go(func() {
		defer crash.Catch()
		defer stop()
		ended <- on.run(cmd, func() {
			p.mu.Lock()
			w.pid = cmd.Process.Pid
			p.mu.Unlock()
		})
	})
	var err error
	select {
	case err = <-ended:
	case <-finished:
		// Freeing a gigabyte takes a tenth of a second, which nobody has to wait
		// for; and what was instantiated stays safe from the garbage collector
		// until the process is gone.
		return nil
	}
	switch {
	case gotErr != nil:
		return &gotError{gotErr}
	case full:
		return errRoom
	case cut:
		return nil
	case err != nil:
		w.said = on.errors()
		return p.t.Failure(ctx, cmd, err, w.said)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.at < w.end {
		return fault.New("nix ended without evaluating %s", w.names[w.at])
	}
	return nil
}

// file passes files on one at a time.
func (p *pool) file() func(string) {
	if p.e.File == nil {
		return nil
	}
	return func(path string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.e.File(path)
	}
}

// lateReader is a text that is made when it is first read.
type lateReader struct {
	text func() (string, error)
	r    *strings.Reader
}

func (l *lateReader) Read(b []byte) (int, error) {
	if l.r == nil {
		text, err := l.text()
		if err != nil {
			return 0, err
		}
		l.r = strings.NewReader(text)
	}
	return l.r.Read(b)
}

// once says whether a line that concerns no name is new in this run.
func (t *Tool) once(line string) bool {
	return t.said.new(line)
}

// NewMark is a word that nothing else can have written.
func NewMark() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return "godwit-" + hex.EncodeToString(b[:])
}

// outOfMemory says whether a process was killed, or gave up, for want of memory.
func outOfMemory(err error) bool {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if st, ok := exit.Sys().(syscall.WaitStatus); ok && st.Signaled() && st.Signal() == syscall.SIGKILL {
			return true
		}
	}
	return strings.Contains(err.Error(), "out of memory") || strings.Contains(err.Error(), "Cannot allocate memory")
}

// watch reads what a Nix process with --log-format internal-json writes on
// stderr: the marks of EvalEach, errors, and the rest, which become events.
type watch struct {
	mark   string
	marked func(line string)
	scope  func() event.Scope
	once   func(line string) bool // whether a line that concerns no name is new; nil: it is

	// aside begins traced lines for saw, and file takes evaluated files, of -v; nil: there are none.
	aside string
	saw   func(line string)
	began func(text string)
	file  func(path string)

	over        bool     // nothing but marks is of interest any more
	failed      []string // what Nix said at level 0 that is neither trace nor warning
	failedBytes int
	tail        []string // the last lines outside Nix's own log
}

// run runs a process to its end, and tells when it is there.
func (w *watch) run(cmd *exec.Cmd, started func()) error {
	var long error
	err := bounded.Said(cmd, started, func(stderr io.Reader) {
		lines := bounded.NewLines(stderr, "a line of Nix's log", mostLine)
		for lines.Next() {
			w.line(lines.Bytes())
		}
		if long = lines.Err(); bounded.Is(long) {
			_ = cmd.Cancel()
		}
	})
	if bounded.Is(long) {
		return long
	}
	return err
}

// fail keeps an error of Nix's; of endless ones the first, up to a limit of what they cost.
func (w *watch) fail(msg string) {
	const each = 32 // of a short string: its words in the list, and what an allocation rounds up
	if w.failedBytes += len(msg) + each; w.failedBytes <= mostSaid {
		w.failed = append(w.failed, msg)
	}
}

// errors is what Nix said about its failure, as Explain reads it.
func (w *watch) errors() string {
	if len(w.failed) > 0 {
		return strings.Join(w.failed, "\n")
	}
	return strings.Join(w.tail, "\n")
}

func (w *watch) line(line []byte) {
	m, ok := nixlog.Parse(line)
	if !ok {
		return
	}
	switch m.Action {
	case nixlog.Text:
		w.other(m.Text)
		return
	case nixlog.Start:
		if w.began != nil && m.Text != "" {
			w.began(m.Text)
		}
		if m.Text != "" && m.Level <= nixlog.LevelInfo && !w.over { // downloads and builds in the midst of evaluation
			w.scope().Emit(event.Event{Kind: event.Progress, Text: text.OneLine(text.Strip(m.Text))})
		}
		return
	case nixlog.Msg:
	default:
		return
	}
	if rest, ok := strings.CutPrefix(m.Text, "trace: "+w.mark+" "); ok && w.mark != "" {
		w.marked(rest)
		return
	}
	if rest, ok := strings.CutPrefix(m.Text, "trace: "+w.aside+" "); ok && w.aside != "" {
		w.saw(rest)
		return
	}
	if w.file != nil && m.Level > nixlog.LevelInfo { // of -v
		if path, ok := strings.CutPrefix(text.Strip(m.Text), "evaluating file '"); ok {
			w.file(strings.TrimSuffix(path, "'"))
		}
		return
	}
	msg := text.Strip(m.Text)
	switch {
	case m.Level == nixlog.LevelError && (m.Raw != "" || strings.HasPrefix(msg, "error:")):
		w.fail(msg)
	case strings.HasPrefix(msg, "(use '--show-trace'"):
	default:
		w.other(msg)
	}
}

// other passes on a line that is not an error of Nix's.
func (w *watch) other(msg string) {
	msg = strings.TrimRight(text.Strip(msg), "\n")
	if w.over || strings.TrimSpace(msg) == "" {
		return
	}
	if len(w.tail) >= 40 {
		w.tail = w.tail[1:]
	}
	w.tail = append(w.tail, strings.Clone(msg[:min(len(msg), mostSaid/40)]))
	scope := w.scope()
	if scope.Sink == nil {
		return
	}
	if scope.Host == "" && w.once != nil && !w.once(msg) {
		return
	}
	if strings.Contains(msg, "SQLite database") && strings.HasSuffix(msg, "is busy") {
		scope.Log(text.OneLine(msg)) // Nix waits and tries again
		return
	}
	for _, prefix := range []string{"trace: warning: ", "trace: evaluation warning: ", "evaluation warning: ", "warning: "} {
		if rest, ok := strings.CutPrefix(msg, prefix); ok {
			scope.Warn(text.OneLine(rest))
			return
		}
	}
	for _, l := range strings.Split(msg, "\n") {
		scope.Log(text.Clean(l))
	}
}
