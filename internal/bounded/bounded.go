// Package bounded reads what others send (hosts, builders, engines, Nix) up to a
// limit. Whoever goes past it gets an *Error that names what was read and the limit,
// so that a program that never stops talking costs an error and not the memory of
// this machine.
//
//   - Buffer collects output; Tail keeps the end of it.
//   - Output runs a local program and collects what it prints; Said runs one and gives
//     what it says on standard error to a reader, with nothing lost.
//   - Reader is a stream with a limit on all of it, ReadAll reads such a stream.
//   - Lines reads lines, each with a limit.
package bounded

import (
	"errors"
	"io"
	"sync"

	"godwit/internal/crash"
	"godwit/internal/ui/text"
)

// Error says that something was longer than its limit.
type Error struct {
	What  string // what was read: "the answer of the host", "a line of nix's log"
	Limit int64  // in bytes
}

func (e *Error) Error() string {
	return e.What + " is longer than " + text.Size(e.Limit) + ", the limit"
}

// Is tells whether err comes from a limit.
func Is(err error) bool {
	var e *Error
	return errors.As(err, &e)
}

// Buffer collects what is written to it. A write that would make it longer than its
// limit fails with an *Error, and so does each one after it; what fits is kept. It
// may be used from many goroutines.
type Buffer struct {
	what  string
	limit int
	full  func()

	mu  sync.Mutex
	b   []byte
	err error
}

// NewBuffer makes a Buffer for at most limit bytes of what.
func NewBuffer(what string, limit int) *Buffer { return &Buffer{what: what, limit: limit} }

// OnFull has fn called, once, when the limit is passed: it ends what writes. fn must
// not wait for the writer.
func (b *Buffer) OnFull(fn func()) *Buffer { b.full = fn; return b }

// Write keeps p, or the part of it that there is room for.
func (b *Buffer) Write(p []byte) (int, error) {
	defer crash.Catch()
	b.mu.Lock()
	if b.err != nil {
		defer b.mu.Unlock()
		return 0, b.err
	}
	n := min(len(p), b.limit-len(b.b))
	b.b = append(b.b, p[:n]...)
	if n == len(p) {
		b.mu.Unlock()
		return n, nil
	}
	b.err = &Error{b.what, int64(b.limit)}
	err, full := b.err, b.full
	b.mu.Unlock()
	if full != nil {
		full()
	}
	return n, err
}

// Err is the *Error after the limit was passed. Look at it before the error of the
// program that wrote: that one may only say that it was ended.
func (b *Buffer) Err() error { b.mu.Lock(); defer b.mu.Unlock(); return b.err }

// Bytes is what was kept. It must not be changed while writes go on.
func (b *Buffer) Bytes() []byte { b.mu.Lock(); defer b.mu.Unlock(); return b.b }

// String is what was kept.
func (b *Buffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return string(b.b) }

// Len is how many bytes were kept.
func (b *Buffer) Len() int { b.mu.Lock(); defer b.mu.Unlock(); return len(b.b) }

// Tail keeps the last bytes of what is written to it, and never fails: it is for
// messages of which the end matters. It may be used from many goroutines.
type Tail struct {
	limit int

	mu  sync.Mutex
	b   []byte
	cut bool
}

// NewTail makes a Tail of at most limit bytes.
func NewTail(limit int) *Tail { return &Tail{limit: limit} }

// Write keeps the end of p, and of what was there.
func (t *Tail) Write(p []byte) (int, error) {
	defer crash.Catch()
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	if over := n - t.limit; over > 0 {
		p, t.cut = p[over:], true
	}
	// Twice the limit at most is held, so that not every write moves all of it.
	t.b = append(t.b, p...)
	if over := len(t.b) - t.limit; over > t.limit {
		t.b, t.cut = append(t.b[:0], t.b[over:]...), true
	}
	return n, nil
}

// String is the end of what was written.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b[max(0, len(t.b)-t.limit):])
}

// Cut tells whether something was dropped.
func (t *Tail) Cut() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cut || len(t.b) > t.limit
}

// reader is Reader's.
type reader struct {
	r    io.Reader
	left int64
	err  *Error
}

// Reader gives what r gives, and an *Error after limit bytes of what.
func Reader(r io.Reader, what string, limit int64) io.Reader {
	return &reader{r, limit, &Error{what, limit}}
}

func (r *reader) Read(p []byte) (int, error) {
	if r.left < 0 {
		return 0, r.err
	}
	// One byte more than allowed tells a stream that ends from one that goes on.
	if int64(len(p)) > r.left+1 {
		p = p[:r.left+1]
	}
	n, err := r.r.Read(p)
	r.left -= int64(n)
	if r.left < 0 {
		return n - 1, r.err
	}
	return n, err
}

// ReadAll reads r to its end. With an *Error it gives the first limit bytes.
func ReadAll(r io.Reader, what string, limit int64) ([]byte, error) {
	return io.ReadAll(Reader(r, what, limit))
}
