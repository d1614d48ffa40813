package show

import (
	"strings"
	"testing"
	"time"

	"godwit/internal/event"
	"godwit/internal/history"
	"godwit/internal/ui/text"
)

func TestTimeline(t *testing.T) {
	start := time.Date(2026, 11, 1, 12, 0, 0, 0, time.Local)
	day := func(n int) time.Time { return start.Add(time.Duration(n) * 24 * time.Hour) }
	entries := []history.Entry{
		{Host: "web", Started: day(20), Outcome: history.Changed},
		{Host: "web", Started: day(10), Outcome: history.RolledBack},
		{Host: "web", Started: day(10).Add(time.Minute), Outcome: history.Changed}, // what went wrong counts
		{Host: "db\x1b[2J", Started: day(0), Outcome: history.Failed},
		{Host: "db\x1b[2J", Started: day(5), Outcome: event.OutcomeUnchanged},
		{Host: "db\x1b[2J", Started: day(15), Outcome: "a word of later"},
	}
	got := Timeline(60, entries)
	lines := strings.Split(got, "\n")
	for _, l := range lines[:3] { // the legend stands below
		if text.Width(l) > 60 {
			t.Errorf("a line of %d columns: %q", text.Width(l), l)
		}
	}
	if len(lines) < 5 || strings.Join(strings.Fields(lines[0]), " ") != "db ✗ · ·" || strings.Join(strings.Fields(lines[1]), " ") != "web ↺ ●" ||
		strings.Join(strings.Fields(lines[2]), " ") != "2026-11-01 2026-11-11 2026-11-21" ||
		lines[4] != "✗ failed or not known, ↺ went back, ● changed, · changed nothing" {
		t.Errorf("\n%s", got)
	}
	if i, j := strings.Index(lines[0], "✗"), strings.LastIndex(lines[1], "●"); i > 6 || text.Width(lines[1][:j]) != 59 {
		t.Errorf("the first is not at the beginning, or the last not at the end:\n%s", got)
	}
	if one := Timeline(0, entries[:1]); !strings.Contains(one, "web  ●") {
		t.Errorf("\n%s", one)
	}
	if narrow := Timeline(10, entries); narrow == "" {
		t.Error("nothing in a narrow terminal")
	}
}
