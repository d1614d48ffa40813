package faults

import (
	"cmp"
	"flag"
	"os"
	"slices"
	"sync"
	"testing"
)

// places is how many tests run beside each other: each has hosts of its own and waits
// most of its time.
const places = 4

// longest are the tests in the order in which they begin, so that none that takes long is
// left alone in the end. One that is not here begins before them.
var longest = []string{"TestFaults", "TestAsleep", "TestLost", "TestSecrets", "TestKilledDeployer", "TestHome", "TestRandom",
	"TestPasswordSudo", "TestInterrupt", "TestRace"}

// TestMain leaves it to begin how many tests run beside each other.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "100"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// turns are the tests that have not begun yet, and how many run.
var turns struct {
	sync.Mutex
	waiting []*turn
	running int
}

type turn struct {
	rank  int
	begin chan struct{}
}

// begin lets a test run beside others when it is its turn. A test calls it first: all are
// known before one of them begins, as those that are parallel go on after the last is.
func begin(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs containers")
	}
	own := &turn{slices.Index(longest, t.Name()), make(chan struct{})}
	turns.Lock()
	turns.waiting = append(turns.waiting, own)
	slices.SortStableFunc(turns.waiting, func(a, b *turn) int { return cmp.Compare(a.rank, b.rank) })
	turns.Unlock()
	t.Parallel()
	next(0)
	<-own.begin
	t.Cleanup(func() { next(1) })
}

// next lets tests begin, as far as there are places. ended is how many have left theirs.
func next(ended int) {
	turns.Lock()
	defer turns.Unlock()
	turns.running -= ended
	for turns.running < places && len(turns.waiting) > 0 {
		close(turns.waiting[0].begin)
		turns.waiting = turns.waiting[1:]
		turns.running++
	}
}
