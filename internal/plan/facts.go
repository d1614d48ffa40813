package plan

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"godwit/internal/activate"
	"godwit/internal/crash"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/hostscript"
	"godwit/internal/profile"
	"godwit/internal/profile/kinds"
	"godwit/internal/storepath"
)

//go:embed facts.sh
var factsScript string

// Facts are what was found out about one host; judging them needs no host.
type Facts struct {
	State activate.State
	// Seen is what of profiles was found, by their names, by kinds that look closer than
	// the guard does.
	Seen map[string]profile.Seen
	Last *activate.Record
	// OtherHost is the host of the fleet whose system this one runs, if any.
	OtherHost string
	// NoOneShot says why the host cannot boot a system once; empty when it can,
	// or was not asked.
	NoOneShot string
	// Twin says that the host has the address of another host of the run.
	Twin string
	// Stranger says that the host may only lose a system that is known here, and has
	// another one.
	Stranger string
	// Present tells that the host has the new system.
	Present bool
}

// Ask says what to find out about a host.
type Ask struct {
	Host   string
	System string // the new system; it may be absent on the host
	// Profiles are all of a host that has others than its system; none: System alone.
	Profiles []activate.Change
	Action   activate.Action // that is planned
	Dry      bool            // ask what is new for a dry run of its activation
	Units    bool            // list the running units
}

// closer is a profile that its kind looks closer at.
type closer struct {
	name, link, path string
	kind             profile.Kind
}

// closer are the profiles that are looked closer at, in their order.
func (a Ask) closer() []closer {
	all := a.Profiles
	if len(all) == 0 {
		system := fleet.System("", a.System)
		all = []activate.Change{{Name: system.Name, Kind: string(system.Kind), New: a.System}}
	}
	var out []closer
	for _, c := range all {
		k, ok := kinds.Of(c.Kind)
		if !ok || k.Read == nil {
			continue
		}
		link := c.Link
		if link == "" {
			link = k.Link(c.Owner, c.Name)
		}
		out = append(out, closer{c.Name, link, c.New, k})
	}
	return out
}

// Look reads a host. It changes nothing there.
func Look(ctx context.Context, r host.Conn, a Ask) (*Facts, error) {
	f := &Facts{Seen: map[string]profile.Seen{}}
	// The pre-switch checks of the new system are left to dry-activate and to
	// the activation itself.
	preflight := func() (activate.State, error) {
		return activate.Preflight(ctx, r, activate.Request{Host: a.Host, NewSystem: a.System, Profiles: a.Profiles, Action: activate.DryActivate})
	}
	if len(a.closer()) == 0 {
		state, err := preflight()
		if err != nil {
			return nil, err
		}
		f.take(state, a)
		return f, nil
	}
	if !a.Dry { // neither depends on the other
		done := make(chan error, 1)
		go func() { defer crash.Catch(); done <- f.read(ctx, r, a, false) }()
		state, err := preflight()
		if rerr := <-done; err == nil {
			err = rerr
		}
		if err != nil {
			return nil, err
		}
		f.take(state, a)
		return f, nil
	}
	state, err := preflight()
	if err != nil {
		return nil, err
	}
	f.take(state, a)
	state = f.State
	dry := f.Present && state.Root && len(state.NoSwitch) == 0 && state.Current != a.System && state.Rebuild == "" && state.Held == "" && state.Pending == ""
	if err := f.read(ctx, r, a, dry); err != nil {
		return nil, err
	}
	return f, nil
}

// take keeps what the preflight says. About a system that the host does not
// have it says nothing.
func (f *Facts) take(state activate.State, a Ask) {
	f.Present = a.System != "" && len(state.Absent) == 0
	if !f.Present {
		state.Absent, state.Differs, state.InitChanged, state.Inhibited = nil, nil, false, false
		state.NoSwitch = slices.DeleteFunc(state.NoSwitch, func(p string) bool { return p == a.System })
	}
	for i, p := range state.Profiles {
		if p.Absent { // it is copied before it is activated
			state.Profiles[i].Absent, state.Profiles[i].Unfit = false, ""
		}
	}
	f.State = state
}

// lookLimit leaves room for the new system's own dry activation.
const lookLimit = 2 * time.Minute

func (f *Facts) read(ctx context.Context, r host.Conn, a Ask, dry bool) error {
	looks := a.closer()
	script, err := lookScript(looks, dry, a.Units)
	if err != nil {
		return fault.New("not a system: %w", err).On(a.Host)
	}
	var out bytes.Buffer
	err = r.Run(ctx, host.Cmd{Script: script, Elevate: true, Stdout: &out, Name: "the inspection of the host", Limit: lookLimit})
	if !f.parse(out.String(), looks) {
		if err == nil {
			err = errors.New("the host's answer was incomplete")
		}
		var fe *fault.Error
		if errors.As(err, &fe) {
			return err
		}
		return fault.New("cannot look at the host: %s", strings.TrimPrefix(err.Error(), a.Host+": ")).On(a.Host).Because(err)
	}
	return nil
}

// lookScript has each of some profiles looked at.
func lookScript(looks []closer, dry, units bool) (string, error) {
	flag := map[bool]string{true: "1"}
	parts := []string{"STATE=/var/lib/godwit", hostscript.Real, factsScript}
	for _, l := range looks {
		if !slices.Contains(parts, l.kind.Look.Change) {
			parts = append(parts, l.kind.Look.Change)
		}
	}
	for i, l := range looks {
		if l.path != "" {
			if err := storepath.Check(l.path); err != nil {
				return "", err
			}
		}
		v, err := hostscript.Variables{"NEW": l.path, "LINK": l.link, "DRY": flag[dry], "UNITS": flag[units]}.Text()
		if err != nil {
			return "", err
		}
		parts = append(parts, v, fmt.Sprintf("tell profile %d\n%s_change", i, l.kind.Name))
	}
	// A script that was cut off runs nothing: one compound command.
	return hostscript.Compound(append(parts, "echo end")...), nil
}

// parse reads the answer of the look at some profiles; false: it is not whole.
func (f *Facts) parse(out string, looks []closer) bool {
	said := make([][]profile.Line, len(looks))
	at, ended := 0, false
	for name, value := range hostscript.Answer(out, &ended) {
		switch name {
		case "profile":
			at, _ = strconv.Atoi(value)
		case "record":
			_, value, _ = strings.Cut(value, " ")
			var rec activate.Record
			if json.Unmarshal([]byte(value), &rec) == nil && rec.ID != "" {
				f.Last = &rec
			}
		default:
			if at >= 0 && at < len(said) {
				said[at] = append(said[at], profile.Line{Name: name, Value: value})
			}
		}
	}
	for i, l := range looks {
		f.Seen[l.name] = l.kind.Read(said[i])
	}
	return ended
}
