package action

import (
	"context"
	"slices"
	"time"

	"godwit/internal/activate"
	"godwit/internal/approve"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/plan"
	"godwit/internal/store"
)

// planOptions are the choices that belong into a plan.
func planOptions(d deploy.Options) plan.Options {
	return plan.Options{Action: string(d.Action), Reboot: d.Reboot, NoGuard: d.NoGuard, UploadSecrets: d.UploadSecrets,
		SkipHealthChecks: d.SkipHealthChecks, SkipPreChecks: d.SkipPreChecks, OverrideLock: d.OverrideLock}
}

// planSource asks for the state of the configuration. The content matters only
// for plans that are saved.
func (s *session) planSource(ctx context.Context, content bool, skip ...string) plan.Source {
	src := s.sourceOf(ctx)
	out := plan.Source{Commit: src.Commit, Dirty: src.Dirty}
	if src.Refused != nil {
		out.Unknown = event.Message(src.Refused)
	}
	if content {
		if at := s.at.At; at.Path() != "" {
			out.Content = plan.Fingerprint(ctx, at.Path(), src.Tree, skip...)
		} else if at.Locked != nil {
			out.Content = at.Locked.Key
		}
	}
	return out
}

func (s *session) newPlan(o plan.Options, src plan.Source) *plan.Plan {
	p := &plan.Plan{Created: time.Now().UTC().Truncate(time.Second), Godwit: s.Version, File: s.at.At.Key(), Source: src, Options: o}
	p.NixConfig = s.result.Fleet.NixConfig
	p.Rolling = plan.RollingOf(s.source.About().Settings)
	return p
}

// names are all hosts of the run, in the order of the configuration.
func (s *session) names() []string {
	var out []string
	for _, h := range s.hosts {
		out = append(out, h.Name)
	}
	return out
}

// lookAtHost makes the part of one host that answers.
func (s *session) lookAtHost(ctx context.Context, p *plan.Plan, h fleet.Host, system string, src store.Endpoint, brief bool) (plan.Host, error) {
	conn := s.conns.Conn(h)
	if err := conn.Connect(ctx); err != nil {
		return plan.Host{}, err
	}
	t := plan.Target{Host: h, Conn: conn, Store: deploy.HostStore(conn), System: system, Source: src}
	t.Fleet = s.source.About().Names
	t.Twin = s.twins(ctx, s.hosts)[h.Name]
	var err error
	if t.Rests, err = s.resting(ctx, h); err != nil {
		return plan.Host{}, err
	}
	if brief {
		return plan.Gather(ctx, p.Options, p.Source, t, true)
	}
	sc := event.On(s.View, h.Name, event.StepPlan)
	sc.Start("what would change")
	part, err := plan.Gather(ctx, p.Options, p.Source, t, false)
	sc.End("", err)
	return part, err
}

// gate puts the plan before the changes of a run, unless it changes nothing. The function
// tells afterwards why no host was changed, if the plan was turned down.
func (s *session) gate(ctx context.Context, d deployment, run *deploy.Run, jobs []deploy.Job, outcomes []deploy.Outcome) (func() *fault.Error, error) {
	if run.Goal != deploy.GoalActivate || run.DryRun || run.Action == activate.DryActivate || len(jobs) == 0 {
		return func() *fault.Error { return nil }, nil
	}
	settings, err := s.Settings()
	if err != nil {
		return nil, err
	}
	accept, err := plan.ParseAccept(slices.Concat(settings.Deploy.AcceptRisk, d.accept))
	if err != nil {
		return nil, err
	}
	var state plan.Source
	if d.saved != nil {
		state = d.saved.Source
	} else {
		state = s.planSource(ctx, false)
	}
	p := s.newPlan(planOptions(run.Options), state)
	if src := p.Source; src.Commit != "" && run.Meta["commit"] == "" {
		run.Meta["commit"] = src.Commit
		run.Meta["tree"] = map[bool]string{false: "clean", true: "dirty"}[src.Dirty]
	}
	for _, o := range outcomes {
		h := plan.Host{Name: o.Host}
		plan.Fail(&h, o.Err)
		p.Hosts = append(p.Hosts, h)
	}
	g := approve.New(approve.Options{
		Plan: p, Saved: d.saved, File: d.savedFile, Accept: accept, Yes: d.yes || settings.Deploy.Yes,
		Watched: s.View.Watched(), Verbose: s.Verbose, Hosts: s.hosts, Jobs: len(jobs), Meta: run.Meta,
		Look: func(ctx context.Context, h fleet.Host, system string, from store.Endpoint, brief bool) (plan.Host, error) {
			return s.lookAtHost(ctx, p, h, system, from, brief)
		},
		Remember: s.rememberLast,
		Show:     func(verbose bool) { s.View.Plan(p, verbose) },
		Ask:      func(question string) (string, error) { return s.View.Ask(context.WithoutCancel(ctx), question) },
		Sink:     s.View,
	})
	g.Before(ctx, run)
	return g.Stopped, nil
}
