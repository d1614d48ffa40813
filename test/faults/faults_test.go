package faults

import (
	"context"
	"testing"
	"time"

	"godwit/internal/activate"
)

func TestGood(t *testing.T) {
	if testing.Short() {
		t.Skip("needs containers")
	}
	for _, suite := range suites() {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, suite)
			h.reset("old")
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			l := &listener{t: t}
			start := time.Now()
			res, err := activate.Run(ctx, h.r, h.request("good"), l)
			t.Logf("%v %+v %v", time.Since(start), res, err)
			t.Log(l.logs)
			h.invariant(t, h.systems["old"], h.systems["good"])
			t.Log(h.must("cat /var/lib/godwit/history.jsonl"))
		})
	}
}
