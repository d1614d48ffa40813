package paths

import (
	"os"
	"path/filepath"
	"testing"
)

func TestState(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	dir, err := State()
	if st, err2 := os.Stat(dir); err != nil || err2 != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%s: %v %v", dir, err, err2)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	for _, text := range []string{"one", "two"} {
		if err := Write(file, []byte(text)); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(file)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Error(st, err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	// A directory cannot be replaced by a file; nothing is left of the attempt.
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "d"), nil); err == nil {
		t.Error("a directory was written over")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Error(left, err)
	}
	if err := Write(filepath.Join(dir, "none", "f"), nil); err == nil {
		t.Error("written into no directory")
	}
}
