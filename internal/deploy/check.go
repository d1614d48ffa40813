package deploy

import (
	"context"
	"fmt"
	"time"

	"godwit/internal/activate"
	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/health"
	"godwit/internal/host"
	"godwit/internal/secrets"
)

func passed(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d/%d checks", n, n)
}

// checkContext is what checks may want to know of the deploy that they belong to.
type checkContext struct {
	system string   // that is deployed
	failed []string // units that had failed before
}

func (r *Run) checks(ctx context.Context, h fleet.Host, conn host.Conn, c fleet.Checks, step event.Step, about checkContext) error {
	if c.Len() == 0 {
		return nil
	}
	sc := event.On(r.Sink, h.Name, step)
	return r.wet(sc, fmt.Sprintf("run %d checks", c.Len()), func() error {
		return check(ctx, conn, h, c, r.CheckTimeout, sc, about)
	})
}

// Check runs the checks of one host and reports them as one step.
func Check(ctx context.Context, conn host.Conn, h fleet.Host, c fleet.Checks, timeout time.Duration, sc event.Scope) error {
	return check(ctx, conn, h, c, timeout, sc, checkContext{})
}

func check(ctx context.Context, conn host.Conn, h fleet.Host, c fleet.Checks, timeout time.Duration, sc event.Scope, about checkContext) error {
	sc.Start(fmt.Sprintf("%d checks", c.Len()))
	where, _ := conn.Where(ctx) // without it the name of the host counts
	_, err := health.Run(ctx, conn, h, c, health.Options{Budget: timeout, Before: sc.Step == event.StepPreCheck,
		Failed: about.failed, System: about.system, Where: where}, sc)
	sc.End(fmt.Sprintf("%d/%d checks", c.Len(), c.Len()), err)
	return err
}

// uploadSecrets sends the secrets of a phase; with only, those of that name alone. late are
// those whose owner has to be made by the activation first.
func (r *Run) uploadSecrets(ctx context.Context, h fleet.Host, conn host.Conn, phase string, only ...string) (late []string, err error) {
	sc := event.On(r.Sink, h.Name, event.StepSecrets)
	err = r.wet(sc, "upload "+phase+" secrets", func() error {
		makes := r.Action == activate.Switch || r.Action == activate.Test || r.Reboot
		rep, err := UploadSecrets(ctx, conn, h, secrets.Options{Phase: phase, Only: only, Late: makes && only == nil}, sc)
		late = rep.Late
		return err
	})
	return late, err
}

// UploadSecrets sends the secrets of one phase as one step.
func UploadSecrets(ctx context.Context, conn host.Conn, h fleet.Host, opt secrets.Options, sc event.Scope) (secrets.Report, error) {
	if len(secrets.Select(h.Secrets, opt.Phase)) == 0 {
		return secrets.Report{}, nil
	}
	sc.Start("")
	rep, err := secrets.Upload(ctx, conn, h, opt, sc)
	sc.End(rep.String(), err)
	return rep, err
}
