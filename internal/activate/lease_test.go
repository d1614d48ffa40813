package activate

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/awake"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/host"
)

// listening is a run whose events are kept.
func listening(t *testing.T, r Request) (*run, *[]event.Event) {
	t.Helper()
	var events []event.Event
	r.Host, r.NewSystem, r.Action = "web1", newSystem, Switch
	d := &run{req: r, sc: event.On(event.SinkFunc(func(e event.Event) { events = append(events, e) }), "web1", event.StepActivate), begun: time.Now(), since: awake.Now(), lastOK: awake.Now()}
	if err := d.req.normalize(); err != nil {
		t.Fatal(err)
	}
	d.limits()
	d.fr.line, d.fr.beaten = d.line, d.waiting
	return d, &events
}

// The time that is said to be left is the host's.
func TestGoesBack(t *testing.T) {
	d, _ := listening(t, Request{})
	for said, want := range map[string]string{
		"":                                "45s after its activation has ended, within 375s",
		"::godwit beat 320  \n":           "45s after its activation has ended, within 320s",
		"::godwit beat 38 activated \n":   "within 38s",
		"::godwit beat 0 rolling-back \n": "within 0s",
		"::godwit fact left 12\n::godwit fact phase activated\n::godwit end\n": "within 12s",
		"::godwit beat -5 activated \n":                                        "within 0s",
		"::godwit beat 99999999999 activated x\n":                              "within 0s",
		"::godwit beat\n": "45s after its activation has ended, within 0s",
	} {
		d.fr = frames{beaten: d.waiting}
		d.fr.begin()
		_, _ = d.fr.Write([]byte(said))
		if got := d.goesBack(); got != want {
			t.Errorf("%q: %q, want %q", said, got, want)
		}
	}
	d.fr.begin()
	_, _ = d.fr.Write([]byte("::godwit beat 40 activated \n"))
	d.fr.beat.at = time.Now().Add(-15 * time.Second)
	if got := d.goesBack(); got != "within 25s" {
		t.Error(got)
	}
}

// What the host waits for is said when its log is silent, with the end of it.
func TestWaiting(t *testing.T) {
	d, events := listening(t, Request{Checks: nil})
	d.fr.begin()
	say := func(s string) string {
		*events = nil
		_, _ = d.fr.Write([]byte(s))
		for _, e := range *events {
			if e.Kind == event.Progress {
				return e.Text
			}
		}
		return ""
	}
	quiet := func() { d.waits.said -= awake.Instant(time.Minute) }
	if got := say("::godwit beat 370  \n"); got != "" {
		t.Errorf("at once: %q", got)
	}
	quiet()
	if got := say("::godwit beat 305  start home-manager-alice.service\n"); got != "for 1m10s now; it is stopped after 5m0s (--activate-timeout); it waits for: start home-manager-alice.service" {
		t.Errorf("%q", got)
	}
	if got := say("::godwit beat 303  start home-manager-alice.service\n"); got != "" {
		t.Errorf("again: %q", got)
	}
	if got := say(data(0, "on it goes\n")); got != "switch" { // what it waited for is over
		t.Errorf("%q", got)
	}
	for phase, want := range map[string]string{"committing": "it is killed after 5m0s", "rolling-back": "an attempt may take 6m0s", "activated": ""} {
		say("::godwit beat 0 " + phase + " \n")
		quiet()
		if got := say("::godwit beat 0 " + phase + " \n"); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: %q", phase, got)
		}
	}
}

// One line for an answer that stays the same, and an end when it will not change.
func TestRefusedAgain(t *testing.T) {
	notes := func(events []event.Event) (n int) {
		for _, e := range events {
			if e.Kind == event.Note {
				n++
			}
		}
		return n
	}
	closed := fault.New("closed the connection").On("web1").Because(&host.ConnectError{Kind: host.Dropped})
	key := fault.New("did not accept any of our keys").On("web1").Because(&host.ConnectError{Kind: host.AuthFailed})
	silent := fault.New("no answer").On("web1").Because(&host.ConnectError{Kind: host.Timeout})

	d, events := listening(t, Request{})
	for range 50 {
		if d.refusedAgain(silent, time.Minute) {
			t.Fatal("silence is certain")
		}
	}
	if notes(*events) != 1 {
		t.Errorf("%d lines: %+v", notes(*events), *events)
	}
	for range 5 {
		if d.refusedAgain(key, time.Minute) || d.refusedAgain(closed, time.Minute) {
			t.Fatal("certain at once")
		}
	}
	if d.unheard != "did not accept any of our keys" {
		t.Errorf("the reason is %q", d.unheard)
	}
	d.denied.since -= awake.Instant(9 * time.Second)
	if !d.refusedAgain(closed, time.Minute) || d.unheard != "did not accept any of our keys" {
		t.Errorf("not certain after 9 s: %+v", d.denied)
	}
	if d.refusedAgain(silent, time.Minute) || d.refusedAgain(key, time.Minute) {
		t.Error("certain after a silence in between")
	}
	d, _ = listening(t, Request{ConfirmTimeout: time.Hour, Silence: time.Hour})
	d.refusedAgain(key, time.Minute)
	d.denied.since -= awake.Instant(time.Minute)
	if d.refusedAgain(key, time.Minute) {
		t.Error("a person who was given an hour is cut off")
	}
}

// The cause comes first; how the host went back is one line.
func TestCauseFirst(t *testing.T) {
	res, events, err := deploy(t, Request{},
		call{want: `CHECK=`, out: healthy()},
		call{want: `MODE=`, out: "::godwit fact armed x\n" + data(0, "setting up /etc\nsnippet x failed\ngodwit: rolling back: the activation failed\nstarting a\nstarting b\n"+
			strings.Repeat("starting more\n", 20)+"godwit: rolled back to "+oldSystem+" (exit 0)\n") +
			facts("phase", "rolling-back", "final", "rolled-back 0", "apply-rc", "2 bad", "reason", "the activation failed", "attempts", "1", "current", oldSystem, "old", oldSystem, "started", "1")})
	text := fault.Render(err)
	cause, back := strings.Index(text, "  | snippet x failed"), strings.Index(text, "went back     in 1s, at attempt 2")
	if cause < 0 || back < cause || strings.Contains(text, "starting") || strings.Count(text, "went back  ") != 1 {
		t.Errorf("%s", text)
	}
	if len(res.Log) != 26 || !slices.ContainsFunc(events, func(e event.Event) bool { return e.Text == "starting a" && e.Data[event.Part] == event.WayBack }) {
		t.Errorf("%d lines, %+v", len(res.Log), events)
	}
}

// An activation over its time names the flag, and what it waited for.
func TestOverTime(t *testing.T) {
	d, _ := listening(t, Request{ActivateTimeout: 6 * time.Second})
	d.fr.begin()
	_, _ = d.fr.Write([]byte("::godwit beat 50  start home-manager-alice.service\n" +
		facts("phase", "rolling-back", "final", "rolled-back 0", "started", "1", "apply-result", "timeout killed TERM", "reason", "the activation took longer than 6s", "current", oldSystem, "old", oldSystem)))
	d.r = web1(t)
	text := fault.Render(d.conclude())
	for _, want := range []string{"took longer than 6s", "it waited for start home-manager-alice.service", "--activate-timeout 12", "systemctl status home-manager-alice.service"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if errors.Is(d.conclude(), errLost) {
		t.Error("lost")
	}
}
