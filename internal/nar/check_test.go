package nar

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/bounded"
)

// words is a NAR made of strings.
func words(list ...string) []byte {
	var b []byte
	for _, w := range list {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(w)))
		b = append(b, w...)
		b = append(b, make([]byte, -len(w)&7)...)
	}
	return b
}

func split(s string) []string {
	list := strings.Split(s, " ")
	for i, w := range list {
		if w == "''" {
			list[i] = ""
		}
	}
	return list
}

func TestNARGrammar(t *testing.T) {
	file := "( type regular contents abc )"
	good := []string{
		file,
		"( type regular executable '' contents '' )",
		"( type symlink target /a/b )",
		"( type directory )",
		"( type directory entry ( name a node " + file + " ) entry ( name b node ( type directory entry ( name z node " + file + " ) ) ) )",
		"( type directory entry ( name B node " + file + " ) entry ( name a node " + file + " ) )",
	}
	bad := []string{
		"( type regular )",
		"( type fifo )",
		"( type regular executable x contents '' )",
		"( type regular executable contents '' )",
		"( type symlink target '' )",
		"( type symlink target a\x00b )",
		"( type symlink target " + strings.Repeat("x", 4096) + " )",
		"( type directory entry ( name a/b node " + file + " ) )",
		"( type directory entry ( name .. node " + file + " ) )",
		"( type directory entry ( name . node " + file + " ) )",
		"( type directory entry ( name '' node " + file + " ) )",
		"( type directory entry ( name a\x00 node " + file + " ) )",
		"( type directory entry ( name " + strings.Repeat("n", 256) + " node " + file + " ) )",
		"( type directory entry ( name b node " + file + " ) entry ( name a node " + file + " ) )",
		"( type directory entry ( name a node " + file + " ) entry ( name a node " + file + " ) )",
		"( type directory entry ( node " + file + " name a ) )",
		"( type directory ) )",
		"( type directory",
		file + " " + file,
		strings.Repeat("( type directory entry ( name a node ", 5000) + file + strings.Repeat(" ) )", 5000),
	}
	check := func(nar []byte, step int) error {
		c := NewChecker()
		for at := 0; at < len(nar); at += step {
			if _, err := c.Write(nar[at:min(at+step, len(nar))]); err != nil {
				return err
			}
		}
		if c.Sum() != sha256.Sum256(nar) {
			t.Error("another hash")
		}
		return c.Finish(int64(len(nar)))
	}
	for _, step := range []int{1, 3, 8, 1 << 20} {
		for _, s := range good {
			if err := check(words(append([]string{"nix-archive-1"}, split(s)...)...), step); err != nil {
				t.Errorf("%s: %v", s, err)
			}
		}
		for _, s := range bad {
			if err := check(words(append([]string{"nix-archive-1"}, split(s)...)...), step); err == nil {
				t.Errorf("accepted: %.80s", s)
			}
		}
	}
	nar := words(append([]string{"nix-archive-1"}, split(file)...)...)
	i := bytes.Index(nar, []byte("abc"))
	nar[i+3] = 1
	if err := check(nar, 5); err == nil {
		t.Error("accepted padding that is not zero")
	}
	nar[i+3] = 0
	c := NewChecker()
	_, _ = c.Write(nar)
	if c.Finish(1) == nil || c.Finish(int64(len(nar))) != nil || !c.Ended() {
		t.Error("the size is not checked")
	}
	huge := append(words("nix-archive-1", "(", "type", "regular", "contents"), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	if check(huge, 1<<20) == nil {
		t.Error("accepted contents of 2^64-1 bytes")
	}
}

func TestNARFromNix(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Nix")
	}
	dir := t.TempDir()
	if err := errors.Join(
		os.MkdirAll(filepath.Join(dir, "d", "sub"), 0o755),
		os.WriteFile(filepath.Join(dir, "d", "x"), []byte("#!/bin/sh\n"), 0o755),
		os.WriteFile(filepath.Join(dir, "d", "sub", "long"), bytes.Repeat([]byte("12345"), 100001), 0o644),
		os.WriteFile(filepath.Join(dir, "d", "empty"), nil, 0o644),
		os.Symlink("../nowhere", filepath.Join(dir, "d", "link")),
	); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("nix-store", "--dump", filepath.Join(dir, "d")).Output()
	if err != nil {
		t.Fatal(err)
	}
	want, err := exec.Command("nix-hash", "--type", "sha256", filepath.Join(dir, "d")).Output()
	if err != nil {
		t.Fatal(err)
	}
	c := NewChecker()
	if _, err := io.Copy(c, bytes.NewReader(out)); err != nil {
		t.Fatal(err)
	}
	if err := c.Finish(int64(len(out))); err != nil {
		t.Fatal(err)
	}
	sum := c.Sum()
	if got := hex.EncodeToString(sum[:]); got != strings.TrimSpace(string(want)) {
		t.Errorf("hash %s, and Nix says %s", got, want)
	}
	tree, err := ReadTree(bytes.NewReader(out), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]Entry{
		"":         {Kind: Directory},
		"empty":    {Path: "empty"},
		"link":     {Path: "link", Kind: Symlink, Target: "../nowhere"},
		"sub":      {Path: "sub", Kind: Directory},
		"sub/long": {Path: "sub/long", Size: 500005},
		"x":        {Path: "x", Executable: true, Size: 10},
	} {
		if got := tree[p]; got.Entry != want || int64(len(got.Contents)) != want.Size {
			t.Errorf("%q: %+v", p, got.Entry)
		}
	}
	if len(tree) != 6 || string(tree["x"].Contents) != "#!/bin/sh\n" {
		t.Errorf("%d entries; x is %q", len(tree), tree["x"].Contents)
	}
}

func FuzzNAR(f *testing.F) {
	f.Add(words("nix-archive-1", "(", "type", "regular", "executable", "", "contents", "abc", ")"), 7)
	f.Add(words("nix-archive-1", "(", "type", "directory", "entry", "(", "name", "a", "node", "(", "type", "symlink", "target", "x", ")", ")", ")"), 1)
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		whole := NewChecker()
		_, err := whole.Write(b)
		parts := NewChecker()
		step = max(1, step%64)
		var err2 error
		for at := 0; at < len(b) && err2 == nil; at += step {
			_, err2 = parts.Write(b[at:min(at+step, len(b))])
		}
		if (err == nil) != (err2 == nil) || whole.Ended() != parts.Ended() && err == nil {
			t.Fatalf("whole: %v %v, in parts: %v %v", err, whole.Ended(), err2, parts.Ended())
		}
		if cap(whole.body) > 2*(maxTarget+8) || len(whole.names) > maxDepth {
			t.Fatal("holds too much")
		}
		const limit = 1 << 16
		tree, err2 := ReadTree(bytes.NewReader(b), limit)
		var long *bounded.Error
		if errors.As(err2, &long) {
			return
		}
		if (err2 == nil) != whole.Ended() {
			t.Fatalf("the checker: %v %v, the reader: %v", err, whole.Ended(), err2)
		}
		held := 0
		for p, n := range tree {
			held += len(p) + len(n.Target) + len(n.Contents)
		}
		if held > limit || len(tree) > limit/costs {
			t.Fatal("holds too much")
		}
	})
}
