package deploy

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/ssh"
	"godwit/internal/store"
)

// slowLink is the rate in bytes a second below which ssh's compression pays:
// docs/copying.md has the measurements behind it.
const slowLink = 100e6 / 8

// worthProbing is how much must be missing on a host for its link to be
// measured: below it the measurement costs more than it can gain.
const worthProbing = 16 << 20

// wire chooses the connection that a copy to conn takes: one that compresses,
// when there is much to copy and the link is slow. What cannot be measured is
// not compressed.
func (p *Pushers) wire(ctx context.Context, push *store.Pusher, h fleet.Host, conn *ssh.Host, roots []string) *ssh.Host {
	if p.Slow == nil {
		return conn
	}
	infos, err := push.Closure(ctx, roots)
	if err != nil {
		return conn // the push itself will say it
	}
	paths := make([]string, len(infos))
	size := make(map[string]int64, len(infos))
	for k, i := range infos {
		paths[k] = i.Path
		size[i.Path] = i.NarSize
	}
	if total(paths, size) < worthProbing {
		return conn
	}
	missing, err := store.Missing(ctx, HostStore(conn), paths)
	if err != nil || total(missing, size) < worthProbing {
		return conn
	}
	sc := event.On(p.Options.Sink, h.Name, event.StepCopy)
	rate, err := linkRate(ctx, conn)
	switch {
	case err != nil:
		sc.Log("cannot measure the link, so nothing is compressed: " + event.Message(err))
		return conn
	case rate >= slowLink:
		sc.Log(fmt.Sprintf("the link carries %s: ssh does not compress", mbits(rate)))
		return conn
	}
	sc.Note(fmt.Sprintf("the link carries %s: ssh compresses", mbits(rate)))
	return p.Slow.Host(conn.Target())
}

func total(paths []string, size map[string]int64) (n int64) {
	for _, p := range paths {
		n += size[p]
	}
	return n
}

func mbits(rate float64) string { return fmt.Sprintf("about %.0f Mbit/s", rate*8/1e6) }

// The two pieces that linkRate sends. The second is sent only when the first
// went fast.
const (
	probeFirst  = 256 << 10
	probeSecond = 1 << 20
	// probeLimit bounds all of it.
	probeLimit = 4 * time.Second
)

// linkRate measures how many bytes a second the connection carries to the host,
// with at most 1.25 MiB. The round trip is taken off. On a link with a long
// round trip TCP has not come up to speed within so little, and the result is
// too low; there ssh's own window (2 MiB a round trip) is what bounds a copy,
// compressed or not.
func linkRate(ctx context.Context, conn *ssh.Host) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	p, err := conn.Open(ctx, ssh.Cmd{Script: fmt.Sprintf(`echo; for n in 1 %d %d; do head -c "$n" >/dev/null; echo; done`, probeFirst, probeSecond)})
	if err != nil {
		return 0, err
	}
	stop := context.AfterFunc(ctx, p.Kill)
	defer func() {
		stop()
		p.Kill()
		p.Stdin.Close()
		go func() { _, _ = io.Copy(io.Discard, p.Stdout); _ = p.Wait() }()
	}()
	answer := func() error { _, err := io.ReadFull(p.Stdout, make([]byte, 1)); return err }
	if err := answer(); err != nil { // it runs
		return 0, err
	}
	send := func(n int) (time.Duration, error) {
		b := make([]byte, n)
		_, _ = rand.Read(b) // nothing on the way can make it less
		t0 := time.Now()
		if _, err := p.Stdin.Write(b); err != nil {
			return 0, err
		}
		err := answer()
		return time.Since(t0), err
	}
	trip, err := send(1)
	if err != nil {
		return 0, err
	}
	took, err := send(probeFirst)
	if err != nil {
		return 0, err
	}
	rate := func(n int) float64 { return float64(n) / max(took-trip, time.Millisecond).Seconds() }
	if r := rate(probeFirst); r < slowLink/2 && took > 4*trip {
		return r, nil
	}
	if took, err = send(probeSecond); err != nil {
		return 0, err
	}
	return rate(probeSecond), nil
}
