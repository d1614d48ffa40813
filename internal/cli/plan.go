package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/activate"
	"godwit/internal/approve"
	"godwit/internal/crash"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/plan"
	"godwit/internal/source"
	"godwit/internal/source/all"
	"godwit/internal/source/known"
	"godwit/internal/store"
	"godwit/internal/ui"
)

// planFlags are those that decide how a plan is judged.
type planFlags struct {
	yes    bool
	accept []string
}

func acceptFlag(c *cobra.Command, accept *[]string) {
	names := make([]string, len(plan.RiskNames))
	for i, r := range plan.RiskNames {
		names[i] = r.Name
	}
	c.Flags().StringSliceVar(accept, "accept-risk", nil, "accept the named risks (`NAME,...`, may be repeated): "+strings.Join(names, ", "))
}

// acceptFailedFlag says what may fail without taking a host back.
func acceptFailedFlag(c *cobra.Command, accept *[]string) {
	c.Flags().StringSliceVar(accept, "accept-failed", nil, "units that may fail, and parts of a switch, by the `NAME` that a deploy that went back gave them, or by a pattern (may be repeated): nginx, 'user activation for alice'")
}

// acceptFailed are the patterns of --accept-failed, when they are such.
func acceptFailed(given []string) (fleet.UnitPatterns, error) {
	p := fleet.UnitPatterns(given)
	if err := p.Check(); err != nil {
		return nil, fault.New("--accept-failed: %w", err).Hint("take the name that stands behind `newly failed' in the error of the deploy that went back")
	}
	return p, nil
}

func (o *planFlags) flags(c *cobra.Command) {
	acceptFlag(c, &o.accept)
	c.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask before hosts are changed; risks still have to be accepted by name")
}

func newPlan(a *app) *cobra.Command {
	var o buildOptions
	var p passwords
	var d deploy.Options
	var accept []string
	r := planRequest{passwords: &p}
	c := &cobra.Command{
		Use:   "plan [DEPLOYMENT] [switch|boot|test]",
		Short: "show what a deploy would change",
		Long: `plan builds the systems of the selected hosts and shows what deploying them would
change: packages, units, kernel, what is to be copied, and the risks. Hosts are
read and not changed, and nothing is copied to them: which units restart is then
told from the unit files of both systems. With --copy the systems are copied
first and asked themselves.

-o saves the plan. godwit deploy FILE applies exactly that, without evaluating
anything again, and refuses when a host or the configuration has moved since.

The plan goes to stdout; --verbose shows all of it, --json gives it to scripts.
--markdown writes it as a comment for a pull request: the risks, a table of hosts,
and the details folded. Names that others chose cannot be markup in it.
--dry-run only says what would be built, and where.

With --detailed-exitcode the status is 2 when a host changes, and 0 when there is
nothing to do; 3 still says that a host is not ready.

Risks, each accepted with --accept-risk=NAME:
` + riskHelp() + whereHelp + exitStatusHelp,
		Example: `  godwit plan network.nix
  godwit plan network.nix --on 'web*' --copy --verbose
  godwit plan network.nix switch -o today.plan && godwit deploy today.plan
  godwit plan .# --markdown --detailed-exitcode >comment.md`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) (err error) {
			if err := errors.Join(exclusive(c, "json", "markdown"), exclusive(c, "dry-run", "detailed-exitcode"), exclusive(c, "dry-run", "markdown")); err != nil {
				return err
			}
			if c.Flags().Changed("markdown-limit") && !r.markdown {
				return fault.New("--markdown-limit belongs to --markdown")
			}
			if r.limit < 0 {
				return fault.New("--markdown-limit cannot be negative")
			}
			if len(args) > 0 && plan.IsPlan(args[0]) {
				return fault.New("%s is a saved plan", args[0]).Hint("godwit deploy %s applies it", args[0])
			}
			if o.where, d.Action, err = a.actionArgs(c, args); err != nil {
				return err
			}
			if d.Action == activate.DryActivate {
				return fault.New("dry-activate changes nothing, so there is nothing to plan").Hint("godwit plan %s switch --copy", o.where)
			}
			if r.accept, err = plan.ParseAccept(accept); err != nil {
				return err
			}
			if a.globals.dryRun { // a plan is about what was built
				return a.withSession(c.Context(), func(ctx context.Context, s *session) error {
					return s.deploy(ctx, o, deploy.Options{Goal: deploy.GoalBuild}, nil)
				})
			}
			// The plan itself is what goes to stdout.
			r.buildOptions, r.deploy, r.json = o, d, a.globals.json
			a.globals.json = false
			return a.withSession(c.Context(), func(ctx context.Context, s *session) error { return s.plan(ctx, r) })
		},
	}
	selectFlags(c, &o.selection)
	profileFlag(c, &o.profiles)
	buildFlags(c, &o)
	passwordFlags(c, &p)
	acceptFlag(c, &accept)
	f := c.Flags()
	f.StringVarP(&r.out, "output", "o", "", "save the plan as `FILE`, for godwit deploy FILE")
	f.BoolVar(&r.copies, "copy", false, "copy the systems to the hosts first and ask them which units they would touch")
	f.BoolVar(&r.markdown, "markdown", false, "write the plan as a comment for a pull request")
	f.IntVar(&r.limit, "markdown-limit", plan.MarkdownLimit, "leave details out of --markdown beyond this many `BYTES`: GitHub takes 65536, GitLab 1000000")
	f.BoolVar(&r.detailed, "detailed-exitcode", false, "exit with 2 when a host changes")
	f.BoolVar(&d.UploadSecrets, "upload-secrets", false, "secrets are uploaded, too")
	f.BoolVar(&d.Reboot, "reboot", false, "hosts are rebooted after the activation")
	f.BoolVar(&d.NoGuard, "no-guard", false, "activate without deadman, confirmation and rollback")
	f.BoolVar(&d.SkipHealthChecks, "skip-health-checks", false, "do not run health checks")
	f.BoolVar(&d.SkipPreChecks, "skip-pre-deploy-checks", false, "do not run pre-deploy checks")
	return c
}

func riskHelp() string {
	var b strings.Builder
	for _, r := range plan.RiskNames {
		fmt.Fprintf(&b, "  %-19s %s\n", r.Name, r.Meaning)
	}
	return b.String()
}

// planRequest is what `godwit plan` was asked for.
type planRequest struct {
	buildOptions
	deploy    deploy.Options
	passwords *passwords
	accept    plan.Accept
	out       string
	copies    bool
	json      bool
	markdown  bool
	limit     int // of markdown, in bytes
	detailed  bool
}

// planOptions are the choices that belong into a plan.
func planOptions(d deploy.Options) plan.Options {
	return plan.Options{Action: string(d.Action), Reboot: d.Reboot, NoGuard: d.NoGuard, UploadSecrets: d.UploadSecrets,
		SkipHealthChecks: d.SkipHealthChecks, SkipPreChecks: d.SkipPreChecks}
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

// plan is the verb.
func (s *session) plan(ctx context.Context, r planRequest) error {
	g := s.app.globals
	l, err := g.limits()
	if err != nil {
		return err
	}
	if _, err := s.app.settings(); err != nil { // before anything that takes long
		return err
	}
	if err := s.findNix(ctx); err != nil {
		return err
	}
	if err := s.openPool(r.passwords); err != nil {
		return err
	}
	if err := s.load(ctx, loadRequest{where: r.where, selection: r.selection, profiles: r.profiles, systems: true, probe: true, call: true}); err != nil {
		return err
	}
	if err := preflightChecks(s.hosts, r.deploy); err != nil {
		return err
	}
	if r.deploy.UploadSecrets {
		if err := preflightSecrets(ctx, s.hosts); err != nil {
			return err
		}
	}
	if err := s.buildShell(ctx); err != nil {
		return err
	}
	fleetAccepts, err := plan.ParseAccept(s.source.About().Settings.AcceptRisks)
	if err != nil {
		return err
	}
	maps.Copy(r.accept, fleetAccepts)
	state := make(chan plan.Source, 1)
	go func() { defer crash.Catch(); state <- s.planSource(ctx, r.out != "", r.out) }()

	p := s.newPlan(r.deploy, plan.Source{})
	for _, b := range s.broken {
		h := plan.Host{Name: b.Host}
		plan.Fail(&h, b.Err)
		p.Hosts = append(p.Hosts, h)
	}
	links, err := s.rootLinks()
	if err != nil {
		return err
	}
	var roots *approve.Roots
	if r.out != "" {
		if roots, err = approve.NewRoots(r.out); err != nil {
			return err
		}
		links = roots.Link
	}
	var outcomes []deploy.Outcome
	if len(s.hosts) > 0 {
		s.callAhead(ctx, s.hosts)
		jobs, failed, err := s.jobs(ctx, s.hosts, links)
		if err != nil {
			return err
		}
		for _, f := range failed {
			outcomes = append(outcomes, deploy.Outcome{Host: f.host, State: deploy.Failed, Err: f.err})
		}
		d := deploy.Options{Goal: deploy.GoalBuild, Limits: l}
		if r.copies {
			d.Goal = deploy.GoalPush
		}
		// A host is done when it was looked at, not when it is built.
		quiet := event.SinkFunc(func(e event.Event) {
			if e.Kind != event.Result {
				s.ui.Emit(e)
			}
		})
		run := &deploy.Run{Options: d, Pool: s.conns, Here: s.ownStore(), Sink: quiet, Pushers: s.pushers()}
		outcomes = append(outcomes, run.Hosts(ctx, jobs)...)
	}
	p.Source = <-state
	s.lookAt(ctx, p, outcomes)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p.Seal(s.names())
	r.accept.Apply(p)
	if r.out != "" {
		if err := roots.Keep(ctx, s.tool, p); err != nil {
			return err
		}
		if err := p.Save(r.out); err != nil {
			return err
		}
	}
	s.close()
	switch {
	case r.json:
		_, err = s.app.stdout.Write(p.Public().JSON())
	case r.markdown:
		_, err = fmt.Fprint(s.app.stdout, p.Markdown(r.limit, time.Now()))
	default:
		_, err = fmt.Fprint(s.app.stdout, p.Text(plan.Layout{Width: s.ui.Width(), Verbose: g.verbose}))
	}
	if err != nil {
		return err
	}
	if r.out != "" {
		fmt.Fprintf(s.app.stderr, "\nsaved: godwit deploy %s applies this plan\n", r.out)
	}
	if len(p.With(plan.Failed))+len(p.With(plan.Unreachable))+len(p.With(plan.Blocked)) > 0 {
		return silent{ExitHosts}
	}
	if r.detailed && len(p.With(plan.Change)) > 0 {
		return silent{ExitDrift}
	}
	return nil
}

func (s *session) newPlan(d deploy.Options, src plan.Source) *plan.Plan {
	p := &plan.Plan{Created: time.Now().UTC().Truncate(time.Second), Godwit: version(), File: s.at.At.Key(), Source: src, Options: planOptions(d)}
	if s.result != nil {
		p.NixConfig = s.result.Fleet.NixConfig
	}
	if s.source != nil {
		p.Rolling = plan.RollingOf(s.source.About().Settings)
	}
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

// lookAt makes the parts of a plan of hosts that were built.
func (s *session) lookAt(ctx context.Context, p *plan.Plan, built []deploy.Outcome) {
	by := map[string]deploy.Outcome{}
	for _, o := range built {
		by[o.Host] = o
	}
	var mu sync.Mutex
	deploy.Each(ctx, s.hosts, 0, s.ui, func(ctx context.Context, h fleet.Host) deploy.Outcome {
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

// lookAtHost makes the part of one host that answers.
func (s *session) lookAtHost(ctx context.Context, p *plan.Plan, h fleet.Host, system string, src store.Endpoint, brief bool) (plan.Host, error) {
	conn := s.conns.Conn(h)
	if err := conn.Connect(ctx); err != nil {
		return plan.Host{}, err
	}
	t := plan.Target{Host: h, Conn: conn, Store: deploy.HostStore(conn), System: system, Source: src}
	if s.source != nil {
		t.Fleet = s.source.About().Names
	}
	t.Twin = s.twins(ctx, s.hosts)[h.Name]
	if brief {
		return plan.Gather(ctx, p.Options, p.Source, t, true)
	}
	sc := event.On(s.ui, h.Name, event.StepPlan)
	sc.Start("what would change")
	part, err := plan.Gather(ctx, p.Options, p.Source, t, false)
	sc.End("", err)
	return part, err
}

// gate puts the plan before the changes of a run, unless it changes nothing. The function
// tells afterwards why no host was changed, if the plan was turned down.
func (s *session) gate(ctx context.Context, run *deploy.Run, jobs []deploy.Job, outcomes []deploy.Outcome) (func() *fault.Error, error) {
	if run.Goal != deploy.GoalActivate || run.DryRun || run.Action == activate.DryActivate || len(jobs) == 0 {
		return func() *fault.Error { return nil }, nil
	}
	settings, err := s.app.settings()
	if err != nil {
		return nil, err
	}
	accept, err := plan.ParseAccept(slices.Concat(settings.Deploy.AcceptRisk, s.approval.accept))
	if err != nil {
		return nil, err
	}
	var state plan.Source
	if s.saved != nil {
		state = s.saved.Source
	} else {
		state = s.planSource(ctx, false)
	}
	p := s.newPlan(run.Options, state)
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
		Plan: p, Saved: s.saved, File: s.savedFile, Accept: accept, Yes: s.approval.yes || settings.Deploy.Yes,
		Watched: s.watched(), Verbose: s.app.globals.verbose, Hosts: s.hosts, Jobs: len(jobs), Meta: run.Meta,
		Look: func(ctx context.Context, h fleet.Host, system string, from store.Endpoint, brief bool) (plan.Host, error) {
			return s.lookAtHost(ctx, p, h, system, from, brief)
		},
		Remember: s.rememberLast,
		Show: func(verbose bool) {
			s.println("\n" + strings.TrimSuffix(p.Text(plan.Layout{Width: s.ui.Width(), Verbose: verbose}), "\n") + "\n")
		},
		Ask: func(question string) (string, error) {
			answer, err := s.ui.Prompt(question)
			if errors.Is(err, ui.ErrNoTerminal) {
				err = approve.ErrNobody
			}
			return answer, err
		},
		Sink: s.ui,
	})
	g.Before(ctx, run)
	return g.Stopped, nil
}

// noPlanFlags refuses what a saved plan has settled already.
func noPlanFlags(c *cobra.Command, rest []string) error {
	if len(rest) > 0 {
		return fault.New("a saved plan says itself what to do: leave out %q", rest[0])
	}
	for _, name := range []string{"on", "tagged", "every", "skip", "limit", "order-by-tags", "upload-secrets", "reboot", "no-guard", "skip-health-checks", "skip-pre-deploy-checks", "profile"} {
		if c.Flags().Changed(name) {
			return fault.New("a saved plan says itself what to do: --%s belongs to godwit plan", name)
		}
	}
	return nil
}

// watched tells whether a person watches this run: its messages go to a
// terminal, and no CI system says that it owns that.
func (s *session) watched() bool {
	return !s.quiet() && s.app.getenv("CI") == "" && ui.IsTerminal(s.app.stderr)
}

// stop ends a run whose plan was turned down.
func (s *session) stop(ctx context.Context, why *fault.Error, outcomes []deploy.Outcome) error {
	s.close()
	if errors.Is(context.Cause(ctx), errInterrupted) {
		return silent{ExitInterrupted}
	}
	if !s.quiet() {
		for _, o := range outcomes {
			if o.Err != nil && o.State != deploy.NotStarted {
				fmt.Fprintf(s.app.stderr, "\n%s", fault.Render(o.Err))
			}
		}
		fmt.Fprintln(s.app.stderr)
	}
	return why
}

// savedPlan is the file of a saved plan.
type savedPlan string

// open takes the hosts from the plan, and what to do with them. Nothing is evaluated.
func (f savedPlan) open(ctx context.Context, s *session, d *deploy.Options) error {
	file := string(f)
	saved, err := plan.Load(file)
	if err != nil {
		return err
	}
	action, err := parseAction(saved.Options.Action)
	if err != nil {
		return err
	}
	o := saved.Options
	d.Action = action
	d.Reboot, d.NoGuard, d.UploadSecrets, d.SkipHealthChecks, d.SkipPreChecks = o.Reboot, o.NoGuard, o.UploadSecrets, o.SkipHealthChecks, o.SkipPreChecks
	if err := s.findNix(ctx); err != nil {
		return err
	}
	if s.at, err = all.At(ctx, s.tool, saved.File, s.sourceOptions()); err != nil {
		return err
	}
	anew := func(e *fault.Error) *fault.Error {
		return e.Hint("godwit plan %s %s -o %s makes the plan anew", saved.File, o.Action, file)
	}
	if how := saved.Source.Moved(s.planSource(ctx, true, file)); how != "" {
		return anew(fault.New("the configuration has moved since the plan was made: %s", how).Exit(ExitRisk).
			Detail("configuration  " + saved.File))
	}
	about := source.About{At: s.at.At, NixConfig: saved.NixConfig}
	if saved.Rolling != nil {
		about.Settings = saved.Rolling.Settings()
	} else { // of a version that did not hold it
		if err := s.openSource(ctx, source.Options{}); err != nil {
			return err
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
		return anew(fault.New("the plan holds no host that can be deployed to"))
	}
	valid, err := s.tool.Valid(ctx, drvs)
	if err != nil {
		return err
	}
	for _, drv := range drvs {
		if !valid[drv] {
			return anew(fault.New("the derivation of the plan is gone: %s", drv).Exit(ExitRisk).
				Detail("it was collected as garbage since the plan was made"))
		}
	}
	if saved.Version == 1 { // no sum over the derivations
		if err := sameSystems(saved, file); err != nil {
			return err
		}
	}
	header := fmt.Sprintf("Applying the plan of %s: %s\n", saved.Created.Local().Format("2006-01-02 15:04"), strings.Join(names, ", "))
	if len(without) > 0 {
		header += "Not part of it, because they were not ready then: " + strings.Join(without, ", ") + "\n"
	}
	s.saved, s.savedFile = saved, file
	s.source = known.New(about, hosts, header)
	return nil
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
