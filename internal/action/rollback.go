package action

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/host"
	"godwit/internal/hoststate"
	"godwit/internal/secrets/ship"
)

// RollbackRequest asks for hosts to go to an earlier generation.
type RollbackRequest struct {
	HostsRequest
	// To is its number; 0: the one before.
	To int
	// Profile is the name of the only one to take back; "": all that the last deployment
	// changed, or with To the system.
	Profile                         string
	ActivateTimeout, ConfirmTimeout time.Duration // zero: the default
	// AcceptFailed are units that may fail.
	AcceptFailed fleet.UnitPatterns
	// OverrideLock goes on over a lock of the host.
	OverrideLock bool
}

// Rollback activates an earlier generation on each host, under the guard.
func Rollback(ctx context.Context, e *Env, r RollbackRequest) (*Summary, error) {
	s := e.open()
	defer s.close()
	meta := s.meta()
	meta["verb"] = "rollback"
	var rec *history.Recorder
	before := func(hosts []fleet.Host) error {
		if err := s.oneAddressEach(ctx, hosts, false, false); err != nil {
			return err
		}
		if !s.DryRun {
			rec = s.remember(ctx, "rollback", hosts, meta)
		}
		return nil
	}
	return s.onHosts(ctx, r.HostsRequest, step{before: before, each: func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
		began := time.Now()
		out := s.rollbackHost(ctx, h, conn, r, meta)
		out.Host, out.Duration = h.Name, time.Since(began)
		remembered(rec, out)
		return out
	}})
}

func (s *session) rollbackHost(ctx context.Context, h fleet.Host, conn host.Conn, r RollbackRequest, meta map[string]string) deploy.Outcome {
	facts, err := hoststate.LookBack(ctx, conn, h)
	if err != nil {
		return deploy.Outcome{State: deploy.Failed, Err: err}
	}
	if others, err := facts.Undoing(ctx, conn, h, r.Profile, r.To); err != nil {
		return deploy.Outcome{State: deploy.Failed, Err: err}
	} else if others != nil {
		return s.rollbackProfiles(ctx, h, conn, facts, others, r, meta)
	}
	target, err := facts.RollbackTarget(h.Name, r.To)
	if err != nil {
		return deploy.Outcome{State: deploy.Failed, Err: err}
	}
	sc := event.On(s.View, h.Name, event.StepActivate)
	sc.Note(fmt.Sprintf("to generation %d of %s: %s", target.Number, target.Made.Local().Format("2006-01-02 15:04"), target.System))
	if others := facts.Others(); len(others) > 0 && r.Profile == "" {
		sc.Warn("the system alone goes back; other profiles of the host stay as they are: "+strings.Join(others, ", "),
			"without --to, all that the last deployment changed goes back")
	}
	own := map[string]string{"generation": strconv.Itoa(target.Number)}
	for k, v := range meta {
		own[k] = v
	}
	if commit, tree := facts.CommitOf(target.System); commit != "" {
		own["commit"], own["tree"] = commit, tree
	}
	return s.wet(sc, fmt.Sprintf("activate generation %d", target.Number), func() deploy.Outcome {
		return s.activateGeneration(ctx, h, conn, target, r, own)
	})
}

func (s *session) activateGeneration(ctx context.Context, h fleet.Host, conn host.Conn, target hoststate.Generation, r RollbackRequest, meta map[string]string) deploy.Outcome {
	profiles, err := ship.With(ctx, conn, target.System)
	if err != nil {
		return deploy.Outcome{State: deploy.Failed, Err: err}
	}
	return s.activateBack(ctx, h, conn, activate.Request{Profiles: profiles, NewSystem: target.System, Meta: meta}, r,
		fmt.Sprintf("runs the system of generation %d", target.Number))
}

// activateBack activates what was before; what says what then runs, without "again".
func (s *session) activateBack(ctx context.Context, h fleet.Host, conn host.Conn, req activate.Request, r RollbackRequest, what string) deploy.Outcome {
	h.HealthChecks.Accepted = r.AcceptFailed
	req.Host, req.Action, req.SkipUnchanged = h.Name, activate.Switch, true
	req.ActivateTimeout, req.ConfirmTimeout, req.Silence = r.ActivateTimeout, r.ConfirmTimeout, r.ConfirmTimeout
	req.IgnoreUnits, req.OverrideLock = h.HealthChecks.Ignored().Whole(), r.OverrideLock
	res, err := activate.Run(ctx, conn, req, s.View)
	out := deploy.Outcome{State: res.Outcome, System: res.NewSystem, Activation: res, Err: err}
	switch {
	case err != nil && out.State != deploy.RolledBack && out.State != deploy.Interrupted:
		out.State = deploy.Failed
	case err == nil && out.State == deploy.Changed:
		out.Detail = what + " again, confirmed"
		if res.NeedsReboot {
			out.Detail += ", reboot due"
		}
	case err == nil && out.State == deploy.Unchanged:
		out.Detail = what + " already"
	}
	return out
}

func (s *session) rollbackProfiles(ctx context.Context, h fleet.Host, conn host.Conn, f hoststate.Facts, to *hoststate.Undo, o RollbackRequest, meta map[string]string) deploy.Outcome {
	sc := event.On(s.View, h.Name, event.StepActivate)
	for _, c := range to.Profiles {
		sc.Note(fmt.Sprintf("profile '%s' to %s", c.Name, c.New))
	}
	if len(to.First) > 0 {
		sc.Warn("a rollback removes no profile: " + strings.Join(to.First, ", ") + " stays as it is")
	}
	own := map[string]string{}
	for _, m := range []map[string]string{meta, to.Meta} {
		for k, v := range m {
			own[k] = v
		}
	}
	if commit, tree := f.CommitOf(to.Profiles[0].New); commit != "" {
		own["commit"], own["tree"] = commit, tree
	}
	return s.wet(sc, "activate "+hoststate.Names(to.Profiles)+" again", func() deploy.Outcome {
		return s.activateBack(ctx, h, conn, activate.Request{Profiles: to.Profiles, Meta: own}, o, to.What)
	})
}
