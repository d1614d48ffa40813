package reboot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/host/hosttest"
)

// machine is a host that is asked verbs: answers tells, for each, what it answers next; the
// last answer is given for ever. "" is no answer, "drop" a lost connection after nothing was
// said, "root" that root is not to be had.
func machine(t *testing.T, answers map[string][]string) *hosttest.Host {
	calls := []hosttest.Call{{Want: hosttest.Disconnect, Name: "disconnect", Again: true}}
	for verb, list := range answers {
		for i, answer := range list {
			c := hosttest.Call{Want: `(?m)^VERB='` + verb + `'$`, Name: verb, Root: true, EitherWay: true, Again: i == len(list)-1}
			switch answer {
			case "":
				c.Err = fault.New("no answer on h:22 within 10s").On("web1").Because(&host.ConnectError{Kind: host.Timeout})
			case "drop":
				c.Err = &host.DroppedError{Host: "web1", Command: "script"}
			case "root":
				c.Err = fault.New("sudo needs a password").On("web1").Because(&host.ElevateError{})
			default:
				c.Out = answer + "\nend\n"
			}
			calls = append(calls, c)
		}
	}
	return hosttest.New(t, "web1", calls...).AnyOrder()
}

// bubble is t.Run in a bubble whose time passes when everybody in it waits.
func bubble(t *testing.T, name string, f func(*testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

func TestBootOnce(t *testing.T) {
	is := func(boot, system string, more ...string) string {
		return fmt.Sprintf("boot %s\nbooted /%s\ncurrent /%[2]s\nstate running\n%s", boot, system, strings.Join(more, "\n"))
	}
	oldUp, newUp := is("1", "old"), is("2", "new", "left 1", "unit known.service")
	going, done := is("1", "old", "going 1"), is("2", "new", "final done 0")
	sent := is("2", "new", "decision back", "reason x")
	backUp := is("3", "old")
	sick := errors.New("web1: page: Failed")
	for name, c := range map[string]struct {
		script  map[string][]string
		checks  error
		outcome event.Outcome
		want    string // of the rendered error
		verbs   string // that were asked, without look
	}{
		"well":         {map[string][]string{"look": {oldUp, "", newUp}, "go": {going}, "keep": {done}}, nil, Changed, "", "go disconnect keep"},
		"answers lost": {map[string][]string{"look": {oldUp, "", newUp}, "go": {"drop", "drop"}, "keep": {"drop", "", done}}, nil, Changed, "", "go go disconnect keep keep keep"},
		"no root":      {map[string][]string{"look": {oldUp}, "go": {"root"}}, nil, Untouched, "error: web1: not rebooted: sudo needs a password", "go"},
		"no answer":    {map[string][]string{"look": {""}}, nil, Untouched, "error: web1: not rebooted: cannot look at it: no answer", ""},
		"busy":         {map[string][]string{"look": {oldUp}, "go": {"refused 75 other"}}, nil, Untouched, "error: web1: another deployment is under way on this host (other)", "go"},
		"undone":       {map[string][]string{"look": {oldUp}, "go": {is("1", "old", "final aborted", "reason the host refused to reboot: inhibited")}}, nil, Untouched, "error: web1: not rebooted: the host refused to reboot: inhibited; the host is as before", "go"},
		// Seven times the host is still at it.
		"loader hangs": {map[string][]string{"look": {oldUp}, "go": append(slices.Repeat([]string{is("1", "old")}, 7), is("1", "old", "final aborted", "reason the boot loader could not be set (killed; its limit is 600s)", "log godwit: undoing"))}, nil, Untouched,
			"error: web1: not rebooted: the boot loader could not be set (killed; its limit is 600s); the old system still runs and stays the boot default\n    | godwit: undoing\nhint: on the host, run /old/bin/switch-to-configuration boot", "go go go go go go go go"},
		"old came back":  {map[string][]string{"look": {oldUp, "", is("2", "old", "pending 1"), is("2", "old")}, "go": {going}}, nil, RolledBack, "error: web1: the new system did not come up: the host came back with the system that ran before", "go disconnect"},
		"something else": {map[string][]string{"look": {oldUp, is("2", "odd")}, "go": {going}}, nil, Failed, "error: web1: after the reboot it runs neither", "go disconnect"},
		"check fails":    {map[string][]string{"look": {oldUp, newUp, "", backUp}, "go": {going}, "back": {sent}}, sick, RolledBack, "error: web1: checks failed: page: Failed; the host was rebooted into the system that ran before", "go disconnect back disconnect"},
		"unit fails":     {map[string][]string{"look": {oldUp, newUp, is("2", "new", "unit known.service", "unit odd.service"), backUp}, "go": {going}, "back": {"drop"}}, nil, RolledBack, "error: web1: units failed that had not failed before: odd.service; the", "go disconnect back back back back disconnect"},
		"keep fails":     {map[string][]string{"look": {oldUp, newUp, newUp, backUp}, "go": {going}, "keep": {is("2", "new", "reason the boot default could not be set (exit 1)")}, "back": {sent}}, nil, RolledBack, "error: web1: the boot default could not be set (exit 1); the host", "go disconnect keep back disconnect"},
		"cut in between": {map[string][]string{"look": {oldUp, newUp}, "go": {going}, "keep": {"", is("3", "old")}}, nil, RolledBack, "error: web1: it rebooted before it was confirmed; the host", "go disconnect keep keep"},
		"silent, back":   {map[string][]string{"look": append(append([]string{oldUp}, slices.Repeat([]string{""}, 80)...), is("3", "old")), "go": {going}}, nil, RolledBack, "error: web1: the new system did not come up", "go disconnect"},
		"kept after all": {map[string][]string{"look": {oldUp, newUp, newUp, done}, "go": {going}, "keep": {is("2", "new", "reason x")}, "back": {"drop"}}, nil, Changed, "error: web1: the new system was confirmed after all", "go disconnect keep back back back back"},
		"never back":     {map[string][]string{"look": {oldUp, ""}, "go": {going}}, nil, Failed, "error: web1: went down to reboot and did not come back within 0s\n  the last try said: no answer on h:22 within 10s\n  if its systemd runs, the host goes back by itself 1s after its boot\nhint: power-cycle the host: it boots /old", "go"},
		"never goes":     {map[string][]string{"look": {oldUp, going}, "go": {going}}, nil, Failed, "error: web1: was asked to reboot, but 0s later it still runs the same boot", "go"},
	} {
		bubble(t, name, func(t *testing.T) {
			m := machine(t, c.script)
			req := Request{Host: "web1", New: "/new", Old: "/old", Profile: "/p/system", Link: "system-1-link", Loader: Loader{Kind: "lab"}, Action: "boot",
				Limit: time.Second, Failed: []string{"known.service"}, Checks: func(context.Context) error { return c.checks }}
			res, err := BootOnce(t.Context(), m, req, Options{Timeout: 300 * time.Millisecond, Poll: 10 * time.Millisecond, TryTimeout: time.Second}, event.On(nil, "", ""))
			if res.Outcome != c.outcome {
				t.Errorf("outcome %s, not %s", res.Outcome, c.outcome)
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(fault.Render(err), c.want) {
				t.Errorf("%v", fault.Render(err))
			}
			verbs := slices.DeleteFunc(m.Made(), func(v string) bool { return v == "look" })
			if got := strings.Join(verbs, " "); got != c.verbs {
				t.Errorf("asked %q, not %q", got, c.verbs)
			}
		})
	}
}

// TestBootOnceBeside: other profiles are tried in the boot of the new system, before its
// checks; what of them fails takes the system back, too.
func TestBootOnceBeside(t *testing.T) {
	const old, up = "boot 1\nbooted /old\ncurrent /old\nstate running", "boot 2\nbooted /new\ncurrent /new\nstate running\nleft 60"
	const profiles = "\nof secrets secrets - /s/2\nof ana home /h/1 /h/2"
	for name, c := range map[string]struct {
		trying  []string
		outcome event.Outcome
		want    string
		checked bool
	}{
		"well":           {[]string{up, "", up + "\ntried 0 "}, Changed, "", true},
		"fails":          {[]string{up + "\ntried 1 ana\nlog no such thing"}, RolledBack, "profile ana could not be activated, exit 1; the host was rebooted", false},
		"goes back":      {[]string{up + "\nreason not confirmed"}, RolledBack, "not confirmed; the host was rebooted", false},
		"it reboots":     {[]string{"boot 3\nbooted /old\ncurrent /old"}, RolledBack, "it rebooted before it was confirmed", false},
		"takes for ever": {[]string{up}, RolledBack, "the other profiles were not activated within 1m0s", false},
	} {
		bubble(t, name, func(t *testing.T) {
			looks := []string{old, up, "boot 3\nbooted /old\ncurrent /old"}
			if c.checked {
				looks = []string{old, up}
			}
			m := machine(t, map[string][]string{"look": looks, "go": {old + profiles + "\ngoing 1"}, "trying": c.trying, "back": {up + "\nreason x"}, "keep": {up + "\nfinal done 0"}})
			checked := false
			res, err := BootOnce(t.Context(), m, Request{Host: "web1", New: "/new", Old: "/old", Profile: "/p", Limit: 10 * time.Minute,
				Beside: func(string) (string, error) { return "lay", nil }, BesideMax: time.Minute,
				Checks: func(context.Context) error { checked = true; return nil }}, Options{Poll: 10 * time.Millisecond}, event.On(nil, "", ""))
			if res.Outcome != c.outcome || checked != c.checked || (err == nil) != (c.want == "") || err != nil && !strings.Contains(fault.Render(err), c.want) {
				t.Errorf("%s, checked %v: %s", res.Outcome, checked, fault.Render(err))
			}
			if want := []Beside{{"secrets", "secrets", "", "/s/2"}, {"ana", "home", "/h/1", "/h/2"}}; !slices.Equal(res.Beside, want) {
				t.Errorf("%+v", res.Beside)
			}
		})
	}
}

func TestBootOnceInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m := machine(t, map[string][]string{"look": {"boot 1\nbooted /old", ""}, "go": {"boot 1\ngoing 1"}})
		time.AfterFunc(50*time.Millisecond, cancel)
		res, err := BootOnce(ctx, m, Request{Host: "web1", New: "/new", Old: "/old", Profile: "/p", Limit: time.Minute}, Options{Poll: 10 * time.Millisecond}, event.On(nil, "", ""))
		if !errors.Is(err, context.Canceled) || res.Outcome != Failed || !strings.Contains(fault.Render(err), "1m0s after its boot the host goes back") {
			t.Errorf("%+v %s", res, fault.Render(err))
		}
	})
}

// Ctrl-C when the new system is up says what the host decided by then.
func TestBootOnceGivenUp(t *testing.T) {
	const up = "boot 2\nbooted /new\ncurrent /new\nleft 60"
	for _, c := range []struct {
		name         string
		during       string // the verb during which it is interrupted
		answer, want string
	}{
		{"in the checks", "back", up + "\ndecision back", "interrupted; the host is rebooting into the system that ran before"},
		{"in the checks, and somebody confirmed", "back", up + "\ndecision keep", "the host is making it permanent"},
		{"in the checks, no answer", "back", "", "no deployer confirms that now"},
		{"confirmed", "keep", up + "\ndecision keep\nfinal done 0", "had been confirmed already"},
		{"being confirmed", "keep", up + "\ndecision keep", "the host is making it permanent"},
		{"the boot loader fails", "keep", up + "\ndecision keep\nreason exit 1", "is rebooting into the system that ran before"},
	} {
		bubble(t, c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			script := map[string][]string{"look": {"boot 1\nbooted /old", up, up}, "go": {"boot 1\ngoing 1"}, "keep": {"drop"}, "back": {c.answer}}
			if c.during == "keep" {
				script["look"] = append(script["look"], c.answer)
			}
			m := machine(t, script)
			checks := func(ctx context.Context) error {
				if c.during == "back" {
					cancel()
					return ctx.Err()
				}
				time.AfterFunc(100*time.Millisecond, cancel)
				return nil
			}
			req := Request{Host: "web1", New: "/new", Old: "/old", Profile: "/p", Limit: time.Minute, Checks: checks}
			_, err := BootOnce(ctx, m, req, Options{Poll: 10 * time.Millisecond}, event.On(nil, "", ""))
			if !errors.Is(err, context.Canceled) || !strings.Contains(fault.Render(err), c.want) {
				t.Errorf("%v: %s", m.Made(), fault.Render(err))
			}
		})
	}
}
