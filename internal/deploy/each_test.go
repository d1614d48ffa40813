package deploy

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
)

// TestEachErrors: how a host ended, and that it is named once.
func TestEachErrors(t *testing.T) {
	stopped := errors.New("somebody pressed Ctrl-C")
	for _, c := range []struct {
		name   string
		out    Outcome
		cancel bool
		state  event.Outcome
		detail string
		shown  string
	}{
		{"a command that failed", Outcome{Err: &host.ExitError{Host: "web", Command: "false", Code: 1}}, false, Failed,
			"false ended with status 1", "error: web: false ended with status 1\n"},
		{"a lost connection", Outcome{Err: &host.DroppedError{Host: "web", Command: "x"}}, false, Failed,
			"the connection was lost during x", "error: web: the connection was lost during x\nhint: it may or may not have finished; look at the host before running it again\n"},
		{"any error", Outcome{Err: errors.New("no room")}, false, Failed, "no room", "error: web: no room\n"},
		{"interrupted", Outcome{Err: fmt.Errorf("x interrupted: %w", stopped)}, true, Interrupted, "", ""},
		{"cancelled", Outcome{Err: context.Canceled}, true, Interrupted, "interrupted", "error: web: interrupted\n"},
		{"failed for another reason meanwhile", Outcome{Err: errors.New("no room")}, true, Failed, "", ""},
		{"went back meanwhile", Outcome{State: RolledBack, Err: fmt.Errorf("went back: %w", stopped)}, true, RolledBack, "", ""},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		if c.cancel {
			cancel(stopped)
		}
		var last event.Event
		o := watched(ctx, fleet.Host{Name: "web"}, event.SinkFunc(func(e event.Event) { last = e }), func() Outcome { return c.out })
		cancel(nil)
		if o.State != c.state || c.detail != "" && (o.Detail != c.detail || last.Error != c.detail) || c.shown != "" && fault.Render(o.Err) != c.shown {
			t.Errorf("%s: %+v, %+v\n%s", c.name, o, last, fault.Render(o.Err))
		}
	}
}
