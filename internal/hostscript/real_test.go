package hostscript

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestReal: it says what readlink -f says, of whatever there is.
func TestReal(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "a b", "c"), 0o755), os.WriteFile(filepath.Join(dir, "file"), nil, 0o644), os.MkdirAll(filepath.Join(dir, "-"), 0o755),
		os.Symlink("a b", filepath.Join(dir, "link")), os.Symlink("link/c", filepath.Join(dir, "far")), os.Symlink("file", filepath.Join(dir, "to-file")),
		os.Symlink("nothing", filepath.Join(dir, "dangling")), os.Symlink("loop", filepath.Join(dir, "loop")), os.Symlink("no/such", filepath.Join(dir, "lost")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, shell := range []string{"dash", "bash"} {
		for _, name := range []string{"a b", "link", "link/c", "link/../file", "far", "file", "to-file", "dangling", "loop", "lost", "none", "none/none", "-", ""} {
			path := filepath.Join(dir, "/") + "/" + name
			if name == "" {
				path = ""
			}
			run := func(what string) string {
				out, err := exec.Command(shell, "-c", Real+"\nat=$("+what+`); echo "$? $at"`, "sh", path).Output()
				if err != nil {
					t.Fatalf("%s: %v", shell, err)
				}
				return string(out)
			}
			if got, want := run(`CDPATH=/ real "$1"`), run(`readlink -f "$1"`); got != want {
				t.Errorf("%s: %q is %q, want %q", shell, path, got, want)
			}
		}
	}
}
