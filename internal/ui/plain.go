package ui

import (
	"io"
	"strings"
	"time"

	"godwit/internal/event"
	"godwit/internal/ui/text"
)

// plain writes one line for each event worth one, for logs and pipes. Its
// methods run under u.mu.
type plain struct{ u *UI }

// How often a step's progress is worth a line: each progressEvery, or at each
// quarter of the whole when quarterEvery has gone by.
const (
	progressEvery = 10 * time.Second
	quarterEvery  = 2 * time.Second
)

func (p *plain) emit(e event.Event, h *host, t *task) {
	u := p.u
	switch e.Kind {
	case event.Started:
		line := doing(e.Step)
		switch e.Step {
		case event.StepBuilder:
			line = "starting a builder"
		case event.StepSecrets:
			line = "uploading secrets"
		case event.StepPreCheck:
			line = "running pre-checks"
		}
		p.line(e.Host, withText(line, e.Text))
	case event.Progress:
		p.progress(e, t)
	case event.Waiting:
		p.line(e.Host, h.waits)
	case event.Log:
		shown, stdout := u.shows(e)
		if !shown {
			return
		}
		if e.Data[event.Part] != event.WayBack {
			h.tail[len(h.tail)-1].shown = true
		}
		if stdout {
			p.to(u.stdout, prefix(e), e.Text)
		} else {
			p.to(u.stderr, prefix(e), e.Text)
		}
	case event.Note:
		p.line(e.Host, e.Text)
	case event.Warning:
		p.line(e.Host, "warning: "+e.Text)
		p.hints(e)
	case event.Done:
		p.line(e.Host, sum(did(e.Step), e.Text)+took(t, e))
	case event.Skipped:
		p.line(e.Host, withText(string(e.Step)+" skipped", e.Text))
	case event.Failed:
		p.line(e.Host, stepFailed(e.Step, h.err)+took(t, e))
		p.hints(e)
	case event.Result:
		if e.Host == "" {
			if e.Text != "" {
				p.line("", u.sym(h.symbol())+" "+e.Text)
			}
			return
		}
		line := u.sym(h.symbol()) + " " + h.final()
		if h.outcome == "failed" && e.Text == "" && e.Error == "" && h.failed != "" {
			line = u.sym(h.symbol()) + " failed" // the reason has been told
		}
		if d := h.ended.Sub(h.began); !h.began.IsZero() && d >= time.Second {
			line += " (" + text.Elapsed(d) + ")"
		}
		p.line(e.Host, line)
	}
}

func (p *plain) progress(e event.Event, t *task) {
	if t == nil || t.total > 0 && t.done >= t.total {
		return // its end is a line of its own
	}
	since := e.Time.Sub(t.printed)
	quarter := int64(0)
	if t.total > 0 {
		quarter = t.done * 4 / t.total
	}
	if since < progressEvery && (quarter <= t.quarter || since < quarterEvery) {
		return
	}
	t.printed, t.quarter = e.Time, max(quarter, t.quarter)
	parts := []string{doing(t.step)}
	if t.text != "" {
		parts[0] += " " + t.text
	}
	if n := t.numbers(); n != "" {
		parts = append(parts, n)
	}
	if t.phase != "" {
		parts = append(parts, t.phase)
	}
	p.line(e.Host, strings.Join(parts, "  "))
}

func (p *plain) hints(e event.Event) {
	for _, h := range e.Hints {
		p.line(e.Host, "hint: "+p.u.clean(h))
	}
}

// line is a line about a host, or about the run.
func (p *plain) line(host, s string) {
	if host != "" {
		host = p.u.clean(host)
	}
	p.to(p.u.stderr, host, s)
}

func (p *plain) to(w io.Writer, host, s string) {
	if host != "" {
		s = strings.TrimRight(host+" | "+s, " ")
	}
	p.u.write(w, []byte(s+"\n"))
}

func (p *plain) close() {
	for _, h := range p.u.model.interrupt(p.u.opt.now()) {
		p.line(h.name, p.u.sym(h.symbol())+" "+h.final())
	}
	for _, l := range p.u.tailLines(true) {
		p.u.write(p.u.stderr, []byte(l+"\n"))
	}
}

// shows says whether a log line is shown by itself, and whether on stdout.
func (u *UI) shows(e event.Event) (shown, stdout bool) {
	if e.Step == event.StepExec {
		// The output of a person's own command.
		return true, e.Data["stream"] != "stderr"
	}
	return u.opt.Verbose || u.mode == Plain && e.Step == event.StepActivate, false
}

// prefix names where a log line comes from.
func prefix(e event.Event) string {
	if e.Host != "" {
		return e.Host
	}
	return string(e.Step)
}

// tailLines writes the last log lines of what failed.
func (u *UI) tailLines(unshown bool) []string {
	var out []string
	for _, b := range u.model.tails(unshown) {
		out = append(out, "", Names(b.hosts)+": last lines of "+logName(b.step)+":")
		for _, l := range b.lines {
			out = append(out, strings.TrimRight("  "+b.hosts[0]+" | "+l.text, " "))
		}
	}
	return out
}

// Names lists hosts in a line: all of four, three of more.
func Names(hosts []string) string {
	if len(hosts) > 4 {
		return strings.Join(hosts[:3], ", ") + " and " + itoa(int64(len(hosts)-3)) + " more"
	}
	return strings.Join(hosts, ", ")
}

func logName(s event.Step) string {
	switch s {
	case event.StepBuild:
		return "the build log"
	case event.StepActivate:
		return "its activation log"
	case event.StepEvaluate:
		return "the evaluation"
	case event.StepExec:
		return "its output"
	}
	return "its log"
}

func withText(verb, txt string) string {
	if txt == "" {
		return verb
	}
	return sum(verb, txt)
}

func took(t *task, e event.Event) string {
	if t == nil {
		return ""
	}
	d := e.Time.Sub(t.began)
	if d < time.Second || strings.Contains(e.Text, text.Elapsed(d)) {
		return ""
	}
	return " (" + text.Elapsed(d) + ")"
}
