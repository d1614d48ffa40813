package action

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/plan"
	"godwit/internal/source"
	"godwit/internal/source/all"
	"godwit/internal/source/known"
	"godwit/internal/ui/text"
)

// SavedPlan is the file of a saved plan.
type SavedPlan string

// open takes the hosts from the plan, and what to do with them. Nothing is evaluated but
// the secrets that a plan does not hold.
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
		return e.Hint("godwit plan %s %s -o %s makes a new plan", saved.File, o.Action, file)
	}
	if how := saved.Source.Moved(s.planSource(ctx, true, file)); how != "" {
		return l, anew(fault.New("the configuration has changed since the plan was made: %s", how).Exit(plan.ExitStopped).
			Detail("configuration  " + saved.File))
	}
	hosts, names, without := hostsOf(saved)
	if len(hosts) == 0 {
		return l, anew(fault.New("the plan has no host that can be deployed to"))
	}
	if o.UploadSecrets || slices.ContainsFunc(hosts, func(h fleet.Host) bool {
		return slices.ContainsFunc(h.Secrets, func(s fleet.Secret) bool { return s.Rest })
	}) {
		if err := s.fetchSecrets(ctx, hosts); err != nil {
			return l, anew(fault.New("%w", err))
		}
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
	var drvs []string
	for _, h := range hosts {
		drvs = append(drvs, h.Drvs()...)
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
		if err := plan.SameSystems(saved, file); err != nil {
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

// hostsOf are the hosts of a plan that are changed, their names, and the names of those
// that were not ready for it.
func hostsOf(p *plan.Plan) (hosts []fleet.Host, names, without []string) {
	for _, h := range p.Hosts {
		switch h.Status {
		case plan.Change, plan.Unchanged:
			hosts, names = append(hosts, *h.Config), append(names, h.Name)
		case plan.BuildOnly:
		default:
			without = append(without, h.Name)
		}
	}
	return hosts, names, without
}

// fetchSecrets takes from the configuration, which has not moved since, the secrets that
// a plan does not hold: texts, and commands, which may hold some. Only what the hosts in
// question say of themselves is evaluated for it.
func (s *session) fetchSecrets(ctx context.Context, hosts []fleet.Host) error {
	var names, secrets []string
	for _, h := range hosts {
		lacks := false
		for _, x := range h.Secrets {
			if x.From.Withheld != "" {
				lacks = true
				secrets = append(secrets, h.Name+"/"+x.Name)
			}
		}
		if lacks {
			names = append(names, fleet.Literal(h.Name))
		}
	}
	if len(names) == 0 {
		return nil
	}
	event.On(s.View, "", event.StepEvaluate).Note(fmt.Sprintf("%s from the configuration: a saved plan does not contain them",
		text.Count(len(secrets), "secret")))
	if err := s.openSource(ctx, source.Options{}); err != nil {
		return err
	}
	res, err := s.source.Load(ctx, source.Request{Selection: fleet.Selection{On: names, Every: 1}})
	if err != nil {
		return err
	}
	if len(res.Failed) > 0 {
		return res.Failed[0].Err
	}
	return plan.Refill(hosts, res.Fleet.Hosts)
}
