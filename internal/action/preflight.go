package action

import (
	"context"
	"errors"
	"slices"

	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/health"
	"godwit/internal/plan"
	"godwit/internal/sealed"
	"godwit/internal/secrets"
	"godwit/internal/secrets/bundle"
	"godwit/internal/ui/text"
	"godwit/internal/vault"
)

// preflight refuses a run that can only end badly, before any host is changed, and
// before anything is built that was not begun while hosts were evaluated: checks that can never succeed, two hosts that are one machine.
func (s *session) preflight(ctx context.Context, d deployment, hosts []fleet.Host) error {
	if d.Goal != deploy.GoalActivate {
		return nil
	}
	if err := preflightChecks(hosts, planOptions(d.Options)); err != nil {
		return err
	}
	if err := s.preflightResting(ctx, hosts); err != nil {
		return err
	}
	if err := keepable(hosts, d); err != nil {
		return err
	}
	if d.Action == activate.DryActivate {
		return nil
	}
	if i := slices.IndexFunc(hosts, s.here); d.Reboot && i >= 0 {
		return fault.New("godwit runs on this host, and cannot see it come back from a reboot").On(hosts[i].Name).
			Hint("leave out --reboot, deploy with boot, and reboot by hand")
	}
	accept, err := s.accepted(d)
	if err != nil {
		return err
	}
	if err := sealed.Preflight(ctx, hosts, s.hostKeys); err != nil && !accept[plan.ClosedSecret] {
		return err
	}
	return s.oneAddressEach(ctx, hosts, accept[plan.SameAddress], true)
}

// hostKeys are the keys by which ssh knows a host; none where it knows none.
func (s *session) hostKeys(ctx context.Context, h fleet.Host) (known []string) {
	if c := s.overSSH(h); c != nil {
		a, _ := c.Address(ctx)
		known = a.Keys
	}
	return known
}

// preflightChecks looks at the checks that a run would make.
func preflightChecks(hosts []fleet.Host, d plan.Options) error {
	action := activate.Action(d.Action)
	after := !d.SkipHealthChecks && action != activate.DryActivate && (action != activate.Boot || d.Reboot)
	return health.Preflight(hosts, !d.SkipPreChecks, after)
}

// preflightHealth looks at the checks of hosts that are to be made now, and asks
// ssh for all hosts at once where they are.
func (s *session) preflightHealth(ctx context.Context) func([]fleet.Host) error {
	return func(hosts []fleet.Host) error {
		if err := health.Preflight(hosts, false, true); err != nil {
			return err
		}
		s.twins(ctx, hosts)
		return nil
	}
}

// accepted are the risks that were accepted for this run: by the user's file, the
// fleet, the command line, and with a saved plan.
func (s *session) accepted(d deployment) (plan.Accept, error) {
	settings, err := s.Settings()
	if err != nil {
		return nil, err
	}
	a, err := plan.ParseAccept(slices.Concat(settings.Deploy.AcceptRisk, d.accept))
	if err != nil || d.saved == nil {
		return a, err
	}
	for _, h := range d.saved.Hosts {
		for _, r := range h.Risks {
			if r.Accepted != "" {
				a[r.Name] = true
			}
		}
	}
	return a, nil
}

// twins are the hosts that ssh reaches at the address of another host of the
// run, each with what to say of it. ssh is asked once.
func (s *session) twins(ctx context.Context, hosts []fleet.Host) map[string]string {
	s.twinsOnce.Do(func() { s.twinsFound = s.pool.Twins(ctx, hosts) })
	return s.twinsFound
}

// oneAddressEach refuses to change one machine twice. risk says that it can be
// accepted as a risk, in case that ssh's configuration hides what differs.
func (s *session) oneAddressEach(ctx context.Context, hosts []fleet.Host, accepted, risk bool) error {
	if accepted {
		return nil
	}
	found := s.twins(ctx, hosts)
	var names, lines []string
	for _, h := range hosts {
		if twin := found[h.Name]; twin != "" {
			names, lines = append(names, h.Name), append(lines, h.Name+"  "+twin)
		}
	}
	if len(names) == 0 {
		return nil
	}
	f := fault.New("%s have the same address, and the last of them would win; no host was changed", text.And(names)).Detail(lines...).
		Hint("give each its own deployment.targetHost or targetPort, or choose one of them with --on")
	if risk {
		f.Exit(plan.ExitStopped).Hint("if they are different machines, --accept-risk=%s goes on", plan.SameAddress)
	}
	return f
}

// resting are the secrets that are to rest on a host; nil when there are none to think of.
func (s *session) resting(ctx context.Context, h fleet.Host) (*bundle.Bundle, error) {
	if s.at == nil || h.BuildOnly {
		return nil, nil
	}
	s.restingOnce.Do(func() { s.restingFound = vault.Resting(s.at.At.Dir()) })
	return s.restingFound(ctx, h)
}

// preflightResting says, before anything is built, which secrets of hosts cannot be
// brought to them: such as one that was not encrypted for its machine yet.
func (s *session) preflightResting(ctx context.Context, hosts []fleet.Host) error {
	var errs []error
	for _, h := range hosts {
		// What is wrong with the whole repository is the same error for each.
		if _, err := s.resting(ctx, h); err != nil && !slices.Contains(errs, err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// preflightSecrets opens every source before anything is touched anywhere.
func preflightSecrets(ctx context.Context, hosts []fleet.Host) error {
	return secrets.Preflight(ctx, hosts, "")
}
