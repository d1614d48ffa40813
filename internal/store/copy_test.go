package store

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestCopyFake(t *testing.T) {
	src := newFake(t)
	top := src.closure(300, 200, 3, 3<<20)
	var dests []Dest
	for k := range 5 {
		f := newFake(t)
		dests = append(dests, Dest{Endpoint: f.endpoint(fmt.Sprint("host", k)), Roots: []string{top}})
	}
	p := NewPusher(src.endpoint("source"), Options{SpoolDir: t.TempDir()})
	for round := range 2 {
		t0 := time.Now()
		rs := Copy(testCtx(t), src.endpoint("source"), dests, Options{SpoolDir: t.TempDir(), grace: time.Minute}, nil)
		t.Log(time.Since(t0))
		for _, r := range rs {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			if round == 0 && r.Paths != 304 || round == 1 && r.Skipped != 304 {
				t.Errorf("%+v", r)
			}
		}
	}
	p.Close()
	for path, n := range src.reads {
		if n != 1 {
			t.Errorf("%s was read %d times", path, n)
		}
	}
}

// tempStore is a real store of its own under a temporary root.
func tempStore(t testing.TB) (Endpoint, string) {
	if testing.Short() {
		t.Skip("needs Nix")
	}
	if _, err := exec.LookPath("nix-store"); err != nil {
		t.Fatal("nix-store is needed: ", err)
	}
	dir := t.TempDir()
	t.Cleanup(func() { makeWritable(dir) })
	return Local(nil, "local?root="+dir), dir
}

func makeWritable(dir string) {
	_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(p, 0o755)
		}
		return nil
	})
}

func TestCopyRealNix(t *testing.T) {
	a, dirA := tempStore(t)
	b, dirB := tempStore(t)
	src := newFake(t)
	top := src.closure(100, 200, 2, 3<<20)
	ctx := testCtx(t)
	rs := Copy(ctx, src.endpoint("fake"), []Dest{{Endpoint: a, Roots: []string{top}}}, Options{}, nil)
	if rs[0].Err != nil {
		t.Fatal(rs[0].Err)
	}
	t.Log(rs[0])
	rs = Copy(ctx, a, []Dest{{Endpoint: b, Roots: []string{top}}}, Options{}, nil)
	if rs[0].Err != nil {
		t.Fatal(rs[0].Err)
	}
	t.Log(rs[0])
	for _, d := range []string{dirA, dirB} {
		out, err := exec.Command("nix-store", "--store", "local?root="+d, "--verify", "--check-contents").CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	inf, err := Closure(ctx, b, []string{top})
	if err != nil || len(inf) != 103 {
		t.Errorf("closure: %d %v", len(inf), err)
	}
}
