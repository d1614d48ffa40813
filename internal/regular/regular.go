// Package regular opens files that people and configurations name: secrets, plans,
// keys, settings, images. Anything but a regular file is refused at once: a FIFO would
// be waited for, a device read, without end. That holds for pipes that a shell makes,
// too (`<(command)`): such files are read more than once.
package regular

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"godwit/internal/bounded"
)

// ErrNot is in every error about something that is no regular file.
var ErrNot = errors.New("not a regular file")

// notRegular says what a file is in place of a regular one.
type notRegular struct{ is string }

func (e notRegular) Error() string        { return "it is " + e.is + ", not a regular file" }
func (e notRegular) Is(target error) bool { return target == ErrNot }

// kind is an error for what is no regular file.
func kind(op, name string, mode fs.FileMode) error {
	is := "something else"
	switch {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		is = "a directory"
	case mode&fs.ModeNamedPipe != 0:
		is = "a pipe"
	case mode&fs.ModeSocket != 0:
		is = "a socket"
	case mode&fs.ModeDevice != 0:
		is = "a device"
	}
	return &fs.PathError{Op: op, Path: name, Err: notRegular{is}}
}

// Check tells why name cannot be read as a regular file, without opening it. Errors are
// *fs.PathError, as those of all functions here.
func Check(name string) error {
	st, err := os.Stat(name)
	if err != nil {
		return err
	}
	return kind("open", name, st.Mode())
}

// Open opens a regular file for reading. It never waits: not for the writer of a FIFO,
// nor for a device.
func Open(name string) (*os.File, error) {
	if err := Check(name); err != nil { // opening alone has effects on some devices
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil {
		err = kind("open", name, st.Mode())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Read reads a regular file of at most limit bytes. A longer one is an error with a
// *bounded.Error in it, as soon as that is known.
func Read(name string, limit int64) ([]byte, error) {
	f, err := Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	long := &fs.PathError{Op: "read", Path: name, Err: &bounded.Error{What: filepath.Base(name), Limit: limit}}
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case st.Size() > limit:
		return nil, long
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1)) // it may grow meanwhile
	switch {
	case err != nil:
		return nil, err
	case int64(len(data)) > limit:
		return nil, long
	}
	return data, nil
}
