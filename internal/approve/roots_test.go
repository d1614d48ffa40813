package approve

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRoots(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	dir := t.TempDir()
	gone, kept := filepath.Join(dir, "gone.plan"), filepath.Join(dir, "kept.plan")
	for _, f := range []string{gone, kept} {
		if _, err := NewRoots(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := NewRoots(filepath.Join(dir, "third.plan"))
	if err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(filepath.Join(state, "godwit", "plans"))
	if len(entries) != 2 {
		t.Errorf("%v", entries)
	}
	if link := r.Link("web"); filepath.Dir(filepath.Dir(link)) != filepath.Join(state, "godwit", "plans") {
		t.Error(link)
	}
}
