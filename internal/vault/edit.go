package vault

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/regular"
	"godwit/internal/scratch"
	"godwit/internal/shell"
)

// Editor edits plaintexts with the person's own editor.
type Editor struct {
	// Command is a line as in $EDITOR.
	Command string
	// Run runs the editor on the terminal.
	Run func(*exec.Cmd) error
	// Warn says what a person should know of where the plaintext is meanwhile.
	Warn func(string)
}

// Edit gives the text as the person left it. Meanwhile it is in a folder of this user's
// alone in memory (memoryFolder), and the editors that are known are told to keep no
// copies of it elsewhere.
func (e Editor) Edit(ctx context.Context, name string, plain []byte) ([]byte, error) {
	words, err := shell.Split(e.Command)
	if err != nil || len(words) == 0 {
		return nil, fault.New("the editor '%s' is not a command", e.Command).Hint("set EDITOR")
	}
	dir, warning, err := memoryFolder()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir.Path, name)
	remove := func() { wipe(dir) }
	forget := crash.OnExit(remove)
	defer forget()
	defer remove()
	if warning != "" {
		e.Warn(warning)
	}
	if err := os.WriteFile(file, plain, 0o600); err != nil {
		return nil, fault.New("cannot write to %s: %s", dir.Path, fault.Reason(err)).Because(err)
	}
	cmd := exec.CommandContext(ctx, words[0], append(append(words[1:], discreet(words[0])...), file)...)
	if err := e.Run(cmd); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil, fault.New("the editor %s ended with status %d: the secret is unchanged", words[0], exit.ExitCode())
		}
		var told *fault.Error
		if errors.As(err, &told) { // with a way out of its own
			return nil, told
		}
		return nil, fault.New("the editor %s cannot be run: %w", words[0], fault.Reason(err)).Hint("set EDITOR")
	}
	out, err := regular.Read(file, maxSecret)
	if err != nil {
		return nil, fault.New("cannot read what the editor wrote: %s", fault.Reason(err)).Because(err)
	}
	return out, nil
}

// discreet are arguments that keep an editor from writing copies of what it edits: swap
// and backup files, histories, what was undone.
func discreet(editor string) []string {
	switch filepath.Base(editor) {
	case "vi", "vim", "gvim", "view":
		return []string{"-n", "-i", "NONE", "-c", "set nobackup nowritebackup noundofile noswapfile"}
	case "nvim":
		return []string{"-n", "-i", "NONE", "-c", "set nobackup nowritebackup noundofile noswapfile"}
	case "emacs":
		return []string{"--eval", "(setq make-backup-files nil auto-save-default nil create-lockfiles nil)"}
	case "nano":
		return []string{"--restricted"} // no backups, no reading or writing of other files
	}
	return nil
}

// wipe overwrites the files of a folder and removes it.
func wipe(dir *scratch.Dir) {
	all, _ := os.ReadDir(dir.Path)
	for _, e := range all {
		if e.Type().IsRegular() {
			at := filepath.Join(dir.Path, e.Name())
			if f, err := os.OpenFile(at, os.O_WRONLY, 0); err == nil {
				if st, err := f.Stat(); err == nil && st.Size() <= maxSecret {
					_, _ = f.WriteString(strings.Repeat("\x00", int(st.Size())))
					_ = f.Sync()
				}
				f.Close()
			}
		}
	}
	_ = dir.Remove()
}
