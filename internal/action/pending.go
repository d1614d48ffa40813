package action

import (
	"context"
	"errors"

	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/reboot"
)

// Confirm makes what is pending on hosts permanent.
func Confirm(ctx context.Context, e *Env, r HostsRequest) (*Summary, error) {
	s := e.open()
	defer s.close()
	return s.onHosts(ctx, r, step{each: func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
		return s.wet(event.On(s.View, h.Name, event.StepActivate), "confirm what is pending", func() deploy.Outcome {
			return s.endPending(ctx, h, conn, "confirmed", func(p *reboot.Pending) (activate.Result, error) {
				if p == nil {
					return activate.Confirm(ctx, conn, h.Name, "", s.View)
				}
				sc := event.On(s.View, h.Name, event.StepReboot)
				sc.Start("confirming " + p.ID)
				res, err := reboot.Confirm(ctx, conn, h.Name, sc)
				sc.End("confirmed", err)
				return onceResult(p, res), err
			})
		})
	}})
}

// RollbackPending ends what is pending on hosts: they go back to what they ran when it
// began.
func RollbackPending(ctx context.Context, e *Env, r HostsRequest) (*Summary, error) {
	s := e.open()
	defer s.close()
	why := "asked for by " + s.whoami()
	return s.onHosts(ctx, r, step{each: func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
		return s.wet(event.On(s.View, h.Name, event.StepActivate), "roll back what is pending", func() deploy.Outcome {
			return s.endPending(ctx, h, conn, "went back, ended", func(p *reboot.Pending) (activate.Result, error) {
				if p == nil {
					return activate.Rollback(ctx, conn, h.Name, "", why, s.View)
				}
				sc := event.On(s.View, h.Name, event.StepReboot)
				sc.Start("rolling back " + p.ID)
				res, err := reboot.GoBack(ctx, conn, h.Name, why, reboot.Options{}, sc)
				sc.End("back", err)
				return onceResult(p, res), err
			})
		})
	}})
}

// endPending ends what is pending on a host, by end: a system that was booted
// once, or (nil) a deployment that the guard holds.
func (s *session) endPending(ctx context.Context, h fleet.Host, conn host.Conn, done string, end func(*reboot.Pending) (activate.Result, error)) deploy.Outcome {
	p, err := reboot.Find(ctx, conn, h.Name)
	var root *host.ElevateError
	if errors.As(err, &root) { // only root boots a system once; a user's own deployment may be pending
		p, err = nil, nil
	}
	if err != nil {
		return deploy.Outcome{State: deploy.Failed, Err: err}
	}
	res, err := end(p)
	s.afterwards(ctx, conn, h.Name, res)
	o := deploy.Outcome{State: deploy.Changed, Detail: done + " " + res.ID, System: res.NewSystem, Activation: res}
	if err != nil {
		o.State, o.Detail, o.Err = deploy.Failed, "", err
	}
	return o
}

// onceResult is how the reboot p ended, as the guard would say it.
func onceResult(p *reboot.Pending, res reboot.OnceResult) activate.Result {
	return activate.Result{ID: p.ID, OldSystem: p.Old, NewSystem: p.New, Outcome: res.Outcome, Running: res.Running, Reason: res.Reason, Duration: res.Took, ExitCode: -1}
}
