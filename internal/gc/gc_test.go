package gc

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"godwit/internal/activate"
	"godwit/internal/hoststate"
)

func TestSweep(t *testing.T) {
	now := time.Unix(1762600000, 0)
	system := func(n int) string { return fmt.Sprintf("/nix/store/%032d-nixos-system-x-1", n) }
	facts := func(link, current, booted, boots int) hoststate.Facts {
		f := hoststate.Facts{Clock: now, BootDefault: system(boots), BootDefaultKnown: true}
		f.State = activate.State{Current: system(current), Booted: system(booted), Generation: fmt.Sprintf("system-%d-link", link), Profile: system(link)}
		for n := 1; n <= 10; n++ {
			f.Generations = append(f.Generations, hoststate.Generation{Number: n, System: system(n), Made: now.Add(-time.Duration(20-2*n) * 24 * time.Hour)})
		}
		return f
	}
	for _, c := range []struct {
		name string
		f    hoststate.Facts
		rule KeepRule
		drop string
	}{
		{"usual", facts(10, 10, 10, 10), KeepRule{Newest: 5}, "[1 2 3 4 5]"},
		{"no rule keeps the rollback target", facts(10, 10, 10, 10), KeepRule{}, "[1 2 3 4 5 6 7 8]"},
		{"booted long ago", facts(10, 10, 3, 10), KeepRule{Newest: 2}, "[1 2 4 5 6 7 8]"},
		{"boots another", facts(10, 10, 10, 4), KeepRule{Newest: 2}, "[1 2 3 5 6 7 8]"},
		{"the profile went back", facts(4, 4, 4, 4), KeepRule{Newest: 2}, "[1 2 5 6 7 8]"},
		{"a boot is due", facts(10, 7, 7, 10), KeepRule{Newest: 1}, "[1 2 3 4 5 8]"},
		{"younger than 10 days stay", facts(10, 10, 10, 10), KeepRule{Newest: 1, OlderThan: 10 * 24 * time.Hour}, "[1 2 3 4 5]"},
	} {
		drop, keep := Sweep(c.f, c.rule)
		var got []int
		for _, g := range drop {
			got = append(got, g.Number)
		}
		if fmt.Sprint(got) != c.drop || len(drop)+len(keep) != 10 {
			t.Errorf("%s: %v, want %s; keeps %+v", c.name, got, c.drop, keep)
		}
	}

	// Whatever a host is like, what it needs stays.
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		f := facts(1+r.IntN(10), 1+r.IntN(12), 1+r.IntN(12), 1+r.IntN(12))
		drop, _ := Sweep(f, KeepRule{Newest: r.IntN(4), OlderThan: time.Duration(r.IntN(30)) * 24 * time.Hour})
		previous, ok := f.Previous()
		for _, g := range drop {
			if slices.Contains([]string{f.Current, f.Booted, f.BootDefault, f.Profile}, g.System) || g.Number == f.CurrentGeneration() || ok && g == previous {
				t.Fatalf("drops %d of %+v", g.Number, f)
			}
		}
	}
}

func TestMayCollect(t *testing.T) {
	fine := hoststate.Facts{State: activate.State{Current: "/a", Profile: "/a"}}
	if err := MayCollect(fine, "h"); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*hoststate.Facts){
		"pending":     func(f *hoststate.Facts) { f.Deployment = &activate.Deployment{ID: "x"} },
		"armed":       func(f *hoststate.Facts) { f.Pending = "x" },
		"interrupted": func(f *hoststate.Facts) { f.Interrupted = "x" },
		"rebuild":     func(f *hoststate.Facts) { f.Rebuild = "x" },
		"blind":       func(f *hoststate.Facts) { f.Current = "" },
	} {
		f := fine
		change(&f)
		if MayCollect(f, "h") == nil {
			t.Errorf("%s: may collect", name)
		}
	}
}

func TestFreed(t *testing.T) {
	for line, want := range map[string]string{
		"12 store paths deleted, 3.50 MiB freed":      "12 3670016 true",
		"0 store paths deleted, 0.00 MiB freed":       "0 0 true",
		"1234 store paths deleted, 1.0 GiB freed":     "1234 1073741824 true",
		"3 store paths deleted, 12.0 KiB freed":       "3 12288 true",
		"3 store paths deleted, 512 bytes freed":      "3 512 true",
		"note: currently hard linking saves 1.00 MiB": "0 0 false",
		"": "0 0 false",
	} {
		n, b, ok := Freed(line)
		if got := fmt.Sprintf("%d %d %v", n, b, ok); got != want {
			t.Errorf("%q: %s, want %s", line, got, want)
		}
	}
}
