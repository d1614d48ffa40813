// Package paths says where godwit keeps its own files on this machine, and writes them.
package paths

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"

	"godwit/internal/fault"
)

// State is where godwit remembers things on this machine:
// $XDG_STATE_HOME/godwit, ~/Library/Application Support/godwit on a Mac,
// ~/.local/state/godwit elsewhere. It exists afterwards and is private.
func State() (string, error) {
	dir := ""
	if d := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		dir = filepath.Join(d, "godwit")
	} else {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fault.New("cannot tell where to keep state: %s", err).Because(err).Hint("set HOME or XDG_STATE_HOME")
		}
		dir = filepath.Join(home, ".local", "state", "godwit")
		if runtime.GOOS == "darwin" {
			dir = filepath.Join(home, "Library", "Application Support", "godwit")
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fault.New("cannot make %s: %s", dir, err).Because(err)
	}
	return dir, nil
}

// Config is the user's file of settings: $XDG_CONFIG_HOME/godwit/config.toml, on a Mac
// without that variable ~/Library/Application Support/godwit/config.toml when it is
// there, and ~/.config/godwit/config.toml. It need not exist.
func Config() (string, error) {
	if d := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "godwit", "config.toml"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	if runtime.GOOS == "darwin" { // where programs keep their files is a matter of the machine
		p := filepath.Join(home, "Library", "Application Support", "godwit", "config.toml")
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return filepath.Join(home, ".config", "godwit", "config.toml"), nil
}

// Write writes a file that only its owner can read, in one step: whoever reads it
// meanwhile has the old one or the new one.
func Write(file string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".godwit-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // no longer there when all went well
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}
