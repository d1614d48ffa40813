package cli

import (
	"context"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/plan"
)

// buildOptions are what build, push and deploy have in common.
type buildOptions struct {
	action.Configured
	buildArgs []string
}

// settle puts into an action's environment what every build takes.
func (o *buildOptions) settle(e *action.Env) {
	if e.BuildArgs = o.buildArgs; len(e.BuildArgs) > 0 {
		e.View.Tell("warning: --build-arg is deprecated, as in morph: use --option NAME VALUE")
	}
}

func newBuild(a *app) *cobra.Command {
	var o buildOptions
	var target, targetFile string
	c := &cobra.Command{
		Use:   "build [DEPLOYMENT]",
		Short: "build the systems of hosts",
		Long: `build evaluates the configuration and builds the systems of the selected hosts, each on
a machine that can build it. No host is changed. It prints the path of a directory that
has a link per host.` + "\n" + whereHelp + exitStatusHelp,
		Example: `  godwit build network.nix
  godwit build network.nix --on 'web*' --keep-result
  godwit build network.nix --target 'node: node.config.system.build.sdImage'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) (err error) {
			if err := exclusive(c, "target", "target-file"); err != nil {
				return err
			}
			if o.Where, err = a.whereArgs(c, args); err != nil {
				return err
			}
			return a.overHosts(c.Context(), nil, func(ctx context.Context, e *action.Env) (*action.Summary, error) {
				o.settle(e)
				return action.Build(ctx, e, action.BuildRequest{Configured: o.Configured, Target: target, TargetFile: targetFile})
			})
		},
	}
	selectFlags(c, &o.Selection)
	profileFlag(c, &o.Profiles)
	buildFlags(c, &o)
	habitFlags(c)
	c.Flags().StringVar(&target, "target", "", "build what this Nix `LAMBDA` returns for each node, instead of its system")
	c.Flags().StringVar(&targetFile, "target-file", "", "build what the functions in this `FILE` (a Nix attribute set) return for each node")
	return c
}

func buildFlags(c *cobra.Command, o *buildOptions) {
	c.Flags().StringArrayVar(&o.buildArgs, "build-arg", nil, "an additional `ARG` for Nix's build")
	// Not MarkDeprecated: its line would go to stdout, where scripts read the result.
	_ = c.Flags().MarkHidden("build-arg")
}

func newPush(a *app) *cobra.Command {
	var o buildOptions
	var p passwords
	var ready readyFlags
	var copying action.Copying
	c := &cobra.Command{
		Use:   "push [DEPLOYMENT] | push --store-path PATH... --to HOST...",
		Short: "build systems and copy them to their hosts",
		Long: `push builds the systems of the selected hosts and copies them to the stores of the
hosts. Nothing is activated.

With --store-path it copies a store path that exists already, and needs no deployment
file.` + "\n" + whereHelp + exitStatusHelp,
		Example: `  godwit push network.nix --on 'web*'
  godwit push --store-path ./result --to root@web1 --to root@web2
  godwit push --store-path "$(cat path)" --from ssh-ng://ci@builder --to '[2001:db8::1]:2222'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) (err error) {
			if err := a.settleCopy(c, &copying); err != nil {
				return err
			}
			var r action.PushRequest
			if ready.given(c) {
				_, err = ready.settle(c, args, false)
				r.Hosts = ready.StorePaths
			} else {
				o.Where, err = a.whereArgs(c, args)
				r.Hosts = o.Configured
			}
			if err != nil {
				return err
			}
			return a.overHosts(c.Context(), &p, func(ctx context.Context, e *action.Env) (*action.Summary, error) {
				o.settle(e)
				e.Copy = copying
				return action.Push(ctx, e, r)
			})
		},
	}
	selectFlags(c, &o.Selection)
	profileFlag(c, &o.Profiles)
	buildFlags(c, &o)
	passwordFlags(c, &p)
	ready.flags(c)
	copyFlags(c, &copying)
	habitFlags(c)
	return c
}

func newDeploy(a *app) *cobra.Command {
	var o buildOptions
	var r action.DeployRequest
	var p passwords
	var timeout, activateTimeout, confirmTimeout, rebootTimeout, waitTimeout int
	var mayFail []string
	var rolling scheduleFlags
	var ready readyFlags
	var copying action.Copying
	var others *habits
	var message string
	c := &cobra.Command{
		Use:   "deploy [DEPLOYMENT] [switch|boot|test|dry-activate] | deploy PLAN | deploy --store-path PATH --to HOST... {switch|...}",
		Short: "build, copy, activate and check",
		Long: `deploy builds the systems of the selected hosts, copies them, activates them and runs
their health checks. A host that does not come back healthy goes back to the system that
it ran before, even if this machine is switched off by then.

On a terminal, deploy shows what would change and asks first. Without a terminal it goes
on, unless the plan has a risk that was not accepted (godwit plan --help lists the
risks): then it changes no host. PLAN is a file that godwit plan -o saved; deploy applies
exactly that plan. With --store-path it deploys a system that was built elsewhere. That
needs no deployment file, so there are no secrets and no checks.

--message says why. The history of this machine and of each host keeps it.

  switch        run the system now and boot it from now on
  test          run the system until the next reboot
  boot          boot the system from the next reboot on
  dry-activate  show which units would change; changes nothing

The default is switch.` + "\n" + whereHelp + exitStatusHelp,
		Example: `  godwit deploy network.nix switch
  godwit deploy network.nix switch --on 'web*' --upload-secrets
  godwit deploy network.nix boot --reboot --parallel activate=1
  godwit deploy .#web1 .#web2
  godwit deploy --target web1=10.0.0.7,web1.example.org --ask-keep
  godwit plan network.nix -o today.plan && godwit deploy today.plan
  godwit deploy network.nix --message 'new certificates, OPS-412'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			meaning, err := others.settle(c, args)
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
					r.Action, err = action.ParseAction(word)
				}
				r.Hosts = ready.StorePaths
			case saved:
				r.Hosts = action.SavedPlan(args[0])
				err = noPlanFlags(c, args[1:])
			default:
				r.SecretsUnsaid = !c.Flags().Changed("upload-secrets")
				o.Where, r.Action, err = a.actionArgs(c, args)
				r.Hosts = o.Configured
			}
			if err != nil {
				return err
			}
			if timeout < 0 || activateTimeout < 0 || confirmTimeout < 0 || rebootTimeout < 0 || waitTimeout < 0 {
				return errNegative
			}
			if r.AcceptFailed, err = acceptFailed(mayFail); err != nil {
				return err
			}
			if message, err = history.CheckMessage(message); err != nil {
				return err
			}
			r.Rolling = rolling.said(c)
			if _, _, err = r.Rolling.Settle(fleet.Settings{}); err != nil {
				return err
			}
			r.UnreachableTimeout = seconds(waitTimeout)
			r.CheckTimeout, r.ActivateTimeout, r.ConfirmTimeout, r.RebootTimeout = seconds(timeout), seconds(activateTimeout), seconds(confirmTimeout), seconds(rebootTimeout)
			return a.overHosts(c.Context(), &p, func(ctx context.Context, e *action.Env) (*action.Summary, error) {
				o.settle(e)
				e.Copy, e.Above, e.Message = copying, meaning.above, message
				return action.Deploy(ctx, e, r)
			})
		},
	}
	selectFlags(c, &o.Selection)
	profileFlag(c, &o.Profiles)
	buildFlags(c, &o)
	passwordFlags(c, &p)
	acceptFlag(c, &r.Accept)
	c.Flags().BoolVarP(&r.Yes, "yes", "y", false, "do not ask before hosts are changed; risks still have to be accepted by name")
	ready.flags(c)
	copyFlags(c, &copying)
	messageFlag(c, &message)
	c.Flags().StringVar(&a.trace, "trace", "", "write to `FILE` what each host did, and when, for a browser (chrome://tracing, ui.perfetto.dev)")
	overrideLockFlag(c, &r.OverrideLock)
	f := c.Flags()
	f.IntVar(&timeout, "timeout", 0, "`SECONDS` that all checks of a host may take (0: 120)")
	f.IntVar(&activateTimeout, "activate-timeout", 0, "`SECONDS` that an activation may take (0: 300)")
	f.IntVar(&confirmTimeout, "confirm-timeout", 0, "`SECONDS` between activation and confirmation, checks included (0: the time limit of the checks and 45, but at most 45 without contact to godwit)")
	f.IntVar(&rebootTimeout, "reboot-timeout", 0, "`SECONDS` to wait for a host that reboots (0: 600)")
	f.BoolVar(&r.UploadSecrets, "upload-secrets", false, "upload secrets, too (a hive's keys are uploaded unless it is false)")
	f.BoolVar(&r.SkipHealthChecks, "skip-health-checks", false, "do not run health checks")
	f.BoolVar(&r.SkipPreChecks, "skip-pre-deploy-checks", false, "do not run pre-deploy checks")
	f.BoolVar(&r.Reboot, "reboot", false, "boot the new system once, and keep it when the host is back and healthy")
	f.StringVar(&rolling.batch, "batch", "", "change hosts in batches: `SIZES` such as 1,10%,rest; a batch waits for the one before to be healthy")
	f.StringVar(&rolling.budget, "max-failures", "0", "`N` or N% hosts that may fail before the others are left unchanged (with --batch or --on-failure)")
	f.StringVar(&rolling.onFailure, "on-failure", "", "what to do when more hosts failed, a `WORD`: stop, rollback (also take back what this run changed) or continue (default: stop with --batch, else continue)")
	f.BoolVar(&rolling.together, "together", false, "confirm the hosts of a batch only when all of them are healthy")
	f.StringVar(&rolling.unreachable, "unreachable", "fail", "what to do with hosts that do not answer, a `WORD`: fail, skip or wait")
	f.IntVar(&waitTimeout, "unreachable-timeout", 0, "`SECONDS` that --unreachable=wait waits for a host (0: 600)")
	f.BoolVar(&r.NoGuard, "no-guard", false, "activate without a guard, a confirmation and a rollback, as morph does")
	f.BoolVar(&r.AskKeep, "ask-keep", false, "ask about each host whether to keep what runs there now; it goes back if the answer is no, or if there is none (within --confirm-timeout, or 5 minutes)")
	acceptFailedFlag(c, &mayFail)
	others = habitFlags(c)
	return c
}

// messageFlag says why a run is started.
func messageFlag(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "message", "", "the reason, one line of `TEXT`, for the history here and on each host")
}

// scheduleFlags are the flags of rolling deploys.
type scheduleFlags struct {
	batch, budget, onFailure, unreachable string
	together                              bool
}

// said are those that were given.
func (f *scheduleFlags) said(c *cobra.Command) (r deploy.Rolling) {
	for _, x := range []struct {
		flag string
		from *string
		to   **string
	}{
		{"batch", &f.batch, &r.Batch}, {"max-failures", &f.budget, &r.MaxFailures},
		{"on-failure", &f.onFailure, &r.OnFailure}, {"unreachable", &f.unreachable, &r.Unreachable},
	} {
		if c.Flags().Changed(x.flag) {
			*x.to = x.from
		}
	}
	if c.Flags().Changed("together") {
		r.Together = &f.together
	}
	return r
}

// actionArgs are the arguments of deploy and plan: where the configuration is, and what
// to do, which is to switch when no word says it.
func (a *app) actionArgs(c *cobra.Command, args []string) (action.Where, activate.Action, error) {
	what := activate.Switch
	words, rest := places(args)
	if len(words) == 0 && len(rest) == 2 { // FILE ACTION, of a file that is not there
		words, rest = rest[:1], rest[1:]
	}
	if len(rest) == 1 {
		parsed, err := action.ParseAction(rest[0])
		if err != nil && len(words) == 0 { // most likely a file, or a saved plan
			err = notThere(rest[0])
		}
		if err != nil {
			return action.Where{}, "", err
		}
		what, rest = parsed, nil
	}
	if len(rest) > 0 {
		words = args // whereArgs complains
	}
	f, err := a.whereArgs(c, words)
	return f, what, err
}

// notThere is what to say of a word that is neither a file nor an action.
func notThere(word string) error {
	f := fault.New("there is no file '%s'", word)
	if near := fleet.Nearest(word, action.Actions); near != "" {
		return f.Hint("did you mean %s?", near)
	}
	return f.Hint("to choose a host: --on %s", word)
}
