package hoststate

import (
	"fmt"
	"slices"

	"godwit/internal/activate"
	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// Others are the profiles besides the system that the host's last deployment was of.
func (f Facts) Others() []string {
	var out []string
	if n := len(f.Records); n > 0 {
		for _, p := range f.Records[n-1].Profiles {
			if p.Name != fleet.SystemProfile && p.Kind != string(fleet.Secrets) {
				out = append(out, p.Name)
			}
		}
	}
	return out
}

// NothingPending is an error when a deployment is.
func (f Facts) NothingPending(host string) error {
	if f.Deployment.Pending() || f.Pending != "" {
		return fault.New("a deployment is pending").On(host).
			Hint("godwit rollback --pending ends it, godwit confirm makes it permanent")
	}
	return nil
}

// RollbackTarget is the generation that a rollback goes to: the one of a number, or 0 for
// the one before.
func (f Facts) RollbackTarget(host string, to int) (Generation, error) {
	if err := f.NothingPending(host); err != nil {
		return Generation{}, err
	}
	if to > 0 {
		if g, ok := f.Find(to); ok {
			return g, nil
		}
		return Generation{}, fault.New("there is no generation %d", to).On(host).Detail(f.Lines()...)
	}
	g, ok := f.Previous()
	if !ok {
		return g, fault.New("there is no earlier generation to go back to").On(host).Detail(f.Lines()...).
			Hint("deploy an earlier commit of the configuration")
	}
	return g, nil
}

// Lines lists the newest generations of a host.
func (f Facts) Lines() []string { return lines(f.Generations, f.GenerationOf(f.Current)) }

// lines are about the newest of some generations; one of them runs.
func lines(all []Generation, runs int) []string {
	const most = 10
	var out []string
	for i := len(all) - 1; i >= 0 && len(out) < most; i-- {
		g := all[i]
		line := fmt.Sprintf("generation %d  %s  %s", g.Number, g.Made.Local().Format("2006-01-02 15:04"), g.System)
		if g.Number == runs {
			line += "  (runs)"
		}
		out = append(out, line)
	}
	if n := len(all) - len(out); n > 0 {
		out = append(out, fmt.Sprintf("and %d older ones", n))
	}
	return out
}

// CommitOf is the commit that a system came from, as the host's record tells.
func (f Facts) CommitOf(system string) (commit, tree string) {
	for i := len(f.Records) - 1; i >= 0; i-- {
		r := f.Records[i]
		has := slices.ContainsFunc(r.Profiles, func(p activate.RecordProfile) bool { return p.New == system })
		if (has || r.Toplevel == system || r.New == system) && r.Meta["commit"] != "" {
			return r.Meta["commit"], r.Meta["tree"]
		}
	}
	return "", ""
}
