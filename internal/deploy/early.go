package deploy

import (
	"context"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"godwit/internal/activate"
	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/store"
)

// A host can be built, and its system copied to it, before the other hosts of a run are
// known: that changes nothing of what it runs. Whatever is about all hosts (the plan,
// who agreed to it, batches, checks that can never succeed, two hosts at one address)
// comes between that and its activation.

// product is a host whose profiles were built, and perhaps copied.
type product struct {
	host      fleet.Host // with the path of each profile
	stores    []store.Endpoint
	system    string // "" when it was not built
	connected chan error
	copied    bool
	err       error
	away      bool // err is that the host cannot be reached
}

// in is the store that has the system; nothing where it was not built.
func (m *product) in() store.Endpoint {
	if m.system == "" {
		return store.Endpoint{}
	}
	for _, l := range loads(m.host, m.stores) {
		if slices.Contains(l.roots, m.system) {
			return l.from
		}
	}
	return store.Endpoint{}
}

// make builds a host. The connection is opened meanwhile: both take time, and a host
// that is down should be known early.
func (r *Run) make(ctx context.Context, j Job) *product {
	h := j.Host
	if r.Goal > GoalBuild && !h.BuildOnly && r.Pushers.Nix != nil && r.Pushers.ssh(h) != nil {
		// Not after a long build.
		for _, src := range j.sources() {
			if _, err := r.Pushers.Nix.from(src, h); err != nil {
				return &product{host: h, err: err}
			}
		}
	}
	m := &product{connected: make(chan error, 1)}
	if r.Goal > GoalBuild && !h.BuildOnly {
		// h is another one once it is built.
		go func(h fleet.Host) { defer crash.Catch(); m.connected <- r.connect(ctx, h) }(h)
	}
	if m.host, m.stores, m.err = r.build(ctx, j); m.err == nil {
		m.system = m.host.Main().Path
	}
	return m
}

// deliver copies what was built to its host. It tells true, and copies nothing, when the
// host runs all of it already; secret says that it may have to be changed all the same.
func (r *Run) deliver(ctx context.Context, j Job, m *product, secret bool) (running bool) {
	if m.connected != nil {
		m.err = <-m.connected
		m.connected = nil // it is asked once
		if m.away = m.err != nil; m.away {
			return false
		}
	}
	h, conn := m.host, r.Pool.Conn(m.host)
	if !secret && activate.Plain(h) && r.runsAlready(ctx, conn, m.system) {
		return true
	}
	if m.err = r.nixos(ctx, h, conn); m.err != nil {
		return false
	}
	if r.Goal == GoalActivate {
		if m.err = r.boots(h); m.err != nil {
			return false
		}
	}
	loads := loads(h, m.stores)
	if len(j.Ready) > 0 {
		loads = []load{{from: j.Source, roots: j.Ready}}
	}
	for _, l := range loads {
		if m.err = r.push(ctx, h, conn, l.from, l.roots); m.err != nil {
			return false
		}
	}
	m.copied = true
	return false
}

// early is a host of Begin.
type early struct {
	at     time.Time
	job    Job
	cancel context.CancelFunc
	done   chan struct{} // closed when made is there
	made   *product
	taken  atomic.Bool // by Hosts
}

// wait gives what was made. When ctx ends first, it ends that, too.
func (e *early) wait(ctx context.Context) *product {
	stop := context.AfterFunc(ctx, func() { defer crash.Catch(); e.cancel() })
	defer stop()
	<-e.done
	return e.made
}

// Begin builds a job and copies it to its host, as far as the goal goes, while the other
// hosts of the run are not known yet. What it emits is what Hosts would. Hosts takes it
// up, or Abandon ends it; Goal, DryRun, Limits, Unreachable, Pool, Pushers, Sink and Here
// must be those of the run. It is not called together with either of them.
func (r *Run) Begin(ctx context.Context, j Job) {
	r.gates()
	ctx, cancel := context.WithCancel(ctx)
	e := &early{at: time.Now(), job: j, cancel: cancel, done: make(chan struct{})}
	if r.early == nil {
		r.early = map[string]*early{}
	}
	r.early[j.Host.Name] = e
	// What else the run is to do is settled while this goes on.
	part := &Run{Options: r.Options, Pool: r.Pool, Sink: r.Sink, Here: r.Here, Pushers: r.Pushers, builds: r.builds, copies: r.copies}
	go func() {
		defer crash.Catch()
		defer close(e.done)
		e.made = part.make(ctx, j)
		if e.made.err != nil || r.Goal == GoalBuild || j.Host.BuildOnly {
			return
		}
		running := part.deliver(ctx, j, e.made, len(j.Host.Secrets) > 0)
		if e.made.err == nil && !running && !e.taken.Load() {
			event.On(part.Sink, j.Host.Name, event.StepCopy).Emit(event.Event{Kind: event.Waiting, Text: "copied, waits until the other hosts are evaluated"})
		}
	}()
}

// takeUp gives what was begun of jobs, by host. What was begun of anything else ends.
func (r *Run) takeUp(ctx context.Context, jobs []Job) map[string]*early {
	begun := map[string]*early{}
	for _, j := range jobs {
		if e := r.early[j.Host.Name]; e != nil && reflect.DeepEqual(e.job.Host.At, j.Host.At) &&
			slices.Equal(e.job.Host.Drvs(), j.Host.Drvs()) && e.job.Builder == j.Builder && e.job.Host.BuildOnly == j.Host.BuildOnly {
			e.taken.Store(true)
			begun[j.Host.Name] = e
			delete(r.early, j.Host.Name)
		}
	}
	r.Abandon(ctx)
	return begun
}

// Abandon ends what Begin began and Hosts did not take up, and waits for its end. What a
// host runs has not changed; the root of what was copied to it goes away.
func (r *Run) Abandon(ctx context.Context) {
	for _, e := range r.early {
		e.cancel()
	}
	for _, e := range r.early {
		<-e.done
		if e.made.copied && r.Goal == GoalActivate {
			r.release(ctx, e.made.host, r.Pool.Conn(e.made.host))
		}
	}
	r.early = nil
}
