package paths

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestForget(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"c", "a", "d", "b"} { // by age, the oldest first
		file := filepath.Join(dir, name)
		when := time.Unix(int64(1000+i), 0)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, when, when); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		keep int
		want string
	}{{9, "a b c d"}, {4, "a b c d"}, {2, "b d"}, {0, ""}} {
		Forget(dir, c.keep)
		var left []string
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			left = append(left, e.Name())
		}
		if got := strings.Join(left, " "); got != c.want {
			t.Errorf("keeping %d leaves %q, want %q", c.keep, got, c.want)
		}
	}
	Forget(filepath.Join(dir, "nowhere"), 1)
}
