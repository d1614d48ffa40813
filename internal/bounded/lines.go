package bounded

import (
	"bufio"
	"bytes"
	"io"
)

// Lines reads lines, as bufio.Scanner does, with a limit for each that an error
// names. Of a line that is too long either the rest is dropped (Cut) or reading ends
// with an *Error.
//
//	for l := bounded.NewLines(r, "a line of the host", 4096); l.Next(); { use(l.Text()) }
type Lines struct {
	r     *bufio.Reader
	what  string
	limit int
	cut   bool

	line   []byte
	long   bool // the line was cut
	err    error
	broken bool // the line has no line break: the stream ended in it
}

// NewLines reads r. what names one line in the error; limit is in bytes, without the
// line break.
func NewLines(r io.Reader, what string, limit int) *Lines {
	return &Lines{r: bufio.NewReaderSize(r, min(max(limit, 512), 32<<10)), what: what, limit: limit}
}

// Cut drops what is too much of a line, in place of an error.
func (l *Lines) Cut() *Lines { l.cut = true; return l }

// Next reads one line; false at the end and at an error.
func (l *Lines) Next() bool {
	if l.err != nil {
		return false
	}
	l.line, l.long, l.broken = l.line[:0], false, false
	any := false
	for {
		part, err := l.r.ReadSlice('\n')
		any = any || len(part) > 0
		end := err == nil
		if end {
			part = part[:len(part)-1]
		}
		if room := l.limit - len(l.line); len(part) > room {
			if !l.cut {
				l.err = &Error{l.what, int64(l.limit)}
				return false
			}
			part, l.long = part[:max(room, 0)], true
		}
		l.line = append(l.line, part...)
		switch {
		case end:
			if !l.long {
				l.line = bytes.TrimSuffix(l.line, []byte("\r"))
			}
			return true
		case err == bufio.ErrBufferFull:
		default:
			l.err, l.broken = err, true
			return any
		}
	}
}

// Bytes is the line, without its line break, until the next call of Next.
func (l *Lines) Bytes() []byte { return l.line }

// Text is the line, without its line break.
func (l *Lines) Text() string { return string(l.line) }

// Long tells whether the line was cut.
func (l *Lines) Long() bool { return l.long }

// Broken tells whether the stream ended within the line.
func (l *Lines) Broken() bool { return l.broken }

// Err is why reading ended; nil at the end of the stream.
func (l *Lines) Err() error {
	if l.err == io.EOF {
		return nil
	}
	return l.err
}

// Reader is what comes after the lines that were read.
func (l *Lines) Reader() io.Reader { return l.r }
