package deploy

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"godwit/internal/fault"
)

// Limits is how many hosts may be in a stage at once. 0 is the stage's default, so that
// whoever says nothing has a bound, too.
type Limits struct {
	Build    int // builders that work for them, or transfers from caches
	Copy     int
	Activate int // or anything else that is done on a host by a verb of its own
	Look     int // asked only, and not changed
}

// DefaultLimits are those of every verb.
func DefaultLimits() Limits {
	return Limits{Build: max(2, runtime.NumCPU()), Copy: 10, Activate: 10, Look: 20}
}

// LimitsUsage is the help of a flag that ParseLimits reads. The defaults in it are
// those of any machine.
func LimitsUsage() string {
	d := DefaultLimits()
	return fmt.Sprintf("hosts at once: `N`, or build=N,copy=N,activate=N (default: builds as many as processors, at least 2; %d copies, %d activations; %d when hosts are only asked)", d.Copy, d.Activate, d.Look)
}

// ParseLimits reads a number, which is for all stages, or a list such as
// build=2,copy=4,activate=1, in which hosts that are only asked count as activations.
// The rest has its defaults.
func ParseLimits(text string) (Limits, error) {
	var l Limits
	if text == "" {
		return l.orDefault(), nil
	}
	bad := fault.New("--parallel %s is neither a number nor a list such as build=2,copy=4,activate=1", text)
	if n, err := strconv.Atoi(text); err == nil {
		if n < 1 {
			return l, fault.New("--parallel must be 1 or more, not %d", n)
		}
		return Limits{n, n, n, n}, nil
	}
	for _, part := range strings.Split(text, ",") {
		name, value, ok := strings.Cut(part, "=")
		n, err := strconv.Atoi(value)
		if !ok || err != nil || n < 1 {
			return l, bad
		}
		switch name {
		case "build":
			l.Build = n
		case "copy":
			l.Copy = n
		case "activate":
			l.Activate, l.Look = n, n
		default:
			return l, bad
		}
	}
	return l.orDefault(), nil
}

// orDefault fills in what was not said.
func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	or := func(n, otherwise int) int {
		if n > 0 {
			return n
		}
		return otherwise
	}
	return Limits{or(l.Build, d.Build), or(l.Copy, d.Copy), or(l.Activate, d.Activate), or(l.Look, d.Look)}
}
