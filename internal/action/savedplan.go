package action

import (
	"context"
	"fmt"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/plan"
	"godwit/internal/source"
	"godwit/internal/source/all"
	"godwit/internal/source/known"
	"strings"
)

// SavedPlan is the file of a saved plan.
type SavedPlan string

// open takes the hosts from the plan, and what to do with them. Nothing is evaluated.
func (f SavedPlan) open(ctx context.Context, s *session, d *deployment) (loadRequest, error) {
	l := loadRequest{selection: everyHost}
	if err := s.openPool(); err != nil {
		return l, err
	}
	file := string(f)
	saved, err := plan.Load(file)
	if err != nil {
		return l, err
	}
	action, err := ParseAction(saved.Options.Action)
	if err != nil {
		return l, err
	}
	o := saved.Options
	d.Action = action
	d.Reboot, d.NoGuard, d.UploadSecrets, d.SkipHealthChecks, d.SkipPreChecks = o.Reboot, o.NoGuard, o.UploadSecrets, o.SkipHealthChecks, o.SkipPreChecks
	if err := s.findNix(ctx); err != nil {
		return l, err
	}
	if s.at, err = all.At(ctx, s.tool, saved.File, s.sourceOptions()); err != nil {
		return l, err
	}
	anew := func(e *fault.Error) *fault.Error {
		return e.Hint("godwit plan %s %s -o %s makes the plan anew", saved.File, o.Action, file)
	}
	if how := saved.Source.Moved(s.planSource(ctx, true, file)); how != "" {
		return l, anew(fault.New("the configuration has moved since the plan was made: %s", how).Exit(plan.ExitStopped).
			Detail("configuration  " + saved.File))
	}
	about := source.About{At: s.at.At, NixConfig: saved.NixConfig}
	if saved.Rolling != nil {
		about.Settings = saved.Rolling.Settings()
	} else { // of a version that did not hold it
		if err := s.openSource(ctx, source.Options{}); err != nil {
			return l, err
		}
		about.Settings = s.source.About().Settings
	}
	var hosts []fleet.Host
	var names, drvs, without []string
	for _, h := range saved.Hosts {
		switch h.Status {
		case plan.Change, plan.Unchanged:
			hosts, names, drvs = append(hosts, *h.Config), append(names, h.Name), append(drvs, h.Config.Drvs()...)
		case plan.BuildOnly:
		default:
			without = append(without, h.Name)
		}
	}
	if len(hosts) == 0 {
		return l, anew(fault.New("the plan holds no host that can be deployed to"))
	}
	valid, err := s.tool.Valid(ctx, drvs)
	if err != nil {
		return l, err
	}
	for _, drv := range drvs {
		if !valid[drv] {
			return l, anew(fault.New("the derivation of the plan is gone: %s", drv).Exit(plan.ExitStopped).
				Detail("it was collected as garbage since the plan was made"))
		}
	}
	if saved.Version == 1 { // no sum over the derivations
		if err := sameSystems(saved, file); err != nil {
			return l, err
		}
	}
	header := fmt.Sprintf("Applying the plan of %s: %s\n", saved.Created.Local().Format("2006-01-02 15:04"), strings.Join(names, ", "))
	if len(without) > 0 {
		header += "Not part of it, because they were not ready then: " + strings.Join(without, ", ") + "\n"
	}
	d.saved, d.savedFile = saved, file
	s.source = known.New(about, hosts, header)
	return l, nil
}

// sameSystems refuses a plan whose derivations do not make its systems.
func sameSystems(p *plan.Plan, file string) error {
	for _, h := range p.Hosts {
		if h.Status != plan.Change && h.Status != plan.Unchanged {
			continue
		}
		d, err := nix.ReadDerivation(h.Drv)
		if err != nil {
			return err
		}
		if d.OutPath() != h.System {
			return fault.New("%s was changed after it was made: its derivation makes another system than it says", file).On(h.Name).
				Hint("godwit plan -o %s makes it anew", file)
		}
	}
	return nil
}
