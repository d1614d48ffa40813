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
)

// RollbackRequest asks for hosts to go to an earlier generation.
type RollbackRequest struct {
	HostsRequest
	// To is its number; 0: the one before.
	To                              int
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
	facts, err := hoststate.Look(ctx, conn, h.Name)
	if err != nil {
		return deploy.Outcome{State: deploy.Failed, Err: err}
	}
	target, err := facts.RollbackTarget(h.Name, r.To)
	if err != nil {
		return deploy.Outcome{State: deploy.Failed, Err: err}
	}
	sc := event.On(s.View, h.Name, event.StepActivate)
	sc.Note(fmt.Sprintf("to generation %d of %s: %s", target.Number, target.Made.Local().Format("2006-01-02 15:04"), target.System))
	if others := facts.Others(); len(others) > 0 {
		sc.Warn("the system alone goes back; other profiles of the host stay as they are: "+strings.Join(others, ", "),
			"deploy an earlier commit of the configuration takes all of them back")
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
	h.HealthChecks.Accepted = r.AcceptFailed
	res, err := activate.Run(ctx, conn, activate.Request{
		Host: h.Name, NewSystem: target.System, Action: activate.Switch, SkipUnchanged: true, Meta: meta,
		ActivateTimeout: r.ActivateTimeout, ConfirmTimeout: r.ConfirmTimeout, Silence: r.ConfirmTimeout,
		IgnoreUnits: h.HealthChecks.Ignored().Whole(), OverrideLock: r.OverrideLock,
	}, s.View)
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
