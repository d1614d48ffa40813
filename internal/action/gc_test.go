package action

import (
	"strings"
	"testing"

	"godwit/internal/gc"
	"godwit/internal/host/hosttest"
)

func TestGC(t *testing.T) {
	five := []string{sysA, sysB, sysA, sysC, sysB}
	r := GCRequest{HostsRequest: everyone, Keep: gc.KeepRule{Newest: 1}}

	e, v := fleetOf(t, web("web"), machine{generations: five, more: []hosttest.Call{{Want: `(?s)nix-store --gc.*\n-- /nix/var/nix/profiles/system menu 1 3$`, Root: true,
		Out: "::generations 2\n::paths 40\n::said 40 store paths deleted, 12.50 MiB freed\n::status 0\n"}}}.on(t, "web"))
	e.Verbose = true
	sum, err := GC(t.Context(), e, r)
	if err != nil || ends(sum) != "web: changed 2 generations and 40 paths deleted, 12 MiB freed" {
		t.Errorf("%v %v", ends(sum), err)
	}
	if said := v.said("web"); !strings.Contains(said, "generation 5 stays: it runs") {
		t.Error(said)
	}

	// A dry run says what would go, and touches nothing: there is no store to ask for sizes.
	e, _ = fleetOf(t, web("web"), machine{generations: five, more: []hosttest.Call{{Want: "nix-store --serve", Err: noAnswer, Again: true}}}.on(t, "web"))
	e.DryRun = true
	if sum, err := GC(t.Context(), e, r); err != nil || ends(sum) != "web: skipped dry run: would delete generations 1, 3" {
		t.Errorf("%v %v", ends(sum), err)
	}

	// Not where somebody locked the host, unless that is overridden.
	m := machine{generations: five, locked: `{"host":"web","user":"bo","message":"being repaired","since":"2026-11-28T10:00:00Z"}` + "\n"}
	e, _ = fleetOf(t, web("web"), m.on(t, "web"))
	if sum, err := GC(t.Context(), e, r); err != nil || !strings.HasPrefix(ends(sum), "web: failed web: ") || !strings.Contains(ends(sum), "being repaired") {
		t.Errorf("%v %v", ends(sum), err)
	}

	// Not while a deployment is pending.
	e, _ = fleetOf(t, web("web"), machine{generations: five, pending: facts("id", "x", "phase", "activated", "old", sysA, "new", sysB, "deadline", "30")}.on(t, "web"))
	if sum, err := GC(t.Context(), e, r); err != nil || !strings.Contains(ends(sum), "a deployment is pending; nothing was collected") {
		t.Errorf("%v %v", ends(sum), err)
	}
}
