package deploy

import (
	"context"
	"errors"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/host"
)

// Unreachable is what becomes of hosts that do not answer.
type Unreachable string

// Policies for hosts that do not answer.
const (
	FailUnreachable Unreachable = "fail" // the host fails
	SkipUnreachable Unreachable = "skip" // the host is listed and left for another run
	WaitUnreachable Unreachable = "wait" // it is tried again until it answers or the time is over
)

// ParseUnreachable reads a policy.
func ParseUnreachable(s string) (Unreachable, error) {
	switch u := Unreachable(s); u {
	case FailUnreachable, SkipUnreachable, WaitUnreachable:
		return u, nil
	}
	return "", fault.New("--unreachable %s: there is fail, skip and wait", s)
}

// reach connects, again and again where the policy is to wait.
func (r *Run) reach(ctx context.Context, conn host.Conn, sc event.Scope) error {
	err := conn.Connect(ctx)
	if r.Unreachable != WaitUnreachable || !host.Retryable(err) {
		return err
	}
	limit := r.UnreachableTimeout
	if limit <= 0 {
		limit = 10 * time.Minute
	}
	wait, cancel := context.WithTimeoutCause(ctx, limit, errors.New("did not answer"))
	defer cancel()
	for {
		sc.Emit(event.Event{Kind: event.Waiting, Text: "for the host to answer: " + event.Message(err)})
		select {
		case <-wait.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		case <-time.After(3 * time.Second):
		}
		if err = conn.Connect(wait); err == nil || !host.Retryable(err) && wait.Err() == nil {
			return err
		}
	}
}
