package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Limits on what a peer may make us hold. They are far above what a real store
// sends and far below what hurts.
const (
	maxString = 1 << 20 // one string of an answer, in bytes
	maxItems  = 1 << 21 // items of one list
	maxAnswer = 1 << 29 // bytes of one answer without NARs
)

var (
	errTooLong = errors.New("string is too long")
	errPadding = errors.New("padding is not zero")
)

// wireReader reads the primitives of Nix's protocols: unsigned 64-bit little
// endian numbers, and strings with a length before them and zero bytes up to a
// multiple of eight behind them.
type wireReader struct {
	r *bufio.Reader
	// left bounds the bytes of the answer that is being read.
	left int64
	tmp  [8]byte
}

func newWireReader(r io.Reader, size int) *wireReader {
	return &wireReader{r: bufio.NewReaderSize(r, size), left: maxAnswer}
}

// begin starts an answer: its bytes are counted from here.
func (w *wireReader) begin() { w.left = maxAnswer }

func (w *wireReader) take(n int64) error {
	if w.left -= n; w.left < 0 {
		return fmt.Errorf("answer is longer than %d bytes", int64(maxAnswer))
	}
	return nil
}

func (w *wireReader) uint() (uint64, error) {
	if err := w.take(8); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(w.r, w.tmp[:]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(w.tmp[:]), nil
}

func (w *wireReader) string() (string, error) {
	n, err := w.uint()
	if err != nil {
		return "", err
	}
	if n > maxString {
		return "", fmt.Errorf("%w: %d bytes", errTooLong, n)
	}
	padded := (n + 7) &^ 7
	if err := w.take(int64(padded)); err != nil {
		return "", err
	}
	b, err := readAtMost(w.r, int(padded))
	if err != nil {
		return "", unexpected(err)
	}
	for _, c := range b[n:] {
		if c != 0 {
			return "", errPadding
		}
	}
	return string(b[:n]), nil
}

// readAtMost reads exactly n bytes without believing n before they are there.
func readAtMost(r io.Reader, n int) ([]byte, error) {
	const step = 64 << 10
	if n <= step {
		b := make([]byte, n)
		_, err := io.ReadFull(r, b)
		return b, err
	}
	var b []byte
	for len(b) < n {
		k := min(step, n-len(b))
		at := len(b)
		b = append(b, make([]byte, k)...)
		if _, err := io.ReadFull(r, b[at:]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// strings reads a list; each is called for every item as it comes.
func (w *wireReader) strings(each func(string) error) error {
	n, err := w.uint()
	if err != nil {
		return err
	}
	if n > maxItems {
		return fmt.Errorf("list is too long: %d items", n)
	}
	for range n {
		s, err := w.string()
		if err != nil {
			return unexpected(err)
		}
		if err := each(s); err != nil {
			return err
		}
	}
	return nil
}

// unexpected turns a clean end of file into one in the middle of something.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// The writing side appends to a byte slice: requests are made whole and then
// written, so that an error cannot leave half of one in a buffer.

func putUint(b []byte, n uint64) []byte { return binary.LittleEndian.AppendUint64(b, n) }

func putBool(b []byte, v bool) []byte {
	if v {
		return putUint(b, 1)
	}
	return putUint(b, 0)
}

func putString(b []byte, s string) []byte {
	b = putUint(b, uint64(len(s)))
	b = append(b, s...)
	for n := len(s); n%8 != 0; n++ {
		b = append(b, 0)
	}
	return b
}
