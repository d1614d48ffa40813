package store

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"
	"testing"
)

func TestWire(t *testing.T) {
	b := putUint(nil, 7)
	b = putString(b, "")
	b = putString(b, "12345678")
	b = putString(b, "123456789")
	b = putStrings(b, []string{"a", "b"})
	r := newWireReader(bytes.NewReader(b), 16)
	if n, err := r.uint(); n != 7 || err != nil {
		t.Error(n, err)
	}
	for _, want := range []string{"", "12345678", "123456789"} {
		if s, err := r.string(); s != want || err != nil {
			t.Error(s, err)
		}
	}
	var got []string
	if err := r.strings(func(s string) error { got = append(got, s); return nil }); err != nil || strings.Join(got, "") != "ab" {
		t.Error(got, err)
	}
	if _, err := r.uint(); err != io.EOF {
		t.Error(err)
	}
	for name, b := range map[string][]byte{
		"huge string": putUint(nil, 1<<63),
		"lying":       append(putUint(nil, maxString), "short"...),
		"padding":     append(putUint(nil, 1), "a1234567"...),
		"cut":         putString(nil, "hello")[:10],
	} {
		if s, err := newWireReader(bytes.NewReader(b), 16).string(); err == nil {
			t.Errorf("%s: %q", name, s)
		}
	}
	if err := newWireReader(bytes.NewReader(putUint(nil, 1<<40)), 16).strings(nil); err == nil {
		t.Error("huge list")
	}
}

func TestHashForms(t *testing.T) {
	// The hash of nothing, as `nix-hash --type sha256 --flat` has it.
	const hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	const b32 = "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"
	h, err := ParseHash(hex)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"sha256:" + hex, "sha256:" + b32, "sha256-" + base64.StdEncoding.EncodeToString(h[:])} {
		if g, err := ParseHash(s); g != h || err != nil {
			t.Errorf("%s: %v %v", s, g, err)
		}
	}
	if h.String() != "sha256:"+b32 {
		t.Error(h)
	}
	for _, s := range []string{"", "sha256:", "sha256:" + b32[1:], "sha256:z" + b32[1:], "sha256:e" + b32[1:], "sha512:" + hex, "sha256-AAAA", hex[1:] + "g"} {
		if _, err := ParseHash(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

// FuzzServer gives any bytes as a server's answers to every query.
func FuzzServer(f *testing.F) {
	p := fakeName(1, "p")
	hello := putUint(putUint(nil, serveMagic2), 2<<8|7)
	f.Add(append(bytes.Clone(hello), putStrings(nil, []string{p})...))
	info := putString(bytes.Clone(hello), p)
	info = putString(info, "")
	info = putStrings(info, []string{p})
	info = putUint(putUint(info, 1), 1)
	info = putString(info, Hash{}.String())
	info = putString(info, "")
	info = putStrings(info, nil)
	f.Add(putString(info, ""))
	f.Add([]byte("Welcome to the machine\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		open := func() *conn {
			st := &Stream{Stdin: nopCloser{}, Stdout: bytes.NewReader(b), Kill: func() {}}
			c, err := dial(t.Context(), Endpoint{Name: "x", Dial: func(_ ctxT, _ bool) (*Stream, error) { return st, nil }}, false, DefaultIdle)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		c := open()
		if _, err := c.queryValidPaths([]string{p}, true, false); err == nil {
			_, _ = c.queryPathInfos([]string{p})
		}
		c.abandon()
		c = open()
		if infos, err := c.queryPathInfos([]string{p}); err == nil {
			_ = order(infos)
		}
		c.abandon()
		c = open()
		_, _ = c.queryClosure([]string{p})
		c.abandon()
	})
}

type nopCloser struct{}

func (nopCloser) Write(b []byte) (int, error) { return len(b), nil }
func (nopCloser) Close() error                { return nil }

func TestOrder(t *testing.T) {
	f := newFake(t)
	top := f.closure(100, 1, 2, 2)
	var infos []*Info
	for _, p := range f.paths {
		i := p.Info
		infos = append(infos, &i)
	}
	if err := order(infos); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, i := range infos {
		for _, r := range i.References {
			if r != i.Path && !seen[r] {
				t.Errorf("%s before %s", i.Path, r)
			}
		}
		seen[i.Path] = true
	}
	if infos[len(infos)-1].Path != top {
		t.Error("the top is not last")
	}
	a, b := fakeName(1, "a"), fakeName(1, "b")
	if order([]*Info{{Path: a, References: []string{b}}, {Path: b, References: []string{a}}}) == nil {
		t.Error("a cycle was accepted")
	}
	if order([]*Info{{Path: a, References: []string{b}}}) == nil {
		t.Error("an open closure was accepted")
	}
}
