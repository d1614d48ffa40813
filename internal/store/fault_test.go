package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
)

type ctxT = context.Context

func dest(name string, f *fakeStore, roots ...string) Dest {
	return Dest{Endpoint: f.endpoint(name), Host: name, Roots: roots}
}

func wantError(t *testing.T, r Result, parts ...string) {
	t.Helper()
	if r.Err == nil {
		t.Fatal("no error")
	}
	text := fault.Render(r.Err)
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q lacks %q", text, p)
		}
	}
}

func TestBanner(t *testing.T) {
	src, dst := newFake(t), newFake(t)
	top := src.closure(3, 10, 0, 0)
	dst.banner = "\x1b[31mWelcome\x1b[0m to web1\nHave fun\n"
	r := Copy(testCtx(t), src.endpoint("source"), []Dest{dest("web1", dst, top)}, Options{}, nil)[0]
	wantError(t, r, "something other than Nix answered", "Welcome to web1\n", "hint: a start-up file")
	dst.banner = "hi\n"
	r = Copy(testCtx(t), src.endpoint("source"), []Dest{dest("web1", dst, top)}, Options{}, nil)[0]
	wantError(t, r, "something other than Nix answered", "  hi\n")
}

// TestVersions: 2.5 is Nix 2.3, 2.8 is Nix 2.35, and Lix stays at 2.7.
func TestVersions(t *testing.T) {
	for _, v := range []uint64{2<<8 | 4, 2<<8 | 5, 2<<8 | 6, 2<<8 | 7, 2<<8 | 8, 2<<8 | 20, 1<<8 | 7, 3 << 8, 1<<32 | 2<<8 | 7} {
		good := v >= 2<<8|5 && v < 3<<8
		src, dst, old := newFake(t), newFake(t), newFake(t)
		top := src.closure(3, 10, 0, 0)
		old.closure(3, 10, 0, 0)
		dst.version, old.version = v, v
		r := Copy(testCtx(t), src.endpoint("source"), []Dest{dest("web1", dst, top)}, Options{}, nil)[0]
		from := Copy(testCtx(t), old.endpoint("source"), []Dest{dest("web1", newFake(t), top)}, Options{}, nil)[0]
		if good && (r.Err != nil || r.Paths != 4 || from.Err != nil || from.Paths != 4) {
			t.Errorf("%d.%d: %+v, from it %+v", v>>8, v&0xff, r, from)
		}
		if !good {
			wantError(t, r, "web1: ", "speaks version", "install Nix")
			wantError(t, from, "web1: source: ", "speaks version", "install Nix")
		}
	}
}

func TestCommandErrors(t *testing.T) {
	t.Parallel()
	src := newFake(t)
	top := src.closure(3, 10, 0, 0)
	sh := func(script string) Dest {
		return Dest{Endpoint: Command("h", func(bool) []string { return []string{"/bin/sh", "-c", script} }), Roots: []string{top}}
	}
	rs := Copy(testCtx(t), src.endpoint("source"), []Dest{
		sh("echo 'sh: nix-store: not found' >&2; exit 127"),
		{Endpoint: Command("n", func(bool) []string { return []string{"/nonexistent/program"} }), Roots: []string{top}},
		{Endpoint: Command("n", func(bool) []string { return []string{"no-such-program-here"} }), Roots: []string{top}},
	}, Options{}, nil)
	wantError(t, rs[0], "exit status 127", "not found", "install Nix there")
	wantError(t, rs[1], "no such file")
	wantError(t, rs[2], "is not installed here")
	wantError(t, Copy(testCtx(t), src.endpoint("source"), []Dest{sh("sleep 60")}, Options{Idle: 300 * time.Millisecond}, nil)[0], "no answer for 300ms")
}

// cutter ends a stream after n bytes.
type cutter struct {
	r io.Reader
	n int64
}

func (c *cutter) Read(p []byte) (int, error) {
	if c.n <= 0 {
		return 0, errors.New("cut")
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.n)])
	c.n -= int64(n)
	return n, err
}

func TestCutAndResume(t *testing.T) {
	src, dst := newFake(t), newFake(t)
	top := src.closure(200, 300, 2, 300000)
	rng := rand.New(rand.NewPCG(1, 2))
	dst.wrapIn = func(r io.Reader) io.Reader { return &cutter{r, rng.Int64N(400000)} }
	paths, last := 0, 0
	for n := 0; ; n++ {
		if n > 200 {
			t.Fatal("does not get there")
		}
		if n == 100 {
			dst.wrapIn = nil
		}
		r := Copy(testCtx(t), src.endpoint("source"), []Dest{dest("h", dst, top)}, Options{}, nil)[0]
		paths += r.Paths
		if r.Err == nil {
			break
		}
		wantError(t, r, "h: ")
		if len(dst.paths) < last {
			t.Error("lost paths")
		}
		last = len(dst.paths)
	}
	if len(dst.paths) != 203 || paths > 203 {
		t.Errorf("%d paths are there, %d were reported", len(dst.paths), paths)
	}
}

func TestSourceCut(t *testing.T) {
	// The source's connection breaks again and again: a path is read a second
	// time from where it was, and what stays broken is an error.
	src, dst := newFake(t), newFake(t)
	top := src.closure(100, 300, 2, 3000000)
	n := 0
	src.wrapIn = func(r io.Reader) io.Reader { n++; return r }
	src.wrapOut = func(w io.Writer) io.Writer {
		if n == 1 {
			return &cutWriter{w, 1500000}
		}
		return w
	}
	r := Copy(testCtx(t), src.endpoint("source"), []Dest{dest("h", dst, top)}, Options{}, nil)[0]
	if r.Err != nil || r.Paths != 103 {
		t.Errorf("%+v", r)
	}
	dst = newFake(t)
	src.wrapOut = func(w io.Writer) io.Writer { return &cutWriter{w, 1500000} }
	r = Copy(testCtx(t), src.endpoint("source"), []Dest{dest("h", dst, top)}, Options{}, nil)[0]
	wantError(t, r, "h: source: ", "while reading /nix/store/", "big")
}

type cutWriter struct {
	w io.Writer
	n int
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if len(p) > c.n {
		_, _ = c.w.Write(p[:c.n])
		c.n = 0
		return 0, errors.New("cut")
	}
	c.n -= len(p)
	return c.w.Write(p)
}

func TestCorruptSource(t *testing.T) {
	for name, change := range map[string]func(i *fakePath){
		"small": func(i *fakePath) {
			b, _ := io.ReadAll(i.nar())
			b[len(b)/2] ^= 1
			i.nar = func() io.Reader { return bytes.NewReader(b) }
		},
		"grammar": func(i *fakePath) {
			b := bytes.Repeat([]byte("x"), int(i.NarSize))
			i.nar = func() io.Reader { return bytes.NewReader(b) }
		},
	} {
		for _, victim := range []string{"small-7", "big-1"} {
			t.Run(name+" "+victim, func(t *testing.T) {
				src, dst, other := newFake(t), newFake(t), newFake(t)
				top := src.closure(20, 300, 2, 300000)
				var bad, fine string
				for p, i := range src.paths {
					if baseName(p) == victim {
						bad = p
						change(i)
					}
					if baseName(p) == "big-0" {
						fine = p
					}
				}
				dst.refuse = func(i *Info) error {
					if i.Path == bad {
						t.Error("the damaged path reached the host whole")
					}
					return nil
				}
				rs := Copy(testCtx(t), src.endpoint("source"), []Dest{dest("h", dst, top), dest("o", other, fine)}, Options{}, nil)
				wantError(t, rs[0], "h: source: "+bad+" is damaged there", "nix-store --repair-path "+bad)
				if rs[1].Err != nil {
					t.Error("a host that does not need the path failed as well: ", rs[1].Err)
				}
				if dst.paths[bad] != nil {
					t.Error("registered")
				}
			})
		}
	}
}

func TestSourceDeletesPath(t *testing.T) {
	src, dst, other := newFake(t), newFake(t), newFake(t)
	top := src.closure(50, 300, 2, 300000)
	var gone, fine string
	for p := range src.paths {
		switch baseName(p) {
		case "small-45":
			gone = p
		case "big-0":
			fine = p
		}
	}
	src.dump = func(p string) func() error {
		if p == gone {
			return func() error { return fmt.Errorf("path '%s' is not valid", p) }
		}
		return nil
	}
	rs := Copy(testCtx(t), src.endpoint("source"), []Dest{dest("h", dst, top), dest("o", other, fine)}, Options{}, nil)
	wantError(t, rs[0], "path '"+gone+"' is not valid", "while reading "+gone)
	if rs[1].Err != nil {
		t.Error(rs[1].Err)
	}
	if rs[0].Paths == 0 {
		t.Error("nothing arrived before")
	}
}

func TestHostFails(t *testing.T) {
	t.Parallel()
	src := newFake(t)
	top := src.closure(50, 300, 5, 300000)
	full, good, silent, liar, database := newFake(t), newFake(t), newFake(t), newFake(t), newFake(t)
	saying := func(text string) func(*Info) error {
		return func(i *Info) error {
			if strings.HasSuffix(i.Path, "big-3") {
				return errors.New(text)
			}
			return nil
		}
	}
	full.refuse = saying("writing to file: No space left on device")
	database.refuse = saying("committing transaction: database or disk is full, database or disk is full (in '/nix/var/nix/db/db.sqlite')")
	stop := make(chan struct{})
	defer close(stop)
	silent.delayAdd = func(p string) {
		if strings.HasSuffix(p, "small-30") {
			<-stop
		}
	}
	liar.wrapOut = func(w io.Writer) io.Writer { return &cutWriter{w, 1 << 40} }
	d := dest("full", full, top)
	asked := 0
	d.Room = func(context.Context) (Room, error) {
		asked++
		return Room{1 << 40 >> (30 * (asked - 1)), -1}, nil
	}
	rs := Copy(testCtx(t), src.endpoint("source"), []Dest{d, dest("good", good, top), dest("silent", silent, top), dest("database", database, top)}, Options{Idle: 5 * time.Second}, nil)
	wantError(t, rs[0], "full: ", "No space left on device", "while copying", "no space left there: ", "have arrived", "its store has 1.0 KiB free", "nix-collect-garbage")
	wantError(t, rs[3], "database: ", "no space left there: ", "have arrived", "nix-collect-garbage")
	for _, r := range []Result{rs[0], rs[3]} {
		if !errors.Is(r.Err, ErrDiskFull) {
			t.Errorf("%s: is not ErrDiskFull", r.Host)
		}
	}
	if rs[1].Err != nil || rs[1].Paths != 56 {
		t.Errorf("%+v", rs[1])
	}
	wantError(t, rs[2], "silent: ", "no answer for 5s", "while copying")
}

func TestRoom(t *testing.T) {
	src, dst := newFake(t), newFake(t)
	top := src.closure(5, 300, 1, 3<<20)
	d := dest("h", dst, top)
	d.Room = func(context.Context) (Room, error) { return Room{1 << 20, -1}, nil }
	r := Copy(testCtx(t), src.endpoint("source"), []Dest{d}, Options{}, nil)[0]
	wantError(t, r, "h: needs 3.0 MiB for 7 paths, and its store has 1.0 MiB free")
	if len(dst.paths) != 0 || len(src.reads) != 0 {
		t.Error("something was sent")
	}
	// A dry run takes no locks and does not ask for the right to write.
	d.Room = nil
	r = Copy(testCtx(t), src.endpoint("source"), []Dest{d}, Options{DryRun: true}, nil)[0]
	if r.Err != nil || r.Paths != 7 || r.Bytes < 3<<20 || len(dst.paths) != 0 {
		t.Errorf("%+v", r)
	}
	if dst.locks != 1 {
		t.Errorf("%d locks", dst.locks)
	}
	d.Room = func(context.Context) (Room, error) { return Room{163 << 20, 6}, nil }
	r = Copy(testCtx(t), src.endpoint("source"), []Dest{d}, Options{}, nil)[0]
	wantError(t, r, "h: needs an inode or more for each of 7 paths, and its store has 163.0 MiB and 6 inodes free")
	if len(dst.paths) != 0 || len(src.reads) != 0 || !errors.Is(r.Err, ErrDiskFull) {
		t.Error("something was sent")
	}
}

// TestBegun: where everything is there and rooted, nothing more is asked.
func TestBegun(t *testing.T) {
	src := newFake(t)
	top := src.closure(5, 300, 1, 300)
	for name, want := range map[string]string{
		"all":            "begin, ",
		"some":           "begin, mend, root, ",
		"all, no root":   "begin, root, ",
		"nothing rooted": "begin, root, ",
	} {
		dst := newFake(t)
		if strings.HasPrefix(name, "all") {
			dst.closure(5, 300, 1, 300)
		}
		var did string
		d := dest("h", dst, top)
		d.Begin = func(context.Context) (Begun, error) {
			did += "begin, "
			return Begun{Room: Room{1 << 40, -1}, Rooted: name == "all" || name == "some"}, nil
		}
		d.Mend = func(context.Context) ([]string, error) { did += "mend, "; return nil, nil }
		d.GCRoot = func(context.Context) error { did += "root, "; return nil }
		r := Copy(testCtx(t), src.endpoint("source"), []Dest{d}, Options{}, nil)[0]
		if r.Err != nil || r.Paths+r.Skipped != 7 || did != want || len(dst.paths) != 7 {
			t.Errorf("%s: %s, want %s: %+v", name, did, want, r)
		}
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	src, dst := newFake(t), newFake(t)
	top := src.closure(5, 300, 1, 3<<20)
	block := make(chan struct{})
	defer close(block)
	dst.delayAdd = func(string) { <-block }
	ctx, cancel := context.WithCancel(testCtx(t))
	time.AfterFunc(100*time.Millisecond, cancel)
	t0 := time.Now()
	r := Copy(ctx, src.endpoint("source"), []Dest{dest("h", dst, top)}, Options{}, nil)[0]
	wantError(t, r, "h: the copy was interrupted")
	if !errors.Is(r.Err, context.Canceled) {
		t.Error("the cause is lost")
	}
	if d := time.Since(t0); d > 3*time.Second {
		t.Errorf("took %s", d)
	}
}

func TestSilentSource(t *testing.T) {
	t.Parallel()
	src, dst := newFake(t), newFake(t)
	top := src.closure(5, 300, 1, 3<<20)
	stop := make(chan struct{})
	defer close(stop)
	// At the first query, and in the middle of a path.
	silent := Command("source", func(bool) []string { return []string{"sleep", "60"} })
	r := Copy(testCtx(t), silent, []Dest{dest("h", dst, top)}, Options{Idle: 200 * time.Millisecond}, nil)[0]
	wantError(t, r, "h: source: no answer for 200ms")
	src.wrapOut = func(w io.Writer) io.Writer { return &stuckWriter{w, 1 << 20, stop} }
	r = Copy(testCtx(t), src.endpoint("source"), []Dest{dest("h", dst, top)}, Options{Idle: 3 * time.Second}, nil)[0]
	wantError(t, r, "h: source: no answer for 3s, while reading")
	// Somebody who does not want to wait for the source to be called.
	ctx, cancel := context.WithCancel(testCtx(t))
	time.AfterFunc(50*time.Millisecond, cancel)
	never := Endpoint{Name: "never", Dial: func(ctx context.Context, _ bool) (*Stream, error) { <-ctx.Done(); return nil, ctx.Err() }}
	r = Copy(ctx, never, []Dest{dest("h", dst, top)}, Options{}, nil)[0]
	wantError(t, r, "interrupted")
}

type stuckWriter struct {
	w    io.Writer
	n    int
	stop chan struct{}
}

func (c *stuckWriter) Write(p []byte) (int, error) {
	if c.n -= len(p); c.n < 0 {
		<-c.stop
		return 0, errors.New("stopped")
	}
	return c.w.Write(p)
}

// slowReader takes rate bytes a second.
type slowReader struct {
	r     io.Reader
	rate  int
	since time.Time
	took  int
}

func (s *slowReader) Read(p []byte) (int, error) {
	if s.since.IsZero() {
		s.since = time.Now()
	}
	n, err := s.r.Read(p[:min(len(p), 8<<10)])
	s.took += n
	time.Sleep(time.Until(s.since.Add(time.Duration(s.took) * time.Second / time.Duration(s.rate))))
	return n, err
}

// heldReader takes n bytes, and the rest when release is closed.
type heldReader struct {
	r       io.Reader
	n       int
	release chan struct{}
}

func (h *heldReader) Read(p []byte) (int, error) {
	if h.n <= 0 {
		<-h.release
		return h.r.Read(p)
	}
	n, err := h.r.Read(p[:min(len(p), h.n)])
	h.n -= n
	return n, err
}

// TestSlowHost: hosts that take nothing more until all others have everything.
func TestSlowHost(t *testing.T) {
	t.Parallel()
	for name, spoolBytes := range map[string]int64{"spool": 0, "small spool": 2 << 20, "no spool": -1} {
		t.Run(name, func(t *testing.T) {
			src := newFake(t)
			top := src.closure(50, 300, 6, 2<<20)
			others := make(chan struct{})
			var fast, slow sync.WaitGroup
			var dests []Dest
			for k := range 10 {
				f := newFake(t)
				if k == 3 || k == 4 {
					f.wrapIn = func(r io.Reader) io.Reader { return &heldReader{r, k << 19, others} }
				}
				dests = append(dests, dest(fmt.Sprint("h", k), f, top))
			}
			p := NewPusher(src.endpoint("source"), Options{SpoolDir: t.TempDir(), SpoolBytes: spoolBytes, grace: time.Minute})
			defer p.Close()
			p.joining, p.pushes = len(dests), len(dests) // hold the joins together
			rs := make([]Result, len(dests))
			for k := range dests {
				group := &fast
				if k == 3 || k == 4 {
					group = &slow
				}
				group.Go(func() { rs[k] = p.push(testCtx(t), dests[k]) })
			}
			fast.Wait()
			if rs[3].Host != "" || rs[4].Host != "" {
				t.Error("the slow ones were not held up")
			}
			close(others)
			slow.Wait()
			for _, r := range rs {
				if r.Err != nil || r.Paths != 57 {
					t.Fatalf("%+v", r)
				}
			}
			t.Logf("read %d, spooled %d, rereads %d", p.read, p.spooled, p.rereads)
			if name == "spool" && (p.read != rs[0].Bytes || p.rereads != 0) {
				t.Error("was not read once")
			}
			if name != "spool" && p.rereads == 0 {
				t.Error("no second reading")
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if len(p.objects) != 0 || len(p.lanes) != 0 {
				t.Errorf("left over: %d objects, %d lanes", len(p.objects), len(p.lanes))
			}
			if int64(len(p.spool.freed)) != p.spool.next {
				t.Errorf("%d of %d spool slots are free", len(p.spool.freed), p.spool.next)
			}
		})
	}
}

func TestManyPushesAtOnce(t *testing.T) {
	t.Parallel()
	// Hosts with different systems that share most paths begin at any time, some
	// fail, some are slow, with hardly any spool.
	src := newFake(t)
	var shared []string
	for k := range 120 {
		var refs []string
		if k > 10 {
			refs = []string{shared[k-7], shared[k/2]}
		}
		shared = append(shared, src.add(fmt.Sprint("shared-", k), 1000+(k%13)*20000, refs...))
	}
	var tops []string
	for k := range 12 {
		own := src.add(fmt.Sprint("own-", k), 200000, shared[k*3])
		tops = append(tops, src.add(fmt.Sprint("top-", k), 100, append([]string{own}, shared[k*5:]...)...))
	}
	for _, spoolBytes := range []int64{-1, 1 << 20, 2 << 20} {
		p := NewPusher(src.endpoint("source"), Options{SpoolDir: t.TempDir(), SpoolBytes: spoolBytes})
		rng := rand.New(rand.NewPCG(uint64(spoolBytes), 5))
		var wg sync.WaitGroup
		for k, top := range tops {
			f := newFake(t)
			wait := time.Duration(rng.IntN(300)) * time.Millisecond
			fail := k%5 == 4
			if fail {
				n := rng.Int64N(2000000)
				f.wrapIn = func(r io.Reader) io.Reader { return &cutter{r, n} }
			}
			if k%4 == 1 {
				f.wrapIn = func(r io.Reader) io.Reader { return &slowReader{r: r, rate: 60 << 20} }
			}
			wg.Go(func() {
				time.Sleep(wait)
				r := p.Push(testCtx(t), dest(fmt.Sprint("h", k), f, top))
				if r.Err != nil && !fail {
					t.Errorf("%+v", r)
				}
			})
		}
		wg.Wait()
		p.mu.Lock()
		if len(p.objects) != 0 || len(p.lanes) != 0 || int64(len(p.spool.freed)) != p.spool.next {
			t.Errorf("left over: %d objects, %d lanes, %d of %d slots", len(p.objects), len(p.lanes), len(p.spool.freed), p.spool.next)
		}
		t.Logf("read %d, spooled %d, rereads %d", p.read, p.spooled, p.rereads)
		p.mu.Unlock()
		p.Close()
	}
}

func TestSubstitute(t *testing.T) {
	t.Parallel()
	src, dst := newFake(t), newFake(t)
	top := src.closure(200, 300, 2, 300000)
	dst.subst = map[string]*fakePath{}
	for p, i := range src.paths {
		if strings.Contains(p, "big") || strings.Contains(p, "small-1") {
			dst.subst[p] = i
		}
	}
	d := dest("h", dst, top)
	d.Substitute = true
	r := Copy(testCtx(t), src.endpoint("source"), []Dest{d}, Options{}, nil)[0]
	if r.Err != nil || r.Substituted != len(dst.subst) || r.Paths != 203-len(dst.subst) {
		t.Errorf("%+v", r)
	}
	// Caches that do not answer are given up.
	dst = newFake(t)
	d = dest("h", dst, top)
	d.Substitute = true
	stop := make(chan struct{})
	defer close(stop)
	dst.onQuery = func(substitute bool) {
		if substitute {
			<-stop
		}
	}
	var warned atomic.Bool
	r = Copy(testCtx(t), src.endpoint("source"), []Dest{d}, Options{SubstituteTimeout: 300 * time.Millisecond}, event.SinkFunc(func(e event.Event) {
		if e.Kind == event.Warning {
			warned.Store(true)
		}
	}))[0]
	if r.Err != nil || r.Paths != 203 || !warned.Load() {
		t.Errorf("%+v", r)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	src, dst := newFake(t), newFake(t)
	top := src.closure(20, 300, 4, 2<<20)
	dst.wrapIn = func(r io.Reader) io.Reader { return &slowReader{r: r, rate: 16 << 20} }
	var mu sync.Mutex
	var list []event.Event
	sink := event.SinkFunc(func(e event.Event) { mu.Lock(); list = append(list, e); mu.Unlock() })
	rooted := false
	d := dest("h", dst, top)
	d.GCRoot = func(context.Context) error { rooted = dst.paths[top] != nil; return nil }
	r := Copy(testCtx(t), src.endpoint("source"), []Dest{d}, Options{}, sink)[0]
	if r.Err != nil || !rooted {
		t.Fatal(r.Err, rooted)
	}
	progress := 0
	for _, e := range list {
		if e.Host != "h" || e.Step != event.StepCopy {
			t.Errorf("%+v", e)
		}
		if e.Kind == event.Progress {
			progress++
			if e.Total != r.Bytes || e.Unit != event.Bytes {
				t.Errorf("%+v", e)
			}
		}
	}
	if most := int(r.Duration.Seconds()*10) + 3; progress > most || progress < 3 {
		t.Errorf("%d progress events in %s", progress, r.Duration)
	}
	if list[0].Kind != event.Started || list[len(list)-1].Kind != event.Done || list[len(list)-2].Done != r.Bytes {
		t.Errorf("%+v", list)
	}
}

// Real Nix from here on.

func TestRealFaults(t *testing.T) {
	src := newFake(t)
	top := src.closure(60, 300, 2, 2<<20)
	ctx := testCtx(t)
	real, dir := tempStore(t)
	isWhole := func(dir string) {
		t.Helper()
		out, err := exec.Command("nix-store", "--store", "local?root="+dir, "--verify", "--check-contents").CombinedOutput()
		if err != nil || bytes.Contains(out, []byte("error")) {
			t.Errorf("%v\n%s", err, out)
		}
	}
	verify := func() { t.Helper(); isWhole(dir) }
	// The host's Nix is killed, and connections are cut, at random bytes.
	rng := rand.New(rand.NewPCG(7, 7))
	for n := range 12 {
		limit := rng.Int64N(3 << 20)
		broken := Endpoint{Name: "h", Dial: func(ctx context.Context, write bool) (*Stream, error) {
			st, err := real.Dial(ctx, write)
			if err == nil {
				st.Stdin = &limitedWriter{WriteCloser: st.Stdin, left: limit, then: func() {
					if n%2 == 0 {
						st.Kill()
					} else {
						st.Stdin.Close()
					}
				}}
			}
			return st, err
		}}
		r := Copy(ctx, src.endpoint("source"), []Dest{{Endpoint: broken, Roots: []string{top}}}, Options{}, nil)[0]
		if r.Err == nil {
			break
		}
		if n < 3 {
			t.Log(fault.Render(r.Err))
		}
		verify()
	}
	// One bit changes behind us, in the middle of a large path: the host's Nix
	// refuses that path, and what came before stays.
	empty, emptyDir := tempStore(t)
	corrupt := Endpoint{Name: "h", Dial: func(ctx context.Context, write bool) (*Stream, error) {
		st, err := empty.Dial(ctx, write)
		if err == nil {
			st.Stdin = &flipper{WriteCloser: st.Stdin}
		}
		return st, err
	}}
	r := Copy(ctx, src.endpoint("source"), []Dest{{Endpoint: corrupt, Roots: []string{top}}}, Options{}, nil)[0]
	wantError(t, r, "hash mismatch importing path", "while copying ")
	isWhole(emptyDir)
	r = Copy(ctx, src.endpoint("source"), []Dest{{Endpoint: empty, Roots: []string{top}}}, Options{}, nil)[0]
	if r.Err != nil || r.Paths == 0 {
		t.Errorf("%+v", r)
	}
	isWhole(emptyDir)
	r = Copy(ctx, src.endpoint("source"), []Dest{{Endpoint: real, Roots: []string{top}}}, Options{}, nil)[0]
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	verify()
	// A closure that is not valid at a real source.
	_, err := Closure(ctx, real, []string{fakeName(12345, "nothing")})
	if err == nil || !strings.Contains(err.Error(), "is not valid") {
		t.Error(err)
	}
	// A path deleted at a real source between query and dump.
	p := NewPusher(real, Options{})
	defer p.Close()
	infos, err := p.Closure(ctx, []string{top})
	if err != nil {
		t.Fatal(err)
	}
	victim := infos[len(infos)/2].Path
	if err := os.Chmod(dir+victim, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir + victim); err != nil {
		t.Fatal(err)
	}
	other, _ := tempStore(t)
	r = p.Push(ctx, Dest{Endpoint: other, Host: "other", Roots: []string{top}})
	wantError(t, r, "other: store local?root=", "while reading "+victim)
	t.Log(fault.Render(r.Err))
}

type limitedWriter struct {
	io.WriteCloser
	left int64
	then func()
	once sync.Once
}

func (w *limitedWriter) Write(p []byte) (int, error) {
	if w.left < int64(len(p)) {
		n, _ := w.WriteCloser.Write(p[:w.left])
		w.left = 0
		w.once.Do(func() { w.WriteCloser.Close(); w.then() })
		return n, io.ErrClosedPipe
	}
	w.left -= int64(len(p))
	return w.WriteCloser.Write(p)
}

// flipper changes a bit in the first whole chunk of a NAR.
type flipper struct {
	io.WriteCloser
	done bool
}

func (f *flipper) Write(p []byte) (int, error) {
	if len(p) == chunkSize && !f.done {
		f.done = true
		p = bytes.Clone(p)
		p[chunkSize/2] ^= 1
	}
	return f.WriteCloser.Write(p)
}

// pacedWriter writes at most 40 MiB a second, and calls then on the way.
type pacedWriter struct {
	io.WriteCloser
	left int
	then func()
}

func (w *pacedWriter) Write(p []byte) (int, error) {
	time.Sleep(time.Duration(len(p)) * time.Second / (40 << 20))
	if w.left -= len(p); w.left < 0 {
		w.then()
	}
	return w.WriteCloser.Write(p)
}
