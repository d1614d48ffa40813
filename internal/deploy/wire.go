package deploy

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"godwit/internal/crash"
	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/ssh"
	"godwit/internal/store"
)

// slowLink is the rate in bytes a second below which ssh's compression pays:
// docs/copying.md has the measurements behind it.
const slowLink = 100e6 / 8

// worthProbing is how much must be missing on a host for its link to be
// measured: below it the measurement costs more than it can gain.
const worthProbing = 16 << 20

// wire chooses the way that missing bytes take to a host: a connection that
// compresses, when they are many, the link is slow and a processor here is free
// for it. What cannot be measured is not compressed. done is called at the end
// of the copy.
func (p *Pushers) wire(h fleet.Host, conn host.Conn) (choose func(context.Context, int64) *store.Endpoint, done func()) {
	there := p.ssh(h)
	if p.Slow == nil || there == nil {
		return nil, func() {}
	}
	taken := 0.0
	done = func() { p.squeeze(-taken) }
	sc := event.On(p.Options.Sink, h.Name, event.StepCopy)
	choose = func(ctx context.Context, missing int64) *store.Endpoint {
		if missing < worthProbing {
			return nil
		}
		if yes, err := there.Compresses(ctx); yes || err != nil {
			return nil
		}
		rate, err := linkRate(ctx, conn)
		switch {
		case err != nil:
			sc.Log("cannot measure the link, so nothing is compressed: " + event.Message(err))
			return nil
		case rate >= slowLink:
			sc.Log("the link carries " + mbits(rate) + " or more: ssh does not compress")
			return nil
		}
		share := min(1, rate*squeezeFactor/squeezeRate)
		if !p.squeeze(share) {
			sc.Log("the link carries " + mbits(rate) + ", and the processors here are busy with compressing for other hosts: ssh does not compress")
			return nil
		}
		taken = share
		slow := p.Slow.Host(ssh.TargetOf(h))
		login, cancel := context.WithTimeout(ctx, secondLogin)
		defer cancel()
		if err := slow.Connect(login); err != nil {
			sc.Note(fmt.Sprintf("the link carries %s, and a second login, for a connection that compresses, failed: %s", mbits(rate), event.Message(err)))
			return nil
		}
		sc.Note(fmt.Sprintf("the link carries %s: ssh compresses", mbits(rate)))
		ep := HostStore(slow)
		return &ep
	}
	return choose, done
}

// What ssh's compression does with what systems are made of, and what a
// processor core manages: docs/copying.md has the measurements.
const (
	squeezeFactor = 2.5
	squeezeRate   = 30e6 // bytes a second, before compression
)

// squeeze takes a share of the processors for compressing, or gives it back.
func (p *Pushers) squeeze(share float64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if share > 0 && p.squeezed+share > float64(runtime.NumCPU()) {
		return false
	}
	p.squeezed += share
	return true
}

// secondLogin is how long a second login may take: somebody may have to touch a
// key for it, and nobody may be there.
const secondLogin = 20 * time.Second

func mbits(rate float64) string { return fmt.Sprintf("about %.0f Mbit/s", rate*8/1e6) }

// What linkRate sends: a first part, and a second where the first left it open,
// twice at most. Each is two pieces with an answer to each.
var (
	probeFirst  = [2]int{64 << 10, 192 << 10}
	probeSecond = [2]int{256 << 10, 768 << 10}
)

const (
	// probeLimit bounds all of it.
	probeLimit = 4 * time.Second
	// probeClear is how many round trips TCP takes to come up to speed: what takes
	// longer is the link's own doing.
	probeClear = 6
)

// probeTrips is how often a round trip is measured. The shortest counts: this machine
// may have been late to notice the others.
const probeTrips = 3

// linkRate measures how many bytes a second the connection carries to the host,
// with at most 2.25 MiB that nothing on the way can make less.
func linkRate(ctx context.Context, conn host.Conn) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	p, err := conn.Open(ctx, host.Cmd{Script: fmt.Sprintf(`echo; for n in %s%d %d %d %d %[4]d %[5]d; do head -c "$n" >/dev/null; echo; done`,
		strings.Repeat("1 ", probeTrips), probeFirst[0], probeFirst[1], probeSecond[0], probeSecond[1])})
	if err != nil {
		return 0, err
	}
	stop := context.AfterFunc(ctx, crash.Func(p.Kill))
	defer func() {
		stop()
		p.Kill()
		p.Stdin.Close()
		go func() { defer crash.Catch(); _, _ = io.Copy(io.Discard, p.Stdout); _ = p.Wait() }()
	}()
	answer := func() (time.Time, error) {
		_, err := io.ReadFull(p.Stdout, make([]byte, 1))
		return time.Now(), err
	}
	send := func(sizes ...int) {
		for _, n := range sizes {
			b := make([]byte, n)
			_, _ = rand.Read(b)
			_, _ = p.Stdin.Write(b) // the missing answer is the error
		}
	}
	if _, err := answer(); err != nil { // it runs
		return 0, err
	}
	trip := probeLimit
	for range probeTrips {
		t0 := time.Now()
		go func() { defer crash.Catch(); send(1) }()
		t1, err := answer()
		if err != nil {
			return 0, err
		}
		trip = min(trip, t1.Sub(t0))
	}
	return decide(trip, func(pieces [2]int) (mid, end time.Duration, err error) {
		t0 := time.Now()
		go func() { defer crash.Catch(); send(pieces[0], pieces[1]) }()
		t1, err := answer()
		if err != nil {
			return 0, 0, err
		}
		t2, err := answer()
		return t1.Sub(t0), t2.Sub(t0), err
	})
}

// decide makes a rate of what measure finds: when the answers to two pieces came, on a
// link whose round trip is trip.
//
// All that was sent by all the time that it took is what the link carries at least. TCP
// at its start is slower than the link, and then what came last tells more. But its time
// is the distance of two answers: a busy machine that is late to notice the first finds
// both at once, and the link quick. So of the last pieces the middle one of three counts.
func decide(trip time.Duration, measure func(pieces [2]int) (mid, end time.Duration, err error)) (float64, error) {
	perSecond := func(n int, d time.Duration) float64 { return float64(n) / max(d, time.Millisecond).Seconds() }
	var least float64
	var lasts []float64
	for try, pieces := range [][2]int{probeFirst, probeSecond, probeSecond} {
		mid, end, err := measure(pieces)
		if err != nil {
			return 0, err
		}
		both := pieces[0] + pieces[1]
		least = max(least, perSecond(both, end-trip))
		if float64(both)/slowLink < probeClear*trip.Seconds() {
			lasts = append(lasts, perSecond(pieces[1], end-mid))
		} else {
			lasts = nil // of smaller pieces, where these need none
		}
		slices.Sort(lasts)
		best := least
		if len(lasts) > 0 {
			best = max(best, lasts[len(lasts)-1])
		}
		switch {
		case least >= slowLink:
			return least, nil
		case best < slowLink/4 && (try > 0 || end > probeClear*trip):
			return best, nil
		case len(lasts) == 2 && lasts[0] >= slowLink:
			return lasts[0], nil
		}
	}
	if len(lasts) == 3 {
		least = max(least, lasts[1])
	}
	return least, nil
}
