package ssh

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"godwit/internal/crash"
	"godwit/internal/event"
)

// What one ssh process costs of this machine's open files: three pipes and, on Linux,
// a descriptor of the process; a session has a socket in its place.
const filesEach = 4

// places are how many ssh processes of each use there may be at once, for all pools of
// this process: as many as its open files allow. All of them are soft: who has waited
// while nobody gave a place back takes one all the same, so that those who hold some
// and wait for others do not wait for each other for ever.
type places struct {
	files    int
	dials    quota // logins under way: hosts that do not answer hold no other places
	starts   quota // logins of the last moment: more would take the processor from each other
	lanes    quota // open connections
	sessions quota // commands

	mu   sync.Mutex
	open []*lane
	said bool
}

// here are the places of this process.
var here = sync.OnceValue(func() *places { return newPlaces(openFiles()) })

// newPlaces deals out a number of open files. A quarter each goes to logins and to
// connections, the rest to commands, of which a host often runs three.
func newPlaces(files int) *places {
	processes := max(8, (files-64-files/8)/filesEach)
	p := &places{files: files}
	p.dials.max = min(processes/4, 128)
	p.starts.max = max(16, 4*runtime.NumCPU())
	p.lanes.max = min(processes/4, 256)
	p.sessions.max = processes - p.dials.max - p.lanes.max
	return p
}

// quota is one number of places, given out in the order in which they are asked for.
type quota struct {
	mu    sync.Mutex
	max   int
	used  int
	queue []chan struct{}
	moved time.Time // when one was given back last, or taken beyond the number
}

// stuck is how long nobody gives a place back before one is taken beyond the number.
const stuck = 20 * time.Second

// try takes a place if there is one.
func (q *quota) try() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used >= q.max || len(q.queue) > 0 {
		return false
	}
	q.used++
	return true
}

// force takes a place whether there is one or not.
func (q *quota) force() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used++
}

func (q *quota) give() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used--
	q.moved = time.Now()
	q.pass()
}

// pass lets those in who wait and have room. q.mu is held.
func (q *quota) pass() {
	for len(q.queue) > 0 && q.used < q.max {
		q.used++
		close(q.queue[0])
		q.queue = q.queue[1:]
	}
}

// take waits for a place; waiting is called at once and then every while.
func (q *quota) take(ctx context.Context, waiting func()) error {
	if q.try() {
		return nil
	}
	turn := make(chan struct{})
	q.mu.Lock()
	q.queue = append(q.queue, turn)
	begun := time.Now()
	q.pass()
	q.mu.Unlock()
	waiting()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-turn:
			return nil
		case <-ctx.Done():
		case <-tick.C:
			waiting()
			q.mu.Lock()
			late := time.Since(begun) > stuck && time.Since(q.moved) > stuck
			if late {
				q.moved = time.Now() // one at a time
			}
			q.mu.Unlock()
			if !late {
				continue
			}
		}
		q.mu.Lock()
		i := slices.Index(q.queue, turn)
		if i >= 0 {
			q.queue = slices.Delete(q.queue, i, i+1)
		}
		err := ctx.Err()
		switch {
		case err == nil && i >= 0:
			q.used++
		case err != nil && i < 0: // it came at the same moment
			q.used--
			q.pass()
		}
		q.mu.Unlock()
		return err
	}
}

// slowLogin is when a login waits for its host rather than for a processor.
const slowLogin = time.Second

// dial takes a place for a login; over gives it back.
func (p *places) dial(ctx context.Context, h *Host) (over func(), err error) {
	if err := p.dials.take(ctx, func() { p.tell(h.pool.opts.Sink) }); err != nil {
		return nil, err
	}
	if err := p.starts.take(ctx, func() {}); err != nil {
		p.dials.give()
		return nil, err
	}
	started := sync.OnceFunc(p.starts.give)
	slow := time.AfterFunc(slowLogin, func() { defer crash.Catch(); started() })
	return func() { slow.Stop(); started(); p.dials.give() }, nil
}

// lane takes a place for an open connection of h. When there is none, the connection
// that nobody has used for longest goes.
func (p *places) lane(ctx context.Context, h *Host) error {
	return p.lanes.take(ctx, func() {
		p.tell(h.pool.opts.Sink)
		p.evict()
	})
}

// opened and closed keep the list of connections.
func (p *places) opened(l *lane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = append(p.open, l)
}

func (p *places) closed(l *lane) {
	p.mu.Lock()
	if i := slices.Index(p.open, l); i >= 0 {
		p.open = slices.Delete(p.open, i, i+1)
	}
	p.mu.Unlock()
	p.lanes.give()
}

// idleMost is how long a connection is idle before it may go for another one.
const idleMost = 500 * time.Millisecond

// evict ends one idle connection.
func (p *places) evict() {
	p.mu.Lock()
	open := slices.Clone(p.open)
	p.mu.Unlock()
	var oldest *lane
	var since time.Duration = idleMost
	for _, l := range open {
		l.host.mu.Lock()
		if idle := time.Since(l.freed); l.used == 0 && !l.leaving && idle > since {
			oldest, since = l, idle
		}
		l.host.mu.Unlock()
	}
	if oldest == nil {
		return
	}
	h := oldest.host
	h.mu.Lock()
	ok := oldest.used == 0 && !oldest.leaving
	if ok {
		oldest.leaving = true
		h.lanes = slices.DeleteFunc(h.lanes, func(l *lane) bool { return l == oldest })
		h.wake()
	}
	h.mu.Unlock()
	if ok {
		go func() { defer crash.Catch(); oldest.proc.Kill() }()
	}
}

// tell says, once, that hosts wait, and for what.
func (p *places) tell(sink event.Sink) {
	p.mu.Lock()
	said := p.said
	p.said = true
	p.mu.Unlock()
	if said {
		return
	}
	event.On(sink, "", event.StepConnect).Warn(
		fmt.Sprintf("a process may have %d files open here, which is enough for %d connections at once: further hosts wait for their turn", p.files, p.lanes.max),
		fmt.Sprintf("ulimit -n %d", max(4096, 4*p.files)))
}
