package hoststate

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"godwit/internal/activate"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
)

// Undo is what a rollback of profiles goes to.
type Undo struct {
	Profiles []activate.Change
	First    []string          // profiles that did not exist before, and stay
	What     string            // "profile 'app' is as before …"
	Meta     map[string]string // for the record
}

// LookBack asks a host for what a rollback goes by.
func LookBack(ctx context.Context, conn host.Conn, h fleet.Host) (Facts, error) {
	if Reports(h) {
		return Look(ctx, conn, h)
	}
	return LookProfiles(ctx, conn, h.Name, activate.Known(h))
}

// Undoing finds what other profiles than the system alone go back to: all that the last
// deployment changed, or one by its name and its generation (0: the one before). nil: the
// system alone is what is meant.
func (f Facts) Undoing(ctx context.Context, conn host.Conn, h fleet.Host, profile string, to int) (*Undo, error) {
	if err := f.NothingPending(h.Name); err != nil {
		return nil, err
	}
	known := activate.Known(h)
	reports := Reports(h)
	if reports && (profile == "" && to > 0 || profile == fleet.SystemProfile) {
		return nil, nil
	}
	if to > 0 {
		return f.toGeneration(ctx, conn, h, known, profile, to)
	}
	rec, back, first, ok := f.Undone(profile, known)
	switch {
	case !ok && reports && profile == "":
		return nil, nil
	case !ok && profile != "":
		return nil, fault.New("no deployment by godwit that is recorded on the host changed profile '%s'", profile).On(h.Name).
			Hint("godwit history DEPLOYMENT %s shows what did", h.Name).Hint("--to GENERATION names one of its generations")
	case !ok:
		return nil, fault.New("no deployment by godwit is recorded on the host, so it is not known what was before").On(h.Name).
			Hint("deploy an earlier commit of the configuration")
	case len(back) == 0:
		return nil, fault.New("before deployment %s there was no profile %s, and a rollback removes none", rec.ID, strings.Join(first, ", ")).On(h.Name)
	}
	for i, c := range back { // the system by its generation, as a rollback of it alone does
		if g, ok := f.Previous(); ok && reports && c.Name == fleet.SystemProfile {
			back[i].New = g.System
		}
	}
	are := "is"
	if len(back) > 1 {
		are = "are"
	}
	return &Undo{
		Profiles: back, First: first, Meta: map[string]string{"undoes": rec.ID},
		What: fmt.Sprintf("%s %s as before deployment %s of %s", Names(back), are, rec.ID, time.Unix(rec.Started, 0).Local().Format("2006-01-02 15:04")),
	}, nil
}

// toGeneration finds the generation that --to names of a profile that is not the system.
func (f Facts) toGeneration(ctx context.Context, conn host.Conn, h fleet.Host, known []activate.Change, name string, to int) (*Undo, error) {
	if name == "" {
		name = h.Main().Name
	}
	var c activate.Change
	for _, rec := range slices.Backward(f.Records) {
		if i := slices.IndexFunc(rec.Profiles, func(p activate.RecordProfile) bool { return p.Name == name && p.Link != "" }); i >= 0 {
			c = rec.Profiles[i].Change("", known)
			break
		}
	}
	if i := slices.IndexFunc(known, func(k activate.Change) bool { return k.Name == name }); c.Link == "" && i >= 0 {
		c = known[i]
	}
	if c.Link == "" {
		return nil, fault.New("where the generations of profile '%s' are is not known: no deployment by godwit is recorded on the host", name).On(h.Name)
	}
	all, err := GenerationsOf(ctx, conn, h.Name, c.Link, f.AsUser)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(g Generation) bool { return g.Number == to })
	if i < 0 {
		return nil, fault.New("profile '%s' has no generation %d", name, to).On(h.Name).Detail(lines(all, 0)...)
	}
	c.New = all[i].System
	return &Undo{Profiles: []activate.Change{c}, Meta: map[string]string{"generation": strconv.Itoa(to)},
		What: fmt.Sprintf("profile '%s' is generation %d", name, to)}, nil
}

// Names are those of profiles, for a message.
func Names(of []activate.Change) string {
	if len(of) == 1 {
		return "profile '" + of[0].Name + "'"
	}
	var all []string
	for _, c := range of {
		all = append(all, c.Name)
	}
	return "profiles " + strings.Join(all, ", ")
}
