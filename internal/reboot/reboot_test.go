package reboot

import (
	"context"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/host/hosttest"
	"godwit/internal/ssh"
	"godwit/test/lab"
)

const bootIDs = `^cat /proc/sys/kernel/random/boot_id$`

// look is a look at the boot id; "" is no answer, "key" another host key.
func look(id string, fresh bool) hosttest.Call {
	c := hosttest.Call{Want: bootIDs, Fresh: fresh, Out: id + "\n"}
	switch id {
	case "":
		c.Out, c.Err = "", fault.New("no answer on h:22 within 10s").On("web1").Because(&host.ConnectError{Kind: host.Timeout})
	case "key":
		c.Out, c.Err = "", fault.New("h:22 shows another host key").On("web1").Because(&host.ConnectError{Kind: host.HostKeyChanged})
	}
	return c
}

// rebooting is a host that runs boot one and is asked to reboot. boots are the answers to
// the looks after that, over new connections: the last of them for ever, unless it tells.
func rebooting(t *testing.T, ask error, boots ...string) *hosttest.Host {
	asked := hosttest.Call{Want: "^" + regexp.QuoteMeta(script) + "$", Root: true, Err: ask}
	if ask != nil {
		asked.Stderr = "Operation inhibited by \"backup\"\n"
	}
	calls := []hosttest.Call{look("one", false), asked}
	for i, id := range boots {
		c := look(id, true)
		c.Again = i == len(boots)-1 && id != "two" && id != "key"
		calls = append(calls, c)
		if id == "two" {
			calls = append(calls, hosttest.Call{Want: hosttest.Disconnect})
		}
	}
	return hosttest.New(t, "web1", calls...)
}

func TestRun(t *testing.T) {
	dropped := &host.DroppedError{Host: "web1", Command: "script"}
	for name, c := range map[string]struct {
		boots []string
		ask   error
		want  string // of the rendered error; empty means success
	}{
		"comes back":      {[]string{"one", "", "", "two"}, nil, ""},
		"cut off":         {[]string{"", "two"}, dropped, ""},
		"too fast to see": {[]string{"two"}, nil, ""},
		"never goes":      {[]string{"one"}, nil, "error: web1: was asked to reboot, but 0s later it still runs the same boot"},
		"never returns":   {[]string{"one", ""}, nil, "error: web1: went down to reboot and did not come back within 0s\n  the last try said: no answer on h:22 within 10s"},
		"same boot":       {[]string{"", "", "one"}, nil, "error: web1: did not reboot: it was away for a while"},
		"other machine":   {[]string{"", "key"}, nil, "error: web1: rebooted, but something other than before answers: h:22 shows another host key"},
		"refused":         {nil, &host.ExitError{Code: 1}, "error: web1: the host refused to reboot (status 1)\n  Operation inhibited by \"backup\"\n  it still runs its old boot"},
		"no root":         {nil, fault.New("sudo needs a password").On("web1").Because(&host.ElevateError{}), "error: web1: not rebooted: sudo needs a password"},
	} {
		bubble(t, name, func(t *testing.T) {
			res, err := Run(t.Context(), rebooting(t, c.ask, c.boots...), "web1", Options{Timeout: 200 * time.Millisecond, Poll: 5 * time.Millisecond}, event.On(nil, "", ""))
			switch {
			case c.want == "":
				if err != nil || res.Before != "one" || res.After != "two" {
					t.Errorf("%v %+v", err, res)
				}
			case err == nil || !strings.HasPrefix(fault.Render(err), c.want):
				t.Errorf("%v", err)
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(30*time.Millisecond, cancel)
		_, err := Run(ctx, rebooting(t, nil, ""), "web1", Options{Poll: time.Minute}, event.On(nil, "", ""))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}

func TestWatch(t *testing.T) { synctest.Test(t, testWatch) }

func testWatch(t *testing.T) {
	// What was connected may hang: after a look without an answer the next ones are over
	// new connections, until one answers.
	b := hosttest.New(t, "web1", look("one", false), look("", false), look("", true), look("one", true), look("two", false),
		hosttest.Call{Want: hosttest.Disconnect})
	ctx, stop := watch(t.Context(), b, "one", time.Millisecond)
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the reboot was not seen")
	}
	if !errors.Is(context.Cause(ctx), ErrRebooted) || !stop() {
		t.Errorf("cause %v", context.Cause(ctx))
	}

	same := look("one", false)
	same.Again = true
	ctx, stop = watch(t.Context(), hosttest.New(t, "web1", same), "one", time.Millisecond)
	time.Sleep(20 * time.Millisecond)
	if ctx.Err() != nil || stop() || ctx.Err() == nil {
		t.Errorf("the same boot all the time: %v", ctx.Err())
	}
	// A host without boot ids is not asked.
	_, stop = watch(t.Context(), nil, "", time.Millisecond)
	if stop() {
		t.Error("rebooted, says a watch of nothing")
	}
	early, cancel := context.WithCancel(t.Context())
	cancel()
	if _, stop = watch(early, hosttest.New(t, "web1"), "one", time.Millisecond); stop() {
		t.Error("looked after the end")
	}
}

func TestLab(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Docker")
	}
	host := lab.New(t, lab.Spec{})
	config := filepath.Join(t.TempDir(), "config")
	if err := lab.WriteSSHConfig(config, host); err != nil {
		t.Fatal(err)
	}
	p, err := ssh.NewPool(ssh.Options{ConfigFile: config, ConnectTimeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	h := p.Host(ssh.Target{Name: "lab", Host: host.Name, User: lab.Deploy})
	before, err := BootID(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	res, err := Run(t.Context(), h, "lab", Options{Timeout: 3 * time.Minute}, event.On(nil, "", ""))
	if err != nil {
		t.Fatal(fault.Render(err))
	}
	if res.Before != before || res.After == before || res.After == "" {
		t.Errorf("%+v, was %s", res, before)
	}
	// The next command does not stumble over the old connection.
	if after, err := BootID(t.Context(), h); err != nil || after != res.After {
		t.Errorf("%q, %v", after, err)
	}

	// Somebody who may not reboot is told so, and nothing happens.
	n := p.Host(ssh.Target{Name: "lab", Host: host.Name, User: lab.Nobody})
	if _, err := Run(t.Context(), n, "lab", Options{Timeout: time.Second}, event.On(nil, "", "")); err == nil || !strings.HasPrefix(err.Error(), "lab: not rebooted: ") {
		t.Errorf("%v", err)
	}
}
