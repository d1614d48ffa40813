package approve

import (
	"context"
	"fmt"
	"strings"
	"time"

	"godwit/internal/fault"
)

// Keeper asks a person about hosts that run a new system, one after the other,
// whether to keep it. The answer is the confirmation.
type Keeper struct {
	ask  func(ctx context.Context, question string) (string, error)
	turn chan struct{} // holds one token: who has it asks
	all  bool          // the answer was so for all that follow
}

// NewKeeper makes a Keeper; ask puts a question to whoever watches.
func NewKeeper(ask func(context.Context, string) (string, error)) *Keeper {
	k := &Keeper{ask: ask, turn: make(chan struct{}, 1)}
	k.turn <- struct{}{}
	return k
}

// Keep is deploy.Options.Keep.
func (k *Keeper) Keep(ctx context.Context, host string, until time.Time) error {
	late := func() error {
		return fault.New("there was no answer in time whether to keep it").On(host).Hint("--confirm-timeout SECONDS gives more time")
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
