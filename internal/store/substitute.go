package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"godwit/internal/event"
)

// substituteBatch is how many paths a host is asked to fetch at a time: enough
// for it to work in parallel, few enough to show progress.
const substituteBatch = 128

// substitute lets the host fetch what it can. A host whose caches do not answer
// in time gets everything from us. valid is brought up to date.
func (t *transfer) substitute(ctx context.Context, c *conn, need []*Info, valid pathSet) (*conn, error) {
	p := t.p
	c.idleFor(p.opt.SubstituteTimeout)
	done := 0
	for batch := range slices.Chunk(need, substituteBatch) {
		ask := pathsOf(batch)
		t.scope.Progress(int64(done), int64(len(need)), event.Paths, "the host asks its own caches")
		got, err := c.queryValidPaths(ask, true, true)
		if err != nil {
			if ctx.Err() != nil || !errors.Is(err, errSilent) {
				return c, err
			}
			t.scope.Warn(fmt.Sprintf("the host's caches did not answer within %s: sending everything from here", p.opt.SubstituteTimeout),
				"turn off substitution for this host, or look at its substituters and its clock")
			c.abandon()
			// What did arrive counts, and everything is held anew.
			fresh, all, err := t.hold(ctx, t.d.Endpoint)
			copy(valid.in, all.in)
			return fresh, err
		}
		for k, s := range got.paths {
			if got.in[k] {
				valid.add(s)
			}
		}
		done += len(batch)
	}
	c.idleFor(p.opt.Idle)
	return c, nil
}
