package store

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"godwit/internal/fault"
	"godwit/internal/ui/text"
)

// ErrDiskFull is the cause of an error where a host's disk is full.
var ErrDiskFull = errors.New("no space left")

// FullHint is what to do about it.
const FullHint = "free space there with `nix-collect-garbage -d`, then run the same again: what has arrived stays"

// SaysFull tells whether Nix says that a disk is full: in its own words, or, where its
// database met it first, in SQLite's.
func SaysFull(said string) bool {
	for _, s := range []string{"No space left on device", "database or disk is full", "Disk quota exceeded"} {
		if strings.Contains(said, s) {
			return true
		}
	}
	return false
}

// isClosed tells whether err says that the other side of a pipe is gone.
func isClosed(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, fs.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, os.ErrDeadlineExceeded)
}

// lastError is the last line in which Nix says what went wrong.
func lastError(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		if t, ok := strings.CutPrefix(lines[i], "error: "); ok {
			return t
		}
	}
	return ""
}

// classify adds what to do about well-known failures.
func classify(e *fault.Error, said string) {
	has := func(list ...string) bool {
		for _, s := range list {
			if strings.Contains(said, s) {
				return true
			}
		}
		return false
	}
	switch {
	case SaysFull(said):
		if e.Err == nil || isClosed(e.Err) || errors.Is(e.Err, io.EOF) || errors.Is(e.Err, io.ErrUnexpectedEOF) {
			e.Err = ErrDiskFull
		}
		e.Hint(FullHint)
	case has("lacks a valid signature", "lacks a signature by a trusted key"):
		e.Hint("let godwit elevate there (sudo or doas), log in as root, or add the user to trusted-users of that Nix")
	case has("a password is required", "a terminal is required"):
		e.Hint("sudo there wants a password: give one, or allow the user to run nix-store without")
	case has("command not found", "nix-store: not found", "No such file or directory\nnix-store"):
		e.Hint("install Nix there, or make `nix-store` reachable for commands that are not interactive")
	case has("Permission denied", "permission denied") && has("/nix/"):
		e.Hint("the user may not write the store there: let godwit elevate (sudo or doas) or log in as root")
	case has("Read-only file system"):
		e.Hint("the store's file system there is read-only: look at `dmesg` and `mount` on the host")
	}
}

// cleanLines splits what a host or a builder wrote into lines that people can read.
func cleanLines(s string) []string {
	var out []string
	for _, l := range strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if l = text.OneLine(l); l != "" {
			out = append(out, l)
		}
	}
	return out
}
