package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"godwit/internal/activate"
	"godwit/internal/event"
	"godwit/test/lab"
)

// A deployer in a process of its own can be stopped like a laptop whose lid is
// closed.
type deployer struct {
	Name, Identity, KnownHosts, System string
	Profiles                           []activate.Change
	Port                               int
	Activate, Confirm, Silence, Checks time.Duration

	cmd *exec.Cmd
	out bytes.Buffer
}

// ended is what it says at its end.
type ended struct{ Outcome, Error, Notes string }

const (
	deployerEnv = "GODWIT_FAULT_DEPLOYER"
	endedMark   = "deployer ended: "
)

// TestDeployer is no test, but the process of a deployer.
func TestDeployer(t *testing.T) {
	var d deployer
	if os.Getenv(deployerEnv) == "" {
		return
	}
	if err := json.Unmarshal([]byte(os.Getenv(deployerEnv)), &d); err != nil {
		t.Fatal(err)
	}
	h := &machine{t: t, Host: &lab.Host{Name: d.Name, Port: d.Port, Identity: d.Identity, KnownHosts: d.KnownHosts}}
	req := activate.Request{Host: d.Name, NewSystem: d.System, Profiles: d.Profiles, Action: activate.Switch, ActivateTimeout: d.Activate, ConfirmTimeout: d.Confirm, Silence: d.Silence}
	if d.Checks > 0 {
		req.Checks = func(ctx context.Context, _ activate.Phase) error {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(d.Checks):
				return nil
			}
		}
	}
	var mu sync.Mutex
	var e ended
	res, err := activate.Run(context.Background(), h.client(t, "deploy"), req, event.SinkFunc(func(ev event.Event) {
		mu.Lock()
		defer mu.Unlock()
		if ev.Kind == event.Note || ev.Kind == event.Warning {
			e.Notes += ev.Text + "\n"
		}
	}))
	e.Outcome = string(res.Outcome)
	if err != nil {
		e.Error = err.Error()
	}
	b, _ := json.Marshal(e)
	fmt.Println(endedMark + string(b))
}

// deployer starts one for the request.
func (h *machine) deployer(req activate.Request, checks time.Duration) *deployer {
	h.t.Helper()
	d := &deployer{Name: h.Name, Identity: h.Identity, KnownHosts: h.KnownHosts, Port: h.Port, System: req.NewSystem, Profiles: req.Profiles,
		Activate: req.ActivateTimeout, Confirm: req.ConfirmTimeout, Silence: req.Silence, Checks: checks}
	b, _ := json.Marshal(d)
	d.cmd = exec.Command(os.Args[0], "-test.run", "^TestDeployer$", "-test.v")
	d.cmd.Env = append(os.Environ(), deployerEnv+"="+string(b))
	d.cmd.Stdout, d.cmd.Stderr = &d.out, &d.out
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		_ = d.cmd.Process.Signal(syscall.SIGCONT)
		_ = d.cmd.Process.Kill()
	})
	return d
}

// wait is how it ended.
func (d *deployer) wait(t testing.TB) ended {
	t.Helper()
	err := d.cmd.Wait()
	var e ended
	_, after, ok := strings.Cut(d.out.String(), endedMark)
	if line, _, _ := strings.Cut(after, "\n"); !ok || json.Unmarshal([]byte(line), &e) != nil {
		t.Fatalf("the deployer ended without a word: %v\n%s", err, d.out.String())
	}
	return e
}

// sleep stops the deployer itself, its ssh processes, or both, for a while.
func (d *deployer) sleep(t testing.TB, who string, how time.Duration) {
	t.Helper()
	pids := []int{d.cmd.Process.Pid}
	if who != "deployer" {
		pids = append(pids, lab.SSHOf(d.cmd.Process.Pid, "")...)
	}
	if who == "ssh" {
		pids = pids[1:]
	}
	lab.Sleep(pids, how)
}

// outcomeHolds compares what a deployer said at its end with the host.
func (h *machine) outcomeHolds(t *testing.T, e ended, old, new string) {
	t.Helper()
	switch e.Outcome {
	case "changed":
		h.invariant(t, old, new)
	case "rolled-back", "failed":
		h.invariant(t, old, old)
	default:
		t.Errorf("%+v", e)
	}
}

// TestAsleep: a deployer that sleeps for a minute, or whose ssh is stopped, finds
// the host as it says: confirmed, or back. What only its ssh slept through takes
// no healthy host back.
func TestAsleep(t *testing.T) {
	begin(t)
	const long = 60 * time.Second
	cases := []struct {
		name, who, when string
		how             time.Duration
		want            string // outcome; empty: either
		words           string
	}{
		{name: "all, while it activates", who: "all", when: started, how: long, want: "rolled-back", words: "within 45s"},
		{name: "all, during the checks", who: "all", when: "test -e /run/godwit/current/heard", how: long, want: "rolled-back", words: "did not hear from godwit for 45s"},
		{name: "the deployer, during the checks", who: "deployer", when: "test -e /run/godwit/current/heard", how: long, want: "rolled-back", words: "did not hear from godwit for 45s"},
		{name: "the deployer, for a moment", who: "deployer", when: "test -e /run/godwit/current/heard", how: 25 * time.Second, want: "changed"},
		{name: "ssh, while it activates", who: "ssh", when: started, how: long, want: "changed"},
		{name: "ssh, during the checks", who: "ssh", when: "test -e /run/godwit/current/heard", how: long, want: "changed"},
		{name: "all, while the boot default is set", who: "all", when: heldBoot, how: long, want: "changed"},
	}
	queue := make(chan int, len(cases))
	for i := range cases {
		queue <- i
	}
	close(queue)
	var wg sync.WaitGroup
	for range envInt("GODWIT_FAULT_HOSTS", 4) {
		wg.Go(func() {
			t.Run("host", func(t *testing.T) {
				h := newHost(t, suites()[0])
				for i := range queue {
					c := cases[i]
					t.Run(c.name, func(t *testing.T) {
						h.t = t
						h.reset("old")
						held := map[string]string{started: "good", heldBoot: "boot"}[c.when]
						if held != "" {
							h.must("touch /run/fault-hold-" + held)
						}
						req := h.request("good")
						withChecks(&req)
						begin := time.Now()
						d := h.deployer(req, 20*time.Second)
						k := &kase{machine: h, t: t, ctx: t.Context()}
						k.waitFor(c.when, c.when)
						if held != "" { // goes on while they sleep
							go func() { time.Sleep(time.Second); k.do("rm /run/fault-hold-" + held) }()
						}
						d.sleep(t, c.who, c.how)
						e := d.wait(t)
						t.Logf("%s after %.1fs: %s\n%s", e.Outcome, time.Since(begin).Seconds(), e.Error, e.Notes)
						if c.want != "" && e.Outcome != c.want {
							t.Errorf("the outcome is %q, want %q", e.Outcome, c.want)
						}
						if !strings.Contains(e.Error, c.words) {
							t.Errorf("it should say %q: %s", c.words, e.Error)
						}
						h.outcomeHolds(t, e, h.systems["old"], h.systems["good"])
					})
				}
			})
		})
	}
	wg.Wait()
}

// runAsleep is a round of TestRandom with a deployer that is stopped at some
// moment, alone or with its ssh.
func (h *machine) runAsleep(t *testing.T, req activate.Request, who string, at, how time.Duration) (activate.Result, error) {
	d := h.deployer(req, 0)
	time.Sleep(at)
	d.sleep(t, who, how)
	e := d.wait(t)
	var err error
	if e.Error != "" {
		err = errors.New(e.Error)
	}
	return activate.Result{Outcome: event.Outcome(e.Outcome)}, err
}
