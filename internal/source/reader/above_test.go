package reader

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"godwit/internal/evalcache"
)

// TestAllow: what links lead to is allowed before the links are, and directories above are
// those of which not all may be read.
func TestAllow(t *testing.T) {
	dir := resolved(t.TempDir())
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"real/in", "tree/a", "dir", "other"} {
		if err := os.MkdirAll(at(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"one": "real", "two": at("one"), "real/back": "../two", "loop": "loop",
		"dir/inner": "../three", "three": "other", "to-dir": "dir"} {
		if err := os.Symlink(to, at(name)); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := walk(at("two/back/in")); !slices.Equal(got, []string{at("two"), at("one"), at("real/back"), at("two"), at("one")}) {
		t.Errorf("links: %v", got)
	}
	if got, _ := walk(at("loop")); len(got) != 41 {
		t.Errorf("a loop has %d links", len(got))
	}
	w := &watched{}
	w.allow([]string{at("tree/a"), at("to-dir/inner"), at("two/in"), at("tree/none")})
	for i, p := range w.allowed {
		_, way := walk(p)
		for _, on := range way {
			if !slices.ContainsFunc(w.allowed[:i+1], func(a string) bool { return evalcache.In(on, a) || evalcache.In(a, on) }) {
				t.Errorf("%s is allowed before %s on its way: %v", p, on, w.allowed)
			}
		}
	}
	for path, want := range map[string]bool{dir: true, "/": true, at("tree"): true, at("real"): true, at("tree/a"): false, at("real/in"): false, at("tree/b"): false, at("two"): false} {
		if w.above[path] != want {
			t.Errorf("above %s: %t", strings.TrimPrefix(path, dir), !want)
		}
	}
}
