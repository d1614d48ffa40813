//go:build !linux

package vault

import (
	"godwit/internal/fault"
	"godwit/internal/scratch"
)

// memoryFolder makes a folder of this user's alone. A Mac has no file system in memory
// that a program could use without root.
func memoryFolder() (dir *scratch.Dir, warning string, err error) {
	if dir, err = scratch.New("edit-"); err != nil {
		return nil, "", fault.New("cannot make a folder to edit in: %s", fault.Reason(err)).Because(err).
			Hint("a value can come over standard input: godwit secrets edit NAME --stdin")
	}
	return dir, "while you edit, the text is in a private folder on this machine's disk (" + dir.Path +
		"), since macOS has no file system in memory; it is overwritten and removed afterwards. With --stdin nothing is written", nil
}

// inMemory tells whether a folder is on a file system in memory; here none is known to be.
func inMemory(string) bool { return false }
