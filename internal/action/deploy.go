package action

import (
	"context"
	"maps"
	"slices"
	"time"

	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/intake"
	"godwit/internal/plan"
	"godwit/internal/source"
)

// Origin is where the hosts of a run come from: Configured, StorePaths or SavedPlan.
type Origin interface {
	// open finds them, and settles what else of the run they decide. The hosts
	// themselves come with the load that it asks for.
	open(ctx context.Context, s *session, d *deployment) (loadRequest, error)
}

// Configured are hosts of a configuration.
type Configured struct {
	Where     Where
	Selection fleet.Selection
	// Profiles are names of those that count; none: all.
	Profiles []string
}

func (o Configured) open(ctx context.Context, s *session, d *deployment) (loadRequest, error) {
	l := loadRequest{where: o.Where, selection: o.Selection, profiles: o.Profiles, targets: d.targets}
	if err := s.findNix(ctx); err != nil {
		return l, err
	}
	if d.Goal > deploy.GoalBuild {
		return l, s.openPool()
	}
	return l, nil
}

// everyHost selects all.
var everyHost = fleet.Selection{Every: 1}

// deployment is what is done with hosts between their evaluation and the summary.
type deployment struct {
	deploy.Options
	// targets are built in place of the systems (source.Request).
	targets string
	// accept are risks that were accepted, yes agrees to all else; saved is the plan
	// that is applied, and savedFile where it lies.
	accept    []string
	yes       bool
	saved     *plan.Plan
	savedFile string
	// settle, when set, settles what the configuration itself says of the run.
	settle func() error
}

// BuildRequest asks for systems of hosts to be built.
type BuildRequest struct {
	Configured
	// Target is a Nix function from a node to what is built instead of its system, and
	// TargetFile has a set of such; one of the two, or none.
	Target, TargetFile string
}

// Build builds what hosts would get, and touches none of them.
func Build(ctx context.Context, e *Env, r BuildRequest) (*Summary, error) {
	s := e.open()
	defer s.close()
	targets, err := source.TargetsIn(r.TargetFile)
	if err != nil {
		return nil, err
	}
	if targets == "" {
		targets = source.TargetOf(r.Target)
	}
	d := deployment{Options: deploy.Options{Goal: deploy.GoalBuild}, targets: targets}
	if err := s.known(ctx, r.Configured, &d); err != nil {
		return nil, err
	}
	if targets != "" {
		return s.buildTargets(ctx, d)
	}
	return s.buildSystems(ctx, d)
}

// PushRequest asks for systems to be built and copied to their hosts.
type PushRequest struct{ Hosts Origin }

// Push builds what hosts get, or takes what exists, and copies it into their stores.
func Push(ctx context.Context, e *Env, r PushRequest) (*Summary, error) {
	s := e.open()
	defer s.close()
	d := deployment{Options: deploy.Options{Goal: deploy.GoalPush}}
	if err := s.known(ctx, r.Hosts, &d); err != nil {
		return nil, err
	}
	return s.buildSystems(ctx, d)
}

// DeployRequest asks for hosts to be changed.
type DeployRequest struct {
	Hosts  Origin
	Action activate.Action
	// UploadSecrets uploads secrets, too. SecretsUnsaid leaves that to the configuration.
	UploadSecrets, SecretsUnsaid                     bool
	SkipHealthChecks, SkipPreChecks, Reboot, NoGuard bool
	// AskKeep asks about each host whether to keep what runs there.
	AskKeep                                                      bool
	CheckTimeout, ActivateTimeout, ConfirmTimeout, RebootTimeout time.Duration // zero: the default
	// AcceptFailed are units that may fail.
	AcceptFailed       fleet.UnitPatterns
	Rolling            deploy.Rolling
	UnreachableTimeout time.Duration
	// OverrideLock changes hosts that somebody locked.
	OverrideLock bool
	// Accept are names of risks; Yes agrees to a plan without them.
	Accept []string
	Yes    bool
}

// Deploy builds, copies, activates and checks, behind the plan.
func Deploy(ctx context.Context, e *Env, r DeployRequest) (*Summary, error) {
	s := e.open()
	defer s.close()
	d := deployment{accept: r.Accept, yes: r.Yes, Options: deploy.Options{
		Goal: deploy.GoalActivate, Action: r.Action, UploadSecrets: r.UploadSecrets, SkipHealthChecks: r.SkipHealthChecks, SkipPreChecks: r.SkipPreChecks,
		Reboot: r.Reboot, NoGuard: r.NoGuard, CheckTimeout: r.CheckTimeout, ActivateTimeout: r.ActivateTimeout, ConfirmTimeout: r.ConfirmTimeout,
		RebootTimeout: r.RebootTimeout, AcceptFailed: r.AcceptFailed, UnreachableTimeout: r.UnreachableTimeout, OverrideLock: r.OverrideLock,
	}}
	if r.AskKeep { // before anything that takes long
		if err := s.askKeep(&d.Options); err != nil {
			return nil, err
		}
	}
	d.settle = func() error {
		if r.SecretsUnsaid {
			d.UploadSecrets = s.source.About().UploadSecrets
		}
		return s.roll(r.Rolling, &d)
	}
	if err := s.known(ctx, r.Hosts, &d); err != nil {
		return nil, err
	}
	if r.AskKeep { // a saved plan says what is done
		if err := s.askKeep(&d.Options); err != nil {
			return nil, err
		}
	}
	if d.UploadSecrets {
		if err := preflightSecrets(ctx, s.hosts); err != nil {
			return nil, err
		}
	}
	return s.buildSystems(ctx, d)
}

// roll settles how a deploy is rolled out. Risks that the fleet accepts are added to the
// accepted ones.
func (s *session) roll(r deploy.Rolling, d *deployment) (err error) {
	settings := s.source.About().Settings
	d.Schedule, d.Unreachable, err = r.Settle(settings)
	d.accept = slices.Concat(settings.AcceptRisks, d.accept)
	return err
}

// known makes the hosts of a run known.
func (s *session) known(ctx context.Context, from Origin, d *deployment) error {
	d.DryRun, d.Limits = s.DryRun, s.Limits
	if _, err := s.Settings(); err != nil { // before anything that takes long
		return err
	}
	l, err := from.open(ctx, s, d)
	if err != nil {
		return err
	}
	l.systems, l.header, l.probe = true, true, true
	l.call, l.change = d.Goal > deploy.GoalBuild && !d.DryRun, d.Goal > deploy.GoalBuild
	if _, ok := from.(Configured); ok && s.source == nil && d.targets == "" && !d.DryRun {
		l.early = intake.New()
	}
	l.opened = func() error {
		if d.settle != nil {
			if err := d.settle(); err != nil {
				return err
			}
		}
		if d.targets != "" {
			return nil
		}
		if err := s.buildShell(ctx); err != nil || l.early == nil {
			return err
		}
		links, err := s.rootLinks()
		if err != nil {
			return err
		}
		return s.startEarly(ctx, &l, &deploy.Run{Options: d.Options, Sink: s.View}, func(hosts []fleet.Host) error {
			if d.Goal != deploy.GoalActivate {
				return nil
			}
			if err := s.preflightResting(ctx, hosts); err != nil {
				return err
			}
			return preflightChecks(hosts, planOptions(d.Options))
		}, links)
	}
	return s.load(ctx, l)
}

// buildSystems takes the hosts through their stages.
func (s *session) buildSystems(ctx context.Context, d deployment) (*Summary, error) {
	return s.runJobs(ctx, d, s.hosts, nil)
}

// buildTargets builds what --target or --target-file made of the hosts. Each
// derivation goes through the same stages as a host's system; the result
// directory has a link HOST/TARGET for each.
func (s *session) buildTargets(ctx context.Context, d deployment) (*Summary, error) {
	var pseudo []fleet.Host
	place := map[string]string{} // name in the run -> HOST/TARGET
	for _, h := range s.hosts {
		targets := s.result.Targets[h.Name]
		for _, t := range targets {
			p := h
			if len(targets) > 1 {
				p.Name = h.Name + "/" + t.Name
			}
			p.Profiles = []fleet.Profile{fleet.System(t.DrvPath, t.OutPath)}
			place[p.Name] = h.Name + "/" + t.Name
			pseudo = append(pseudo, p)
		}
	}
	if len(pseudo) == 0 && len(s.broken) == 0 {
		return nil, fault.New("the target builds nothing for the selected hosts")
	}
	names := make([]string, len(pseudo))
	for i, p := range pseudo {
		names[i] = p.Name
	}
	s.View.Announce(names)
	return s.runJobs(ctx, d, pseudo, func(systems map[string]string) map[string]string {
		links := maps.Clone(systems)
		clear(links)
		for name, path := range systems {
			links[place[name]] = path
		}
		return links
	})
}

// runJobs takes all hosts through their stages, behind the plan and with a record.
// resultLinks turns what was built into the links of the result directory; nil: a link
// for each host.
func (s *session) runJobs(ctx context.Context, d deployment, hosts []fleet.Host, resultLinks func(map[string]string) map[string]string) (*Summary, error) {
	outcomes := s.brokenOutcomes()
	if len(hosts) == 0 {
		return s.summary(ctx, outcomes), nil
	}
	if err := s.preflight(ctx, d, hosts); err != nil {
		return nil, err
	}
	if d.Goal > deploy.GoalBuild && !d.DryRun {
		s.callAhead(ctx, hosts)
	}
	var link func(string) string
	if s.early != nil {
		link = s.early.Link
	} else {
		var err error
		if link, err = s.rootLinks(); err != nil {
			return nil, err
		}
	}
	jobs, failed, err := s.jobs(ctx, hosts, link)
	if err != nil {
		return nil, err
	}
	for _, f := range failed {
		outcomes = append(outcomes, deploy.Fail(s.View, f.host, f.err))
	}
	d.Meta = s.meta()
	rec := s.recordDeploy(ctx, d.Options, hosts)
	run := s.run(&deploy.Run{Options: d.Options, Sink: s.View})
	run.OnBuilt = s.showResult(ctx, resultLinks)
	run.Secrets = s.resting
	run.Settled = func(o deploy.Outcome) { remembered(rec, o) }
	stopped, err := s.gate(ctx, d, run, jobs, outcomes)
	if err != nil {
		rec.Discard()
		return nil, err
	}
	outcomes = append(outcomes, run.Hosts(ctx, jobs)...)
	for _, o := range outcomes {
		remembered(rec, o)
	}
	rec.Plan(d.Meta["plan"])
	if why := stopped(); why != nil {
		rec.Discard()
		return &Summary{Outcomes: outcomes, Stopped: why}, nil
	}
	return s.summary(ctx, outcomes), nil
}

// showResult prints morph's result path when everything that could be built is built.
func (s *session) showResult(ctx context.Context, links func(map[string]string) map[string]string) func(map[string]string) {
	if s.DryRun || !s.ResultDir || s.ready.Name != "" { // where the paths exist already nothing is built
		return nil
	}
	return func(systems map[string]string) {
		if len(systems) == 0 || ctx.Err() != nil {
			return
		}
		if links != nil {
			systems = links(systems)
		}
		path, err := s.tool.ResultDir(ctx, systems)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.View.Tell("warning: cannot make the result directory: " + err.Error())
			return
		}
		s.View.Println("nix result path: ")
		s.View.Output(path)
	}
}
