package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The tests' hosts are near, and several connections are what is to be tested.
func init() { worthGain = 0 }

// tower is a closure in which large and small paths refer to each other.
func (s *fakeStore) tower(floors int) (top string, paths int) {
	var all []string
	large := ""
	for k := range floors {
		refs := []string{}
		if large != "" {
			refs = append(refs, large)
		}
		small := s.add(fmt.Sprint("small-", k), 300, refs...)
		all = append(all, small)
		for n := range 4 {
			large = s.add(fmt.Sprintf("large-%d-%d", k, n), 3<<20, small)
			all = append(all, large)
		}
		// Large ones that nothing else waits for.
		for n := range 5 {
			all = append(all, s.add(fmt.Sprintf("leaf-%d-%d", k, n), 3<<20))
		}
	}
	p := fakeName(len(s.paths), "top")
	return s.addNAR(p, func() io.Reader { return narFile(1, 100) }, append(all, p)...), len(all) + 1
}

func TestDivide(t *testing.T) {
	ctx := testCtx(t)
	src := newFake(t)
	top, n := src.tower(3)
	p := NewPusher(src.endpoint("source"), Options{})
	defer p.Close()
	infos, err := p.Closure(ctx, []string{top})
	if err != nil {
		t.Fatal(err)
	}
	parts, _ := divide(infos, streams)
	if len(parts) != streams {
		t.Fatalf("%d parts", len(parts))
	}
	seen := map[string]int{}
	var sum [streams]int64
	for k, part := range parts {
		for at, i := range part {
			if _, twice := seen[i.Path]; twice {
				t.Errorf("%s twice", i.Path)
			}
			seen[i.Path] = k
			sum[k] += i.NarSize
			if at > 1 && compareInfo(part[at-1], i) >= 0 {
				t.Errorf("stream %d is out of order at %s", k, i.Path)
			}
		}
	}
	if len(seen) != n {
		t.Errorf("%d of %d paths", len(seen), n)
	}
	if len(parts[0][0].References) != 0 || parts[0][0].NarSize < 3<<20 {
		t.Errorf("begins with %+v", parts[0][0])
	}
	if d := slices.Max(sum[1:]) - slices.Min(sum[1:]); d > 7<<20 {
		t.Errorf("dealt out as %d", sum)
	}
	few, gain := divide(infos, fewStreams)
	if _, more := divide(infos, streams); len(few) != fewStreams || gain >= more {
		t.Errorf("%d streams save %d round trips, %d save %d", len(few), gain, streams, more)
	}
	// Not worth it: little, or a change of the connection with every path.
	small := newFake(t)
	if whole, _ := divide(closureOf(t, small, small.closure(100, 200, 3, 1<<20)), streams); len(whole) != 1 {
		t.Errorf("%d parts of little", len(whole))
	}
	deep := newFake(t)
	last := ""
	for k := range 60 {
		size := 300
		if k%2 == 0 {
			size = 600 << 10
		}
		if last == "" {
			last = deep.add(fmt.Sprint("n", k), size)
		} else {
			last = deep.add(fmt.Sprint("n", k), size, last)
		}
	}
	if whole, _ := divide(closureOf(t, deep, last), streams); len(whole) != 1 {
		t.Errorf("%d parts of a deep one", len(whole))
	}
}

func closureOf(t *testing.T, s *fakeStore, top string) []*Info {
	infos, err := Closure(testCtx(t), s.endpoint("source"), []string{top})
	if err != nil {
		t.Fatal(err)
	}
	return infos
}

func TestStreams(t *testing.T) {
	src := newFake(t)
	top, n := src.tower(2)
	var hosts []*fakeStore
	var dests []Dest
	for k := range 3 {
		h := newFake(t) // fails the test when something comes before what it refers to
		if k == 1 {
			h.delayAdd = func(string) { time.Sleep(3 * time.Millisecond) }
		}
		hosts = append(hosts, h)
		dests = append(dests, Dest{Endpoint: h.endpoint(fmt.Sprint("h", k)), Roots: []string{top}})
	}
	for _, r := range Copy(testCtx(t), src.endpoint("source"), dests, Options{SpoolDir: t.TempDir(), grace: time.Minute}, nil) {
		if r.Err != nil || r.Paths != n {
			t.Errorf("%+v", r)
		}
	}
	for k, h := range hosts {
		if h.dials != streams {
			t.Errorf("host %d was called %d times", k, h.dials)
		}
	}
	for p, k := range src.reads {
		if k != 1 {
			t.Errorf("%s was read %d times", p, k)
		}
	}
}

// TestStreamsNoSpool: feeds that are let go while they wait for each other.
func TestStreamsNoSpool(t *testing.T) {
	t.Parallel()
	src := newFake(t)
	top, n := src.tower(2)
	var dests []Dest
	for k := range maxDivided {
		h := newFake(t)
		h.delayAdd = func(string) { time.Sleep(time.Duration(k*k) * 2 * time.Millisecond) }
		dests = append(dests, Dest{Endpoint: h.endpoint(fmt.Sprint("h", k)), Roots: []string{top}})
	}
	p := NewPusher(src.endpoint("source"), Options{SpoolBytes: -1})
	p.pushes, p.joining = len(dests), len(dests)
	done := make(chan Result)
	for _, d := range dests {
		go func() { done <- p.push(testCtx(t), d) }()
	}
	for range dests {
		if r := <-done; r.Err != nil || r.Paths != n {
			t.Errorf("%+v", r)
		}
	}
	p.Close()
	if p.private != 0 || len(p.lanes) != 0 || p.pushes != 0 {
		t.Errorf("left: %d lanes, %d of their own, %d pushes", len(p.lanes), p.private, p.pushes)
	}
	t.Log("read again:", p.rereads)
}

// TestNearAndFar: a near host gets one connection, a far one several.
func TestNearAndFar(t *testing.T) {
	t.Parallel()
	src := newFake(t)
	top, n := src.tower(2)
	for _, trip := range []time.Duration{0, 400 * time.Millisecond} {
		h := newFake(t)
		h.onQuery = func(bool) { time.Sleep(trip) }
		r := Copy(testCtx(t), src.endpoint("source"), []Dest{dest("h", h, top)}, Options{worth: 2 * time.Second}, nil)[0]
		if r.Err != nil || r.Paths != n || (h.dials > 1) != (trip > 0) {
			t.Errorf("round trip %s: %d connections: %+v", trip, h.dials, r)
		}
	}
}

// TestOneConnection: a host that takes no second connection gets it all over
// one.
func TestOneConnection(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"refused", "silent"} {
		t.Run(how, func(t *testing.T) {
			src := newFake(t)
			top, n := src.tower(2)
			h := newFake(t)
			inner := h.endpoint("h")
			var dials atomic.Int32
			ep := Endpoint{Name: "h", Dial: func(ctx context.Context, write bool) (*Stream, error) {
				switch k := dials.Add(1); {
				case k == 1 || k > streams:
					return inner.Dial(ctx, write)
				case how == "refused":
					return nil, errors.New("session open refused by peer")
				}
				mute := newFake(t)
				mute.wrapOut = func(io.Writer) io.Writer { return io.Discard }
				return mute.endpoint("h").Dial(ctx, write)
			}}
			r := Copy(testCtx(t), src.endpoint("source"), []Dest{{Endpoint: ep, Roots: []string{top}}}, Options{second: 500 * time.Millisecond}, nil)[0]
			if r.Err != nil || r.Paths != n {
				t.Errorf("%+v", r)
			}
			want := int64(0)
			for _, i := range h.paths {
				want += i.NarSize
			}
			if r.Bytes != want || len(h.paths) != n {
				t.Errorf("%d bytes of %d, %d paths of %d", r.Bytes, want, len(h.paths), n)
			}
		})
	}
}

// TestOtherWay: what is missing goes over the way that Wire gives, and over the
// first where that cannot be had; the first keeps its locks all the time.
func TestOtherWay(t *testing.T) {
	t.Parallel()
	src := newFake(t)
	top, n := src.tower(2)
	for _, how := range []string{"good", "refused", "silent", "none"} {
		t.Run(how, func(t *testing.T) {
			h := newFake(t)
			var open, first, other atomic.Int32
			counted := func(n *atomic.Int32, ep Endpoint) Endpoint {
				return Endpoint{Name: "h", Dial: func(ctx context.Context, write bool) (*Stream, error) {
					n.Add(1)
					st, err := ep.Dial(ctx, write)
					if err == nil && n == &first {
						open.Add(1)
						in := st.Stdin
						st.Stdin = closer{in, sync.OnceFunc(func() { open.Add(-1) })}
					}
					return st, err
				}}
			}
			missing := int64(0)
			d := Dest{Endpoint: counted(&first, h.endpoint("h")), Roots: []string{top}}
			d.Wire = func(ctx context.Context, n int64) *Endpoint {
				missing = n
				ep := counted(&other, h.endpoint("h"))
				switch how {
				case "none":
					return nil
				case "refused":
					ep.Dial = func(context.Context, bool) (*Stream, error) { return nil, errors.New("no second login") }
				case "silent":
					mute := newFake(t)
					mute.wrapOut = func(io.Writer) io.Writer { return io.Discard }
					ep = mute.endpoint("h")
				}
				return &ep
			}
			d.GCRoot = func(context.Context) error {
				if open.Load() < 1 {
					t.Error("nobody holds the locks that were taken first")
				}
				return nil
			}
			opt := Options{}
			if how == "silent" {
				opt.second = 300 * time.Millisecond
			}
			r := Copy(testCtx(t), src.endpoint("source"), []Dest{d}, opt, nil)[0]
			if r.Err != nil || r.Paths != n || len(h.paths) != n || missing != r.Bytes {
				t.Errorf("%+v, %d paths of %d, %d bytes missing", r, len(h.paths), n, missing)
			}
			if how == "good" && (first.Load() != 1 || other.Load() < 1) || how != "good" && other.Load() != 0 {
				t.Errorf("%d connections of the first kind, %d of the other", first.Load(), other.Load())
			}
			if open.Load() != 0 {
				t.Errorf("%d connections are still open", open.Load())
			}
		})
	}
	// Nothing is missing: nothing is chosen.
	h := newFake(t)
	d := Dest{Endpoint: h.endpoint("h"), Roots: []string{top}}
	for range 2 {
		if r := Copy(testCtx(t), src.endpoint("source"), []Dest{d}, Options{}, nil)[0]; r.Err != nil {
			t.Fatal(r.Err)
		}
		d.Wire = func(context.Context, int64) *Endpoint { t.Error("asked for a way"); return nil }
	}
}

type closer struct {
	io.WriteCloser
	closed func()
}

func (c closer) Close() error {
	c.closed()
	return c.WriteCloser.Close()
}
