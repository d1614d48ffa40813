package store

import (
	"context"
	"fmt"

	"godwit/internal/fault"
	"godwit/internal/ui/text"
)

// The temporary roots. What a connection has asked for, or was sent, is safe from the
// host's garbage collector for as long as the process behind it lives (lock=1 of
// QueryValidPaths; Nix keeps them in /nix/var/nix/temproots/PID). So the first connection
// holds the whole closure until the roots stand. It can end before, with the network
// under it, and a collector that begins in that moment takes what nothing else holds.

// holds is how many connections in a row may end before the roots stand.
const holds = 3

// hold opens a connection that holds the whole closure, and tells what is valid.
func (t *transfer) hold(ctx context.Context, ep Endpoint) (*conn, pathSet, error) {
	c, err := dial(ctx, ep, true, t.p.opt.Idle)
	if err != nil {
		return nil, pathSet{}, err
	}
	valid, err := c.queryValidPaths(t.paths, true, false)
	if err != nil {
		c.abandon()
		return nil, pathSet{}, err
	}
	return c, valid, nil
}

// renew is hold for a copy that has begun, and gives what is missing. That has not
// arrived, and was not there before, whatever was counted.
func (t *transfer) renew(ctx context.Context, ep Endpoint) (c *conn, missing []*Info, bytes int64, err error) {
	c, valid, err := t.hold(ctx, ep)
	if err != nil {
		return nil, nil, 0, err
	}
	missing, bytes = lacking(t.closure, valid)
	for _, i := range t.need {
		valid.remove(i.Path)
	}
	before := len(t.need)
	t.need, t.total = lacking(t.closure, valid)
	t.res.Skipped = max(0, t.res.Skipped-(len(t.need)-before))
	t.res.Paths, t.res.Bytes = len(t.need)-len(missing), t.total-bytes
	t.res.Direct = min(t.res.Direct, t.res.Bytes)
	return c, missing, bytes, nil
}

// protect makes the roots while c holds what is to be behind them. Where c has
// ended before they stood, what is missing is sent again. It gives the connection in
// place of c.
func (t *transfer) protect(ctx context.Context, c *conn) (*conn, error) {
	for n := 1; ; n++ {
		if err := t.d.GCRoot(ctx); err != nil {
			return c, err
		}
		c.idleFor(min(t.p.opt.Idle, t.p.opt.second))
		_, held := c.roundTrip()
		if held == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return c, context.Cause(ctx)
		}
		if n == holds {
			return c, fault.New("%d connections in a row ended before what was copied was a garbage collector root", holds).Because(held).
				Detail(text.OneLine(held.Error())).Hint("see why processes end there: journalctl -b; then run the same again")
		}
		c.abandon()
		var missing []*Info
		var bytes int64
		var err error
		if c, missing, bytes, err = t.renew(ctx, t.d.Endpoint); err != nil || len(missing) == 0 {
			return c, err // without an error the roots stand, and all is there
		}
		t.scope.Warn(fmt.Sprintf("the connection ended early, and the host's garbage collector took %s: to be copied again", count(len(missing), "path")))
		if t.d.Begin != nil { // the roots have ended the first beginning
			if _, err := t.d.Begin(ctx); err != nil {
				return c, err
			}
		}
		if c, err = t.send(ctx, c, missing, bytes); err != nil {
			return c, err
		}
	}
}
