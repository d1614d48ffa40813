package faults

import (
	"context"
	"slices"
	"testing"
	"time"

	"godwit/internal/activate"
	"godwit/internal/event"
	"godwit/test/lab"
)

// BenchmarkActivate compares a confirmed deploy with the same switch done bare
// over ssh: in two new connections (as morph does it), and in one. The ways take
// turns on one host, so that a noisy moment meets all of them, and each reports
// its median and its best.
func BenchmarkActivate(b *testing.B) {
	h := newHost(b, suites()[0])
	h.t = b
	ctx := context.Background()
	bare := func(scripts ...string) {
		for _, s := range scripts {
			if r := h.Run(ctx, lab.Deploy, s); !r.OK() {
				b.Fatal(r)
			}
		}
	}
	guarded := func(req activate.Request) {
		if _, err := activate.Run(ctx, h.r, req, event.Discard); err != nil {
			b.Fatal(err)
		}
	}
	for _, system := range []string{"instant", "old"} { // a change that does nothing; the system that runs already
		change := h.systems[system]
		set, sw := "sudo -n nix-env -p /nix/var/nix/profiles/system --set "+change, "sudo -n "+change+"/bin/switch-to-configuration switch"
		skipped := h.request(system)
		skipped.SkipUnchanged = true // as deploy does it
		ways := []struct {
			name string
			do   func()
			took []time.Duration
		}{
			{name: "bare, two connections", do: func() { bare(set, sw) }},
			{name: "bare, one connection", do: func() { bare(set + " && " + sw) }},
			{name: "guarded", do: func() { guarded(h.request(system)) }},
			{name: "guarded, skipped", do: func() { guarded(skipped) }},
		}
		if system != "old" {
			ways = ways[:3]
		}
		b.Run(system, func(b *testing.B) {
			h.t = b
			if _, err := activate.Preflight(ctx, h.r, activate.Request{}); err != nil { // the master is there already
				b.Fatal(err)
			}
			for b.Loop() {
				for i := range ways {
					h.reset("old")
					begun := time.Now()
					ways[i].do()
					ways[i].took = append(ways[i].took, time.Since(begun))
				}
			}
			b.ReportMetric(0, "ns/op") // of all ways and their resets
			for _, w := range ways {
				slices.Sort(w.took)
				b.Logf("%-22s median %4d ms, best %4d ms", w.name, w.took[len(w.took)/2].Milliseconds(), w.took[0].Milliseconds())
			}
		})
	}
}
