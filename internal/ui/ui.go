// Package ui turns the events of a run into what a person or a script reads:
// a live view that redraws itself, plain lines, or JSON.
//
// The rules, kept by every renderer: what a person is told goes to stderr;
// stdout carries only what a script wants (JSON events, output of commands run
// on hosts, result paths). Live text is replaced and leaves a last screen that
// can be pasted anywhere. Foreign text is cleaned of control characters before
// it is shown (text.Clean), and an Output guards that nothing else gets out. No line is coloured to carry a meaning that its symbol and words
// do not carry.
package ui

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/ui/text"
)

// Mode is a way to show a run.
type Mode int

// Modes. Auto is Live on a terminal that can redraw lines and is not watched
// by a CI system, and Plain otherwise.
const (
	Auto Mode = iota
	Live
	Plain
	JSON
)

// Color says when to colour.
type Color int

// ColorAuto colours a terminal unless NO_COLOR is set or TERM is dumb.
const (
	ColorAuto Color = iota
	ColorNever
	ColorAlways
)

// Options for New. The zero value suits a command: stdout, stderr, automatic
// mode and colour.
type Options struct {
	Stdout, Stderr io.Writer // default os.Stdout, os.Stderr
	Mode           Mode
	Color          Color
	// Width and Height tell the size of the terminal, anew for each redraw.
	// By default Stderr is asked.
	Width, Height func() int
	// Verbose shows every log line.
	Verbose bool
	// Hosts are the hosts in the order in which they are shown.
	Hosts []string
	// ASCII avoids everything else; it is the default where the locale is not UTF-8.
	ASCII bool
	// LogLines is how many lines of log are kept per host and printed when it
	// fails; 0 means 20.
	LogLines int
	// Getenv and Terminal (for questions) are os.Getenv and /dev/tty unless given.
	Getenv   func(string) string
	Terminal func() (io.ReadWriteCloser, error)

	now      func() time.Time
	noTicker bool
}

// UI shows a run. It is an event.Sink, and safe for concurrent use.
type UI struct {
	opt   Options
	mode  Mode
	ascii bool
	pal   palette

	stdout, stderr *Output

	mu     sync.Mutex // state
	model  *model
	closed bool

	errMu sync.Mutex
	err   error // first write that failed

	live  *live // nil unless Mode() is Live
	plain *plain

	// The sum of all hosts' copying that JSON told last, and when.
	copies   copies
	copiesAt time.Time
}

var _ event.Sink = (*UI)(nil)

// New makes a UI. Close it.
func New(o Options) *UI {
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.LogLines <= 0 {
		o.LogLines = 20
	}
	if o.Terminal == nil {
		o.Terminal = openTerminal
	}
	u := &UI{opt: o, mode: o.Mode, model: newModel(o.LogLines), stdout: guarded(o.Stdout, NewStdout), stderr: guarded(o.Stderr, NewStderr)}
	tty := u.stderr.Terminal()
	if o.Width == nil {
		u.opt.Width = func() int { w, _ := u.stderr.Size(); return w }
	}
	if o.Height == nil {
		u.opt.Height = func() int { _, h := u.stderr.Size(); return h }
	}
	if u.mode == Auto {
		u.mode = Plain
		if t := o.Getenv("TERM"); tty && o.Getenv("CI") == "" && t != "dumb" && t != "" {
			u.mode = Live
		}
	}
	u.ascii = o.ASCII || !utf8Locale(o.Getenv)
	color := o.Color == ColorAlways
	if o.Color == ColorAuto {
		color = tty && o.Getenv("NO_COLOR") == "" && o.Getenv("TERM") != "dumb"
	}
	u.pal = palette{on: color}
	u.announce(o.Hosts)
	switch u.mode {
	case Live:
		u.live = newLive(u)
	case Plain:
		u.plain = &plain{u: u}
	case JSON:
		u.write(u.stdout, []byte(`{"schema":"godwit-events","version":`+strconv.Itoa(event.Version)+"}\n"))
	}
	return u
}

// Mode tells which renderer runs; never Auto.
func (u *UI) Mode() Mode { return u.mode }

// Width is the number of columns to lay text out for: the terminal's, or 80.
func (u *UI) Width() int {
	if w := u.opt.Width(); w > 0 {
		return w
	}
	return 80
}

// Announce names the hosts in the order in which they are shown.
func (u *UI) Announce(hosts []string) {
	u.mu.Lock()
	u.announce(hosts)
	u.mu.Unlock()
	u.wake(false)
}

// announce runs under u.mu. Names are known as Emit knows them.
func (u *UI) announce(hosts []string) {
	names := slices.Clone(hosts)
	for i, n := range names {
		if u.mode != JSON {
			names[i] = text.Clean(n)
		}
	}
	u.model.announce(names)
}

// Emit shows an event.
func (u *UI) Emit(e event.Event) {
	if e.Time.IsZero() {
		e.Time = u.opt.now()
	}
	if u.mode == JSON {
		u.emitJSON(e)
		return
	}
	e.Host, e.Step = text.Clean(e.Host), event.Step(text.Clean(string(e.Step)))
	e.Text = u.clean(e.Text)
	e.Error = u.clean(e.Error)
	if a := e.Activity; a != nil && a.Phase != "" {
		b := *a
		b.Phase = u.clean(b.Phase)
		e.Activity = &b
	}
	u.mu.Lock()
	h, t := u.model.apply(e)
	if u.plain != nil {
		u.plain.emit(e, h, t)
		u.mu.Unlock()
		return
	}
	u.live.emit(e, h, t)
	u.live.late()
	u.mu.Unlock()
	u.wake(e.Kind == event.Progress || e.Kind == event.Log)
}

// Println prints lines of text, such as a header or a summary, to stderr and
// above what is live.
func (u *UI) Println(line string) { u.print(false, line) }

// Output prints lines to stdout without disturbing what is live.
func (u *UI) Output(line string) { u.print(true, line) }

func (u *UI) print(stdout bool, line string) {
	var out []string
	for _, l := range strings.Split(strings.TrimSuffix(line, "\n"), "\n") {
		if !stdout {
			l = u.asciiText(l)
		}
		out = append(out, l)
	}
	u.mu.Lock()
	if u.live == nil {
		w := u.stderr
		if stdout {
			w = u.stdout
		}
		u.write(w, []byte(strings.Join(out, "\n")+"\n"))
		u.mu.Unlock()
		return
	}
	for _, l := range out {
		if !stdout {
			l = u.stderr.line(l, false)
		}
		u.live.pending = append(u.live.pending, printed{stdout, l})
	}
	u.live.late()
	u.mu.Unlock()
	u.wake(false)
}

// ErrNoTerminal is what Ask gives when there is nobody to ask.
var ErrNoTerminal = errors.New("there is no terminal to ask on")

// Ask asks a question and reads the answer from the terminal, never from
// stdin. Anything but y or yes means no.
func (u *UI) Ask(question string) (bool, error) {
	answer, err := u.Prompt(context.Background(), question+" [y/N] ")
	if err != nil {
		return false, err
	}
	switch strings.ToLower(answer) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}

// CanAsk tells whether there is a terminal to ask on.
func (u *UI) CanAsk() bool {
	tty, err := u.opt.Terminal()
	if err == nil {
		tty.Close()
	}
	return err == nil
}

// Prompt shows a prompt and reads one line from the terminal, never from stdin. The
// error is ErrNoTerminal when there is none, and the cause of ctx's end when that
// came first.
func (u *UI) Prompt(ctx context.Context, prompt string) (answer string, err error) {
	tty, terr := u.opt.Terminal()
	if terr != nil {
		return "", ErrNoTerminal
	}
	type line struct {
		text string
		err  error
	}
	read := make(chan line, 1)
	u.Suspend(func() {
		if _, err = io.WriteString(tty, text.Clean(u.asciiText(prompt))); err != nil {
			tty.Close()
			return
		}
		go func() {
			defer crash.Catch()
			defer tty.Close()
			s, err := readLine(tty)
			read <- line{s, err}
		}()
		select {
		case l := <-read:
			answer, err = l.text, l.err
		case <-ctx.Done():
			err = context.Cause(ctx)
			// Or the next line that is typed would be taken for this answer.
			if d, ok := tty.(interface{ SetReadDeadline(time.Time) error }); ok {
				_ = d.SetReadDeadline(time.Now())
			}
			_, _ = io.WriteString(tty, "\n")
		}
	})
	return strings.TrimSpace(answer), err
}

// readLine reads up to a line feed and not a byte further.
func readLine(r io.Reader) (string, error) {
	var line []byte
	var b [1]byte
	for {
		n, err := r.Read(b[:])
		if n == 1 {
			if b[0] == '\n' {
				return string(line), nil
			}
			line = append(line, b[0])
		}
		if err != nil {
			if err == io.EOF && len(line) > 0 {
				return string(line), nil
			}
			return "", err
		}
	}
}

// Suspend takes the live view off the terminal while fn uses it, for instance
// for a password prompt. Events are taken in meanwhile and shown afterwards.
func (u *UI) Suspend(fn func()) {
	if u.live != nil {
		u.live.suspend()
		defer u.live.resume()
	}
	fn()
}

// Close shows the final state: one line for each host, or few when there are
// more hosts than rows, and the last log lines of those that failed. What had
// not ended is shown as interrupted. It leaves the terminal as it was, and may
// be called more than once, also while a question is open. Its error is that
// of the first write that failed.
func (u *UI) Close() error {
	if u.live != nil {
		u.live.close()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed {
		u.closed = true
		if u.plain != nil {
			u.plain.close()
		}
	}
	u.errMu.Lock()
	defer u.errMu.Unlock()
	return u.err
}

func (u *UI) wake(soft bool) {
	if u.live != nil {
		u.live.wake(soft)
	}
}

// write keeps the first error. Callers hold u.mu or own the terminal.
func (u *UI) write(w io.Writer, b []byte) {
	if len(b) == 0 {
		return
	}
	_, err := w.Write(b)
	u.noted(err)
}

// draw is write for what the live view draws.
func (u *UI) draw(b []byte) {
	_, err := u.stderr.control(b)
	u.noted(err)
}

func (u *UI) noted(err error) {
	if err != nil {
		u.errMu.Lock()
		if u.err == nil {
			u.err = err
		}
		u.errMu.Unlock()
	}
}

func (u *UI) clean(s string) string { return u.asciiText(text.Clean(s)) }

var toASCII = strings.NewReplacer("…", "...", "→", "->", "·", "-", "–", "-", "—", "-", "×", "x",
	"‘", "'", "’", "'", "“", `"`, "”", `"`, "✓", "+", "✗", "x", "⚠", "!", "↺", "<", "●", "*", "○", "-", "≥", ">=", "≤", "<=")

func (u *UI) asciiText(s string) string {
	if !u.ascii {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r >= 0x80 {
			return '?'
		}
		return r
	}, toASCII.Replace(s))
}

// Size and Elapsed write numbers as everywhere in godwit: "67 MiB", "1m 04s".
func Size(n int64) string { return text.Size(n) }

// Elapsed writes a duration with two significant digits: "9.2s", "1m 04s".
func Elapsed(d time.Duration) string { return text.Elapsed(d) }

func openTerminal() (io.ReadWriteCloser, error) { return os.OpenFile("/dev/tty", os.O_RDWR, 0) }

// utf8Locale says whether the locale's character encoding is UTF-8.
func utf8Locale(getenv func(string) string) bool {
	for _, k := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(getenv(k)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
