package main

import (
	"net"
	"sync"
	"time"
)

// proxy forwards TCP connections with a delay each way and a rate, shared by
// all its connections, each way: a wire of its own for every host. The kernel's
// shaper is not to be had everywhere.
type proxy struct {
	l     net.Listener
	to    string
	delay time.Duration // one way
	up    *wire
	down  *wire
}

// wire is one direction: it is busy until some time.
type wire struct {
	mu   sync.Mutex
	rate float64 // bytes a second, 0 is without limit
	free time.Time
}

// book gives the time at which n bytes have left.
func (w *wire) book(n int) time.Time {
	now := time.Now()
	if w.rate == 0 {
		return now
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.free.Before(now) {
		w.free = now
	}
	w.free = w.free.Add(time.Duration(float64(n) / w.rate * float64(time.Second)))
	return w.free
}

func newProxy(to string, rtt time.Duration, rate float64) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{l: l, to: to, delay: rtt / 2, up: &wire{rate: rate}, down: &wire{rate: rate}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p, nil
}

func (p *proxy) port() int { return p.l.Addr().(*net.TCPAddr).Port }

func (p *proxy) serve(c net.Conn) {
	d, err := net.Dial("tcp", p.to)
	if err != nil {
		c.Close()
		return
	}
	go p.pump(c, d, p.up)
	p.pump(d, c, p.down)
}

type packet struct {
	b  []byte
	at time.Time
}

// pump moves bytes from a to b. At most 8 MiB are on the way, as a long fat
// wire with large windows would have it; with a rate a quarter of a second.
func (p *proxy) pump(a, b net.Conn, w *wire) {
	const size = 16 << 10
	depth := 8 << 20 / size
	if w.rate > 0 {
		depth = max(4, int(w.rate*(p.delay.Seconds()+0.25))/size)
	}
	queue := make(chan packet, depth)
	go func() {
		defer close(queue)
		for {
			buf := make([]byte, size)
			n, err := a.Read(buf)
			if n > 0 {
				queue <- packet{buf[:n], w.book(n).Add(p.delay)}
			}
			if err != nil {
				return
			}
		}
	}()
	for k := range queue {
		time.Sleep(time.Until(k.at))
		if _, err := b.Write(k.b); err != nil {
			break
		}
	}
	if t, ok := b.(*net.TCPConn); ok {
		t.CloseWrite()
	}
	go func() {
		for range queue {
		}
	}()
}
