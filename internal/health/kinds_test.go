package health

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/host/hosttest"
)

func TestTCP(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	rep, said, err := run(t, nil, fleet.Checks{TCP: []fleet.TCPCheck{{Description: "door", Port: port}, {Description: "named", Host: "[127.0.0.1]", Port: port}}}, Options{})
	if err != nil || passed(rep) != 2 || !strings.Contains(said, "door: OK") {
		t.Errorf("%v %s", err, said)
	}
	l.Close()
	port = closedPort(t)
	_, _, err = run(t, nil, fleet.Checks{TCP: []fleet.TCPCheck{{Description: "door", Port: port, Period: time.Millisecond}}}, Options{Budget: 3 * time.Second})
	if err == nil || !strings.Contains(fault.Render(err), "door: dial tcp 127.0.0.1:"+strconv.Itoa(port)+": connect: connection refused") {
		t.Error(fault.Render(err))
	}
}

// closedPort is a port that refuses connections until the test ends: nobody else gets it.
func closedPort(t *testing.T) int {
	t.Helper()
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(s) })
	if err := syscall.Bind(s, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	a, err := syscall.Getsockname(s)
	if err != nil {
		t.Fatal(err)
	}
	return a.(*syscall.SockaddrInet4).Port
}

func TestUnits(t *testing.T) {
	failed := "old.service loaded failed failed Old\nnew.service loaded failed failed New\nodd@1.service loaded failed failed Odd\n"
	asks := func(unit, out string) hosttest.Call {
		return hosttest.Call{Want: "^" + regexp.QuoteMeta(unitScript+"\n-- "+unit) + "$", Out: out, Err: &host.ExitError{Code: 3}, Again: true}
	}
	r := hosttest.New(t, "web1",
		hosttest.Call{Want: "^" + regexp.QuoteMeta(failedScript) + "$", Out: failed, Again: true},
		hosttest.Call{Want: "^" + regexp.QuoteMeta(unitScript+"\n-- good") + "$"},
		asks("bad", "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=exit-code\n"),
		asks("later", "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nResult=success\n"),
		asks("gone", "LoadState=not-found\nActiveState=inactive\nSubState=dead\nResult=success\n"),
	).AnyOrder()
	unit := func(name string) fleet.UnitCheck {
		return fleet.UnitCheck{Description: "U " + name, Unit: name, Period: time.Millisecond}
	}
	rep, _, _ := run(t, r, fleet.Checks{Unit: []fleet.UnitCheck{unit("good"), unit("bad"), unit("later"), unit("gone")}}, Options{Budget: 250 * time.Millisecond})
	for i, want := range []string{"", "it is failed, result exit-code", "it is activating (auto-restart)", "the host has no gone"} {
		if rep.Results[i].Failure != want {
			t.Errorf("%+v, want %q", rep.Results[i], want)
		}
	}
	check := func(ignore ...string) fleet.Checks {
		return fleet.Checks{FailedUnits: []fleet.FailedUnitsCheck{{Description: "F", Ignore: ignore, Period: time.Millisecond}}}
	}
	rep, _, _ = run(t, r, check(), Options{Budget: 250 * time.Millisecond, Failed: []string{"old.service"}})
	if rep.Results[0].Failure != "failed: new.service, odd@1.service" {
		t.Errorf("%+v", rep)
	}
	if _, _, err := run(t, r, check("odd@*", "new"), Options{Budget: time.Second, Failed: []string{"old.service"}}); err != nil {
		t.Error(err)
	}
	if got, err := FailedUnits(t.Context(), r); err != nil || len(got) != 3 || got[0] != "old.service" {
		t.Errorf("%v %v", got, err)
	}
}

func TestLocal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := "#!/bin/sh\necho \"$GODWIT_HOST|$GODWIT_TARGET|$GODWIT_USER|$GODWIT_PORT|$GODWIT_TAGS|$GODWIT_SYSTEM|$PWD|$1\" >env\n"
	if err := os.WriteFile(filepath.Join(dir, "ask"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	h := fleet.Host{Name: "web1", At: fleet.Address{Host: "10.0.0.1", User: "me", Port: 22}, Tags: []string{"a", "b"}}
	checks := fleet.Checks{Local: []fleet.LocalCheck{{Description: "ask", Cmd: []string{"./ask", "x y"}, Dir: dir}}}
	list, err := prepare(nil, h, checks, Options{System: "/nix/store/s"})
	if err != nil {
		t.Fatal(err)
	}
	if failure, _ := list[0].try(t.Context()); failure != "" {
		t.Error(failure)
	}
	got, _ := os.ReadFile(filepath.Join(dir, "env"))
	if want := "web1|10.0.0.1|me|22|a,b|/nix/store/s|" + dir + "|x y\n"; string(got) != want {
		t.Errorf("%q", got)
	}
	// What it started goes away with it.
	hang := fleet.LocalCheck{Description: "hang", Cmd: []string{"sh", "-c", "sleep 3021 & echo $! >pid; wait"}, Dir: dir, Timeout: 300 * time.Millisecond, Period: time.Hour}
	rep, _, _ := run(t, nil, fleet.Checks{Local: []fleet.LocalCheck{hang}}, Options{Budget: 3 * time.Second})
	if rep.Results[0].Failure != "Timeout after 0.3s" {
		t.Errorf("%+v", rep)
	}
	text, _ := os.ReadFile(filepath.Join(dir, "pid"))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	for try := 0; pid > 0 && syscall.Kill(pid, 0) == nil; try++ {
		if try == 100 {
			t.Fatal("its child still runs")
		}
		time.Sleep(20 * time.Millisecond)
	}
	none := fleet.LocalCheck{Description: "none", Cmd: []string{"no-such-program-at-all"}, Period: time.Minute}
	start := time.Now()
	if _, _, err := run(t, nil, fleet.Checks{Local: []fleet.LocalCheck{none}}, Options{}); err == nil || time.Since(start) > 10*time.Second {
		t.Error(err)
	}
}
