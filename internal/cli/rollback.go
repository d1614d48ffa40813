package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/host"
	"godwit/internal/hoststate"
	"godwit/internal/reboot"
)

type rollbackOptions struct {
	selection                       fleet.Selection
	passwords                       passwords
	to                              int
	pending                         bool
	activateTimeout, confirmTimeout int
	mayFail                         []string
	message                         string
	accepted                        fleet.UnitPatterns
}

func newRollback(a *app) *cobra.Command {
	var o rollbackOptions
	c := &cobra.Command{
		Use:   "rollback [DEPLOYMENT] HOST... [GENERATION]",
		Short: "take hosts back to the system that they had before",
		Long: `rollback activates the system of an earlier generation on each host: the one
before the profile's (which undoes deploy boot and deploy test, too), or the one
that --to (or, with one host, a number after it) names. It is guarded like a
deploy: a host that does not come back goes to what it ran before the rollback.
Nothing is evaluated or built, and health checks are not run, for they are those
of another configuration. The profile gets a new generation with the old system;
a second rollback therefore undoes the first.

--pending ends a deployment that waits for its confirmation, whoever began it:
the host goes back to what it ran when that deployment began. When the new system
was booted once, by deploy --reboot, that takes another reboot.` + "\n" + foundFileHelp + exitStatusHelp,
		Example: `  godwit rollback network.nix web1
  godwit rollback network.nix web1 --to 41
  godwit rollback --pending network.nix --on 'web*'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if err := exclusive(c, "to", "pending"); err != nil {
				return err
			}
			f := a.fleetArgs(c.Context(), args)
			err := f.needHosts(c, o.selection)
			if err != nil {
				return err
			}
			// `rollback HOST 41`, as the errors of the guard say it.
			if n := len(f.hosts); n == 2 && !c.Flags().Changed("to") && !o.pending {
				if to, err := strconv.Atoi(f.hosts[1]); err == nil && to > 0 {
					o.to, f.hosts = to, f.hosts[:1]
				}
			}
			if c.Flags().Changed("to") && o.to < 1 {
				return fault.New("--to %d is not the number of a generation", o.to)
			}
			if o.activateTimeout < 0 || o.confirmTimeout < 0 {
				return errNegative
			}
			if o.message, err = history.CheckMessage(o.message); err != nil {
				return err
			}
			if o.accepted, err = acceptFailed(o.mayFail); err != nil {
				return err
			}
			return a.withSession(c.Context(), func(ctx context.Context, s *session) error {
				if o.pending {
					return s.onHosts(ctx, f, o.selection, &o.passwords, nil, nil, func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
						return s.wet(event.On(s.ui, h.Name, event.StepActivate), "roll back what is pending", func() deploy.Outcome {
							why := "asked for by " + a.whoami()
							return s.endPending(ctx, h, conn, "went back, ended", func(p *reboot.Pending) (activate.Result, error) {
								if p == nil {
									return activate.Rollback(ctx, conn, h.Name, "", why, s.ui)
								}
								sc := event.On(s.ui, h.Name, event.StepReboot)
								sc.Start("rolling back " + p.ID)
								res, err := reboot.GoBack(ctx, conn, h.Name, why, reboot.Options{}, sc)
								sc.End("back", err)
								return onceResult(p, res), err
							})
						})
					})
				}
				return s.rollback(ctx, f, o)
			})
		},
	}
	selectFlags(c, &o.selection)
	passwordFlags(c, &o.passwords)
	messageFlag(c, &o.message)
	fl := c.Flags()
	fl.IntVar(&o.to, "to", 0, "the `GENERATION` to go to (godwit diff shows them)")
	fl.BoolVar(&o.pending, "pending", false, "end the deployment that is pending, whoever began it")
	fl.IntVar(&o.activateTimeout, "activate-timeout", 0, "`SECONDS` that an activation may take (0: 300)")
	acceptFailedFlag(c, &o.mayFail)
	fl.IntVar(&o.confirmTimeout, "confirm-timeout", 0, "`SECONDS` between activation and confirmation (0: 45)")
	return c
}

// rollback takes hosts to earlier generations.
func (s *session) rollback(ctx context.Context, f fleetArgs, o rollbackOptions) error {
	s.message = o.message
	meta := s.meta()
	meta["verb"] = "rollback"
	var rec *history.Recorder
	before := func(hosts []fleet.Host) error {
		if err := s.oneAddressEach(ctx, hosts, false, false); err != nil {
			return err
		}
		if !s.app.globals.dryRun {
			rec = s.remember(ctx, "rollback", hosts, meta)
		}
		return nil
	}
	return s.onHosts(ctx, f, o.selection, &o.passwords, before, nil, func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
		began := time.Now()
		out := s.rollbackHost(ctx, h, conn, o, meta)
		out.Host, out.Duration = h.Name, time.Since(began)
		remembered(rec, out)
		return out
	})
}

func (s *session) rollbackHost(ctx context.Context, h fleet.Host, conn host.Conn, o rollbackOptions, meta map[string]string) deploy.Outcome {
	facts, err := hoststate.Look(ctx, conn, h.Name)
	if err != nil {
		return deploy.Outcome{State: deploy.Failed, Err: err}
	}
	target, err := rollbackTarget(h.Name, facts, o.to)
	if err != nil {
		return deploy.Outcome{State: deploy.Failed, Err: err}
	}
	sc := event.On(s.ui, h.Name, event.StepActivate)
	sc.Note(fmt.Sprintf("to generation %d of %s: %s", target.Number, target.Made.Local().Format("2006-01-02 15:04"), target.System))
	if others := othersOf(facts); len(others) > 0 {
		sc.Warn("the system alone goes back; other profiles of the host stay as they are: "+strings.Join(others, ", "),
			"deploy an earlier commit of the configuration takes all of them back")
	}
	own := map[string]string{"generation": strconv.Itoa(target.Number)}
	for k, v := range meta {
		own[k] = v
	}
	if commit, tree := commitOf(facts, target.System); commit != "" {
		own["commit"], own["tree"] = commit, tree
	}
	return s.wet(sc, fmt.Sprintf("activate generation %d", target.Number), func() deploy.Outcome {
		return s.activateGeneration(ctx, h, conn, target, o, own)
	})
}

func (s *session) activateGeneration(ctx context.Context, h fleet.Host, conn host.Conn, target hoststate.Generation, o rollbackOptions, meta map[string]string) deploy.Outcome {
	h.HealthChecks.Accepted = o.accepted
	res, err := activate.Run(ctx, conn, activate.Request{
		Host: h.Name, NewSystem: target.System, Action: activate.Switch, SkipUnchanged: true, Meta: meta,
		ActivateTimeout: seconds(o.activateTimeout), ConfirmTimeout: seconds(o.confirmTimeout), Silence: seconds(o.confirmTimeout),
		IgnoreUnits: h.HealthChecks.Ignored().Whole(),
	}, s.ui)
	out := deploy.Outcome{State: res.Outcome, System: target.System, Activation: res, Err: err}
	switch {
	case err != nil && out.State != deploy.RolledBack && out.State != deploy.Interrupted:
		out.State = deploy.Failed
	case err == nil && out.State == deploy.Changed:
		out.Detail = fmt.Sprintf("runs the system of generation %d again, confirmed", target.Number)
		if res.NeedsReboot {
			out.Detail += ", reboot due"
		}
	case err == nil && out.State == deploy.Unchanged:
		out.Detail = fmt.Sprintf("runs the system of generation %d already", target.Number)
	}
	return out
}

// othersOf are the profiles besides the system that the host's last deployment was of.
func othersOf(f hoststate.Facts) []string {
	var out []string
	if n := len(f.Records); n > 0 {
		for _, p := range f.Records[n-1].Profiles {
			if p.Name != fleet.SystemProfile {
				out = append(out, p.Name)
			}
		}
	}
	return out
}

// rollbackTarget finds the generation to go to.
func rollbackTarget(host string, f hoststate.Facts, to int) (hoststate.Generation, error) {
	if f.Deployment.Pending() || f.Pending != "" {
		return hoststate.Generation{}, fault.New("a deployment is pending").On(host).
			Hint("godwit rollback --pending ends it, godwit confirm makes it permanent")
	}
	if to > 0 {
		if g, ok := f.Find(to); ok {
			return g, nil
		}
		return hoststate.Generation{}, fault.New("there is no generation %d", to).On(host).Detail(generationLines(f)...)
	}
	g, ok := f.Previous()
	if !ok {
		return g, fault.New("there is no earlier generation to go back to").On(host).Detail(generationLines(f)...).
			Hint("deploy an earlier commit of the configuration")
	}
	return g, nil
}

// generationLines lists the newest generations of a host.
func generationLines(f hoststate.Facts) []string {
	const most = 10
	var out []string
	for i := len(f.Generations) - 1; i >= 0 && len(out) < most; i-- {
		g := f.Generations[i]
		line := fmt.Sprintf("generation %d  %s  %s", g.Number, g.Made.Local().Format("2006-01-02 15:04"), g.System)
		if g.Number == f.GenerationOf(f.Current) {
			line += "  (runs)"
		}
		out = append(out, line)
	}
	if n := len(f.Generations) - len(out); n > 0 {
		out = append(out, fmt.Sprintf("and %d older ones", n))
	}
	return out
}

// commitOf is the commit that a system came from, as the host's record tells.
func commitOf(f hoststate.Facts, system string) (commit, tree string) {
	for i := len(f.Records) - 1; i >= 0; i-- {
		if r := f.Records[i]; (r.Toplevel == system || r.New == system) && r.Meta["commit"] != "" {
			return r.Meta["commit"], r.Meta["tree"]
		}
	}
	return "", ""
}
