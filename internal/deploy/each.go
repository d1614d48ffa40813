package deploy

import (
	"context"
	"errors"
	"sync"
	"time"

	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// Gate bounds how many hosts are in a stage at once. A nil Gate bounds nothing.
type Gate chan struct{}

// NewGate lets n hosts in; n < 1 gives a gate without a bound.
func NewGate(n int) Gate {
	if n < 1 {
		return nil
	}
	return make(Gate, n)
}

// Enter waits for a place. The returned function gives it back.
func (g Gate) Enter(ctx context.Context) (func(), error) {
	if g == nil {
		return func() {}, ctx.Err()
	}
	select {
	case g <- struct{}{}:
		return func() { <-g }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Each runs fn for every host, at most limit at once (0: all), and gives the
// outcomes in the order of hosts. fn's outcome needs no host and no duration.
func Each(ctx context.Context, hosts []fleet.Host, limit int, sink event.Sink, fn func(context.Context, fleet.Host) Outcome) []Outcome {
	return each(ctx, hosts, NewGate(limit), sink, nil, fn)
}

// Reached is Each for what needs a connection. reach opens it before the host takes a
// place, so that hosts that do not answer hold no places of those that do; with its
// error the host has ended. A nil reach reaches all.
func Reached(ctx context.Context, hosts []fleet.Host, limit int, sink event.Sink, reach func(context.Context, fleet.Host) error, fn func(context.Context, fleet.Host) Outcome) []Outcome {
	gate := NewGate(limit)
	return each(ctx, hosts, nil, sink, nil, func(ctx context.Context, h fleet.Host) Outcome {
		if reach != nil {
			if err := reach(ctx, h); err != nil {
				return Outcome{Err: err}
			}
		}
		leave, err := gate.Enter(ctx)
		if err != nil {
			return Outcome{Err: err}
		}
		defer leave()
		return fn(ctx, h)
	})
}

func each(ctx context.Context, hosts []fleet.Host, gate Gate, sink event.Sink, settled func(Outcome), fn func(context.Context, fleet.Host) Outcome) []Outcome {
	outcomes := make([]Outcome, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Add(1)
		go func() {
			defer crash.Catch()
			defer wg.Done()
			outcomes[i] = watched(ctx, h, sink, func() Outcome {
				leave, err := gate.Enter(ctx)
				if err != nil {
					return Outcome{Err: err}
				}
				defer leave()
				return fn(ctx, h)
			})
			if settled != nil {
				settled(outcomes[i])
			}
		}()
	}
	wg.Wait()
	return outcomes
}

// watched runs fn, completes its outcome and reports it as the host's result.
func watched(ctx context.Context, h fleet.Host, sink event.Sink, fn func() Outcome) Outcome {
	start := time.Now()
	o := fn()
	o.Host = h.Name
	if !o.began.IsZero() {
		start = o.began
	}
	o.Duration = time.Since(start)
	if o.Err != nil {
		o.Err = named(h.Name, o.Err)
		switch {
		case ctx.Err() != nil && errors.Is(o.Err, context.Canceled):
			o.State = Interrupted
		case o.State == RolledBack || o.State == NotStarted:
		case ctx.Err() != nil && errors.Is(o.Err, context.Cause(ctx)):
			o.State = Interrupted
		default:
			o.State = Failed
		}
		if o.State == Interrupted && event.Message(o.Err) == context.Canceled.Error() {
			o.Err = fault.New("interrupted").On(h.Name).Because(o.Err)
		}
		if o.Detail == "" {
			o.Detail = event.Message(o.Err)
		}
	}
	e := event.Event{Kind: event.Result, Outcome: o.State, Text: o.Detail}
	if o.Err != nil {
		e.Error = event.Message(o.Err)
		e.Hints = fault.Hints(o.Err)
	}
	if o.System != "" {
		e.Data = map[string]string{"system": o.System}
	}
	event.On(sink, h.Name, "").Emit(e)
	return o
}

// Fail is the outcome of a host that failed before its pipeline began.
func Fail(sink event.Sink, host string, err error) Outcome {
	return watched(context.Background(), fleet.Host{Name: host}, sink, func() Outcome { return Outcome{Err: err} })
}
