package deploy

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"godwit/internal/builder"
	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/store"
)

func TestParseLimits(t *testing.T) {
	d := DefaultLimits()
	for text, want := range map[string]Limits{
		"":                          d,
		"3":                         {3, 3, 3, 3},
		"build=2,copy=4,activate=1": {2, 4, 1, 1},
		"activate=1":                {d.Build, d.Copy, 1, 1},
		"build=77":                  {77, d.Copy, d.Activate, d.Look},
	} {
		if got, err := ParseLimits(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"0", "-1", "many", "build", "build=0", "frob=1", "build=2,"} {
		if got, err := ParseLimits(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
	if d.Build < 2 || d.Build < runtime.NumCPU() {
		t.Errorf("defaults: %+v", d)
	}
	for _, n := range []int{d.Copy, d.Activate, d.Look} {
		if !strings.Contains(LimitsUsage(), fmt.Sprintf("%d ", n)) {
			t.Errorf("the help does not name %d: %s", n, LimitsUsage())
		}
	}
}

// slow is a builder that counts how many hosts it builds for at once.
type slow struct{ now, most atomic.Int32 }

func (b *slow) Name() string                            { return "slow" }
func (b *slow) Kind() builder.Kind                      { return builder.KindLocal }
func (b *slow) Ready(context.Context, event.Sink) error { return nil }
func (b *slow) Stores() []store.Endpoint                { return nil }
func (b *slow) Close() error                            { return nil }
func (b *slow) Build(_ context.Context, req builder.Request, _ event.Sink) (*builder.Built, error) {
	n := b.now.Add(1)
	defer b.now.Add(-1)
	for most := b.most.Load(); n > most && !b.most.CompareAndSwap(most, n); most = b.most.Load() {
	}
	time.Sleep(20 * time.Millisecond)
	built := &builder.Built{Outputs: map[string]builder.Output{}}
	for _, i := range req.Items {
		built.Outputs[i.Drv] = builder.Output{Path: "/nix/store/0c5b9z3s1mxk6d4v8q7rnhfwj2ypal0g-x"}
	}
	return built, nil
}

// TestRunIsBounded: a run that says no limits has those of every verb, and one that
// says some has those.
func TestRunIsBounded(t *testing.T) {
	for _, c := range []struct {
		limits Limits
		want   int
	}{{Limits{}, DefaultLimits().Build}, {Limits{Build: 3}, 3}, {Limits{Copy: 1}, DefaultLimits().Build}} {
		b := &slow{}
		var jobs []Job
		for i := range 60 {
			name := fmt.Sprintf("h%02d", i)
			jobs = append(jobs, Job{Host: fleet.Host{Name: name, Profiles: []fleet.Profile{fleet.System("/nix/store/0c5b9z3s1mxk6d4v8q7rnhfwj2ypal0g-"+name+".drv", "")}}, Builder: b})
		}
		r := &Run{Options: Options{Goal: GoalBuild, Limits: c.limits}, Sink: event.Discard}
		for _, o := range r.Hosts(t.Context(), jobs) {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
		}
		if got := int(b.most.Load()); got != c.want {
			t.Errorf("%+v: %d at once, want %d", c.limits, got, c.want)
		}
	}
}
