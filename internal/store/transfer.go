package store

import (
	"context"
	"errors"
	"fmt"

	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/ui/text"
)

// transfer is one push.
type transfer struct {
	p         *Pusher
	d         Dest
	scope     event.Scope
	res       *Result
	readyOnce func()
	// wire is the endpoint of the connections that carry paths: the host's, or what
	// Wire gave.
	wire Endpoint

	closure []*Info
	paths   []string // of closure, sorted
	need    []*Info  // what the host lacked when the sending began
	total   int64    // bytes of NARs of need
}

func (t *transfer) run(ctx context.Context) error {
	p, d := t.p, t.d
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.ctx, func() { defer crash.Catch(); cancel(context.Cause(p.ctx)) })()

	// The host is called while the source is asked: both take round trips.
	type dialed struct {
		c   *conn
		err error
	}
	calls := make(chan dialed, 1)
	go func() {
		defer crash.Catch()
		c, err := dial(ctx, d.Endpoint, !p.opt.DryRun, p.opt.Idle)
		calls <- dialed{c, err}
	}()
	closure, err := p.Closure(ctx, d.Roots)
	if err != nil {
		cancel(err)
		go func() {
			defer crash.Catch()
			if call := <-calls; call.err == nil {
				call.c.abandon()
			}
		}()
		return err
	}
	call := <-calls
	c := call.c
	if call.err != nil {
		return call.err
	}
	defer func() {
		if c != nil {
			c.abandon()
		}
	}()

	t.wire, t.closure, t.paths = d.Endpoint, closure, pathsOf(closure)
	room := t.askRoom(ctx)
	valid, err := c.queryValidPaths(t.paths, !p.opt.DryRun, false) // the first answer on that connection
	if err != nil {
		return t.unopened(ctx, err)
	}
	begun, roomErr := room()
	// A host that is silent there would be waited for again at each further step.
	var silent interface{ TimedOut() bool }
	if errors.As(roomErr, &silent) && silent.TimedOut() {
		return roomErr
	}
	if begun.Cut && d.Mend != nil {
		if c, valid, err = t.mend(ctx, c); err != nil {
			return err
		}
	}
	need, total := lacking(closure, valid)
	if begun.Rooted && len(need) > 0 && d.Mend != nil {
		// Collected in that moment. What was asked here since then is locked.
		begun.Rooted = false
		if _, err := d.Mend(ctx); err != nil {
			return err
		}
	}
	t.res.Skipped = len(closure) - len(need)

	if d.Substitute && !p.opt.DryRun && len(need) > 0 {
		if c, err = t.substitute(ctx, c, need, valid); err != nil {
			return err
		}
		before := len(need)
		need, total = lacking(closure, valid)
		t.res.Substituted = before - len(need)
	}
	if p.opt.DryRun {
		t.res.Paths, t.res.Bytes = len(need), total
	}
	if len(need) > 0 {
		if roomErr != nil {
			t.scope.Warn("cannot tell how much room the store there has: " + text.OneLine(roomErr.Error()))
		} else if why := begun.Room.Lacks(len(need), total); why != "" {
			return fault.New("%s", why).Because(ErrDiskFull).Hint("free space there with `nix-collect-garbage -d`")
		}
	}
	t.need, t.total = need, total
	if !p.opt.DryRun {
		if d.Direct != nil && len(need) > 0 {
			if err := t.direct(ctx, c, need, total, valid); err != nil {
				return err
			}
			before, all := len(need), total
			need, total = lacking(closure, valid)
			t.res.Paths, t.res.Bytes = before-len(need), all-total
			t.res.Direct = t.res.Bytes
		}
		if len(need) > 0 {
			if c, err = t.carry(ctx, c, need, total); err != nil {
				return err
			}
		}
		if d.GCRoot != nil && !begun.Rooted {
			if c, err = t.protect(ctx, c); err != nil {
				return err
			}
		}
	}
	c.leave()
	c = nil
	return nil
}

// mend has the host look at what an earlier copy left there. The connection goes
// meanwhile, since it holds what it was asked about; a new one asks again.
func (t *transfer) mend(ctx context.Context, c *conn) (*conn, pathSet, error) {
	_ = c.close() // and its process ends
	t.scope.Progress(0, 0, event.Paths, "the host lost power during a copy: checks what was copied")
	mended, err := t.d.Mend(ctx)
	if err != nil {
		return nil, pathSet{}, err
	}
	if len(mended) > 0 {
		t.scope.Warn(fmt.Sprintf("the host lost power during an earlier copy, which damaged %s: to be copied again", count(len(mended), "path")))
	}
	return t.hold(ctx, t.d.Endpoint)
}

// carry sends need over the way that Wire chooses, while c holds everything. It gives
// the connection in place of c.
func (t *transfer) carry(ctx context.Context, c *conn, need []*Info, total int64) (*conn, error) {
	other := t.otherWay(ctx, total)
	if other == nil {
		return t.send(ctx, c, need, total)
	}
	other, err := t.send(ctx, other, need, total)
	switch {
	case err == nil:
		other.leave()
	case other != nil:
		other.abandon()
	}
	return c, err
}

// otherWay gives a connection of the kind that Wire chooses, or nil for the one
// that there is.
func (t *transfer) otherWay(ctx context.Context, missing int64) *conn {
	if t.d.Wire == nil {
		return nil
	}
	ep := t.d.Wire(ctx, missing)
	if ep == nil {
		return nil
	}
	c, err := t.further(ctx, ctx, *ep)
	if err != nil {
		t.scope.Warn("no second connection, so everything goes over the first: " + text.OneLine(err.Error()))
		return nil
	}
	t.wire = *ep
	return c
}

// lacking gives the part of closure that is not valid, in its order.
func lacking(closure []*Info, valid pathSet) (need []*Info, total int64) {
	missing := 0
	for _, i := range closure {
		if !valid.has(i.Path) {
			missing++
		}
	}
	need = make([]*Info, 0, missing)
	for _, i := range closure {
		if !valid.has(i.Path) {
			need = append(need, i)
			total += i.NarSize
		}
	}
	return need, total
}
