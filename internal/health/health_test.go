package health

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/host/hosttest"
	"godwit/internal/ssh"
	"godwit/internal/ssh/sshtest"
)

type notes struct {
	mu   sync.Mutex
	text []string
}

func (n *notes) Emit(e event.Event) {
	if e.Kind == event.Note {
		n.mu.Lock()
		n.text = append(n.text, e.Text)
		n.mu.Unlock()
	}
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.text, "\n")
}

func page(t *testing.T, s *httptest.Server) fleet.HTTPCheck {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, _ := strconv.Atoi(u.Port())
	return fleet.HTTPCheck{Description: "page", Scheme: u.Scheme, Port: port, Path: "/", Period: 10 * time.Millisecond, Timeout: 2 * time.Second}
}

var web = fleet.Host{Name: "web1", At: fleet.Address{Host: "127.0.0.1"}}

func run(t *testing.T, r host.Conn, c fleet.Checks, o Options) (Report, string, error) {
	t.Helper()
	n := &notes{}
	rep, err := Run(t.Context(), r, web, c, o, event.On(n, "web1", event.StepCheck))
	return rep, n.String(), err
}

func TestHTTP(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/moved":
			http.Redirect(w, r, "/", http.StatusFound)
		case r.Host != "example.org" && r.URL.Path == "/host" || r.URL.Path == "/host" && r.Header.Get("X-A") != "b":
			http.Error(w, r.Host, http.StatusTeapot)
		case r.URL.Path == "/late" && asked.Add(1) < 3:
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		case r.URL.Path == "/slow":
			<-r.Context().Done()
		}
	}))
	defer s.Close()
	tls := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer tls.Close()

	ok, moved, named, late, secure := page(t, s), page(t, s), page(t, s), page(t, s), page(t, tls)
	moved.Path, late.Path = "/moved", "/late"
	named.Path, named.Headers = "/host", map[string]string{"host": "example.org", "X-A": "b"}
	secure.InsecureSSL = true
	late.Description = "late page"
	rep, said, err := run(t, nil, fleet.Checks{HTTP: []fleet.HTTPCheck{ok, moved, named, late, secure}}, Options{})
	if err != nil || passed(rep) != 5 || rep.Results[3].Tries != 3 {
		t.Errorf("%v %+v", err, rep)
	}
	for _, want := range []string{"page: OK", "late page: Failed (Got non 2xx status code (503 Service Unavailable))", "late page: OK"} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}

	slow, strict, nothing := page(t, s), page(t, tls), page(t, s)
	slow.Path, slow.Timeout, slow.Description = "/slow", 50*time.Millisecond, "slow"
	strict.Description = "strict"
	nothing.Port, nothing.Description = 1, "nothing"
	start := time.Now()
	rep, said, err = run(t, nil, fleet.Checks{HTTP: []fleet.HTTPCheck{ok, slow, strict, nothing}}, Options{Budget: time.Second})
	if passed(rep) != 1 || time.Since(start) > 5*time.Second {
		t.Errorf("%+v after %s", rep, time.Since(start))
	}
	text := fault.Render(err) + said
	for _, want := range []string{
		"web1: gave up waiting for health checks to complete after 1 second: 3 of 4 did not succeed",
		"  slow: Timeout after 0.05s", "certificate", "nothing: http://127.0.0.1:1/: dial tcp 127.0.0.1:1: connect: connection refused", "slow: Failed (Timeout after 0.05s)", "--timeout",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	// What stays the same is not said with every try.
	if n := strings.Count(said, "nothing: Failed"); n != 1 {
		t.Errorf("said %d times, tried %d times:\n%s", n, rep.Results[3].Tries, said)
	}
}

func TestURL(t *testing.T) {
	for in, want := range map[string]string{"::1": "http://[::1]:80/", "[::1]": "http://[::1]:80/", "h": "http://h:80/", "fe80::1%eth0": "http://[fe80::1%25eth0]:80/"} {
		u, err := pageURL(fleet.HTTPCheck{Port: 80}, nameOf(fleet.Host{At: fleet.Address{Host: in}}, ""))
		if err != nil || u.String() != want {
			t.Errorf("%s: %v, %v", in, u, err)
		}
	}
}

func TestCmd(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t)
	o := s.Options()
	o.Elevate = ssh.ElevateNone
	h := s.HostWith(t, "web1", o)
	dir := t.TempDir()
	flag := filepath.Join(dir, "flag")
	rep, said, err := run(t, h, fleet.Checks{Cmd: []fleet.CmdCheck{
		{Description: "fine", Cmd: []string{"true", "&&", "test", "$((1+1))", "=", "2"}},
		{Description: "flag", Cmd: []string{"sudo", "cat", flag, "2>&1", "||", "{", "touch", flag + ";", "false;", "}"}, Period: time.Millisecond},
	}}, Options{})
	if err != nil || passed(rep) != 2 || rep.Results[1].Tries != 2 || !strings.Contains(said, "flag: Failed (output: cat: "+flag+": No such file or directory)") {
		t.Errorf("%v %+v\n%s", err, rep, said)
	}
	// A try that hangs is ended on the host too.
	pids := filepath.Join(dir, "pids")
	_, _, err = run(t, h, fleet.Checks{Cmd: []fleet.CmdCheck{
		{Description: "hang", Cmd: []string{"echo $$ >>" + pids + "; sleep 2811; true"}, Period: time.Millisecond, Timeout: time.Second},
	}}, Options{Budget: 3500 * time.Millisecond, Before: true})
	if err == nil || !strings.Contains(fault.Render(err), "gave up waiting for pre-deploy checks to complete after 3.5 seconds") ||
		!strings.Contains(fault.Render(err), "hang: Timeout after 1s") {
		t.Errorf("%v", fault.Render(err))
	}
	data, _ := os.ReadFile(pids)
	if len(strings.Fields(string(data))) < 2 {
		t.Errorf("tried %d times", len(strings.Fields(string(data))))
	}
	for _, pid := range strings.Fields(string(data)) {
		n, _ := strconv.Atoi(pid)
		for try := 0; syscall.Kill(n, 0) == nil; try++ {
			if try == 100 {
				t.Errorf("process %s still runs", pid)
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

func TestCancelLeavesNothingRunning(t *testing.T) {
	try := hosttest.Call{Want: `^x$`, Out: "x", Stays: true, Err: context.Canceled}
	r := hosttest.New(t, "web1", try, try)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := Run(ctx, r, web, fleet.Checks{Cmd: []fleet.CmdCheck{{Description: "a", Cmd: []string{"x"}}, {Description: "b", Cmd: []string{"x"}}}}, Options{}, event.On(nil, "", ""))
	if !errors.Is(err, context.Canceled) || r.Running() != 0 {
		t.Errorf("%v, %d running", err, r.Running())
	}
}

func TestHopelessEndsEarly(t *testing.T) {
	r := hosttest.New(t, "web1", hosttest.Call{Want: `^x$`, Root: true, Err: fault.New("sudo needs a password").Because(&host.ElevateError{})})
	start := time.Now()
	rep, _, err := run(t, r, fleet.Checks{Cmd: []fleet.CmdCheck{{Description: "a", Cmd: []string{"sudo", "x"}, Period: time.Minute}}}, Options{})
	if err == nil || time.Since(start) > 5*time.Second || rep.Results[0].Failure != "error: sudo needs a password" {
		t.Errorf("%v %+v", err, rep)
	}
	// A lost connection is tried again: the host may be restarting its network.
	lost := hosttest.Call{Want: `^x$`, Err: &host.DroppedError{Host: "web1", Command: "x"}}
	r = hosttest.New(t, "web1", lost, lost, hosttest.Call{Want: `^x$`})
	if rep, _, err = run(t, r, fleet.Checks{Cmd: []fleet.CmdCheck{{Description: "a", Cmd: []string{"x"}, Period: time.Millisecond}}}, Options{}); err != nil {
		t.Errorf("%v %+v", err, rep)
	}
	if rep, _, err = run(t, nil, fleet.Checks{}, Options{}); err != nil || len(rep.Results) != 0 {
		t.Errorf("%v %+v", err, rep)
	}
}

// passed counts the checks that succeeded.
func passed(r Report) (n int) {
	for _, c := range r.Results {
		if c.OK {
			n++
		}
	}
	return n
}
