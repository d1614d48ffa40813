package fleet

import (
	"fmt"
	"strconv"
	"strings"
)

// BatchSpec says how hosts are dealt into batches: "1,10%,rest". Every part is
// a number of hosts, a share of all hosts in percent (rounded up, at least one
// host), or the word rest for all that are left. The last part is repeated
// until no host is left.
type BatchSpec []BatchPart

// BatchPart is one part of a BatchSpec; exactly one field is set.
type BatchPart struct {
	Hosts   int
	Percent float64
	Rest    bool
}

// ParseBatches reads a BatchSpec. An empty text is one batch of all hosts.
func ParseBatches(text string) (BatchSpec, error) {
	if strings.TrimSpace(text) == "" {
		return BatchSpec{{Rest: true}}, nil
	}
	var spec BatchSpec
	words := strings.Split(text, ",")
	for i, w := range words {
		w = strings.TrimSpace(w)
		var p BatchPart
		var err error
		switch share, percent := strings.CutSuffix(w, "%"); {
		case w == "rest":
			if i != len(words)-1 {
				return nil, fmt.Errorf("rest must come last in %q", text)
			}
			p.Rest = true
		case percent:
			p.Percent, err = strconv.ParseFloat(share, 64)
			if err != nil || !(p.Percent > 0 && p.Percent <= 100) {
				return nil, fmt.Errorf("%q is not a share of the hosts: more than 0%% and at most 100%%", w)
			}
		default:
			p.Hosts, err = strconv.Atoi(w)
			if err != nil || p.Hosts < 1 {
				return nil, fmt.Errorf("%q is not a number of hosts, a share such as 10%%, or rest", w)
			}
		}
		spec = append(spec, p)
	}
	return spec, nil
}

// Sizes deals n hosts into batches. The sizes are all at least 1 and add up to n.
func (s BatchSpec) Sizes(n int) []int {
	if len(s) == 0 {
		s = BatchSpec{{Rest: true}}
	}
	var sizes []int
	for i, left := 0, n; left > 0; i++ {
		p := s[min(i, len(s)-1)]
		size := left
		switch {
		case p.Hosts > 0:
			size = min(left, p.Hosts)
		case p.Percent > 0:
			size = min(left, share(n, p.Percent))
		}
		sizes = append(sizes, size)
		left -= size
	}
	return sizes
}

// share is percent of n, rounded up, at least 1. A share such as 10% of 30 must
// be 3 whatever floating point makes of 0.1, so the product is formed first.
func share(n int, percent float64) int {
	exact := float64(n) * percent / 100
	up := int(exact)
	if exact-float64(up) > 1e-9 {
		up++
	}
	return max(1, up)
}

// Budget is how many hosts may fail before a run stops: a number, or a share of
// all hosts in percent (rounded down: 10% of 5 hosts allows none).
type Budget struct {
	Hosts   int
	Percent float64
}

// ParseBudget reads "2" or "10%".
func ParseBudget(text string) (Budget, error) {
	if s, ok := strings.CutSuffix(text, "%"); ok {
		p, err := strconv.ParseFloat(s, 64)
		if err != nil || !(p >= 0 && p <= 100) {
			return Budget{}, fmt.Errorf("%q is not a share between 0%% and 100%%", text)
		}
		return Budget{Percent: p}, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return Budget{}, fmt.Errorf("%q is neither a number of hosts nor a share such as 10%%", text)
	}
	return Budget{Hosts: n}, nil
}

// Allows is how many of n hosts may fail.
func (b Budget) Allows(n int) int {
	if b.Percent > 0 {
		return int(float64(n)*b.Percent/100 + 1e-9)
	}
	return b.Hosts
}
