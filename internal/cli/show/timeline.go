package show

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"godwit/internal/event"
	"godwit/internal/history"
	"godwit/internal/ui/text"
)

// marks are how a deployment ended, the one that is worth a look first: where several fall
// into one column, it is shown.
var marks = []struct {
	mark, means string
	of          []event.Outcome
}{
	{"✗", "failed or not known", []event.Outcome{history.Failed, history.Unknown, event.OutcomeUnreachable}},
	{"↺", "went back", []event.Outcome{history.RolledBack}},
	{"!", "interrupted or superseded", []event.Outcome{history.Interrupted, history.Superseded}},
	{"●", "changed", []event.Outcome{history.Changed}},
	{"·", "changed nothing", nil},
}

func markOf(o event.Outcome) int {
	return cmp.Or(slices.IndexFunc(marks, func(m struct {
		mark, means string
		of          []event.Outcome
	}) bool {
		return slices.Contains(m.of, o)
	})+1, len(marks)) - 1
}

// Timeline is a line for each host, from its first deployment to the last of all.
func Timeline(width int, entries []history.Entry) string {
	if width <= 0 {
		width = 100
	}
	first, last := entries[0].Started, entries[0].Started
	hosts, label := []string{}, 0
	for _, e := range entries {
		if e.Started.Before(first) {
			first = e.Started
		}
		if e.Started.After(last) {
			last = e.Started
		}
		if name := text.Clean(e.Host); !slices.Contains(hosts, name) {
			hosts = append(hosts, name)
			label = max(label, text.Width(name))
		}
	}
	slices.Sort(hosts)
	label = min(label, max(8, width/4))
	columns := max(20, min(width, 160)-label-2)
	span := max(last.Sub(first), time.Minute)
	column := func(t time.Time) int {
		return int(int64(columns-1) * int64(t.Sub(first)/time.Second) / int64(span/time.Second))
	}
	rows := map[string][]int{}
	used := map[int]bool{}
	for _, e := range entries {
		name := text.Clean(e.Host)
		if rows[name] == nil {
			rows[name] = slices.Repeat([]int{-1}, columns)
		}
		i, m := column(e.Started), markOf(e.Outcome)
		used[m] = true
		if was := rows[name][i]; was < 0 || m < was {
			rows[name][i] = m
		}
	}
	var b strings.Builder
	for _, name := range hosts {
		var line strings.Builder
		for _, m := range rows[name] {
			if m < 0 {
				line.WriteString(" ")
			} else {
				line.WriteString(marks[m].mark)
			}
		}
		b.WriteString(text.Pad(cut(name, label), label) + "  " + strings.TrimRight(line.String(), " ") + "\n")
	}
	// The axis: when it begins, its middle, and when it ends.
	form := "2006-01-02"
	if span < 48*time.Hour {
		form = "01-02 15:04"
	}
	at := func(t time.Time) string { return t.Local().Format(form) }
	axis := at(first)
	if middle := at(first.Add(span / 2)); columns > 3*len(form)+4 {
		axis = text.Pad(axis, columns/2-len(middle)/2) + middle
	}
	axis = text.Pad(axis, columns-len(form)) + at(first.Add(span))
	fmt.Fprintf(&b, "%s  %s\n", strings.Repeat(" ", label), axis)
	var legend []string
	for i, m := range marks {
		if used[i] {
			legend = append(legend, m.mark+" "+m.means)
		}
	}
	b.WriteString("\n" + strings.Join(legend, ", ") + "\n")
	return b.String()
}

// cut shortens a name to so many columns.
func cut(s string, columns int) string {
	for r := []rune(s); text.Width(s) > columns && len(r) > 1; {
		r = r[:len(r)-1]
		s = string(r) + "…"
	}
	return s
}
