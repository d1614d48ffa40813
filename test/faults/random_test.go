package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/activate"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/host"
	"godwit/internal/secrets/bundle"
	"godwit/test/lab"
)

func envInt(name string, def int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return def
}

// instantFaults may strike at any moment of a deployment. They end by
// themselves: the host must find its way without a person.
var instantFaults = map[string]string{
	"nothing":            `true`,
	"ssh sessions die":   `pkill -KILL -u deploy sshd`,
	"sshd restarts":      `systemctl restart ssh.service`,
	"apply killed":       `systemctl kill -s KILL 'godwit-apply-*.service'`,
	"apply stopped":      `systemctl stop 'godwit-apply-*.service'`,
	"commit killed":      `systemctl kill -s KILL 'godwit-commit-*.service'`,
	"rollback killed":    `systemctl kill -s KILL 'godwit-rollback-*.service'`,
	"one of ours killed": `pkill -KILL -o -f '/run/godwit/.*/run.sh'`,
	"all of ours killed": `pkill -KILL -f '/run/godwit/.*/run.sh'`,
	"somebody switches":  `systemd-run --quiet --collect --unit=fault-lock flock /run/nixos/switch-to-configuration.lock sleep 3`,
	"newest killed":      `pkill -KILL -n -f 'switch-to-configuration'`,
	"reexec":             `systemctl daemon-reexec`,
	"reload":             `systemctl daemon-reload`,
	"rollback asked":     `systemctl start --no-block 'godwit-rollback-*.service'`,
	"boot loader breaks": `touch /var/lib/fault/boot-broken`,
	"half a boot loader": `touch /var/lib/fault/boot-half`,
	"packets dropped":    `nft 'add table inet f; add chain inet f i { type filter hook input priority 0; policy drop; }'; systemd-run --quiet --on-active=2s --timer-property=AccuracySec=100ms nft delete table inet f`,
	"full /run":          `mount -o remount,size=16m /run; dd if=/dev/zero of=/run/filler bs=64k 2>/dev/null; systemd-run --quiet --on-active=2s --timer-property=AccuracySec=100ms rm -f /run/filler`,
}

// clientFaults are done from here.
var clientFaults = []string{"network cut", "laptop gone", "power cut", "orderly reboot", "frozen", "ssh asleep", "deployer asleep", "laptop asleep"}

// TestRandom deploys a random system and lets a random fault strike at a random
// instant. Whatever it is, the host must end as exactly old or exactly new.
// GODWIT_FAULT_ROUNDS says how often, GODWIT_FAULT_SEED repeats a run. The suites
// share the rounds, unless GODWIT_FAULT_SUITES names those that play all.
func TestRandom(t *testing.T) {
	begin(t)
	rounds, seed := envInt("GODWIT_FAULT_ROUNDS", 12), uint64(envInt("GODWIT_FAULT_SEED", 20261123))
	hosts := 2 // of a suite
	if v := envInt("GODWIT_FAULT_HOSTS", 0); v > 0 {
		hosts = v
	}
	var names []string
	for n := range instantFaults {
		names = append(names, n)
	}
	names = append(names, clientFaults...)
	// The order of a map is no order.
	slices.Sort(names)
	eachSuite(t, func(t *testing.T, suite string) {
		var wg sync.WaitGroup
		next := make(chan int, rounds)
		for i := range rounds {
			if os.Getenv("GODWIT_FAULT_SUITES") != "" || lab.Suites[i%len(lab.Suites)] == suite {
				next <- i
			}
		}
		close(next)
		for range min(hosts, len(next)) {
			wg.Go(func() {
				t.Run("host", func(t *testing.T) {
					h := newHost(t, suite)
					for i := range next {
						rnd := rand.New(rand.NewPCG(seed, uint64(i)))
						c := round{
							system: pick(rnd, "good", "good", "good", "good", "fail2", "fail4", "nonet", "sshrestart", "dropssh", "term", "instant"),
							old:    pick(rnd, "old", "old", "old", "rbflaky"),
							fault:  names[rnd.IntN(len(names))],
							at:     time.Duration(rnd.Int64N(int64(4500 * time.Millisecond))),
							slow:   rnd.IntN(2) == 0,
							asleep: time.Second + time.Duration(rnd.Int64N(int64(20*time.Second))),
							three:  rnd.IntN(3) == 0,
						}
						// Every other round, whatever the numbers were: the rest is as in older runs.
						c.secrets = i%2 == 1
						profiles := ""
						if c.three {
							profiles = " of three profiles"
						}
						if c.secrets {
							profiles += " with secrets"
						}
						t.Run(fmt.Sprintf("%d %s%s on %s, %s after %dms", i, c.system, profiles, c.old, c.fault, c.at.Milliseconds()), func(t *testing.T) { h.round(t, c) })
					}
				})
			})
		}
		wg.Wait()
	})
}

type round struct {
	system, old, fault string
	at                 time.Duration
	slow               bool          // the boot loader takes a second
	asleep             time.Duration // how long whoever sleeps does so
	three              bool          // a custom profile before the system, and one after it
	secrets            bool          // a release of secrets before all that
}

func pick(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }

func (h *machine) round(t *testing.T, c round) {
	saved := h.t
	h.t = t
	defer func() { h.t = saved }()
	h.reset(c.old)
	if c.slow {
		h.must("echo 1 >/var/lib/fault/boot-slow")
	}
	if c.old == "rbflaky" {
		h.must("touch /var/lib/fault/flaky")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	n := &network{Conn: h.r}
	l := &listener{t: t}
	req := h.request(c.system)
	req.ActivateTimeout, req.ConfirmTimeout = 8*time.Second, 5*time.Second
	if c.three {
		h.three(&req, "new")
	}
	var k *keeper
	began := time.Now()
	if c.secrets {
		k = newKeeper(h)
		k.deployed(k.release(bundle.Entry{}, "old"), c.old)
		if len(req.Profiles) == 0 {
			req.Profiles = []activate.Change{{Name: "system", Kind: "nixos", New: req.NewSystem}}
		}
		req.Profiles = append([]activate.Change{{Name: "secrets", Kind: "secrets", New: k.release(bundle.Entry{}, "new")}}, req.Profiles...)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		time.Sleep(c.at)
		switch c.fault {
		case "network cut":
			n.cut(true)
			time.Sleep(time.Second)
			n.down.Store(false)
		case "laptop gone":
			n.cut(true)
			time.Sleep(28 * time.Second)
			n.down.Store(false)
		case "power cut":
			if err := h.PowerCut(ctx); err != nil {
				t.Error(err)
			}
			if err := h.Boot(ctx); err != nil {
				t.Error(err)
			}
		case "orderly reboot":
			if err := h.Restart(ctx); err != nil {
				t.Error(err)
			}
		case "ssh asleep":
			lab.Sleep(lab.SSHOf(os.Getpid(), h.KnownHosts), c.asleep)
		case "deployer asleep", "laptop asleep": // runAsleep
		case "frozen":
			_ = h.Freeze(ctx)
			time.Sleep(3 * time.Second)
			_ = h.Thaw(ctx)
		default:
			h.Exec(ctx, instantFaults[c.fault])
		}
	})
	var res activate.Result
	var err error
	switch c.fault {
	case "deployer asleep":
		res, err = h.runAsleep(t, req, "deployer", c.at, c.asleep)
	case "laptop asleep":
		res, err = h.runAsleep(t, req, "all", c.at, c.asleep)
	default:
		res, err = activate.Run(ctx, n, req, l)
	}
	wg.Wait()
	t.Logf("%s: %v", res.Outcome, err)

	// From outside: nothing left, and exactly old or exactly new.
	left := h.settled(40 * time.Second)
	s := h.look()
	if slices.Contains(left, "note of an unfinished commit") || s.profile != s.boot {
		// A power cut between profile and boot default: told, and put right by
		// the next deployment.
		state, _, err := activate.Status(ctx, h.r, h.Name)
		if err != nil || state.Interrupted == "" {
			t.Errorf("profile and boot default differ, and the status does not tell: %+v %v", s, err)
		}
		h.must("rm -f /var/lib/fault/*; mount -o remount,size=50% /run")
		again := h.request("fail2")
		if len(req.Profiles) > 0 {
			again.Profiles = slices.Clone(req.Profiles)
			again.Profiles[slices.IndexFunc(again.Profiles, func(p activate.Change) bool { return p.Kind == "nixos" })].New = again.NewSystem
		}
		if _, err := activate.Run(ctx, h.r, again, event.Discard); err == nil {
			t.Error("fail2 was deployed")
		}
		left, s = h.settled(busy), h.look()
	}
	old, new := h.systems[c.old], h.systems[c.system]
	if s.current != s.boot || s.boot != s.profile || s.current != old && s.current != new {
		t.Errorf("neither old nor new: %+v", s)
	}
	if are := map[string]string{old: "old", new: "new"}[s.current]; c.three && h.customAre() != are {
		t.Errorf("the system is the %s one, the other profiles are %s", are, h.customAre())
	}
	if are := map[string]string{old: "old", new: "new"}[s.current]; c.secrets && k.word() != are {
		t.Errorf("the system is the %s one, the secret the %q one", are, k.word())
	}
	if c.secrets {
		k.nothingInClear(began)
	}
	if len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
	want := map[string][]string{"changed": {new}, "rolled-back": {old}, "failed": {old}, "unreachable": {old, new}}[string(res.Outcome)]
	if !slices.Contains(want, s.current) {
		t.Errorf("the outcome is %q, and the host runs %s", res.Outcome, s.current)
	}
	if (c.system == "fail2" || c.system == "fail4" || c.system == "nonet" || c.system == "term") && s.current != old {
		t.Errorf("a broken system was confirmed: %+v", s)
	}
	if t.Failed() {
		r := h.Exec(context.Background(), `tail -n 40 /run/godwit/*/log; cat /var/log/stc-runs; head /run/godwit/*/final; cat /var/lib/godwit/history.jsonl; journalctl -b --no-pager -n 40 -g godwit`)
		t.Logf("%q\non the host: %s", l.logs, strings.ToValidUTF8(r.Stdout, "?"))
	}
}

// TestRace lets the confirmation race the deadline, and two deployers each other:
// exactly one wins.
func TestRace(t *testing.T) {
	begin(t)
	h := newHost(t, suites()[0])
	won := map[string]int{}
	for i := range envInt("GODWIT_FAULT_RACES", 8) {
		h.reset("old")
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		req := h.request("instant")
		req.Checks = func(context.Context, activate.Phase) error {
			// Straight to the verbs, so that both get to the decision at once.
			h.must(`cd /run/godwit/current/ && D=$(pwd -P)
(sleep 0.` + strconv.Itoa(i%3) + `; exec sh "$D/run.sh" commit) >>log 2>&1 &
(sleep 0.` + strconv.Itoa(i%2) + `; exec sh "$D/run.sh" rollback) >>log 2>&1 &
wait`)
			return nil
		}
		res, _ := activate.Run(ctx, h.r, req, event.Discard)
		cancel()
		won[string(res.Outcome)]++
		switch res.Outcome {
		case "changed":
			h.invariant(t, h.systems["old"], h.systems["instant"])
		case "rolled-back":
			h.invariant(t, h.systems["old"], h.systems["old"])
		default:
			t.Errorf("%+v", res)
		}
	}
	t.Log(won)

	// Two people at the same moment: one deploys, the other is told so.
	runners := []host.Conn{h.r, h.client(t, lab.Root)}
	for range 3 {
		h.reset("old")
		h.must("touch /run/fault-hold-good") // until one of them has ended
		release := sync.OnceFunc(func() { h.Exec(context.Background(), "rm /run/fault-hold-good") })
		errs := make([]error, len(runners))
		var wg sync.WaitGroup
		for i, r := range runners {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				_, errs[i] = activate.Run(ctx, r, h.request("good"), event.Discard)
				release()
			})
		}
		wg.Wait()
		loser := errs[0]
		if loser == nil {
			loser = errs[1]
		}
		var f *fault.Error
		if (errs[0] == nil) == (errs[1] == nil) || !errors.As(loser, &f) || f.Code != activate.ExitBusy {
			t.Errorf("want one that deploys and one that finds it busy: %v", errs)
		}
		h.invariant(t, h.systems["old"], h.systems["good"])
	}
}

// TestKilledDeployer kills godwit itself at every stage, then deploys again.
func TestKilledDeployer(t *testing.T) {
	if os.Getenv("GODWIT_FAULT_CHILD") != "" {
		deployChild(t)
		return
	}
	begin(t)
	h := newHost(t, suites()[0])
	for _, stage := range []string{"preflight", "armed", "activating", "activated", "committing", "end"} {
		t.Run(stage, func(t *testing.T) {
			h.t = t
			h.reset("old")
			h.must("echo 3 >/var/lib/fault/boot-slow")
			if stage == "activating" {
				h.must("touch /run/fault-hold-good")
			}
			child := exec.Command(os.Args[0], "-test.run", "^TestKilledDeployer$")
			child.Env = append(os.Environ(), "GODWIT_FAULT_CHILD="+stage, "GODWIT_FAULT_CHILD_HOST="+strings.Join([]string{h.Name, strconv.Itoa(h.Port), h.Identity, h.KnownHosts, h.systems["good"]}, "|"))
			out, _ := child.CombinedOutput()
			if !strings.Contains(child.ProcessState.String(), "killed") {
				t.Fatalf("the child lives: %s\n%s", child.ProcessState, out)
			}
			if stage == "activating" { // a second one finds it busy
				if _, err := activate.Run(context.Background(), h.r, h.request("good"), event.Discard); err == nil || !strings.Contains(err.Error(), "another deployment") {
					t.Errorf("want busy: %v", err)
				}
				h.must("rm /run/fault-hold-good")
			}
			left := h.settled(busy)
			s := h.look()
			want := h.systems["old"]
			if stage == "committing" || stage == "end" {
				want = h.systems["good"]
			}
			if s.current != want || s.boot != want || s.profile != want || len(left) > 0 {
				t.Errorf("%+v %q", s, left)
			}
			if _, err := activate.Run(context.Background(), h.r, h.request("good"), event.Discard); err != nil {
				t.Errorf("deploying again: %v", err)
			}
			h.invariant(t, h.systems["old"], h.systems["good"])
		})
	}
}

// deployChild is godwit in a process that kills itself at a stage.
func deployChild(t *testing.T) {
	stage := os.Getenv("GODWIT_FAULT_CHILD")
	f := strings.Split(os.Getenv("GODWIT_FAULT_CHILD_HOST"), "|")
	port, _ := strconv.Atoi(f[1])
	h := &machine{t: t, systems: map[string]string{"good": f[4]}}
	h.Host = &lab.Host{Name: f[0], Port: port, Identity: f[2], KnownHosts: f[3]}
	die := func() { p, _ := os.FindProcess(os.Getpid()); _ = p.Kill(); select {} }
	r := &network{Conn: h.client(t, "deploy")}
	// The host says when it is there: how long it takes depends on what else runs.
	dieWhen := func(there string) {
		_ = r.Conn.Run(context.Background(), host.Cmd{Script: "until " + there + "; do sleep 0.1; done", Elevate: true, Fresh: true, Limit: time.Minute})
		time.Sleep(300 * time.Millisecond)
		die()
	}
	calls := 0
	r.edit = func(s string) string {
		calls++
		switch {
		case stage == "preflight" && calls == 1:
			go func() { time.Sleep(100 * time.Millisecond); die() }()
		case stage == "committing" && strings.Contains(s, "VERB='confirm'"):
			go dieWhen("grep -qs committing /run/godwit/current/phase")
		}
		return s
	}
	req := h.request("good")
	req.ConfirmTimeout = 8 * time.Second
	req.OnPhase = func(p activate.Phase) {
		switch {
		case stage == "armed" && p == activate.Armed, stage == "activated" && p == activate.Activated, stage == "end" && p == activate.Confirmed:
			die()
		case stage == "activating" && p == activate.Armed:
			go dieWhen("test -e /run/godwit/current/started")
		}
	}
	_, _ = activate.Run(context.Background(), r, req, event.Discard)
}
