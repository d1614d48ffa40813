package faults

import (
	"context"
	"fmt"
	"testing"
	"time"

	"godwit/internal/activate"
)

// How long a host may stay away from its old system when the new one cuts the
// deployer off, and when the deployer is gone (docs/activation.md).
const backWithin = 60 * time.Second

// withChecks gives the checks the time that godwit gives them by default, so that
// only the silence ends the wait.
func withChecks(r *activate.Request) {
	r.ActivateTimeout, r.ConfirmTimeout = activate.DefaultActivateTimeout, 2*time.Minute+activate.DefaultConfirmTimeout
}

// backOn measures how long the host runs the new system unconfirmed: from its
// beginning, or from the moment in which a case cut the deployer off. The times are
// those at which the host itself wrote that it was activated and back.
func (k *kase) backOn(limit time.Duration) {
	k.waitFor("the new system", activated)
	for begin := time.Now(); !k.Exec(k.ctx, `[ "$(readlink -f /run/current-system)" = `+k.systems[k.old]+` ] && ls /run/godwit/[0-9]*/final`).OK(); {
		if time.Since(begin) > limit+30*time.Second {
			k.t.Errorf("the host is not back after %s", time.Since(begin))
			return
		}
		time.Sleep(300 * time.Millisecond)
	}
	var began, back float64
	if _, err := fmt.Sscan(k.must("stat -c %.3Y /run/godwit/[0-9]*/activated-at /run/godwit/[0-9]*/final"), &began, &back); err != nil {
		k.t.Errorf("when was it activated, and when was it back? %v", err)
	}
	if lost, ok := k.lost.Load().(time.Time); ok {
		began = max(began, float64(lost.UnixMilli())/1000)
	}
	took := time.Duration((back - began) * float64(time.Second)).Round(time.Millisecond)
	k.t.Logf("back on the old system %s after the loss", took)
	if took > limit || took <= 0 {
		k.t.Errorf("back on the old system after %s, want at most %s", took, limit)
	}
}

// busyChecks are checks that last for a while, unless they are told to end.
func busyChecks(d time.Duration) func(*kase, context.Context) error {
	return func(_ *kase, ctx context.Context) error {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(d):
			return nil
		}
	}
}

func cutOff(name, system string, limit time.Duration, words string) fcase {
	return fcase{name: name, new: system, req: withChecks, outcome: "rolled-back", exit: rolledBack, end: "old", words: words,
		waits: busyChecks(time.Second), within: limit + 30*time.Second, running: func(k *kase) { k.backOn(limit) }}
}

var losses = []fcase{
	cutOff("route", "noroute", backWithin, "did not answer on a new connection within 45s"),
	cutOff("address", "noaddress", backWithin, "did not answer on a new connection within 45s"),
	// What new connections say will not change.
	cutOff("ssh server", "nosshd", backWithin, "did not answer on a new connection within 45s"),
	cutOff("port", "noport", 40*time.Second, "no new connection to the new system: "),
	cutOff("key", "nokey", 25*time.Second, "did not accept any of our keys"),
	cutOff("sudo rule", "nosudo", 25*time.Second, "cannot become root"),

	// A loss while checks go on.
	{name: "firewall during the checks", req: withChecks, outcome: "rolled-back", exit: rolledBack, end: "old", within: 100 * time.Second,
		waits: busyChecks(100 * time.Second), words: "did not hear from godwit for 45s", running: func(k *kase) {
			k.waitFor("the first new connection", "test -e /run/godwit/current/heard")
			k.do(`nft 'add table inet fw; add chain inet fw in { type filter hook input priority 0; policy drop; }'`)
			k.backOn(backWithin)
		}},
	{name: "the deployer's network during the checks", req: withChecks, outcome: "rolled-back", exit: rolledBack, end: "old", within: 100 * time.Second,
		waits: func(k *kase, ctx context.Context) error {
			unplug(k)
			k.lost.Store(time.Now())
			return busyChecks(100*time.Second)(k, ctx)
		}, running: func(k *kase) {
			k.backOn(backWithin)
			k.net.down.Store(false)
		}},

	// Healthy, and silent for half a minute.
	{name: "a silent line as the activation ends", new: "quiet30", req: withChecks, outcome: "changed", end: "new", waits: busyChecks(time.Second), within: 2 * time.Minute},
	{name: "a silent line during the checks", req: withChecks, outcome: "changed", end: "new", within: 2 * time.Minute, waits: func(k *kase, ctx context.Context) error {
		k.do(`nft 'add table inet q; add chain inet q i { type filter hook input priority 0; policy drop; }'
systemd-run --quiet --on-active=30s --timer-property=AccuracySec=100ms nft delete table inet q`)
		return busyChecks(40*time.Second)(k, ctx)
	}},
	{name: "a silent line before the confirmation", req: withChecks, outcome: "changed", end: "new", within: 2 * time.Minute, waits: func(k *kase, ctx context.Context) error {
		k.do(`nft 'add table inet q; add chain inet q i { type filter hook input priority 0; policy drop; }'
systemd-run --quiet --on-active=30s --timer-property=AccuracySec=100ms nft delete table inet q`)
		return nil
	}},
	{name: "checks that need longer than the silence", req: withChecks, outcome: "changed", end: "new", within: 2 * time.Minute, waits: busyChecks(60 * time.Second)},
	{name: "the host is frozen for longer than the silence", req: func(r *activate.Request) { withChecks(r); r.Silence = 9 * time.Second }, outcome: "changed", end: "new", within: 2 * time.Minute,
		waits: func(k *kase, ctx context.Context) error {
			_ = k.Freeze(k.ctx)
			time.Sleep(15 * time.Second)
			_ = k.Thaw(k.ctx)
			return busyChecks(5*time.Second)(k, ctx)
		}},
	{name: "a person confirms while nobody is heard", req: withChecks, outcome: "changed", end: "new", within: 2 * time.Minute, waits: func(k *kase, ctx context.Context) error {
		unplug(k)
		time.Sleep(20 * time.Second)
		if res, err := activate.Confirm(k.ctx, k.client(k.t, "root"), k.Name, "", k.l); err != nil || res.Outcome != "changed" {
			k.t.Errorf("%+v %v", res, err)
		}
		k.net.down.Store(false)
		return busyChecks(60*time.Second)(k, ctx)
	}},
	{name: "a person has the time of --confirm-timeout", req: func(r *activate.Request) { withChecks(r); r.ConfirmTimeout, r.Silence = 75*time.Second, 75*time.Second }, outcome: "changed", end: "new", within: 2 * time.Minute,
		waits: func(k *kase, ctx context.Context) error {
			unplug(k)
			time.Sleep(60 * time.Second)
			k.net.down.Store(false)
			return nil
		}},
}

// TestLost measures how long a host stays on a system that cut the deployer off,
// and that one that is healthy is not taken back for a silent line.
func TestLost(t *testing.T) {
	runCases(t, func(suite string) ([]fcase, int) {
		if suite != suites()[0] {
			return nil, 0
		}
		return losses, 6
	})
}
