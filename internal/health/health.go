// Package health asks whether a host is well. Morph's kinds of checks are here:
// commands that must end with status 0 on the host, pages that must answer with
// 2xx from this machine; godwit's own are in kinds.go.
//
// All checks of a host run at the same time. Each is tried, with its own
// timeout, every period of its own, until it succeeds or the budget of the
// whole round is used up. When Run returns, nothing of it is running any more.
// Checks before and after a deploy are the same thing.
package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/secrets"
	"godwit/internal/ui/text"
)

// DefaultBudget bounds the checks of a host when Options do not.
const DefaultBudget = 2 * time.Minute

// retell is how often a failure is said again that stays the same.
const retell = 15 * time.Second

// minPeriod keeps a period of 0 from keeping the host busy.
const minPeriod = 100 * time.Millisecond

// Options say how long to try.
type Options struct {
	// Budget bounds all checks of the host together; 0 means DefaultBudget, a
	// negative one means no bound.
	Budget time.Duration
	// Before tells that the checks are those before a deploy, for messages.
	Before bool
	// Where is where ssh connects to the host; zero: not known, and the name of
	// the host in the configuration counts.
	Where host.Where
	// Failed are the units that had failed before the deploy (FailedUnits).
	Failed []string
	// System is the system that is deployed, for local commands; may be empty.
	System string
}

// Result is what became of one check.
type Result struct {
	Description string
	OK          bool
	Tries       int
	Took        time.Duration
	// Failure is what the last try said; empty when it succeeded.
	Failure string
}

// Report holds the results in the order of the configuration, commands first.
type Report struct {
	Results []Result
}

// check is one check: try gives an empty string, or why the host is not well;
// final tells that trying again is of no use.
type check struct {
	description     string
	period, timeout time.Duration
	try             func(ctx context.Context) (failure string, final bool)
}

// Run runs checks on host until all have succeeded, or the budget ends. Every
// success is a note on scope, and every try that fails in another way than the
// one before; the step's start and end are the caller's to emit. The error names the checks that did not
// succeed; it holds ctx's error when that ended it.
func Run(ctx context.Context, r host.Conn, host fleet.Host, checks fleet.Checks, opts Options, scope event.Scope) (Report, error) {
	what := "health checks"
	if opts.Before {
		what = "pre-deploy checks"
	}
	list, err := prepare(r, host, checks, opts)
	if err != nil {
		return Report{}, err
	}
	report := Report{Results: make([]Result, len(list))}
	if len(list) == 0 {
		return report, nil
	}
	budget := opts.Budget
	if budget == 0 {
		budget = DefaultBudget
	}
	round := ctx
	if budget > 0 {
		var cancel context.CancelFunc
		round, cancel = context.WithTimeout(ctx, budget)
		defer cancel()
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	passed := 0
	for i, c := range list {
		wg.Go(func() {
			defer crash.Catch()
			report.Results[i] = c.run(round, scope, func() {
				mu.Lock()
				defer mu.Unlock()
				passed++
				scope.Progress(int64(passed), int64(len(list)), event.Checks, c.description)
			})
		})
	}
	wg.Wait()
	if passed == len(list) {
		return report, nil
	}
	if ctx.Err() != nil {
		return report, fmt.Errorf("%s: %s were interrupted: %w", host.Name, what, context.Cause(ctx))
	}
	f := fault.New("%d of %d %s failed", len(list)-passed, len(list), what).On(host.Name)
	if round.Err() != nil {
		f.Msg = fmt.Sprintf("gave up waiting for %s to complete after %s: %d of %d did not succeed", what, seconds(budget), len(list)-passed, len(list))
		f.Hint("give them more time with --timeout SECONDS")
	}
	var names []string
	for _, c := range report.Results {
		if !c.OK {
			names = append(names, c.Description)
			f.Detail(c.Description + ": " + c.Failure)
		}
	}
	f.Msg += " (" + strings.Join(names, ", ") + ")"
	return report, f
}

func seconds(d time.Duration) string {
	s := strconv.FormatFloat(d.Round(100*time.Millisecond).Seconds(), 'f', -1, 64)
	if s == "1" {
		return "1 second"
	}
	return s + " seconds"
}

func (c check) run(ctx context.Context, scope event.Scope, passed func()) Result {
	start := time.Now()
	res := Result{Description: c.description}
	var told time.Time
	for {
		res.Tries++
		tctx, cancel := ctx, context.CancelFunc(func() {})
		if c.timeout > 0 {
			tctx, cancel = context.WithTimeout(ctx, c.timeout)
		}
		failure, final := c.try(tctx)
		late := tctx.Err() != nil
		cancel()
		res.Took = time.Since(start)
		if failure == "" {
			res.OK, res.Failure = true, ""
			scope.Emit(event.Event{Kind: event.Note, Text: c.description + ": OK", Data: c.data("ok", res)})
			passed()
			return res
		}
		if ctx.Err() != nil {
			// This try was cut off by the end of the round, not by the host.
			if res.Failure == "" {
				res.Failure = "no answer yet"
			}
			return res
		}
		if late {
			failure = fmt.Sprintf("Timeout after %gs", c.timeout.Seconds())
		}
		if failure != res.Failure || final || time.Since(told) >= retell {
			res.Failure, told = failure, time.Now()
			scope.Emit(event.Event{Kind: event.Note, Text: c.description + ": Failed (" + failure + ")", Data: c.data("failed", res)})
		}
		if final {
			return res
		}
		timer := time.NewTimer(max(c.period, minPeriod))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			res.Took = time.Since(start)
			return res
		}
	}
}

func (c check) data(result string, r Result) map[string]string {
	return map[string]string{"check": c.description, "result": result, "tries": strconv.Itoa(r.Tries)}
}

// prepare makes the list of checks, and refuses those that cannot be run.
func prepare(r host.Conn, host fleet.Host, checks fleet.Checks, opts Options) ([]check, error) {
	list := After
	if opts.Before {
		list = Before
	}
	if err := static(host, checks, list); err != nil {
		return nil, err
	}
	var out []check
	add := func(description string, period, timeout time.Duration, try func(ctx context.Context) (string, bool)) {
		out = append(out, check{description, period, timeout, try})
	}
	for _, c := range checks.Cmd {
		add(c.Description, c.Period, c.Timeout, func(ctx context.Context) (string, bool) { return tryCmd(ctx, r, c) })
	}
	for _, c := range checks.HTTP {
		to := opts.reach(host, c.Host)
		u, err := pageURL(c, to.name)
		if err != nil { // static has looked at it
			return nil, err
		}
		client := newClient(c.InsecureSSL, to)
		add(c.Description, c.Period, c.Timeout, func(ctx context.Context) (string, bool) { return to.explain(tryHTTP(ctx, client, u, c)), false })
	}
	for _, c := range checks.TCP {
		to := opts.reach(host, c.Host)
		addr := net.JoinHostPort(to.address, strconv.Itoa(c.Port))
		add(c.Description, c.Period, c.Timeout, func(ctx context.Context) (string, bool) { return to.explain(tryTCP(ctx, addr)), false })
	}
	for _, c := range checks.Unit {
		add(c.Description, c.Period, c.Timeout, func(ctx context.Context) (string, bool) { return tryUnit(ctx, r, c.Unit) })
	}
	ignore := checks.Ignored()
	for _, c := range checks.FailedUnits {
		add(c.Description, c.Period, c.Timeout, func(ctx context.Context) (string, bool) { return tryFailedUnits(ctx, r, ignore, opts.Failed) })
	}
	env := localEnv(host, opts)
	for _, c := range checks.Local {
		add(c.Description, c.Period, c.Timeout, func(ctx context.Context) (string, bool) { return tryLocal(ctx, c, env) })
	}
	return out, nil
}

// tryCmd runs a command once. A first word that is exactly "sudo" means root.
func tryCmd(ctx context.Context, r host.Conn, c fleet.CmdCheck) (string, bool) {
	cmd := secrets.Command(c.Cmd)
	out := &tailBuffer{}
	cmd.Stdout, cmd.Stderr, cmd.KillOnCancel = out, out, true
	cmd.Limit = host.NoLimit // the check's own time bounds it
	err := r.Run(ctx, cmd)
	if err == nil {
		return "", false
	}
	var exit *host.ExitError
	if errors.As(err, &exit) {
		return "output: " + out.String(), false
	}
	return unreached(err)
}

// unreached is a check that did not come as far as the host.
func unreached(err error) (string, bool) {
	var refused *host.ElevateError
	return "error: " + err.Error(), errors.As(err, &refused) || host.WrongKey(err) || host.KindOf(err) == host.BadConfig
}

// tailBuffer keeps the end of what is written to it.
type tailBuffer struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tailBuffer) Write(b []byte) (int, error) {
	defer crash.Catch()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - 512; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

// String is the output in one line.
func (t *tailBuffer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimLeft(text.OneLine(string(t.buf)), "\uFFFD") // it may begin within a character
}

// newClient makes a client that uses no proxy and keeps no connection: every
// try is to prove that a new one works.
func newClient(insecure bool, to reach) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:       to.dial,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: insecure}, // the user's choice, insecureSSL
		DisableKeepAlives: true,
	}}
}

func tryHTTP(ctx context.Context, client *http.Client, u *url.URL, c fleet.HTTPCheck) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err.Error()
	}
	req.Header.Set("User-Agent", "godwit")
	for k, v := range c.Headers {
		if strings.EqualFold(k, "Host") {
			req.Host = v
		} else {
			req.Header.Set(k, v)
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) && ue.Err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return text.OneLine(ue.URL + ": " + ue.Err.Error())
		}
		return text.OneLine(err.Error())
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Sprintf("Got non 2xx status code (%s)", resp.Status)
	}
	return ""
}
