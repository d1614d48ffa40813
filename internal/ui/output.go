package ui

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/term"

	"godwit/internal/crash"
	"godwit/internal/redact"
	"godwit/internal/ui/text"
)

// Output is stdout or stderr as everything in godwit writes to it: a guard that lets
// nothing through that a terminal would obey but line feeds and tabs. What was not
// cleaned is written out, as in \u001b, which is also how JSON writes it: a JSON text
// stays one, and stays what it was. Only the live view, which knows what it draws,
// colours and moves the cursor.
//
// It is safe for concurrent use.
type Output struct {
	to    io.Writer
	file  *os.File // what to is in the end, if it is a file
	limit int      // bytes of a line; 0 is no limit

	shut atomic.Bool // nothing is written any more

	mu   sync.Mutex
	rest []byte // of a character that the next write may end
	n    int    // bytes of the line so far
	over int64  // bytes of the line that were left out

	styled bool // colours of ours may pass: of line
}

// maxLine bounds a line on stderr: no message is longer. Stdout carries data.
const maxLine = 16 << 10

// NewStdout and NewStderr guard a writer. file is the file that it writes to in the
// end, which tells whether that is a terminal; nil when it is no file.
func NewStdout(to io.Writer, file *os.File) *Output { return &Output{to: to, file: file} }

// NewStderr is NewStdout for messages.
func NewStderr(to io.Writer, file *os.File) *Output {
	return &Output{to: to, file: file, limit: maxLine}
}

// guarded is w when it is an Output, or an Output in front of it.
func guarded(w io.Writer, make func(io.Writer, *os.File) *Output) *Output {
	if o, ok := w.(*Output); ok {
		return o
	}
	f, _ := w.(*os.File)
	return make(w, f)
}

// Terminal tells whether this is a terminal.
func (o *Output) Terminal() bool { return o.file != nil && term.IsTerminal(int(o.file.Fd())) }

// Size is that of the terminal in columns and rows; zeros when it is none.
func (o *Output) Size() (width, height int) {
	if o.file == nil {
		return 0, 0
	}
	width, height, err := term.GetSize(int(o.file.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}

// IsTerminal tells whether what is written to w goes to a terminal.
func IsTerminal(w io.Writer) bool { return guarded(w, NewStdout).Terminal() }

// Inherit is what a program of the user's own may write to in place of w: the terminal
// itself, on which it may ask, where w goes to one.
func Inherit(w io.Writer) io.Writer {
	if o := guarded(w, NewStdout); o.Terminal() {
		return o.file
	}
	return w
}

// Write writes text.
func (o *Output) Write(p []byte) (int, error) {
	defer crash.Catch()
	return o.write(p, redact.Bytes)
}

// WriteJSON writes a JSON text to w: its names are no secrets, whatever their words are.
func WriteJSON(w io.Writer, text []byte) error {
	_, err := guarded(w, NewStdout).write(text, redact.JSON)
	return err
}

func (o *Output) write(p []byte, hide func([]byte) []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := p
	if len(o.rest) > 0 {
		b = append(o.rest, p...)
		o.rest = nil
	}
	if clean := o.guard(hide(b)); len(clean) > 0 && !o.shut.Load() {
		if _, err := o.to.Write(clean); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Reveal writes a secret to w, which hides all secrets otherwise: byte by byte as it is
// where that is no terminal, and guarded where it is one.
func Reveal(w io.Writer, plain []byte) error {
	o := guarded(w, NewStdout)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.Terminal() {
		plain = o.guard(plain)
	}
	_, err := o.to.Write(plain)
	return err
}

// control writes what the live view draws: lines that line made, and what moves the
// cursor.
func (o *Output) control(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.shut.Load() {
		return len(b), nil
	}
	return o.to.Write(b)
}

// abandon writes the last that is written, and waits for nobody.
func (o *Output) abandon(s string) {
	o.shut.Store(true)
	_, _ = io.WriteString(o.to, s)
}

// line is a line as Write would write it, but for the colours of ours: the renderer
// cleaned what it put between them.
func (o *Output) line(s string, styled bool) string {
	one := Output{limit: o.limit, styled: styled}
	// The line feed ends what is left of a character or a colour, and a cut.
	s = string(one.guard([]byte(strings.ReplaceAll(s, "\n", " ") + "\n")))
	return strings.TrimSuffix(s, "\n")
}

func missing(n int64) string { return "… (" + text.Size(n) + " more)" }

// guard gives what may be written of b; it keeps what it cannot tell yet.
func (o *Output) guard(b []byte) []byte {
	if o.limit == 0 && harmless(b) {
		return b
	}
	var out bytes.Buffer
	out.Grow(len(b) + 64)
	put := func(p []byte) {
		if o.limit > 0 && o.n+len(p) > o.limit {
			o.over += int64(len(p))
			return
		}
		o.n += len(p)
		out.Write(p)
	}
	for i := 0; i < len(b); {
		c := b[i]
		switch {
		case c == '\n':
			if o.over > 0 {
				out.WriteString(missing(o.over))
			}
			o.n, o.over = 0, 0
			out.WriteByte(c)
			i++
			continue
		case c == '\t', c >= 0x20 && c < 0x7f:
			put(b[i : i+1])
			i++
			continue
		case c == 0x1b && o.styled:
			n, more := sgr(b[i:])
			if more && n == 0 {
				o.rest = slices.Clone(b[i:])
				return out.Bytes()
			}
			if n > 0 {
				out.Write(b[i : i+n]) // ends must pass on a line that is cut, too
				i += n
				continue
			}
		case c >= utf8.RuneSelf && !utf8.FullRune(b[i:]):
			o.rest = slices.Clone(b[i:])
			return out.Bytes()
		}
		r, n := utf8.DecodeRune(b[i:])
		switch {
		case text.Hidden(r):
			put([]byte(text.Escape(r)))
		case r == utf8.RuneError && n == 1:
			put([]byte("\uFFFD"))
		default:
			put(b[i : i+n])
		}
		i += n
	}
	return out.Bytes()
}

func harmless(b []byte) bool {
	for _, c := range b {
		if c >= 0x7f || c < 0x20 && c != '\n' && c != '\t' {
			return false
		}
	}
	return true
}

// sgr gives the length of a colour of ours at the beginning of b, 0 when there is
// none; more says that it may yet become one.
func sgr(b []byte) (n int, more bool) {
	for _, s := range ours {
		if bytes.HasPrefix(b, s) {
			return len(s), false
		}
		more = more || bytes.HasPrefix(s, b)
	}
	return 0, more
}
