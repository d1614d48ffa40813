package convert

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestWriteNew: no file is overwritten.
func TestWriteNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "godwit.nix")
	if err := WriteNew(path, "{ }"); err != nil {
		t.Error(err)
	}
	if err := WriteNew(path, "x"); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Error(err)
	}
	if err := WriteNew(filepath.Join(path, "below"), "x"); err == nil {
		t.Error("a file is no folder")
	}
}
