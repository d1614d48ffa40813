package store

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"godwit/internal/event"
)

// TestHeld: what is copied stays until its roots stand, whenever the process that
// holds it ends and a garbage collection begins.
func TestHeld(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		die     int  // the connections that end before their roots stand
		collect bool // and what they held is collected
		other   bool // what is missing goes over another connection
		there   bool // everything is there before
		roots   int  // how often they are made
		err     string
	}{
		{name: "held", collect: true, roots: 1},
		{name: "ended", die: 1, roots: 1},
		{name: "collected", die: 1, collect: true, roots: 2},
		{name: "collected beside the other way", die: 1, collect: true, other: true, roots: 2},
		{name: "collected with nothing to copy", die: 1, collect: true, there: true, roots: 2},
		{name: "collected twice", die: 2, collect: true, roots: 3},
		{name: "always", die: 9, collect: true, roots: 3, err: "h: 3 connections in a row ended before what was copied was a garbage collector root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			src, h := newFake(t), newFake(t)
			top, n := src.tower(2)
			d := dest("h", h, top)
			if c.there {
				if r := Copy(testCtx(t), src.endpoint("source"), []Dest{d}, Options{}, nil)[0]; r.Err != nil {
					t.Fatal(r)
				}
			}
			if c.other {
				ep := h.endpoint("other")
				d.Wire = func(context.Context, int64) *Endpoint { return &ep }
			}
			begun, roots := 0, 0
			d.Begin = func(context.Context) (Begun, error) {
				begun++
				return Begun{Room: Room{Bytes: 1 << 40, Inodes: -1}}, nil
			}
			d.GCRoot = func(context.Context) error {
				if roots++; roots <= c.die {
					h.die()
				}
				if c.collect {
					if n := h.collect(); (n > 0) != (roots <= c.die) {
						t.Errorf("%d paths were collected", n)
					}
				}
				return nil
			}
			var warned atomic.Int32
			sink := event.SinkFunc(func(e event.Event) {
				if e.Kind == event.Warning && strings.Contains(e.Text, "garbage collector took ") {
					warned.Add(1)
				}
			})
			r := Copy(testCtx(t), src.endpoint("source"), []Dest{d}, Options{worth: time.Minute}, sink)[0]
			if roots != c.roots || begun != c.roots {
				t.Errorf("the copy began %d times, and roots were made %d times", begun, roots)
			}
			if want := int32(c.roots - 1); warned.Load() != want {
				t.Errorf("%d warnings", warned.Load())
			}
			if c.err != "" {
				wantError(t, r, c.err)
				return
			}
			if r.Err != nil || r.Paths+r.Skipped != n || len(h.paths) != n {
				t.Errorf("%d paths of %d: %+v", len(h.paths), n, r)
			}
		})
	}
}
