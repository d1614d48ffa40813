package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/activate"
	"godwit/internal/builder"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/plan"
	"godwit/internal/source"
)

// buildOptions are what build, push and deploy have in common.
type buildOptions struct {
	where      fleetArgs
	selection  fleet.Selection
	buildArgs  []string
	target     string
	targetFile string
	profiles   []string
	// known, when set, is where the hosts come from in place of a configuration: it
	// sets session.at and session.source, and what else the run is to do.
	known func(ctx context.Context, s *session, d *deploy.Options) error
	// secretsUnsaid leaves to the configuration whether secrets are uploaded.
	secretsUnsaid bool
}

func newBuild(a *app) *cobra.Command {
	var o buildOptions
	c := &cobra.Command{
		Use:   "build [DEPLOYMENT]",
		Short: "build the systems of hosts",
		Long: `build evaluates the deployment file and builds the systems of the selected hosts,
each on something that can build it. No host is touched. The path of a directory
with a link for each host goes to stdout.` + "\n" + whereHelp + exitStatusHelp,
		Example: `  godwit build network.nix
  godwit build network.nix --on 'web*' --keep-result
  godwit build network.nix --target 'node: node.config.system.build.sdImage'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) (err error) {
			if err := exclusive(c, "target", "target-file"); err != nil {
				return err
			}
			if o.where, err = a.whereArgs(c, args); err != nil {
				return err
			}
			return a.withSession(c.Context(), func(ctx context.Context, s *session) error {
				return s.deploy(ctx, o, deploy.Options{Goal: deploy.GoalBuild}, nil)
			})
		},
	}
	selectFlags(c, &o.selection)
	profileFlag(c, &o.profiles)
	buildFlags(c, &o)
	habitFlags(c)
	c.Flags().StringVar(&o.target, "target", "", "build what this Nix `LAMBDA` makes of each node, instead of its system")
	c.Flags().StringVar(&o.targetFile, "target-file", "", "build what the functions in this `FILE` (a Nix attribute set) make of each node")
	return c
}

func buildFlags(c *cobra.Command, o *buildOptions) {
	c.Flags().StringArrayVar(&o.buildArgs, "build-arg", nil, "further `ARG` for Nix's build")
	// Not MarkDeprecated: its line would go to stdout, where scripts read the result.
	_ = c.Flags().MarkHidden("build-arg")
}

func newPush(a *app) *cobra.Command {
	var o buildOptions
	var p passwords
	var ready readyFlags
	var copying copyFlags
	c := &cobra.Command{
		Use:   "push [DEPLOYMENT] | push --store-path PATH... --to HOST...",
		Short: "build systems and copy them to their hosts",
		Long: `push builds the systems of the selected hosts and copies them into the hosts'
stores. Nothing is activated.

With --store-path it copies what exists already, and needs no deployment file.` + "\n" + whereHelp + exitStatusHelp,
		Example: `  godwit push network.nix --on 'web*'
  godwit push --store-path ./result --to root@web1 --to root@web2
  godwit push --store-path "$(cat path)" --from ssh-ng://ci@builder --to '[2001:db8::1]:2222'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) (err error) {
			if err := a.settleCopy(c, &copying); err != nil {
				return err
			}
			if ready.given(c) {
				if _, err := ready.settle(c, args, false); err != nil {
					return err
				}
				return a.withSession(c.Context(), func(ctx context.Context, s *session) error {
					s.copying = copying
					return s.deploy(ctx, buildOptions{selection: everyHost, known: ready.open}, deploy.Options{Goal: deploy.GoalPush}, &p)
				})
			}
			if o.where, err = a.whereArgs(c, args); err != nil {
				return err
			}
			return a.withSession(c.Context(), func(ctx context.Context, s *session) error {
				s.copying = copying
				return s.deploy(ctx, o, deploy.Options{Goal: deploy.GoalPush}, &p)
			})
		},
	}
	selectFlags(c, &o.selection)
	profileFlag(c, &o.profiles)
	buildFlags(c, &o)
	passwordFlags(c, &p)
	ready.flags(c)
	copying.flags(c)
	habitFlags(c)
	return c
}

func newDeploy(a *app) *cobra.Command {
	var o buildOptions
	var d deploy.Options
	var p passwords
	var timeout, activateTimeout, confirmTimeout, rebootTimeout, waitTimeout int
	var mayFail []string
	var rolling scheduleFlags
	var approval planFlags
	var ready readyFlags
	var copying copyFlags
	var habits deployRsFlags
	var message string
	c := &cobra.Command{
		Use:   "deploy [DEPLOYMENT] [switch|boot|test|dry-activate] | deploy PLAN | deploy --store-path PATH --to HOST... {switch|...}",
		Short: "build, copy, activate and check",
		Long: `deploy builds the systems of the selected hosts, copies them, activates them and
runs their health checks. A host that does not come back healthy goes back to
the system that it ran before, even when this machine is gone.

On a terminal it shows what would change and asks first. Without one it goes on,
unless the plan holds a risk that was not accepted (godwit plan --help names
them): then no host is changed. PLAN is a file that godwit plan -o saved; exactly
that is applied. With --store-path a system that was built elsewhere is deployed,
without a deployment file, and so without its secrets and checks.

--message says why: it stays in the history of this machine and of each host.

  switch        run the system now and boot it from now on
  test          run the system until the next reboot
  boot          boot the system from the next reboot on
  dry-activate  show which units would change; changes nothing

Without a word it is switch.` + "\n" + whereHelp + exitStatusHelp,
		Example: `  godwit deploy network.nix switch
  godwit deploy network.nix switch --on 'web*' --upload-secrets
  godwit deploy network.nix boot --reboot --parallel activate=1
  godwit deploy .#web1 .#web2
  godwit plan network.nix -o today.plan && godwit deploy today.plan
  godwit deploy network.nix --message 'new certificates, OPS-412'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			meaning, err := habits.settle(c, args)
			if err == nil {
				args, err = meaning.args, a.settleCopy(c, &copying)
			}
			if err != nil {
				return err
			}
			saved := !ready.given(c) && len(args) > 0 && plan.IsPlan(args[0])
			switch {
			case ready.given(c):
				word := ""
				if word, err = ready.settle(c, args, true); err == nil {
					d.Action, err = parseAction(word)
				}
			case saved:
				err = noPlanFlags(c, args[1:])
			default:
				o.where, d.Action, err = a.actionArgs(c, args)
			}
			if err != nil {
				return err
			}
			d.Goal = deploy.GoalActivate
			if timeout < 0 || activateTimeout < 0 || confirmTimeout < 0 || rebootTimeout < 0 || waitTimeout < 0 {
				return errNegative
			}
			if d.AcceptFailed, err = acceptFailed(mayFail); err != nil {
				return err
			}
			if message, err = history.CheckMessage(message); err != nil {
				return err
			}
			rolling.given = c.Flags().Changed
			if d.Schedule, err = rolling.schedule(); err != nil {
				return err
			}
			if d.Unreachable, err = deploy.ParseUnreachable(rolling.unreachable); err != nil {
				return err
			}
			d.UnreachableTimeout = time.Duration(waitTimeout) * time.Second
			d.CheckTimeout = time.Duration(timeout) * time.Second
			d.ActivateTimeout = time.Duration(activateTimeout) * time.Second
			d.ConfirmTimeout = time.Duration(confirmTimeout) * time.Second
			d.RebootTimeout = time.Duration(rebootTimeout) * time.Second
			return a.withSession(c.Context(), func(ctx context.Context, s *session) error {
				s.message = message
				s.approval, s.copying, s.rolling, s.above = approval, copying, rolling, meaning.above
				switch {
				case ready.given(c):
					o = buildOptions{selection: everyHost, known: ready.open}
				case saved:
					o.selection, o.known = everyHost, savedPlan(args[0]).open
				}
				o.secretsUnsaid = o.known == nil && !c.Flags().Changed("upload-secrets")
				return s.deploy(ctx, o, d, &p)
			})
		},
	}
	selectFlags(c, &o.selection)
	profileFlag(c, &o.profiles)
	buildFlags(c, &o)
	passwordFlags(c, &p)
	approval.flags(c)
	ready.flags(c)
	copying.flags(c)
	habitFlags(c)
	messageFlag(c, &message)
	f := c.Flags()
	f.IntVar(&timeout, "timeout", 0, "`SECONDS` that all checks of a host may take (0: 120)")
	f.IntVar(&activateTimeout, "activate-timeout", 0, "`SECONDS` that an activation may take (0: 300)")
	f.IntVar(&confirmTimeout, "confirm-timeout", 0, "`SECONDS` between activation and confirmation, checks included (0: what the checks may take and 45, and no 45 in a row without a word from godwit)")
	f.IntVar(&rebootTimeout, "reboot-timeout", 0, "`SECONDS` to wait for a host that reboots (0: 600)")
	f.BoolVar(&d.UploadSecrets, "upload-secrets", false, "upload secrets, too (a hive's keys are uploaded unless it is false)")
	f.BoolVar(&d.SkipHealthChecks, "skip-health-checks", false, "do not run health checks")
	f.BoolVar(&d.SkipPreChecks, "skip-pre-deploy-checks", false, "do not run pre-deploy checks")
	f.BoolVar(&d.Reboot, "reboot", false, "boot the new system once, and keep it when the host is back and healthy")
	f.StringVar(&rolling.batch, "batch", "", "change hosts in batches: `SIZES` such as 1,10%,rest; a batch waits for the one before to be healthy")
	f.StringVar(&rolling.budget, "max-failures", "0", "`N` or N% hosts that may fail before the rest is left alone (with --batch or --on-failure)")
	f.StringVar(&rolling.onFailure, "on-failure", "", "when more failed: stop, rollback (also take back what this run changed) or continue (default: stop with --batch, else continue)")
	f.BoolVar(&rolling.together, "together", false, "confirm the hosts of a batch only when all of them are healthy")
	f.StringVar(&rolling.unreachable, "unreachable", "fail", "hosts that do not answer: fail, skip or wait")
	f.IntVar(&waitTimeout, "unreachable-timeout", 0, "`SECONDS` that --unreachable=wait waits for a host (0: 600)")
	f.BoolVar(&d.NoGuard, "no-guard", false, "activate without deadman, confirmation and rollback, as morph does")
	acceptFailedFlag(c, &mayFail)
	habits.flags(c)
	return c
}

var actions = []string{string(activate.DryActivate), string(activate.Test), string(activate.Switch), string(activate.Boot)}

func parseAction(word string) (activate.Action, error) {
	for _, w := range actions {
		if w == word {
			return activate.Action(w), nil
		}
	}
	f := fault.New("%q is not a switch action: there is dry-activate, test, switch and boot", word)
	if near := fleet.Nearest(word, actions); near != "" {
		f.Hint("did you mean %s?", near)
	}
	return "", f
}

// actionArgs are the arguments of deploy and plan: where the configuration is, and what
// to do, which is to switch when no word says it.
func (a *app) actionArgs(c *cobra.Command, args []string) (fleetArgs, activate.Action, error) {
	action := activate.Switch
	words, rest := places(args)
	if len(words) == 0 && len(rest) == 2 { // FILE ACTION, of a file that is not there
		words, rest = rest[:1], rest[1:]
	}
	if len(rest) == 1 {
		parsed, err := parseAction(rest[0])
		if err != nil && len(words) == 0 { // most likely a file, or a saved plan
			err = notThere(rest[0])
		}
		if err != nil {
			return fleetArgs{}, "", err
		}
		action, rest = parsed, nil
	}
	if len(rest) > 0 {
		words = args // whereArgs complains
	}
	f, err := a.whereArgs(c, words)
	return f, action, err
}

// notThere is what to say of a word that is neither a file nor an action.
func notThere(word string) error {
	f := fault.New("there is no file `%s'", word)
	if near := fleet.Nearest(word, actions); near != "" {
		return f.Hint("did you mean %s?", near)
	}
	return f.Hint("to choose a host: --on %s", word)
}

// deploy is the run behind build, push and deploy.
func (s *session) deploy(ctx context.Context, o buildOptions, d deploy.Options, p *passwords) error {
	g := s.app.globals
	d.DryRun = g.dryRun
	var err error
	if d.Limits, err = g.limits(); err != nil {
		return err
	}
	if _, err := s.app.settings(); err != nil { // before anything that takes long
		return err
	}
	if s.buildArgs = o.buildArgs; len(s.buildArgs) > 0 {
		s.println("warning: --build-arg is deprecated, as in morph: use --option NAME VALUE")
	}
	if o.known == nil { // what else there is asks for Nix when it needs it
		if err := s.findNix(ctx); err != nil {
			return err
		}
	}
	if p != nil {
		if err := s.openPool(p); err != nil {
			return err
		}
	}
	if o.known != nil {
		if err := o.known(ctx, s, &d); err != nil {
			return err
		}
	}
	targets, err := source.TargetsIn(o.targetFile)
	if err != nil {
		return err
	}
	if targets == "" {
		targets = source.TargetOf(o.target)
	}
	err = s.load(ctx, loadRequest{
		where: o.where, selection: o.selection, systems: true, header: true, probe: true,
		call: d.Goal > deploy.GoalBuild && !d.DryRun, change: d.Goal > deploy.GoalBuild,
		targets: targets, profiles: o.profiles,
	})
	if err != nil {
		return err
	}
	if o.secretsUnsaid {
		d.UploadSecrets = s.source.About().UploadSecrets
	}
	if err := s.roll(&d); err != nil {
		return err
	}
	if d.UploadSecrets {
		if err := preflightSecrets(ctx, s.hosts); err != nil {
			return err
		}
	}
	if targets != "" {
		return s.buildTargets(ctx, d)
	}
	if err := s.buildShell(ctx); err != nil {
		return err
	}
	return s.runJobs(ctx, d, s.hosts, nil)
}

// buildShell puts builds into the configuration's own shell, when that was allowed.
func (s *session) buildShell(ctx context.Context) (err error) {
	if sh, ok := s.source.(source.Sheller); ok && s.source.About().Shell && s.app.globals.allowBuildShell {
		s.tool, err = sh.InShell(ctx, s.tool)
	}
	return err
}

// jobs chooses a builder for each host that something is to be built for. What exists
// already comes from the store that has it. Hosts that nothing can build for fail.
func (s *session) jobs(ctx context.Context, hosts []fleet.Host, link func(host string) string) (jobs []deploy.Job, failed []hostFailure, err error) {
	build := slices.DeleteFunc(slices.Clone(hosts), func(h fleet.Host) bool { return len(h.Drvs()) == 0 })
	var chosen *builder.Plan
	if len(build) > 0 {
		if chosen, err = s.chooseBuilders(ctx, build); err != nil {
			return nil, nil, err
		}
	}
	for _, h := range hosts {
		if len(h.Drvs()) == 0 {
			j := deploy.Job{Host: h, Source: s.ready}
			for _, p := range h.Profiles {
				j.Ready = append(j.Ready, p.Path)
			}
			jobs = append(jobs, j)
			continue
		}
		if err := chosen.Failed[h.Name]; err != nil {
			failed = append(failed, hostFailure{h.Name, err})
			continue
		}
		a := chosen.Of(h.Name)
		jobs = append(jobs, deploy.Job{Host: h, Builder: a.Builder, Needs: a.Needs, Prepare: a.Prepare, Link: link(h.Name)})
	}
	return jobs, failed, nil
}

// hostFailure is a host that nothing can build for.
type hostFailure struct {
	host string
	err  error
}

// runJobs takes all hosts through their stages. resultLinks turns what was built into the
// links of the result directory; nil: a link for each host.
func (s *session) runJobs(ctx context.Context, d deploy.Options, hosts []fleet.Host, resultLinks func(map[string]string) map[string]string) error {
	outcomes := s.brokenOutcomes()
	if len(hosts) == 0 {
		return s.finish(ctx, outcomes)
	}
	if err := s.preflight(ctx, d, hosts); err != nil {
		return err
	}
	if d.Goal > deploy.GoalBuild && !d.DryRun {
		s.callAhead(ctx, hosts)
	}
	link, err := s.rootLinks()
	if err != nil {
		return err
	}
	jobs, failed, err := s.jobs(ctx, hosts, link)
	if err != nil {
		return err
	}
	for _, f := range failed {
		outcomes = append(outcomes, deploy.Fail(s.ui, f.host, f.err))
	}
	onBuilt := s.showResult(ctx, resultLinks)
	if s.ready.Name != "" { // nothing is built
		onBuilt = nil
	}
	return s.runStages(ctx, d, hosts, jobs, outcomes, onBuilt)
}

// runStages takes jobs through their stages, behind the plan and with a record.
func (s *session) runStages(ctx context.Context, d deploy.Options, hosts []fleet.Host, jobs []deploy.Job, outcomes []deploy.Outcome, onBuilt func(map[string]string)) error {
	d.Meta = s.meta()
	rec := s.recordDeploy(ctx, d, hosts)
	run := &deploy.Run{Options: d, Pool: s.conns, Here: s.ownStore(), Sink: s.ui, Pushers: s.pushers(), OnBuilt: onBuilt}
	run.Settled = func(o deploy.Outcome) { remembered(rec, o) }
	stopped, err := s.gate(ctx, run, jobs, outcomes)
	if err != nil {
		rec.Discard()
		return err
	}
	outcomes = append(outcomes, run.Hosts(ctx, jobs)...)
	for _, o := range outcomes {
		remembered(rec, o)
	}
	rec.Plan(d.Meta["plan"])
	if why := stopped(); why != nil {
		rec.Discard()
		return s.stop(ctx, why, outcomes)
	}
	return s.finish(ctx, outcomes)
}

func or(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// rootLinks gives each host the place of its GC root on this machine: beside
// the deployment file with --keep-result, else none that outlives the run.
func (s *session) rootLinks() (func(host string) string, error) {
	none := func(string) string { return "" }
	if s.app.globals.dryRun || !s.app.globals.keepResult {
		return none, nil
	}
	path := s.at.At.Path()
	if path == "" { // a flake that is not on this machine
		var err error
		if path, err = filepath.Abs("flake.nix"); err != nil {
			return nil, err
		}
	}
	dir := filepath.Join(filepath.Dir(path), ".gcroots", filepath.Base(path))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.println(fmt.Sprintf("Unable to create GC root, skipping: %v", err))
		return none, nil
	}
	return func(host string) string { return filepath.Join(dir, strings.ReplaceAll(host, "/", "-")) }, nil
}

// showResult prints morph's result path when everything that could be built is built.
func (s *session) showResult(ctx context.Context, links func(map[string]string) map[string]string) func(map[string]string) {
	if s.app.globals.dryRun || s.quiet() { // nobody would be told
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
			s.println("warning: cannot make the result directory: " + err.Error())
			return
		}
		s.println("nix result path: ")
		s.output(path)
	}
}

// meta is what the record on the host says of this run.
func (s *session) meta() map[string]string {
	m := map[string]string{"godwit": version()}
	if who := s.app.getenv("USER"); who != "" {
		m["user"] = who
	}
	if host, err := os.Hostname(); err == nil {
		m["deployer"] = host
	}
	if s.message != "" {
		m["message"] = s.message
	}
	return m
}
