package fleet

import (
	"math/rand"
	"slices"
	"testing"
)

func TestBatchSizes(t *testing.T) {
	for _, c := range []struct {
		spec string
		n    int
		want []int
	}{
		{"", 5, []int{5}},
		{"rest", 5, []int{5}},
		{"1,10%,rest", 30, []int{1, 3, 26}},
		{"1,10%,rest", 1, []int{1}},
		{"1,10%,rest", 2, []int{1, 1}},
		{"1,10%", 30, []int{1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2}},
		{"2", 5, []int{2, 2, 1}},
		{"50%", 3, []int{2, 1}},
		{"100%", 3, []int{3}},
		{"0.5%", 200, slices.Repeat([]int{1}, 200)},
		{"7%", 100, append(slices.Repeat([]int{7}, 14), 2)},
	} {
		spec, err := ParseBatches(c.spec)
		if err != nil {
			t.Fatal(err)
		}
		if got := spec.Sizes(c.n); !slices.Equal(got, c.want) {
			t.Errorf("%q of %d hosts: %v, want %v", c.spec, c.n, got, c.want)
		}
	}
	for _, bad := range []string{"0", "-1", "x", "101%", "0%", "rest,1", "1,,2", "%"} {
		if spec, err := ParseBatches(bad); err == nil {
			t.Errorf("%q was read as %v", bad, spec)
		}
	}
}

// TestBatchProperties: whatever the parts are, every host is in exactly one
// batch, no batch is empty, and a batch of a part is never larger than it says.
func TestBatchProperties(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range 20000 {
		n := r.Intn(300)
		var spec BatchSpec
		for range 1 + r.Intn(4) {
			switch r.Intn(2) {
			case 0:
				spec = append(spec, BatchPart{Hosts: 1 + r.Intn(50)})
			default:
				spec = append(spec, BatchPart{Percent: float64(1+r.Intn(1000)) / 10})
			}
		}
		if r.Intn(3) == 0 {
			spec = append(spec, BatchPart{Rest: true})
		}
		sum := 0
		for i, size := range spec.Sizes(n) {
			sum += size
			p := spec[min(i, len(spec)-1)]
			if size < 1 || p.Hosts > 0 && size > p.Hosts {
				t.Fatalf("%v of %d: batch %d has %d hosts", spec, n, i, size)
			}
			// Not more than one host above the share, which rounding up allows.
			if p.Percent > 0 && float64(size) >= float64(n)*p.Percent/100+1 {
				t.Fatalf("%v of %d: batch %d has %d hosts, more than %v%%", spec, n, i, size, p.Percent)
			}
		}
		if sum != n {
			t.Fatalf("%v of %d: %d hosts are in batches", spec, n, sum)
		}
	}
}

func TestBudget(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want int
	}{{"0", 10, 0}, {"2", 10, 2}, {"10%", 5, 0}, {"10%", 10, 1}, {"10%", 30, 3}, {"0%", 10, 0}, {"100%", 7, 7}} {
		b, err := ParseBudget(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.Allows(c.n); got != c.want {
			t.Errorf("%s of %d allows %d, want %d", c.text, c.n, got, c.want)
		}
	}
	for _, bad := range []string{"", "-1", "x", "101%", "1.5"} {
		if _, err := ParseBudget(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
