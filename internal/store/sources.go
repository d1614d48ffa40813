package store

import (
	"context"

	"godwit/internal/crash"
)

// source gives a connection to the source: an idle one, unless fresh is asked
// for.
func (p *Pusher) source(fresh bool) (*conn, error) {
	c, _, err := p.anySource(p.ctx, fresh)
	return c, err
}

// anySource does the same and tells whether it was an idle one. The connection
// outlives ctx, which only bounds the wait for it.
func (p *Pusher) anySource(ctx context.Context, fresh bool) (*conn, bool, error) {
	p.mu.Lock()
	var c *conn
	if n := len(p.conns); n > 0 && !fresh {
		c = p.conns[n-1]
		p.conns = p.conns[:n-1]
	}
	p.mu.Unlock()
	if c != nil {
		return c, true, nil
	}
	type dialed struct {
		c   *conn
		err error
	}
	call := make(chan dialed, 1)
	go func() {
		defer crash.Catch()
		c, err := dial(p.ctx, p.src, false, p.opt.Idle)
		call <- dialed{c, err}
	}()
	select {
	case d := <-call:
		return d.c, false, d.err
	case <-ctx.Done():
		go func() {
			defer crash.Catch()
			if d := <-call; d.err == nil {
				d.c.abandon()
			}
		}()
		return nil, false, context.Cause(ctx)
	}
}

// putSource keeps a connection for later.
func (p *Pusher) putSource(c *conn) {
	p.mu.Lock()
	keep := !p.closed && len(p.conns) < 2
	if keep {
		p.conns = append(p.conns, c)
	}
	p.mu.Unlock()
	if !keep {
		_ = c.close()
	}
}

// getBuf gives a buffer of n bytes.
func (p *Pusher) getBuf(n int) []byte {
	if n < chunkSize {
		return make([]byte, n)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := len(p.free); k > 0 {
		b := p.free[k-1]
		p.free = p.free[:k-1]
		return b
	}
	return make([]byte, n)
}

// putBuf takes a buffer back. Pusher.mu is held.
func (p *Pusher) putBuf(b []byte) {
	if cap(b) == chunkSize && len(p.free) < 2*laneWindow/chunkSize {
		p.free = append(p.free, b[:chunkSize])
	}
}

func (p *Pusher) putBufLocked(b []byte) {
	p.mu.Lock()
	p.putBuf(b)
	p.mu.Unlock()
}
