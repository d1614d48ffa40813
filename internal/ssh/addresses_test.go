package ssh_test

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/ssh"
	"godwit/internal/ssh/sshtest"
)

// closedPort is a port of this machine at which nobody listens.
func closedPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestFurtherAddresses(t *testing.T) {
	s := sshtest.Start(t)
	var notes []string
	o := s.Options()
	o.Elevate = ssh.ElevateNone
	o.Sink = event.SinkFunc(func(e event.Event) {
		if e.Kind == event.Note {
			notes = append(notes, e.Text)
		}
	})
	pool, err := ssh.NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	at := s.Target("web1")
	closed := closedPort(t)
	there := "127.0.0.1:" + strconv.Itoa(at.Port)

	h := pool.Conn(fleet.Host{Name: "web1", At: fleet.Address{Host: "127.0.0.1", User: at.User, Port: closed, Also: []string{"no-such-host.invalid", there}}})
	if out, err := h.Output(ctx, host.Cmd{Argv: []string{"echo", "here"}}); err != nil || out != "here\n" {
		t.Fatalf("%q, %v", out, err)
	}
	want := "connected at " + there + "; 127.0.0.1:" + strconv.Itoa(closed) + ": refused; no-such-host.invalid:" + strconv.Itoa(closed) + ": name not found"
	if strings.Join(notes, "|") != want {
		t.Errorf("%q, want %q", notes, want)
	}
	// From then on everything is there: new connections, what is typed, what ssh is asked.
	before := s.Connections()
	if out, err := h.Output(ctx, host.Cmd{Argv: []string{"echo", "new"}, Fresh: true}); err != nil || out != "new\n" || s.Connections() < before {
		t.Fatalf("%q, %v", out, err)
	}
	if typed := h.Typed(nil, "true"); !strings.Contains(string(typed), "-p "+strconv.Itoa(at.Port)+" ") {
		t.Error(typed)
	}
	if w, err := h.Where(ctx); err != nil || w.Port != strconv.Itoa(at.Port) {
		t.Errorf("%v, %v", w, err)
	}
	if len(notes) != 1 {
		t.Errorf("%q", notes)
	}

	// A new connection finds the host where it is now, though the one before is elsewhere.
	moved := pool.Host(ssh.Target{Name: "web2", Host: "127.0.0.1", User: at.User, Port: closed, Also: ssh.JoinWords([]string{there})})
	if out, err := moved.Output(ctx, host.Cmd{Argv: []string{"echo", "new"}, Fresh: true}); err != nil || out != "new\n" {
		t.Fatalf("%q, %v", out, err)
	}

	nowhere := pool.Host(ssh.Target{Name: "web3", Host: "127.0.0.1", User: at.User, Port: closed, Also: ssh.JoinWords([]string{"no-such-host.invalid"})})
	err = nowhere.Connect(ctx)
	if err == nil || !strings.Contains(err.Error(), "it answers at none of its 2 addresses") || host.KindOf(err) != host.Refused || !host.Retryable(err) {
		t.Errorf("%v", err)
	}

	// Who is there and lets nobody in is who was meant.
	s.WriteConfig("IdentityFile none")
	refuses := pool.Host(ssh.Target{Name: "web4", Host: "127.0.0.1", User: "nobody-here", Port: at.Port, Also: ssh.JoinWords([]string{at.User + "@" + there})})
	if err := refuses.Connect(ctx); host.KindOf(err) != host.AuthFailed {
		t.Errorf("%v", err)
	}
	bad := pool.Host(ssh.Target{Name: "web5", Host: "127.0.0.1", Also: ssh.JoinWords([]string{"a b"})})
	if err := bad.Connect(ctx); err == nil || !strings.Contains(err.Error(), `a further address of the host: "a b" has no usable host name`) {
		t.Errorf("%v", err)
	}
}
