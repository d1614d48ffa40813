package action

import (
	"context"
	"os"
	"time"

	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/lock"
)

// LockRequest asks for hosts to be kept from being changed.
type LockRequest struct {
	HostsRequest
	// Message says why.
	Message string
	// Replace sets the lock also where there is another one.
	Replace bool
}

// Lock locks hosts.
func Lock(ctx context.Context, e *Env, r LockRequest) (*Summary, error) {
	s := e.open()
	defer s.close()
	l := lock.Lock{User: s.whoami(), Message: r.Message, Since: time.Now().UTC().Truncate(time.Second)}
	if name, err := os.Hostname(); err == nil {
		l.Deployer = name
	}
	return s.onHosts(ctx, r.HostsRequest, step{each: func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
		return s.wet(event.On(s.View, h.Name, ""), "lock it", func() deploy.Outcome {
			l := l
			l.Host = h.Name
			was, err := lock.Set(ctx, conn, l, !r.Replace)
			switch {
			case err != nil:
				return deploy.Outcome{State: deploy.Failed, Err: err}
			case was != nil && was.User == l.User && was.Message == l.Message:
				return deploy.Outcome{State: deploy.Unchanged, Detail: "locked by " + was.String()}
			case was != nil:
				return deploy.Outcome{State: deploy.Failed, Err: fault.New("already locked by %s", was).On(h.Name).Hint("--replace sets a new lock instead")}
			}
			return deploy.Outcome{State: deploy.Changed, Detail: "locked: " + r.Message}
		})
	}})
}

// Unlock takes the locks of hosts away, whoever set them.
func Unlock(ctx context.Context, e *Env, r HostsRequest) (*Summary, error) {
	s := e.open()
	defer s.close()
	return s.onHosts(ctx, r, step{each: func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
		return s.wet(event.On(s.View, h.Name, ""), "unlock it", func() deploy.Outcome {
			was, err := lock.Clear(ctx, conn, h.Name)
			switch {
			case err != nil:
				return deploy.Outcome{State: deploy.Failed, Err: err}
			case was == nil:
				return deploy.Outcome{State: deploy.Unchanged, Detail: "was not locked"}
			}
			return deploy.Outcome{State: deploy.Changed, Detail: "was locked by " + was.String()}
		})
	}})
}

// unlocked says why a host is left alone that somebody locked.
func unlocked(ctx context.Context, conn host.Conn, h fleet.Host, override bool) error {
	if override {
		return nil
	}
	return deploy.Unlocked(ctx, conn, h.Name)
}
