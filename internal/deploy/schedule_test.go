package deploy

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"sync"
	"testing"
	"time"

	"godwit/internal/event"
	"godwit/internal/fleet"
)

func someHosts(n int) []fleet.Host {
	var hosts []fleet.Host
	for i := range n {
		hosts = append(hosts, fleet.Host{Name: fmt.Sprintf("h%02d", i)})
	}
	return hosts
}

// play runs hosts through a schedule; fails tells which ones do. It gives the
// hosts in the order in which they were changed, and those never started.
func play(t *testing.T, s *Schedule, hosts []fleet.Host, fails map[string]bool, early map[string]bool) (changed, left []string) {
	t.Helper()
	s.begin(hosts, event.Discard)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var mu sync.Mutex
	each(ctx, hosts, nil, event.Discard, s.settled, func(ctx context.Context, h fleet.Host) Outcome {
		if early[h.Name] { // never gets so far as to be changed
			return Outcome{Err: errors.New("build failed")}
		}
		if err := s.enter(ctx, h.Name); err != nil {
			var not errNotStarted
			if !errors.As(err, &not) {
				t.Errorf("%s: %v", h.Name, err)
			}
			mu.Lock()
			left = append(left, h.Name)
			mu.Unlock()
			return Outcome{Err: err, State: NotStarted}
		}
		mu.Lock()
		changed = append(changed, h.Name)
		mu.Unlock()
		if fails[h.Name] {
			// A batch that changes together has begun as a whole before one of it fails.
			for begun := 0; s.Together && begun < len(s.members[s.batch[h.Name]]) && ctx.Err() == nil; time.Sleep(time.Millisecond) {
				mu.Lock()
				begun = len(changed)
				mu.Unlock()
			}
			return Outcome{Err: errors.New("unhealthy")}
		}
		if err := s.together(ctx, h.Name); err != nil {
			return Outcome{Err: err, State: RolledBack}
		}
		return Outcome{State: Changed}
	})
	slices.Sort(left)
	return changed, left
}

func schedule(t *testing.T, batches, budget string, policy OnFailure) *Schedule {
	t.Helper()
	b, err := fleet.ParseBatches(batches)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fleet.ParseBudget(budget)
	if err != nil {
		t.Fatal(err)
	}
	return &Schedule{Batches: b, Budget: f, OnFailure: policy}
}

func TestScheduleStopsAtTheCanary(t *testing.T) {
	changed, left := play(t, schedule(t, "1,rest", "0", Stop), someHosts(4), map[string]bool{"h00": true}, nil)
	if !slices.Equal(changed, []string{"h00"}) || !slices.Equal(left, []string{"h01", "h02", "h03"}) {
		t.Errorf("changed %v, left %v", changed, left)
	}
}

func TestScheduleBudget(t *testing.T) {
	changed, left := play(t, schedule(t, "1", "1", Stop), someHosts(4), map[string]bool{"h00": true, "h02": true}, nil)
	if !slices.Equal(changed, []string{"h00", "h01", "h02"}) || !slices.Equal(left, []string{"h03"}) {
		t.Errorf("changed %v, left %v", changed, left)
	}
}

func TestScheduleContinues(t *testing.T) {
	changed, left := play(t, schedule(t, "1", "0", Continue), someHosts(3), map[string]bool{"h00": true}, nil)
	if len(changed) != 3 || len(left) != 0 {
		t.Errorf("changed %v, left %v", changed, left)
	}
}

func TestTogether(t *testing.T) {
	s := schedule(t, "2,rest", "0", Stop)
	s.Together = true
	changed, left := play(t, s, someHosts(5), map[string]bool{"h01": true}, nil)
	slices.Sort(changed)
	if !slices.Equal(changed, []string{"h00", "h01"}) || len(left) != 3 {
		t.Errorf("changed %v, left %v", changed, left)
	}
	// h00 was healthy, and was taken back for h01's sake.
	if !slices.Contains(s.failed, "h00") {
		t.Errorf("h00 was confirmed although h01 failed; failed: %v", s.failed)
	}
}

// TestScheduleProperties: whatever fails, no host is changed before every host
// of the batches before it has ended, every host ends, and when the budget is
// used up nothing of a later batch is changed.
func TestScheduleProperties(t *testing.T) {
	r := rand.New(rand.NewSource(7))
	for range 300 {
		n := 1 + r.Intn(12)
		hosts := someHosts(n)
		fails, early := map[string]bool{}, map[string]bool{}
		for _, h := range hosts {
			switch r.Intn(6) {
			case 0:
				fails[h.Name] = true
			case 1:
				early[h.Name] = true
			}
		}
		batches := []string{"1", "2", "1,50%,rest", "rest", "30%"}[r.Intn(5)]
		budget := r.Intn(3)
		policy := []OnFailure{Stop, Rollback, Continue}[r.Intn(3)]
		s := schedule(t, batches, fmt.Sprint(budget), policy)
		changed, left := play(t, s, hosts, fails, early)
		if len(changed)+len(left)+len(early) != n {
			t.Fatalf("%s of %d: changed %v, left %v, early %v", batches, n, changed, left, early)
		}
		last := 0
		for _, name := range changed {
			if b := s.batch[name]; b < last {
				t.Fatalf("%s: %s of batch %d was changed after batch %d: %v", batches, name, b, last, changed)
			} else {
				last = b
			}
		}
		if policy == Continue && len(left) > 0 {
			t.Fatalf("continue left %v", left)
		}
		bad := 0
		for b := range s.members {
			for _, name := range changed {
				if s.batch[name] == b && policy != Continue && bad > budget {
					t.Fatalf("%s, budget %d: %s was changed after %d failures", batches, budget, name, bad)
				}
			}
			for _, name := range s.members[b] {
				if fails[name] && slices.Contains(changed, name) || early[name] {
					bad++
				}
			}
		}
	}
}
