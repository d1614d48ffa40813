//go:build !linux

package vault

import "os"

// memoryFolder makes a folder of this user's alone. A Mac has no file system in memory
// that a program could use without root.
func memoryFolder() (dir, warning string, err error) {
	dir, err = os.MkdirTemp("", "godwit-edit-")
	return dir, "while you edit, the text is in a private folder on this machine's disk (" + dir +
		"), since macOS has no file system in memory; it is overwritten and removed afterwards. With --stdin nothing is written", err
}

// inMemory tells whether a folder is on a file system in memory; here none is known to be.
func inMemory(string) bool { return false }
