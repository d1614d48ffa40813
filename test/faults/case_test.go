package faults

import (
	"context"
	"encoding/base64"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit/internal/activate"
	"godwit/internal/fault"
	"godwit/internal/host"
)

// fcase is one failure: what is deployed on what, what goes wrong, and how the
// host must end.
type fcase struct {
	name     string
	old, new string                             // systems; default old and good
	req      func(*activate.Request)            // changes to the request
	before   string                             // script on the host before the deploy
	runner   func(*kase) host.Conn              // default: godwit's ssh as deploy
	armed    func(*kase)                        // called when the deadman is set
	running  func(*kase)                        // called while the activation runs
	checks   func(*kase) error                  // Checks
	waits    func(*kase, context.Context) error // Checks that mind their context
	outcome  string                             // wanted outcome
	end      string                             // wanted system: "old", "new", or "" for a check of its own
	exit     int                                // exit code of the error; 0: no error wanted
	words    string                             // part of the error with its details and hints
	within   time.Duration                      // longest time it may take; 0: a minute
	after    func(*kase)                        // further checks, before the invariant
	three    string                             // a custom profile before the system, and one after it, which is "new" or "fails"
	ages     bool                               // depends on the age of the host's programs
}

// kase is a running fcase.
type kase struct {
	lost atomic.Value // time.Time: when the deployer was cut off, where a case says so
	fcase
	*machine
	t   *testing.T
	ctx context.Context
	l   *listener
	net *network
	req activate.Request
	res activate.Result
	err error
	wg  sync.WaitGroup
}

// network is a host.Conn whose connections can be cut, and stay cut.
type network struct {
	host.Conn
	down atomic.Bool
	mu   sync.Mutex
	cuts map[int]context.CancelFunc
	next int
	edit func(script string) string
}

func (n *network) Run(ctx context.Context, c host.Cmd) error {
	if n.down.Load() {
		time.Sleep(50 * time.Millisecond)
		return &host.DroppedError{Host: "test", Command: "cut", Err: errors.New("the network is down")}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.mu.Lock()
	if n.cuts == nil {
		n.cuts = map[int]context.CancelFunc{}
	}
	id := n.next
	n.next++
	n.cuts[id] = cancel
	n.mu.Unlock()
	defer func() { n.mu.Lock(); delete(n.cuts, id); n.mu.Unlock() }()
	if n.edit != nil {
		c.Script = n.edit(c.Script)
	}
	return n.Conn.Run(ctx, c)
}

// cut breaks every connection; with down set it stays that way.
func (n *network) cut(down bool) {
	n.down.Store(down)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.cuts {
		c()
	}
}

var runSh = regexp.MustCompile(`RUN_SH='([^']*)'\nRUN_SH_SIZE='[0-9]*'`)

// editTarget changes the script that stays on the host.
func editTarget(old, new string) func(string) string {
	return func(script string) string {
		return runSh.ReplaceAllStringFunc(script, func(m string) string {
			b, _ := base64.StdEncoding.DecodeString(runSh.FindStringSubmatch(m)[1])
			s := strings.Replace(string(b), old, new, 1)
			if s == string(b) {
				panic("editTarget: nothing to replace: " + old)
			}
			return "RUN_SH='" + base64.StdEncoding.EncodeToString([]byte(s)) + "'\nRUN_SH_SIZE='" + strconv.Itoa(len(s)) + "'"
		})
	}
}

// waitFor polls a condition on the host.
func (k *kase) waitFor(what, script string) {
	end := time.Now().Add(busy)
	for time.Now().Before(end) {
		if k.Exec(k.ctx, script).OK() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	k.t.Errorf("waited in vain for: %s", what)
}

// do runs a script on the host from outside.
func (k *kase) do(script string) {
	if r := k.Exec(k.ctx, script); !r.OK() {
		k.t.Errorf("injecting: %s\n%s", script, r)
	}
}

const (
	started   = `test -e /run/godwit/current/started`
	heldBoot  = `test -e /run/fault-held-boot`
	activated = `grep -q activated /run/godwit/current/phase`
)

func (h *machine) runCase(t *testing.T, c fcase) {
	if c.old == "" {
		c.old = "old"
	}
	if c.new == "" {
		c.new = "good"
	}
	if c.within == 0 {
		c.within = time.Minute
	}
	saved := h.t
	h.t = t
	defer func() { h.t = saved }()
	h.reset(c.old)
	if c.before != "" {
		h.must(c.before)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	k := &kase{fcase: c, machine: h, t: t, ctx: ctx, l: &listener{t: t}}
	var inner host.Conn = h.r
	if c.runner != nil {
		inner = c.runner(k)
	}
	k.net = &network{Conn: inner}
	if n, ok := inner.(*network); ok {
		k.net = n
	}
	k.req = h.request(c.new)
	if c.three != "" {
		h.three(&k.req, c.three)
	}
	if c.req != nil {
		c.req(&k.req)
	}
	if c.checks != nil {
		k.req.Checks = func(context.Context, activate.Phase) error { return c.checks(k) }
	}
	if c.waits != nil {
		k.req.Checks = func(ctx context.Context, _ activate.Phase) error { return c.waits(k, ctx) }
	}
	k.req.OnPhase = func(p activate.Phase) {
		if p != activate.Armed {
			return
		}
		if c.armed != nil {
			c.armed(k)
		}
		if c.running != nil {
			k.wg.Go(func() {
				k.waitFor("the activation", started)
				time.Sleep(200 * time.Millisecond)
				c.running(k)
			})
		}
	}
	begin := time.Now()
	k.res, k.err = activate.Run(ctx, k.net, k.req, k.l)
	took := time.Since(begin)
	k.wg.Wait()
	t.Logf("%-12s %5.1fs, %d drops; %v", k.res.Outcome, took.Seconds(), k.res.Drops, k.err)
	if string(k.res.Outcome) != c.outcome {
		t.Errorf("outcome %q, want %q", k.res.Outcome, c.outcome)
	}
	var f *fault.Error
	switch {
	case k.err == nil && c.exit != 0:
		t.Errorf("no error, want exit %d", c.exit)
	case k.err != nil && c.exit == 0:
		t.Errorf("error: %s", fault.Render(k.err))
	case k.err != nil && !errors.As(k.err, &f):
		t.Errorf("not a fault: %#v", k.err)
	case k.err != nil && (f.Code != c.exit && f.Code != 0):
		t.Errorf("exit code %d, want %d: %#v", f.Code, c.exit, k.err)
	}
	if c.words != "" && (k.err == nil || !strings.Contains(fault.Render(k.err), c.words)) {
		t.Errorf("the error should say %q:\n%s", c.words, renderNil(k.err))
	}
	if took > c.within {
		t.Errorf("took %s, want at most %s", took, c.within)
	}
	if c.after != nil {
		c.after(k)
	}
	switch c.end {
	case "old":
		h.invariant(t, h.systems[c.old], h.systems[c.old])
	case "new":
		h.invariant(t, h.systems[c.old], h.systems[c.new])
	}
	if t.Failed() {
		r := h.Exec(context.Background(), `tail -n 60 /run/godwit/*/log; tail -n +1 /run/godwit/*/[!l]* 2>/dev/null | grep -v '^$' | grep -av '^\(reserve\|{\)' | head -c 3000; journalctl -b --no-pager -n 30 -g godwit; cat /var/log/stc-runs`)
		t.Logf("log of the deployer: %q\non the host: %s", k.l.logs, strings.ToValidUTF8(r.Stdout, "?"))
	}
}

func renderNil(err error) string {
	if err == nil {
		return "no error"
	}
	return fault.Render(err)
}

// runCases spreads the cases of each suite over a few hosts.
func runCases(t *testing.T, of func(suite string) (cases []fcase, hosts int)) {
	begin(t)
	eachSuite(t, func(t *testing.T, suite string) {
		cases, hosts := of(suite)
		hosts = envInt("GODWIT_FAULT_HOSTS", hosts)
		queue := make(chan fcase, len(cases))
		for _, c := range cases {
			queue <- c
		}
		close(queue)
		// Mostly waiting: more hosts than t.Parallel would allow.
		var wg sync.WaitGroup
		for range min(hosts, len(cases)) {
			wg.Go(func() {
				t.Run("host", func(t *testing.T) {
					h := newHost(t, suite)
					for c := range queue {
						t.Run(c.name, func(t *testing.T) { h.runCase(t, c) })
					}
				})
			})
		}
		wg.Wait()
	})
}
