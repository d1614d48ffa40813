package action

import (
	"context"
	"fmt"
	"time"

	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/secrets"
	"godwit/internal/ui/text"
)

// HealthRequest asks for the health checks of hosts to be run.
type HealthRequest struct {
	HostsRequest
	// Timeout is what all checks of a host may take; 0: the default.
	Timeout time.Duration
}

// CheckHealth runs health checks, all hosts at once.
func CheckHealth(ctx context.Context, e *Env, r HealthRequest) (*Summary, error) {
	s := e.open()
	defer s.close()
	return s.onHosts(ctx, r.HostsRequest, step{
		before: s.preflightHealth(ctx),
		needs:  func(h fleet.Host) bool { return h.HealthChecks.Len() > 0 },
		each: func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
			n := h.HealthChecks.Len()
			switch {
			case n == 0:
				return deploy.Outcome{State: deploy.Skipped, Detail: "no health checks"}
			case s.DryRun:
				return deploy.Outcome{State: deploy.Skipped, Detail: fmt.Sprintf("dry run: would run %d checks", n)}
			}
			err := deploy.Check(ctx, conn, h, h.HealthChecks, r.Timeout, event.On(s.View, h.Name, event.StepCheck))
			return deploy.Outcome{State: deploy.Checked, Err: err, Detail: okDetail(err, fmt.Sprintf("%d/%[1]d checks", n))}
		},
	})
}

// SecretsRequest asks for the secrets of hosts to be uploaded.
type SecretsRequest struct {
	HostsRequest
	// SkipHealthChecks leaves out the checks that follow; Timeout is theirs, 0: the default.
	SkipHealthChecks bool
	Timeout          time.Duration
	// ForceActions runs the actions of secrets that did not change, too.
	ForceActions bool
	// OverrideLock goes on over a lock of the host.
	OverrideLock bool
}

// UploadSecrets uploads the secrets of hosts, and runs their health checks.
func UploadSecrets(ctx context.Context, e *Env, r SecretsRequest) (*Summary, error) {
	s := e.open()
	defer s.close()
	return s.onHosts(ctx, r.HostsRequest, step{
		changes: true,
		before: func(hosts []fleet.Host) error {
			if !r.SkipHealthChecks {
				if err := s.preflightHealth(ctx)(hosts); err != nil {
					return err
				}
			}
			if err := s.oneAddressEach(ctx, hosts, false, false); err != nil {
				return err
			}
			return preflightSecrets(ctx, hosts)
		},
		needs: func(h fleet.Host) bool { return len(h.Secrets) > 0 },
		each: func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
			sc := event.On(s.View, h.Name, event.StepSecrets)
			if len(h.Secrets) == 0 {
				return deploy.Outcome{State: deploy.Skipped, Detail: "no secrets"}
			}
			return s.wet(sc, "upload "+text.Count(len(h.Secrets), "secret"), func() deploy.Outcome {
				if err := unlocked(ctx, conn, h, r.OverrideLock); err != nil {
					return deploy.Outcome{State: deploy.Failed, Err: err}
				}
				rep, err := deploy.UploadSecrets(ctx, conn, h, secrets.Options{ForceActions: r.ForceActions}, sc)
				if err == nil && !r.SkipHealthChecks && h.HealthChecks.Len() > 0 {
					err = deploy.Check(ctx, conn, h, h.HealthChecks, r.Timeout, event.On(s.View, h.Name, event.StepCheck))
				}
				return deploy.Outcome{State: deploy.Uploaded, Err: err, Detail: okDetail(err, rep.String())}
			})
		},
	})
}
