package ui

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"

	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/ui/text"
)

// How often the live view is redrawn: soon after something began or ended,
// calmer for numbers and log lines that run by.
const (
	paintEvery = time.Second / 15
	paintSoft  = 250 * time.Millisecond
)

// Control sequences. Lines of the live area are drawn with automatic wrapping
// off: should a terminal find a character wider than we do, the line is cut at
// the edge and the count of rows stays right.
const (
	syncBegin  = "\x1b[?2026h"
	syncEnd    = "\x1b[?2026l"
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	wrapOff    = "\x1b[?7l"
	wrapOn     = "\x1b[?7h"
	eraseLine  = "\x1b[K"
	eraseBelow = "\x1b[J"
)

// live redraws an area at the bottom of the terminal. One goroutine paints;
// emitters only change state under u.mu and knock. The cursor rests in the
// first column of the area's last row between paints.
type live struct {
	u *UI

	// Under u.mu.
	pending   []printed // lines to print above the area, in order
	suspended int
	closed    bool

	// wmu is held by whoever writes to the terminal; it is taken before u.mu.
	wmu    sync.Mutex
	rows   []string // what is on the screen now, styled
	widths []int    // their display widths
	w, h   int      // terminal size they were drawn for
	hidden bool     // the cursor is

	hard, soft chan struct{}
	stop, done chan struct{}
	once       sync.Once // closes stop
	forget     func()    // to give the terminal back
}

// printed is a line for stderr, which the live area is on, or for stdout.
type printed struct {
	stdout bool
	text   string
}

func newLive(u *UI) *live {
	l := &live{
		u:    u,
		hard: make(chan struct{}, 1), soft: make(chan struct{}, 1),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	l.forget = crash.OnExit(func() { u.stderr.abandon(syncEnd + wrapOn + showCursor + "\x1b[0m\r\n") })
	if u.opt.noTicker {
		close(l.done)
		return l
	}
	go func() { defer crash.Catch(); l.loop() }()
	return l
}

func (l *live) wake(soft bool) {
	c := l.hard
	if soft {
		c = l.soft
	}
	select {
	case c <- struct{}{}:
	default:
	}
}

func (l *live) loop() {
	defer close(l.done)
	resized, stopResized := onResize()
	defer stopResized()
	jobs, stopJobs := onJobControl()
	defer stopJobs()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	last := time.Time{}
	paint := func(after time.Duration) bool {
		if d := after - time.Since(last); d > 0 {
			select {
			case <-time.After(d):
			case <-l.stop:
				return false
			}
		}
		last = time.Now()
		l.paint(false)
		return true
	}
	for {
		ok := true
		select {
		case <-l.hard:
			ok = paint(paintEvery)
		case <-l.soft:
			// Numbers may wait, but not keep an end waiting.
			select {
			case <-l.hard:
				ok = paint(paintEvery)
			case <-time.After(paintSoft - time.Since(last)):
				ok = paint(0)
			case <-l.stop:
				ok = false
			}
		case <-second.C:
			ok = paint(paintEvery)
		case <-resized:
			ok = paint(paintEvery)
		case <-jobs:
			l.suspend()
			stopSelf() // until SIGCONT
			l.resume()
		case <-l.stop:
			ok = false
		}
		if !ok {
			return
		}
	}
}

// emit runs under u.mu, after the event has been applied to the model.
func (l *live) emit(e event.Event, h *host, t *task) {
	u, live := l.u, l
	say := func(host, s string) {
		if host != "" {
			s = u.pal.paint(bold, u.clean(host)) + " | " + s
		}
		l.pending = append(l.pending, printed{false, s})
	}
	// fold breaks sentences between words, below each other.
	fold := func(prefix, s, dimmed string) {
		indent := text.Width(text.Clean(prefix))
		lines := text.Wrap(s+dimmed, u.Width()-indent)
		for i, l := range lines {
			if i == len(lines)-1 && dimmed != "" && strings.HasSuffix(l, dimmed) {
				l = strings.TrimSuffix(l, dimmed) + u.pal.paint(dim, dimmed)
			}
			if i > 0 {
				prefix = strings.Repeat(" ", indent)
			}
			live.pending = append(live.pending, printed{false, prefix + l})
		}
	}
	switch e.Kind {
	case event.Log:
		if shown, stdout := u.shows(e); shown {
			h.tail[len(h.tail)-1].shown = true
			if stdout {
				l.pending = append(l.pending, printed{true, prefix(e) + " | " + e.Text})
			} else {
				say(prefix(e), e.Text)
			}
		}
	case event.Note:
		prefix := ""
		if e.Host != "" {
			prefix = u.pal.paint(bold, u.clean(e.Host)) + " | "
		}
		fold(prefix, e.Text, "")
	case event.Warning:
		prefix := u.pal.paint(symWarning.style, u.sym(symWarning)) + " "
		if e.Host != "" {
			prefix += u.pal.paint(bold, u.clean(e.Host)) + ": "
		}
		fold(prefix, e.Text, "")
		for _, hint := range e.Hints {
			say("", "  hint: "+u.clean(hint)) // in one piece: it is there to be typed
		}
	case event.Done:
		// What the run itself did stays on the screen when it is worth a word.
		if e.Host == "" && e.Text != "" {
			fold(u.pal.paint(symOK.style, u.sym(symOK))+" ", sum(did(e.Step), e.Text), took(t, e))
		}
	case event.Failed:
		if e.Host == "" {
			say("", u.pal.paint(symFailed.style, u.sym(symFailed))+" "+stepFailed(e.Step, h.err)+u.pal.paint(dim, took(t, e)))
		}
	case event.Result:
		if e.Host == "" && e.Text != "" {
			s := h.symbol()
			say("", u.pal.paint(s.style, u.sym(s))+" "+e.Text)
		}
	}
}

// paint brings the screen up to date.
func (l *live) paint(last bool) {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	u := l.u
	w, h := u.opt.Width(), u.opt.Height()
	if w <= 0 {
		w = 80
	}
	if h <= 0 {
		h = 24
	}
	u.mu.Lock()
	if l.closed || l.suspended > 0 && !last {
		u.mu.Unlock()
		return
	}
	pending := l.pending
	l.pending = nil
	var rows []row
	if last {
		l.closed = true
		rows = u.finalRows(h)
	} else {
		rows = u.rows(h)
	}
	frame := make([]string, len(rows))
	for i, r := range rows {
		r.whole = last
		frame[i] = u.stderr.line(u.render(r, w), u.pal.on)
	}
	if last {
		for _, f := range frame {
			pending = append(pending, printed{false, f})
		}
		for _, s := range u.tailLines(true) {
			pending = append(pending, printed{false, s})
		}
		frame = nil
	}
	u.mu.Unlock()

	l.draw(pending, frame, w, h)
}

// draw writes lines above the area and makes the area show frame.
func (l *live) draw(pending []printed, frame []string, w, h int) {
	var b bytes.Buffer
	flush := func() {
		if b.Len() > 0 {
			l.u.draw(b.Bytes())
			b.Reset()
		}
	}
	begin := func() {
		if b.Len() == 0 {
			b.WriteString(syncBegin)
			if !l.hidden && len(frame) > 0 {
				b.WriteString(hideCursor)
				l.hidden = true
			}
		}
	}
	resized := w != l.w && len(l.rows) > 0
	if len(pending) > 0 || resized || len(frame) == 0 && len(l.rows) > 0 {
		begin()
		l.erase(&b, w)
		for _, p := range pending {
			if p.stdout {
				// Another file, perhaps the same terminal: in order.
				if b.Len() > 0 {
					b.WriteString(syncEnd)
				}
				flush()
				l.u.write(l.u.stdout, []byte(p.text+"\n"))
				continue
			}
			begin()
			b.WriteString(l.u.stderr.line(p.text, l.u.pal.on))
			b.WriteString("\r\n")
		}
	}
	if !same(frame, l.rows) {
		begin()
		l.area(&b, frame)
	}
	if len(frame) == 0 && l.hidden {
		begin()
		b.WriteString(showCursor)
		l.hidden = false
	}
	if b.Len() > 0 {
		b.WriteString(syncEnd)
	}
	flush()
	l.rows, l.w, l.h = frame, w, h
	l.widths = l.widths[:0]
	for _, f := range frame {
		l.widths = append(l.widths, text.Width(text.Clean(f)))
	}
}

// erase clears the area and leaves the cursor where it began.
func (l *live) erase(b *bytes.Buffer, w int) {
	if len(l.rows) == 0 {
		return
	}
	up := 0
	for i := range l.rows[:len(l.rows)-1] {
		up++
		// A terminal that became narrower has broken the lines above.
		if w < l.w && w > 0 && l.u.reflows() {
			up += max(l.widths[i]-1, 0) / w
		}
	}
	// Line by line: some terminals (tmux) keep in their history what is erased
	// as a whole screen.
	b.WriteByte('\r')
	if up > 0 {
		fmt.Fprintf(b, "\x1b[%dA", up)
	}
	b.WriteString(eraseLine)
	for range up {
		b.WriteString("\x1b[1B" + eraseLine)
	}
	if up > 0 {
		fmt.Fprintf(b, "\x1b[%dA", up)
	}
	l.rows = nil
}

// area redraws the rows that changed.
func (l *live) area(b *bytes.Buffer, frame []string) {
	b.WriteString(wrapOff)
	b.WriteByte('\r')
	if n := len(l.rows) - 1; n > 0 {
		fmt.Fprintf(b, "\x1b[%dA", n)
	}
	shrunk := len(frame) < len(l.rows)
	for i, f := range frame {
		if i > 0 {
			b.WriteString("\r\n")
		}
		end := i == len(frame)-1
		if i >= len(l.rows) || f != l.rows[i] || end && shrunk {
			b.WriteString(f)
			if end && shrunk {
				b.WriteString(eraseBelow)
			} else {
				b.WriteString(eraseLine)
			}
		}
	}
	b.WriteByte('\r')
	b.WriteString(wrapOn)
}

func (l *live) suspend() {
	l.paint(false) // print what was said before
	l.wmu.Lock()
	defer l.wmu.Unlock()
	l.u.mu.Lock()
	l.suspended++
	closed := l.closed
	l.u.mu.Unlock()
	if !closed {
		l.draw(nil, nil, l.u.opt.Width(), l.u.opt.Height())
	}
}

func (l *live) resume() {
	l.u.mu.Lock()
	l.suspended--
	l.u.mu.Unlock()
	l.wake(false)
}

func (l *live) close() {
	l.u.mu.Lock()
	if l.closed {
		l.u.mu.Unlock()
		return
	}
	asking := l.suspended > 0
	l.u.mu.Unlock()
	l.once.Do(func() { close(l.stop) })
	if asking {
		l.wmu.Lock()
		l.u.draw([]byte("\r\n"))
		l.wmu.Unlock()
	}
	<-l.done
	l.paint(true)
	l.forget()
}

// late writes what is said after the last screen. It runs under u.mu.
func (l *live) late() {
	if !l.closed {
		return
	}
	for _, p := range l.pending {
		if p.stdout {
			l.u.write(l.u.stdout, []byte(p.text+"\n"))
		} else {
			l.u.draw([]byte(l.u.stderr.line(p.text, l.u.pal.on) + "\n"))
		}
	}
	l.pending = nil
}

func same(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// reflows says whether the terminal breaks lines anew when it gets narrower.
// Most do.
func (u *UI) reflows() bool {
	env := u.opt.Getenv
	return env("XTERM_VERSION") == "" && (env("STY") == "" || env("TMUX") != "")
}
