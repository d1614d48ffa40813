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

// TestBegan: an activity that names a directory of which not all is watched ends the evaluation,
// with the line of the configuration that reads it; another one does not.
func TestBegan(t *testing.T) {
	dir := resolved(t.TempDir())
	tree, beside := filepath.Join(dir, "tree"), filepath.Join(dir, "beside")
	for _, d := range []string{tree, filepath.Join(beside, "in")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(tree, "network.nix")
	if err := os.WriteFile(file, []byte("{\n  web.environment.etc.x.source = ../beside;\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &watched{tree: tree, files: map[string]bool{file: true}}
	w.allow([]string{tree, filepath.Join(beside, "in")})
	for _, text := range []string{"evaluating derivation", "copying '" + tree + "' to the store", "copying '" + beside + "/in' to the store"} {
		if err := w.began(text); err != nil || w.blame != nil {
			t.Fatalf("%s: %v %+v", text, err, w.blame)
		}
	}
	if err := w.began("copying '" + beside + "' to the store"); err != errUnwatched {
		t.Fatal(err)
	}
	if b := w.blame; b.File != file || b.Line != 2 || !strings.Contains(b.What, beside) || !slices.Contains(w.known.More, beside) {
		t.Errorf("%+v, and watched from now on: %v", b, w.known.More)
	}
	// Its name stands in no line.
	if b := w.findPath(filepath.Join(dir, "other"), "reads"); b.File != "" || b.What != "reads" {
		t.Errorf("%+v", b)
	}
}
