package action

import (
	"context"
	"maps"
	"sync"

	"godwit/internal/approve"
	"godwit/internal/crash"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/intake"
	"godwit/internal/plan"
)

// PlanRequest asks what a deploy would change.
type PlanRequest struct {
	Configured
	// Options are the choices of the deploy.
	plan.Options
	// Accept are the risks that are accepted.
	Accept plan.Accept
	// SecretsUnsaid leaves it to the configuration whether secrets are uploaded.
	SecretsUnsaid bool
	// Save is the file that the plan is saved as; empty: none.
	Save string
	// Copy copies the systems to the hosts first, and asks them which units they touch.
	Copy bool
}

// Plan builds what hosts would get and says what that changes. Hosts are read.
func Plan(ctx context.Context, e *Env, r PlanRequest) (*plan.Plan, error) {
	s := e.open()
	defer s.close()
	if _, err := s.Settings(); err != nil { // before anything that takes long
		return nil, err
	}
	if err := s.findNix(ctx); err != nil {
		return nil, err
	}
	if err := s.openPool(); err != nil {
		return nil, err
	}
	d := deploy.Options{Goal: deploy.GoalBuild, Limits: s.Limits}
	if r.Copy {
		d.Goal = deploy.GoalPush
	}
	// A host is done when it was looked at, not when it is built.
	quiet := event.SinkFunc(func(e event.Event) {
		if e.Kind != event.Result {
			s.View.Emit(e)
		}
	})
	var links func(host string) string
	var roots *approve.Roots
	load := loadRequest{where: r.Where, selection: r.Selection, profiles: r.Profiles, systems: true, probe: true, call: true}
	if s.source == nil {
		load.early = intake.New()
	}
	load.opened = func() (err error) {
		if r.SecretsUnsaid {
			r.UploadSecrets = s.source.About().UploadSecrets
		}
		if err := s.buildShell(ctx); err != nil {
			return err
		}
		if links, err = s.rootLinks(); err == nil && r.Save != "" {
			if roots, err = approve.NewRoots(r.Save); err == nil {
				links = roots.Link
			}
		}
		if err != nil || load.early == nil {
			return err
		}
		return s.startEarly(ctx, &load, &deploy.Run{Options: d, Sink: quiet}, func(hosts []fleet.Host) error {
			if err := s.preflightResting(ctx, hosts); err != nil {
				return err
			}
			return preflightChecks(hosts, r.Options)
		}, links)
	}
	if err := s.load(ctx, load); err != nil {
		return nil, err
	}
	if err := preflightChecks(s.hosts, r.Options); err != nil {
		return nil, err
	}
	if err := s.preflightResting(ctx, s.hosts); err != nil {
		return nil, err
	}
	if r.UploadSecrets {
		if err := preflightSecrets(ctx, s.hosts); err != nil {
			return nil, err
		}
	}
	fleetAccepts, err := plan.ParseAccept(s.source.About().Settings.AcceptRisks)
	if err != nil {
		return nil, err
	}
	accept := maps.Clone(fleetAccepts)
	maps.Copy(accept, r.Accept)
	state := make(chan plan.Source, 1)
	go func() { defer crash.Catch(); state <- s.planSource(ctx, r.Save != "", r.Save) }()

	p := s.newPlan(r.Options, plan.Source{})
	for _, b := range s.broken {
		h := plan.Host{Name: b.Host}
		plan.Fail(&h, b.Err)
		p.Hosts = append(p.Hosts, h)
	}
	var outcomes []deploy.Outcome
	if len(s.hosts) > 0 {
		s.callAhead(ctx, s.hosts)
		jobs, failed, err := s.jobs(ctx, s.hosts, links)
		if err != nil {
			return nil, err
		}
		for _, f := range failed {
			outcomes = append(outcomes, deploy.Outcome{Host: f.host, State: deploy.Failed, Err: f.err})
		}
		outcomes = append(outcomes, s.run(&deploy.Run{Options: d, Sink: quiet}).Hosts(ctx, jobs)...)
	}
	p.Source = <-state
	s.lookAt(ctx, p, outcomes)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	p.Seal(s.names())
	accept.Apply(p)
	if r.Save != "" {
		if err := roots.Keep(ctx, s.tool, p); err != nil {
			return nil, err
		}
		if err := p.Save(r.Save); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// lookAt makes the parts of a plan of hosts that were built.
func (s *session) lookAt(ctx context.Context, p *plan.Plan, built []deploy.Outcome) {
	by := map[string]deploy.Outcome{}
	for _, o := range built {
		by[o.Host] = o
	}
	var mu sync.Mutex
	deploy.Each(ctx, s.hosts, 0, s.View, func(ctx context.Context, h fleet.Host) deploy.Outcome {
		o := by[h.Name]
		part := plan.Host{Name: h.Name, Status: plan.BuildOnly, Drv: h.Main().Drv, System: o.System}
		err := o.Err
		if err == nil && !h.BuildOnly {
			part, err = s.lookAtHost(ctx, p, h, o.System, o.In, false)
		}
		if err != nil {
			part = plan.Host{Name: h.Name, Drv: h.Main().Drv, System: o.System}
			plan.Fail(&part, err)
			s.rememberLast(ctx, &part)
		}
		mu.Lock()
		p.Hosts = append(p.Hosts, part)
		mu.Unlock()
		if err != nil {
			return deploy.Outcome{Err: err}
		}
		return deploy.Outcome{State: "planned", System: o.System, Detail: "looked at"}
	})
}
