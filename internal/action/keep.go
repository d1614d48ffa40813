package action

import (
	"context"
	"fmt"
	"strings"
	"time"

	"godwit/internal/activate"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// keeper asks a person about hosts that run a new system, one after the other,
// whether to keep it. The answer is the confirmation.
type keeper struct {
	ask  func(ctx context.Context, question string) (string, error)
	turn chan struct{} // holds one token: who has it asks
	all  bool          // the answer was so for all that follow
}

func newKeeper(ask func(context.Context, string) (string, error)) *keeper {
	k := &keeper{ask: ask, turn: make(chan struct{}, 1)}
	k.turn <- struct{}{}
	return k
}

// keep is deploy.Options.Keep.
func (k *keeper) keep(ctx context.Context, host string, until time.Time) error {
	late := func() error {
		return fault.New("nobody said in time whether to keep it").On(host).Hint("--confirm-timeout SECONDS gives more time")
	}
	select {
	case <-k.turn:
		defer func() { k.turn <- struct{}{} }()
	case <-ctx.Done():
		return late()
	}
	for !k.all {
		answer, err := k.ask(ctx, fmt.Sprintf("%s runs the new system. Keep it? [y/N/a for all, no answer in %s: no] ",
			host, time.Until(until).Round(time.Second)))
		switch {
		case ctx.Err() != nil:
			return late()
		case err != nil: // the end of input (Ctrl-D) agrees to nothing
			answer = "no"
		}
		switch strings.ToLower(answer) {
		case "a", "all":
			k.all = true
		case "y", "yes":
			return nil
		case "n", "no", "":
			return fault.New("the answer was not to keep it").On(host)
		}
	}
	return nil
}

// askKeep says why a run cannot ask about each host.
func (s *session) askKeep(d *deploy.Options) error {
	no := func(why string) *fault.Error { return fault.New("--ask-keep: %s", why) }
	switch {
	case d.NoGuard:
		return no("with --no-guard nothing is taken back")
	case d.Action == activate.Boot, d.Action == activate.DryActivate:
		return no(string(d.Action) + " runs nothing that could be kept").Hint("it belongs to switch and test")
	case d.Reboot:
		return no("a host that reboots is kept when it is back and its health checks pass").Hint("leave out one of --ask-keep and --reboot")
	case s.DryRun:
		return nil
	case !s.View.Watched() || !s.View.CanAsk():
		return no("there is no terminal to ask on; no host was changed").Hint("without --ask-keep the health checks decide")
	}
	d.Keep = newKeeper(s.View.Ask).keep
	return nil
}

// keepable refuses hosts whose configuration says that nothing is taken back.
func keepable(hosts []fleet.Host, d deployment) error {
	if d.Keep == nil {
		return nil
	}
	for _, h := range hosts {
		if h.Guard.NoAutoRollback {
			return fault.New("--ask-keep: its configuration says that nothing is taken back (autoRollback)").On(h.Name)
		}
	}
	return nil
}
