package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/activate"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/plan"
)

func acceptFlag(c *cobra.Command, accept *[]string) {
	names := make([]string, len(plan.RiskNames))
	for i, r := range plan.RiskNames {
		names[i] = r.Name
	}
	c.Flags().StringSliceVar(accept, "accept-risk", nil, "accept the named risks (`NAME,...`, may be repeated): "+strings.Join(names, ", "))
}

// acceptFailedFlag says what may fail without taking a host back.
func acceptFailedFlag(c *cobra.Command, accept *[]string) {
	c.Flags().StringSliceVar(accept, "accept-failed", nil, "units and parts of a switch that may fail, by the `NAME` in the error of the deploy that went back, or by a pattern (may be repeated): nginx, 'user activation for alice'")
}

// acceptFailed are the patterns of --accept-failed, when they are such.
func acceptFailed(given []string) (fleet.UnitPatterns, error) {
	p := fleet.UnitPatterns(given)
	if err := p.Check(); err != nil {
		return nil, fault.New("--accept-failed: %w", err).Hint("take the name after 'newly failed' in the error of the deploy that went back")
	}
	return p, nil
}

func newPlan(a *app) *cobra.Command {
	var o buildOptions
	var p passwords
	var r action.PlanRequest
	var accept []string
	var show planView
	c := &cobra.Command{
		Use:   "plan [DEPLOYMENT] [switch|boot|test]",
		Short: "show what a deploy would change",
		Long: `plan builds the systems of the selected hosts and shows what a deploy would change:
packages, units, kernel, what has to be copied, and the risks. It reads from hosts,
changes nothing there and copies nothing to them. So it finds the units that would
restart by comparing the unit files of both systems. With --copy it copies the systems
first, and asks each new system which units it would restart.

-o saves the plan. godwit deploy FILE applies exactly that plan, without evaluating
anything again, and refuses if a host or the configuration has changed since.

The plan goes to stdout; --verbose shows all of it, --json is for scripts. --markdown
writes it as a comment for a pull request: the risks, a table of hosts, and folded
details. Names in it cannot become markup. --html FILE writes a page with the whole plan;
the page loads nothing and has no script. --dry-run only says what would be built, and
where.

With --detailed-exitcode the exit status is 2 if a host changes, and 0 if there is
nothing to do. It is still 3 if a host is not ready.

Risks, each accepted with --accept-risk=NAME:
` + riskHelp() + whereHelp + exitStatusHelp,
		Example: `  godwit plan network.nix
  godwit plan network.nix --on 'web*' --copy --verbose
  godwit plan network.nix switch -o today.plan && godwit deploy today.plan
  godwit plan .# --markdown --detailed-exitcode >comment.md`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) (err error) {
			if err := errors.Join(exclusive(c, "json", "markdown"), exclusive(c, "dry-run", "detailed-exitcode"), exclusive(c, "dry-run", "markdown"), exclusive(c, "dry-run", "html")); err != nil {
				return err
			}
			if c.Flags().Changed("markdown-limit") && !show.markdown {
				return fault.New("--markdown-limit belongs to --markdown")
			}
			if show.limit < 0 {
				return fault.New("--markdown-limit cannot be negative")
			}
			if len(args) > 0 && plan.IsPlan(args[0]) {
				return fault.New("%s is a saved plan", args[0]).Hint("godwit deploy %s applies it", args[0])
			}
			var what activate.Action
			if o.Where, what, err = a.actionArgs(c, args); err != nil {
				return err
			}
			if what == activate.DryActivate {
				return fault.New("dry-activate changes nothing, so there is nothing to plan").Hint("godwit plan %s switch --copy", o.Where)
			}
			if r.Accept, err = plan.ParseAccept(accept); err != nil {
				return err
			}
			r.Action, r.Configured = string(what), o.Configured
			r.SecretsUnsaid = !c.Flags().Changed("upload-secrets")
			if a.globals.dryRun { // a plan is about what was built
				return a.overHosts(c.Context(), nil, func(ctx context.Context, e *action.Env) (*action.Summary, error) {
					o.settle(e)
					return action.Build(ctx, e, action.BuildRequest{Configured: o.Configured})
				})
			}
			// The plan itself is what goes to stdout.
			show.json, show.saved = a.globals.json, r.Save
			a.globals.json = false
			return a.run(c.Context(), &p, func(ctx context.Context, e *action.Env, v *view) error {
				made, err := action.Plan(ctx, e, r)
				if err != nil {
					return err
				}
				v.close()
				return v.plan(made, show)
			})
		},
	}
	selectFlags(c, &o.Selection)
	profileFlag(c, &o.Profiles)
	buildFlags(c, &o)
	passwordFlags(c, &p)
	acceptFlag(c, &accept)
	f := c.Flags()
	f.StringVarP(&r.Save, "output", "o", "", "save the plan as `FILE`, for godwit deploy FILE")
	f.BoolVar(&r.Copy, "copy", false, "copy the systems to the hosts first and ask them which units they would touch")
	overrideLockFlag(c, &r.OverrideLock)
	f.BoolVar(&show.markdown, "markdown", false, "write the plan as a comment for a pull request")
	f.IntVar(&show.limit, "markdown-limit", plan.MarkdownLimit, "leave details out of --markdown beyond this many `BYTES`: GitHub takes 65536, GitLab 1000000")
	f.StringVar(&show.page, "html", "", "also write the plan as one page of HTML, `FILE`, which loads nothing and has no script")
	f.BoolVar(&show.detailed, "detailed-exitcode", false, "exit with 2 when a host changes")
	f.BoolVar(&r.UploadSecrets, "upload-secrets", false, "secrets are uploaded, too (a hive's keys are uploaded unless it is false)")
	f.BoolVar(&r.Reboot, "reboot", false, "hosts are rebooted after the activation")
	f.BoolVar(&r.NoGuard, "no-guard", false, "activate without a guard, a confirmation and a rollback")
	f.BoolVar(&r.SkipHealthChecks, "skip-health-checks", false, "do not run health checks")
	f.BoolVar(&r.SkipPreChecks, "skip-pre-deploy-checks", false, "do not run pre-deploy checks")
	return c
}

// planView is how a plan is shown on stdout.
type planView struct {
	json     bool
	markdown bool
	limit    int    // of markdown, in bytes
	detailed bool   // a status of its own when a host changes
	page     string // the file of the page of HTML; empty: none
	saved    string // the file that it was saved as
}

// plan prints a plan on stdout, and gives the exit code.
func (v *view) plan(p *plan.Plan, show planView) (err error) {
	if show.page != "" {
		b, err := p.Page(time.Now())
		if err == nil {
			err = os.WriteFile(show.page, b, 0o644)
		}
		if err != nil {
			return fault.New("cannot write the page: %w", err)
		}
	}
	switch {
	case show.json:
		_, err = v.app.stdout.Write(p.Public().JSON())
	case show.markdown:
		err = v.app.print(p.Markdown(show.limit, time.Now()))
	default:
		err = v.app.print(p.Text(plan.Layout{Width: v.Width(), Verbose: v.app.globals.verbose}))
	}
	if err != nil {
		return err
	}
	if show.saved != "" {
		fmt.Fprintf(v.app.stderr, "\nsaved: godwit deploy %s applies this plan\n%s", show.saved, p.LeavesOut())
	}
	if len(p.With(plan.Failed))+len(p.With(plan.Unreachable))+len(p.With(plan.Blocked)) > 0 {
		return silent{ExitHosts}
	}
	if show.detailed && len(p.With(plan.Change)) > 0 {
		return silent{ExitDrift}
	}
	return nil
}

func riskHelp() string {
	var b strings.Builder
	for _, r := range plan.RiskNames {
		fmt.Fprintf(&b, "  %-19s %s\n", r.Name, r.Meaning)
	}
	return b.String()
}

// noPlanFlags refuses what a saved plan has settled already.
func noPlanFlags(c *cobra.Command, rest []string) error {
	if len(rest) > 0 {
		return fault.New("a saved plan already says what to do: leave out %q", rest[0])
	}
	for _, name := range []string{"on", "tagged", "every", "skip", "limit", "order-by-tags", "upload-secrets", "reboot", "no-guard", "skip-health-checks", "skip-pre-deploy-checks", "profile"} {
		if c.Flags().Changed(name) {
			return fault.New("a saved plan already says what to do: --%s belongs to godwit plan", name)
		}
	}
	return nil
}
