package store

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"godwit/internal/nar"
)

func dumpFiles(t *testing.T, path string, hack bool) []byte {
	t.Helper()
	n := &narFiles{hack: hack}
	defer n.Close()
	n.words("nix-archive-1")
	if err := n.node(path); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// plant makes a tree with everything that a NAR can hold.
func plant(t *testing.T, dir string) {
	t.Helper()
	for _, d := range []string{"a/b/empty", "a.b", "Z"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"a/empty": "", "a/one": "1", "a/eight": "12345678", "a-b": strings.Repeat("x", 200_001), "Z/run": "#!/bin/sh\n", "ä": "é"} {
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../nowhere", filepath.Join(dir, "a", "link")); err != nil {
		t.Fatal(err)
	}
}

func TestNARFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	plant(t, dir)
	for _, p := range []string{dir, filepath.Join(dir, "a/one"), filepath.Join(dir, "a/link"), filepath.Join(dir, "a/b/empty"), filepath.Join(dir, "a/empty")} {
		b := dumpFiles(t, p, false)
		c := nar.NewChecker()
		if _, err := c.Write(b); err != nil || !c.Ended() {
			t.Errorf("%s: %v", p, err)
		}
		n, err := newNARFiles(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(n, b); err != nil {
			t.Errorf("%s: read in other pieces: %v", p, err)
		}
		n.Close()
		if testing.Short() {
			continue
		}
		want, err := exec.Command("nix-store", "--dump", p).Output()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, want) {
			t.Errorf("%s: differs from what nix-store dumps (%d, %d bytes)", p, len(b), len(want))
		}
	}
	// What Nix makes of names on a Mac is made good: A, a~nix~case~hack~1 and aa.
	plain, hacked := t.TempDir(), t.TempDir()
	for k, name := range []string{"A", "a", "aa"} {
		_ = os.WriteFile(filepath.Join(plain, name), []byte(name), 0o644)
		if k == 1 {
			name += caseHack + "1"
		}
		_ = os.WriteFile(filepath.Join(hacked, name), []byte([]string{"A", "a", "aa"}[k]), 0o644)
	}
	if !bytes.Equal(dumpFiles(t, plain, false), dumpFiles(t, hacked, true)) {
		t.Error("the case hack is not undone")
	}
	// Neither followed nor waited for.
	fifo := filepath.Join(plain, "fifo")
	if err := exec.Command("mkfifo", fifo).Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := newNARFiles(fifo); err == nil {
		t.Error("a fifo has a NAR")
	}
}

// TestReadFiles: a source whose files are here, or were.
func TestReadFiles(t *testing.T) {
	ctx := testCtx(t)
	build := func(t *testing.T) (src *fakeStore, ep Endpoint, root, top string) {
		src, root = newFake(t), t.TempDir()
		_ = os.MkdirAll(filepath.Join(root, "nix/store"), 0o755)
		put := func(name string, size int, refs ...string) string {
			p := fakeName(len(src.paths), name)
			file := filepath.Join(root, p)
			plant(t, file)
			if err := os.WriteFile(filepath.Join(file, "big"), bytes.Repeat([]byte(name), size/len(name)), 0o644); err != nil {
				t.Fatal(err)
			}
			nar := dumpFiles(t, file, false)
			return src.addNAR(p, func() io.Reader { return bytes.NewReader(nar) }, refs...)
		}
		one := put("one", 1000)
		two := put("two", 1<<20, one)
		top = put("top", 300_000, one, two)
		ep = src.endpoint("source")
		ep.Root = root
		return src, ep, root, top
	}
	push := func(t *testing.T, ep Endpoint, top string) (Result, *fakeStore) {
		h := newFake(t)
		return Copy(ctx, ep, []Dest{{Endpoint: h.endpoint("h"), Roots: []string{top}}}, Options{}, nil)[0], h
	}
	t.Run("files", func(t *testing.T) {
		src, ep, _, top := build(t)
		if r, _ := push(t, ep, top); r.Err != nil || r.Paths != 3 {
			t.Errorf("%+v", r)
		}
		if len(src.reads) != 0 {
			t.Errorf("asked nix-store for %v", src.reads)
		}
	})
	for name, harm := range map[string]func(file string) error{
		"gone":      os.RemoveAll,
		"unlike":    func(f string) error { return os.WriteFile(filepath.Join(f, "a/one"), []byte("2"), 0o644) },
		"shorter":   func(f string) error { return os.Truncate(filepath.Join(f, "zz"), 5) },
		"not there": func(f string) error { return os.Remove(filepath.Join(f, "ä")) },
		"a socket": func(f string) error {
			return exec.Command("mkfifo", filepath.Join(f, "~")).Run()
		},
	} {
		t.Run(name, func(t *testing.T) {
			src, ep, root, top := build(t)
			for _, p := range []string{"two", "top"} {
				for path := range src.paths {
					if strings.HasSuffix(path, "-"+p) {
						_ = harm(filepath.Join(root, path))
						if name == "shorter" {
							_ = os.Truncate(filepath.Join(root, path, "a-b"), 150_000)
						}
					}
				}
			}
			r, h := push(t, ep, top)
			switch {
			case r.Err == nil && (r.Paths != 3 || len(src.reads) == 0):
				t.Errorf("%+v, asked nix-store for %v", r, src.reads)
			case r.Err != nil && !strings.Contains(r.Err.Error(), "it changed while it was read"):
				t.Error(r.Err)
			case r.Err != nil && len(h.paths) == 3:
				t.Error("an error, and all is there")
			}
			t.Log(r.Err)
		})
	}
}

func TestLocalRoot(t *testing.T) {
	for uri, want := range map[string]string{"": "/", "local?root=/mnt": "/mnt", "local?root=/mnt&state=/x": "", "daemon": "", "ssh://x": ""} {
		if got := Local(nil, uri).Root; got != want {
			t.Errorf("%s: %q", uri, got)
		}
	}
}
