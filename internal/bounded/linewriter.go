package bounded

import (
	"bytes"
	"strings"
	"sync"

	"godwit/internal/crash"
)

// LineWriter gives whole lines of what is written to it to a function, each cut to a
// limit. It may be used from many goroutines.
type LineWriter struct {
	limit int
	emit  func(line string)

	mu   sync.Mutex
	line []byte
	long bool
}

// NewLineWriter calls emit for each line, without its line break. A line of more than
// limit bytes ends with an ellipsis in place of the rest.
func NewLineWriter(limit int, emit func(line string)) *LineWriter {
	return &LineWriter{limit: limit, emit: emit}
}

// Write takes a part of the stream. It never fails.
func (w *LineWriter) Write(p []byte) (int, error) {
	defer crash.Catch()
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			w.add(p)
			return n, nil
		}
		w.add(p[:i])
		w.end()
		p = p[i+1:]
	}
}

func (w *LineWriter) add(p []byte) {
	room := max(0, w.limit-len(w.line))
	w.long = w.long || len(p) > room
	w.line = append(w.line, p[:min(room, len(p))]...)
}

func (w *LineWriter) end() {
	s := string(w.line)
	if w.long {
		s = strings.ToValidUTF8(s, "") + "…"
	}
	w.line, w.long = w.line[:0], false
	w.emit(strings.TrimSuffix(s, "\r"))
}

// Flush emits a last line that has no line break.
func (w *LineWriter) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.line) > 0 {
		w.end()
	}
}
