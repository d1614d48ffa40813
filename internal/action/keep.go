package action

import (
	"godwit/internal/activate"
	"godwit/internal/approve"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// askKeep says why a run cannot ask about each host.
func (s *session) askKeep(d *deploy.Options) error {
	no := func(why string) *fault.Error { return fault.New("--ask-keep: %s", why) }
	switch {
	case d.NoGuard:
		return no("with --no-guard nothing is taken back")
	case d.Action == activate.Boot && !d.Reboot, d.Action == activate.DryActivate:
		return no(string(d.Action) + " runs nothing that could be kept").Hint("it belongs to switch and test, and to boot with --reboot")
	case s.DryRun:
		return nil
	case !s.View.Watched() || !s.View.CanAsk():
		return no("there is no terminal to ask on; no host was changed").Hint("without --ask-keep the health checks decide")
	}
	d.Keep = approve.NewKeeper(s.View.Ask).Keep
	return nil
}

// keepable refuses hosts whose configuration says that nothing is taken back.
func keepable(hosts []fleet.Host, d deployment) error {
	if d.Keep == nil {
		return nil
	}
	for _, h := range hosts {
		if h.Guard.NoAutoRollback {
			return fault.New("--ask-keep: its configuration says that nothing is taken back (autoRollback)").On(h.Name)
		}
	}
	return nil
}
