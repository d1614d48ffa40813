package deploy

import (
	"testing"
	"time"

	"godwit/internal/activate"
	"godwit/internal/fleet"
	"godwit/internal/health"
)

// What the configuration says of the guard holds, below what the command line says.
func TestGuarded(t *testing.T) {
	checks := fleet.Checks{Cmd: []fleet.CmdCheck{{Description: "x"}}}
	type times struct{ activate, confirm, silence time.Duration }
	for _, c := range []struct {
		name          string
		run           Options
		guard         fleet.Guard
		checks        fleet.Checks
		noGuard, keep bool
		want          times
	}{
		{name: "nothing said"},
		{name: "checks", checks: checks, want: times{0, health.DefaultBudget + activate.DefaultConfirmTimeout, 0}},
		{name: "no rollback", guard: fleet.Guard{NoAutoRollback: true}, noGuard: true},
		{name: "no confirmation", guard: fleet.Guard{NoMagicRollback: true}, keep: true},
		{name: "times", guard: fleet.Guard{ConfirmTimeout: 7 * time.Second, ActivationTimeout: 9 * time.Second}, checks: checks, want: times{9 * time.Second, 7 * time.Second, 7 * time.Second}},
		{name: "times on the command line", run: Options{ConfirmTimeout: time.Second, ActivateTimeout: 2 * time.Second}, guard: fleet.Guard{ConfirmTimeout: 7 * time.Second, ActivationTimeout: 9 * time.Second},
			want: times{2 * time.Second, time.Second, time.Second}},
		{name: "no guard on the command line", run: Options{NoGuard: true}, noGuard: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Run{Options: c.run}
			req := r.guarded(fleet.Host{Name: "web", Guard: c.guard, HealthChecks: c.checks}, activate.Request{NewSystem: "/nix/store/x"})
			if req.NoGuard != c.noGuard || req.KeepUnconfirmed != c.keep {
				t.Errorf("no guard %t, kept %t", req.NoGuard, req.KeepUnconfirmed)
			}
			if got := (times{req.ActivateTimeout, req.ConfirmTimeout, req.Silence}); got != c.want {
				t.Errorf("times are %v, want %v", got, c.want)
			}
			if req.Host != "web" || req.NewSystem != "/nix/store/x" {
				t.Errorf("%+v", req)
			}
		})
	}
}
