package faults

import (
	"context"
	"testing"

	"godwit/internal/activate"
	"godwit/internal/event"
	"godwit/test/lab"
)

// BenchmarkActivate compares a confirmed deploy with the same switch done bare
// over ssh: in two new connections (as morph does it), and in one.
func BenchmarkActivate(b *testing.B) {
	h := newHost(b, suites()[0])
	for _, system := range []string{"instant", "old"} { // a change that does nothing; the system that runs already
		change := h.systems[system]
		bare := func(b *testing.B, scripts ...string) {
			h.t = b
			for b.Loop() {
				b.StopTimer()
				h.reset("old")
				b.StartTimer()
				for _, s := range scripts {
					if r := h.Run(context.Background(), lab.Deploy, s); !r.OK() {
						b.Fatal(r)
					}
				}
			}
		}
		set, sw := "sudo -n nix-env -p /nix/var/nix/profiles/system --set "+change, "sudo -n "+change+"/bin/switch-to-configuration switch"
		b.Run(system+"/bare, two connections", func(b *testing.B) { bare(b, set, sw) })
		b.Run(system+"/bare, one connection", func(b *testing.B) { bare(b, set+" && "+sw) })
		guarded := func(b *testing.B, req activate.Request) {
			h.t = b
			if _, err := activate.Preflight(context.Background(), h.r, activate.Request{}); err != nil { // the master is there already
				b.Fatal(err)
			}
			for b.Loop() {
				b.StopTimer()
				h.reset("old")
				b.StartTimer()
				if _, err := activate.Run(context.Background(), h.r, req, event.Discard); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.Run(system+"/guarded", func(b *testing.B) { guarded(b, h.request(system)) })
		if system == "old" {
			req := h.request(system)
			req.SkipUnchanged = true // as deploy does it
			b.Run(system+"/guarded, skipped", func(b *testing.B) { guarded(b, req) })
		}
	}
}
