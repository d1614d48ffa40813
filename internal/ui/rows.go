package ui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"godwit/internal/event"
	"godwit/internal/ui/text"
)

// row is one line of the live area before it is fitted to a width.
type row struct {
	sym   symbol
	name  string
	parts []part // shown two blanks apart, the first padded to the steps' column
	right string
	bare  bool // neither symbol nor name: the status line
	whole bool // not cut: on the last screen
}

type part struct {
	text  string
	style style
}

// rows lays out the live area for a terminal of height h.
func (u *UI) rows(h int) []row {
	m := u.model
	now := u.opt.now()
	var out []row
	for i, t := range m.run.active {
		if i == 2 {
			break
		}
		out = append(out, row{sym: symRunning, parts: taskParts(t), right: text.Ticking(now.Sub(t.began))})
	}
	budget := max(h-2-len(out), 1)
	out = append(out, u.hostRows(now, budget)...)
	if s := u.status(now); s != "" {
		out = append(out, row{bare: true, parts: []part{{s, dim}}})
	}
	if len(out) > h-1 {
		out = out[:max(h-1, 1)]
	}
	return out
}

// hostRows gives at most budget rows, in the order of the hosts. When there are
// more hosts, the done ones fold into one row, then the waiting ones, then the
// failed ones.
func (u *UI) hostRows(now time.Time, budget int) []row {
	m := u.model
	const nDone, nBad, nRunning, nWaiting = 0, 1, 2, 3
	class := func(h *host) int {
		switch {
		case h.state == finished && h.bad():
			return nBad
		case h.state == finished:
			return nDone
		case h.state == waiting || h.waits != "" && len(h.active) == 0:
			return nWaiting
		}
		return nRunning
	}
	var groups [4][]*host
	for _, n := range m.order {
		h := m.hosts[n]
		c := class(h)
		groups[c] = append(groups[c], h)
	}
	folded := [4]bool{}
	need := len(m.order)
	for _, c := range []int{nDone, nWaiting, nBad} {
		if need > budget && len(groups[c]) > 1 {
			folded[c] = true
			need -= len(groups[c]) - 1
		}
	}
	var out, below []row
	if folded[nDone] {
		out = append(out, row{sym: symOK, parts: []part{{text.Count(len(groups[nDone]), "host"), bold}, {"done", plainText}}})
	}
	if folded[nBad] {
		out = append(out, row{sym: symFailed, parts: []part{{text.Count(len(groups[nBad]), "host"), bold}, {"failed: " + names(groups[nBad]), plainText}}})
	}
	if folded[nWaiting] {
		below = append(below, row{sym: symWaiting, parts: []part{{text.Count(len(groups[nWaiting]), "host"), bold}, {"waiting", dim}}})
	}
	room := budget - len(out) - len(below)
	if need > budget {
		room-- // for the row that says what is missing
	}
	left := 0
	for _, n := range m.order {
		h := m.hosts[n]
		if folded[class(h)] {
			continue
		}
		if room <= 0 {
			left++
			continue
		}
		room--
		out = append(out, u.hostRow(h, now))
	}
	if left > 0 {
		out = append(out, row{sym: symRunning, parts: []part{{text.Count(left, "more host"), bold}, {"under way", dim}}})
	}
	out = append(out, below...)
	if len(out) > budget {
		out = out[:budget]
	}
	return out
}

func (u *UI) hostRow(h *host, now time.Time) row {
	r := row{sym: h.symbol(), name: h.name}
	switch h.state {
	case waiting:
		w := h.waits
		if w == "" {
			w = "waiting"
		}
		r.parts = []part{{w, dim}}
	case finished:
		r.parts = []part{{h.final(), plainText}}
		if d := h.ended.Sub(h.began); !h.began.IsZero() && d >= time.Second {
			r.right = text.Elapsed(d)
		}
	default:
		switch t := h.current(); {
		case h.waits != "":
			r.parts = []part{{h.waits, dim}}
		case t != nil:
			r.parts = taskParts(t)
		case h.lastOK != "":
			r.parts = []part{{did(h.lastOK), plainText}}
		}
		r.right = text.Ticking(now.Sub(h.began))
	}
	return r
}

func taskParts(t *task) []part {
	subject := t.text
	verb := doing(t.step)
	if first, rest, ok := strings.Cut(subject, " "); ok && strings.EqualFold(first, verb) {
		subject = rest
	}
	parts := []part{{verb, plainText}}
	add := func(s string, st style) {
		if s != "" {
			parts = append(parts, part{s, st})
		}
	}
	if t.unit == event.Bytes {
		// Numbers first: they stay in one column.
		add(t.numbers(), plainText)
		add(subject, dim)
	} else {
		add(subject, plainText)
		add(t.numbers(), plainText)
	}
	add(t.phase, plainText)
	if t.last != subject {
		add(strings.Join(strings.Fields(t.last), " "), dim)
	}
	return parts
}

// status sums up the fleet: "2/3 hosts · 1 failed · 61 MiB copied · 12s", and
// while several hosts copy "61/148 MiB copied  24 MiB/s  4s left".
func (u *UI) status(now time.Time) string {
	m := u.model
	if len(m.order) < 2 {
		return ""
	}
	done, bad := 0, 0
	for _, h := range m.hosts {
		if h.state == finished {
			done++
			if h.bad() {
				bad++
			}
		}
	}
	c := m.copies()
	parts := []string{fmt.Sprintf("%d/%d hosts", done, len(m.order))}
	if bad > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", bad))
	}
	switch {
	case c.active > 1:
		s := text.SizeOf(c.done, c.total) + " copied"
		if c.rate >= 1 {
			s += "  " + text.Size(int64(c.rate)) + "/s"
		}
		if t := text.Ticking(c.left); t != "" && c.left < forever {
			s += "  " + t + " left"
		}
		parts = append(parts, s)
	case c.done > 0:
		parts = append(parts, text.Size(c.done)+" copied")
	}
	if !m.begin.IsZero() {
		if s := text.Ticking(now.Sub(m.begin)); s != "" {
			parts = append(parts, s)
		}
	}
	return u.join(parts)
}

// finalRows is the last screen: each host, or the good ones by outcome when
// there are more hosts than rows.
func (u *UI) finalRows(h int) []row {
	m := u.model
	now := u.opt.now()
	m.interrupt(now)
	fold := len(m.order) > max(h-2, 1) && !u.opt.Verbose
	var out []row
	groups := map[string][]*host{}
	var order []string
	for _, n := range m.order {
		host := m.hosts[n]
		if host.outcome == "" && host.err == "" && host.lastOK == event.StepEvaluate {
			continue // a list or a report, which says itself what there is to say
		}
		if host.state == waiting {
			if m.begin.IsZero() {
				continue // nothing ever happened
			}
			host.waits = "not started"
		}
		if fold && (!host.bad() || host.outcome == "interrupted") {
			o := string(host.outcome)
			switch {
			case host.state == waiting:
				o = "not started"
			case o == "" || o == "ok":
				o = "done"
			}
			if groups[o] == nil {
				order = append(order, o)
			}
			groups[o] = append(groups[o], host)
			continue
		}
		out = append(out, u.hostRow(host, now))
	}
	rank := map[string]int{"skipped": 1, "not-started": 1, "not started": 1, "interrupted": 2}
	slices.SortStableFunc(order, func(a, b string) int { return rank[a] - rank[b] })
	var folded []row
	for _, o := range order {
		s, what := symOK, o
		switch o {
		case "skipped", "not-started", "not started":
			s = symWaiting
		case "interrupted":
			s, what = symWarning, o+": "+names(groups[o])
		}
		folded = append(folded, row{sym: s, parts: []part{{text.Count(len(groups[o]), "host"), bold}, {what, plainText}}})
	}
	return append(folded, out...)
}

// render fits a row into width columns. The last column stays free: some
// terminals wrap as soon as it is written to.
func (u *UI) render(r row, width int) string {
	width = max(width-1, 1)
	var b strings.Builder
	left := width
	put := func(s string, st style) {
		if s == "" || left <= 0 && !r.whole {
			return
		}
		if !r.whole {
			s = text.Cut(s, left, u.ellipsis())
		}
		left -= text.Width(s)
		b.WriteString(u.pal.paint(st, s))
	}
	if !r.bare {
		put(u.sym(r.sym), r.sym.style)
		put(" ", plainText)
	}
	// The time keeps its place as long as there is room for anything else.
	right := r.right
	if right != "" && width >= 24 {
		left -= text.Width(right) + 2
	} else {
		right = ""
	}
	if r.name != "" {
		n := u.nameWidth(width)
		if r.whole {
			n = max(n, text.Width(r.name))
		}
		put(text.Pad(text.Cut(u.clean(r.name), n, u.ellipsis()), n), bold)
		put("  "[:min(2, 1+width/32)], plainText)
	}
	for i, p := range r.parts {
		s := u.asciiText(p.text)
		if i > 0 {
			put("  ", plainText)
		} else if len(r.parts) > 1 && r.name != "" && width >= 60 {
			s = text.Pad(s, 10)
		}
		put(s, p.style)
	}
	if right != "" {
		b.WriteString(strings.Repeat(" ", max(left, 0)+2))
		b.WriteString(u.pal.paint(dim, right))
	}
	if u.pal.on {
		return b.String()
	}
	return strings.TrimRight(b.String(), " ")
}

// nameWidth is the width of the column of names.
func (u *UI) nameWidth(width int) int {
	n := 0
	for _, name := range u.model.order {
		n = max(n, text.Width(name))
	}
	return max(min(n, width/3), 1)
}

func names(hosts []*host) string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.name)
	}
	return strings.Join(out, ", ")
}
