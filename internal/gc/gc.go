// Package gc deletes old generations of a host's system, and then what nothing refers
// to any more: the one part of looking after hosts that changes them without deploying.
package gc

import (
	"context"
	_ "embed" // gc.sh
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"godwit/internal/activate"
	"godwit/internal/bounded"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/hostscript"
	"godwit/internal/hoststate"
)

//go:embed gc.sh
var gcScript string

// KeepRule says which generations may go.
type KeepRule struct {
	// Newest are kept in any case; at least 1.
	Newest int
	// OlderThan keeps what is younger; 0: age does not matter.
	OlderThan time.Duration
}

// Kept is a generation that stays, and why.
type Kept struct {
	hoststate.Generation
	Why string `json:"why"`
}

// Sweep divides the generations of a host into those that go and those that
// stay: what runs, was booted, boots next, is named by the profile, or is what
// a rollback would go to always stays.
func Sweep(f hoststate.Facts, rule KeepRule) (drop []hoststate.Generation, keep []Kept) {
	why := map[int]string{}
	hold := func(n int, reason string) {
		if n != 0 && why[n] == "" {
			why[n] = reason
		}
	}
	for _, g := range f.Generations {
		switch g.System {
		case f.Current:
			hold(g.Number, "runs")
		case f.Booted:
			hold(g.Number, "was booted")
		case f.BootDefault:
			hold(g.Number, "boots next")
		case f.Profile:
			hold(g.Number, "is the profile's")
		}
	}
	hold(f.CurrentGeneration(), "is the profile's")
	if g, ok := f.Previous(); ok {
		hold(g.Number, "is what a rollback goes to")
	}
	if g, ok := f.Before(f.GenerationOf(f.Current), f.Current); ok {
		hold(g.Number, "is what a rollback goes to")
	}
	newest := max(rule.Newest, 1)
	for i, g := range f.Generations {
		if len(f.Generations)-i <= newest {
			hold(g.Number, "is among the newest "+strconv.Itoa(newest))
		}
		if rule.OlderThan > 0 && f.Clock.Sub(g.Made) < rule.OlderThan {
			hold(g.Number, "is not old enough")
		}
	}
	for _, g := range f.Generations {
		if why[g.Number] != "" {
			keep = append(keep, Kept{g, why[g.Number]})
		} else {
			drop = append(drop, g)
		}
	}
	return drop, keep
}

// MayCollect says why garbage must not be collected on the host now.
func MayCollect(f hoststate.Facts, host string) error {
	switch {
	case f.Deployment.Pending() || f.Pending != "":
		return fault.New("a deployment is pending; nothing was collected").On(host).
			Hint("godwit status shows it; godwit confirm or godwit rollback --pending ends it")
	case f.Interrupted != "":
		return fault.New("deployment %s was interrupted by a reboot; nothing was collected", f.Interrupted).On(host).
			Hint("deploy again first: that corrects the profile")
	case f.Rebuild != "":
		return fault.New("nixos-rebuild is running (%s); nothing was collected", f.Rebuild).On(host).Hint("wait until it has ended")
	case f.Current == "" || f.Profile == "":
		return fault.New("cannot tell which system it runs; nothing was collected").On(host)
	}
	return nil
}

// Collected is what a collection did.
type Collected struct {
	Generations int    // deleted
	Paths       int    // deleted store paths
	Bytes       int64  // freed; -1 when Nix did not say
	Said        string // Nix's own last line
}

// Collect deletes generations and then what nothing refers to any more. It
// looks at the host once more, under the lock that arming a deployment takes,
// so that nothing which came to be used meanwhile is deleted.
func Collect(ctx context.Context, r host.Conn, name string, f hoststate.Facts, drop []hoststate.Generation, sc event.Scope) (Collected, error) {
	args := []string{activate.DefaultProfile, "keep-menu"}
	if f.BootDefaultKnown && f.BootDefault == f.Profile && f.Profile == f.Current && len(drop) > 0 {
		args[1] = "menu" // the boot menu is made anew, so that it names nothing that is gone
	}
	for _, g := range drop {
		args = append(args, strconv.Itoa(g.Number))
	}
	var c Collected
	c.Bytes = -1
	var why, status string
	var tail []string
	out := bounded.NewLineWriter(gcLine, func(line string) {
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "::busy":
			why = rest
		case "::generations":
			c.Generations, _ = strconv.Atoi(rest)
		case "::paths":
			c.Paths, _ = strconv.Atoi(rest)
			sc.Progress(int64(c.Paths), 0, event.Paths, "")
		case "::warn":
			sc.Warn(rest)
		case "::status":
			status = rest
		case "::said":
			tail = append(tail, rest)
			if paths, bytes, ok := Freed(rest); ok {
				c.Paths, c.Bytes, c.Said = paths, bytes, rest
			}
		}
	})
	err := r.Run(ctx, host.Cmd{Script: hostscript.RoomOf + hostscript.Real + "\n" + hostscript.PushedDone + gcScript, Args: args, Elevate: true, Stdout: out, KillOnCancel: true,
		Name: "the garbage collection", Limit: host.NoLimit})
	switch {
	case why != "":
		return c, fault.New("%s; nothing was collected", why).On(name)
	case err != nil:
		return c, err
	case status != "0":
		f := fault.New("nix-store --gc ended with status %s", status).On(name)
		return c, f.Detail(tail[max(0, len(tail)-5):]...)
	}
	return c, nil
}

// gcLine is the longest line that is passed on whole, in bytes.
const gcLine = 16 << 10

// freed is what nix-store --gc says at its end: "12 store paths deleted, 3.45
// MiB freed", in newer versions with other units.
var freed = regexp.MustCompile(`(\d+) store paths deleted, ([0-9.]+) ([KMGTP]?i?B|bytes) freed`)

// Freed reads Nix's own account.
func Freed(line string) (paths int, bytes int64, ok bool) {
	m := freed.FindStringSubmatch(line)
	if m == nil {
		return 0, 0, false
	}
	paths, err1 := strconv.Atoi(m[1])
	n, err2 := strconv.ParseFloat(m[2], 64)
	if err1 != nil || err2 != nil {
		return 0, 0, false
	}
	if i := slices.Index([]string{"KiB", "MiB", "GiB", "TiB", "PiB"}, m[3]); i >= 0 {
		for range i + 1 {
			n *= 1024
		}
	}
	return paths, int64(n), true
}
