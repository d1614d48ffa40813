package nixlog

import (
	"fmt"
	"strings"
	"testing"
)

// TestLimits: what a tracker holds of a log that has no end, whatever it is made of. The sizes are in bytes, and written
// here once more: who changes one says so twice.
func TestLimits(t *testing.T) {
	long := strings.Repeat("x", 64<<10)
	most := func(what string, got, most int) {
		t.Helper()
		if got == 0 || got > most {
			t.Errorf("%s: %d, want at most %d", what, got, most)
		}
	}
	held := func(lines []string) (sum, longest int) {
		for _, l := range lines {
			sum, longest = sum+len(l), max(longest, len(l))
		}
		return sum, longest
	}

	activities := NewTracker()
	for i := range 20000 {
		activities.Apply(Message{Action: Start, ID: uint64(i), Type: TypeSubstitute, Text: long, Fields: []Field{{Str: long}, {Str: long}}})
	}
	most("activities", len(activities.acts), 1<<14)
	longest := 0
	for _, a := range activities.acts {
		longest = max(longest, len(a.text)+len(a.path)+len(a.from))
	}
	most("an activity", longest, 3<<10)

	logs, all := NewTracker(), []string{}
	for i := range 4 << 10 {
		logs.Apply(Message{Action: Start, ID: 1, Type: TypeBuild, Fields: []Field{{Str: fmt.Sprintf("/nix/store/%032d-a.drv", i)}}})
		logs.Apply(Message{Action: Result, ID: 1, Type: ResultLogLine, Fields: []Field{{Str: long}}})
		logs.Apply(Message{Action: Stop, ID: 1})
	}
	for _, l := range logs.logs {
		all = append(all, l...)
	}
	var sum int
	sum, longest = held(all)
	most("logs of builds", sum, 17<<20)
	most("a line of a log", longest, 16<<10)

	errors, trace := NewTracker(), strings.Repeat("\n"+long[:4<<10], 20) // lines are cut there
	for i := range 2000 {
		if i < 1000 {
			errors.Apply(Message{Action: Msg, Text: fmt.Sprintf("error: %d%s", i, trace)})
		}
		errors.Apply(Message{Action: Msg, Level: LevelWarn, Text: fmt.Sprintf("%d %s", i, long)})
		errors.Apply(Message{Action: Msg, Level: LevelInfo, Text: fmt.Sprintf("%d %s", i, long)})
	}
	sum = 0
	for _, e := range errors.errors {
		sum += len(e.Text)
	}
	most("errors", sum, 6<<20)
	sum, longest = held(errors.warnings)
	most("warnings", sum, 16<<20)
	most("a warning", longest, 16<<10)
	sum, longest = held(errors.rest)
	most("lines", sum, 4<<20)
	most("a line", longest, 16<<10)
}
