package nar

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"godwit/internal/bounded"
)

func archive(s string) []byte { return words(append([]string{"nix-archive-1"}, split(s)...)...) }

func TestReader(t *testing.T) {
	file := "( type regular contents abc )"
	long := strings.Repeat("x", 100_000)
	for in, want := range map[string]string{
		file: "file  3 abc",
		"( type regular executable '' contents '' )": "program  0 ",
		"( type symlink target /a/b )":               "link  /a/b",
		"( type directory )":                         "folder ",
		"( type directory entry ( name a node " + file + " ) entry ( name bin node ( type directory entry ( name s node ( type regular executable '' contents " + long +
			" ) ) entry ( name t node ( type symlink target s ) ) ) ) entry ( name c node ( type regular contents '' ) ) )": "folder , file a 3 abc, folder bin, program bin/s 100000 " + long + ", link bin/t s, file c 0 ",
	} {
		for name, from := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "with EOF": iotest.DataErrReader} {
			var all []string
			r := NewReader(from(bytes.NewReader(archive(in))))
			for {
				e, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatalf("%.60s: %v", in, err)
				}
				switch e.Kind {
				case Directory:
					all = append(all, "folder "+e.Path)
				case Symlink:
					all = append(all, "link "+e.Path+" "+e.Target)
				case Regular:
					b, err := io.ReadAll(r)
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, fmt.Sprintf("%s %s %d %s", map[bool]string{false: "file", true: "program"}[e.Executable], e.Path, e.Size, b))
				}
			}
			if got := strings.Join(all, ", "); got != want {
				t.Errorf("%s, %.60s: %.200q", name, in, got)
			}
			if _, err := r.Next(); err != io.EOF {
				t.Errorf("after the end: %v", err)
			}
		}
	}
}

// TestReaderSkips: contents that nobody reads are passed, and checked.
func TestReaderSkips(t *testing.T) {
	b := archive("( type directory entry ( name a node ( type regular contents " + strings.Repeat("y", 50_001) + " ) ) entry ( name b node ( type symlink target a ) ) )")
	r := NewReader(bytes.NewReader(b))
	for _, want := range []string{"", "a", "b"} {
		e, err := r.Next()
		if err != nil || e.Path != want {
			t.Fatalf("%+v, %v; want %s", e, err, want)
		}
		if n, err := r.Read(make([]byte, 3)); (want == "a") != (n == 3 && err == nil) {
			t.Errorf("%s: read %d, %v", want, n, err)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
}

func TestReaderErrors(t *testing.T) {
	good := archive("( type directory entry ( name a node ( type regular contents abc ) ) )")
	for end := range good {
		if _, err := ReadTree(bytes.NewReader(good[:end]), 1<<20); err == nil || !strings.Contains(err.Error(), "too early") {
			t.Fatalf("%d bytes of %d: %v", end, len(good), err)
		}
	}
	for text, b := range map[string][]byte{
		"behind the end": append(bytes.Clone(good), 0),
		"where":          bytes.Replace(good, []byte("node"), []byte("nude"), 1),
		"padding":        bytes.Replace(good, []byte("abc\x00"), []byte("abcd"), 1),
	} {
		if _, err := ReadTree(bytes.NewReader(b), 1<<20); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
	broken := errors.New("broken")
	if _, err := ReadTree(io.MultiReader(bytes.NewReader(good[:100]), iotest.ErrReader(broken)), 1<<20); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// TestTreeLimits: what an archive says of itself costs nothing before it is there, and
// neither contents, nor entries, nor deep folders go past the limit.
func TestTreeLimits(t *testing.T) {
	var many, deep strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&many, "entry ( name %05d node ( type directory ) ) ", i)
	}
	for range 500 {
		fmt.Fprintf(&deep, "( type directory entry ( name %s node ", strings.Repeat("d", 200))
	}
	huge := words("nix-archive-1", "(", "type", "regular", "contents")
	huge = append(huge, 0, 0, 0, 0, 0, 0, 0, 1<<4)
	for name, b := range map[string][]byte{
		"length":   huge,
		"contents": archive("( type regular contents " + strings.Repeat("z", 1<<20) + " )"),
		"entries":  archive("( type directory " + many.String() + ")"),
		"path":     archive(deep.String() + "( type directory )" + strings.Repeat(" ) )", 500)),
	} {
		if _, err := ReadTree(bytes.NewReader(b), 1<<20); !bounded.Is(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
