package nix

import (
	"hash/maphash"
	"sync"
)

// seen remembers lines that were said, as far as there is an end of them. It is safe
// for concurrent use.
type seen struct {
	mu   sync.Mutex
	seed maphash.Seed
	sums map[uint64]bool
}

// mostSeen is how many lines are remembered; further ones are never new, so that an
// endless log is not told twice what it says, nor for ever.
const mostSeen = 20000

// new says whether a line was not said before.
func (s *seen) new(line string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sums == nil {
		s.seed, s.sums = maphash.MakeSeed(), map[uint64]bool{}
	}
	sum := maphash.String(s.seed, line)
	if s.sums[sum] || len(s.sums) >= mostSeen {
		return false
	}
	s.sums[sum] = true
	return true
}
