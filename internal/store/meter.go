package store

import (
	"fmt"
	"sync"
	"time"

	"godwit/internal/event"
)

// meter emits progress, at most ten times a second.
type meter struct {
	mu          sync.Mutex
	scope       event.Scope
	done, total int64
	last        time.Time
	lastDone    int64
	rate        float64
	name        string
}

func newMeter(s event.Scope, total int64) *meter {
	s.Progress(0, total, event.Bytes, "")
	return &meter{scope: s, total: total, last: time.Now()}
}

func (m *meter) add(n int64, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	m.name = name
	if d := time.Since(m.last); d >= 100*time.Millisecond {
		m.emit(d)
	}
}

func (m *meter) emit(d time.Duration) {
	// The rate follows the last two seconds or so.
	now := float64(m.done-m.lastDone) / d.Seconds()
	weight := min(1, d.Seconds()/2)
	if m.rate == 0 {
		weight = 1
	}
	m.rate += (now - m.rate) * weight
	m.last, m.lastDone = m.last.Add(d), m.done
	m.scope.Emit(event.Event{Kind: event.Progress, Done: m.done, Total: m.total, Unit: event.Bytes, Rate: m.rate, Text: m.name})
}

func (m *meter) finish() {
	m.scope.Emit(event.Event{Kind: event.Progress, Done: m.done, Total: m.total, Unit: event.Bytes, Rate: m.rate})
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// size writes a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
