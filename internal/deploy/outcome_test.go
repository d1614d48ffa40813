package deploy

import (
	"errors"
	"slices"
	"testing"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/host"
)

// TestNamed checks that an error names its host once and keeps its hints,
// whoever made it.
func TestNamed(t *testing.T) {
	dropped := &host.DroppedError{Host: "web", Command: "uptime"}
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("x is bad"), "error: web: x is bad\n"},
		{&host.ExitError{Host: "web", Command: "false", Code: 1}, "error: web: false ended with status 1\n"},
		{fault.New("x is bad").Hint("y"), "error: web: x is bad\nhint: y\n"},
		{dropped, "error: web: the connection was lost during uptime\nhint: " + dropped.HintLines()[0] + "\n"},
	} {
		err := named("web", c.err)
		if got := fault.Render(err); got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
		if !errors.Is(err, c.err) {
			t.Errorf("%v lost its cause", err)
		}
	}
	var said event.Event
	event.On(event.SinkFunc(func(e event.Event) { said = e }), "web", event.StepExec).End("", dropped)
	if said.Error != "the connection was lost during uptime" || !slices.Equal(said.Hints, dropped.HintLines()) {
		t.Errorf("%+v", said)
	}
}
