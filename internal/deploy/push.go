package deploy

import (
	"context"
	"errors"
	"sync"

	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/hostscript"
	"godwit/internal/ssh"
	"godwit/internal/store"
)

// Pushers keeps one store.Pusher for each source store of a run, so that hosts
// whose systems come from the same place share what is read there.
type Pushers struct {
	Options store.Options
	// Nix copies in place of our own way. May be nil.
	Nix *NixCopy
	// SSH gives a host's connection for the ways that only ssh has. Where it is nil, or
	// gives nil, a host is written to through its Conn alone.
	SSH func(fleet.Host) *ssh.Host
	// Slow has connections that compress, for hosts behind a slow link. nil:
	// everything goes over the run's own connections.
	Slow *ssh.Pool
	// Direct lets ssh builders send to hosts by themselves; off if empty.
	Direct Direct
	// Builders has the connections to ssh builders. nil: nothing goes directly.
	Builders *ssh.Pool

	mu       sync.Mutex
	m        map[string]*store.Pusher
	squeezed float64 // processors that compress for hosts
}

func (p *Pushers) of(src store.Endpoint) *store.Pusher {
	p.mu.Lock()
	defer p.mu.Unlock()
	push, ok := p.m[src.Name]
	if !ok {
		if p.m == nil {
			p.m = map[string]*store.Pusher{}
		}
		push = store.NewPusher(src, p.Options)
		p.m[src.Name] = push
	}
	return push
}

// ssh is the host's connection where ssh is behind it.
func (p *Pushers) ssh(h fleet.Host) *ssh.Host {
	if p.SSH == nil {
		return nil
	}
	return p.SSH(h)
}

// Push copies the closures of roots from src to the host's store.
func (p *Pushers) Push(ctx context.Context, src store.Endpoint, h fleet.Host, conn host.Conn, roots ...string) error {
	if p.Nix != nil && p.ssh(h) != nil {
		return p.Nix.Push(ctx, src, h, conn, roots)
	}
	wire, done := p.wire(h, conn)
	defer done()
	copying := newCopying(conn, roots)
	return p.of(src).Push(ctx, store.Dest{
		Endpoint:   HostStore(conn),
		Host:       h.Name,
		Roots:      roots,
		Substitute: h.SubstituteOnDestination,
		Direct:     p.direct(src, h),
		Begin:      copying.begin,
		Mend:       copying.mend,
		GCRoot:     copying.protect,
		Room:       func(ctx context.Context) (store.Room, error) { return roomOf(ctx, conn) },
		Wire:       wire,
	}).Err
}

// Close ends the pushers.
func (p *Pushers) Close() error {
	var errs []error
	for _, push := range p.m {
		errs = append(errs, push.Close())
	}
	return errors.Join(errs...)
}

// pushedRoot keeps what was pushed last from being collected until it is the
// system profile of the host. Further paths of one push have the name with
// -2, -3 and so on.
const pushedRoot = "/nix/var/nix/gcroots/godwit-pushed"

// release takes that root away again.
func release(ctx context.Context, conn host.Conn) error {
	return conn.Run(ctx, host.Cmd{Script: `rm -f "$1" "$1"-[0-9]*`, Args: []string{pushedRoot}, Elevate: true})
}

// ReleasePushed takes the root of a push away when it is that of system: what a
// deployer that died could not do for its own.
func ReleasePushed(ctx context.Context, conn host.Conn, system string) error {
	return conn.Run(ctx, host.Cmd{
		Script:  `[ "$(readlink "$2")" != "$1" ] || rm -f "$2"`,
		Args:    []string{system, pushedRoot},
		Elevate: true,
	})
}

// roomOf is what is free on the file system of the host's store.
func roomOf(ctx context.Context, conn host.Conn) (store.Room, error) {
	out, err := conn.Output(ctx, host.Cmd{Script: hostscript.RoomOf + `room_of /nix/store`})
	if err != nil {
		return store.Room{}, err
	}
	room, err := hostscript.ParseRoom(out)
	return store.Room(room), err
}

// HostStore is the store of a host, reached with the elevation that writing
// needs: `nix-store --serve` as root asks for no signature and no trusted user.
func HostStore(conn host.Conn) store.Endpoint {
	return store.Endpoint{
		Name: "the store of " + conn.Name(),
		Dial: func(ctx context.Context, write bool) (*store.Stream, error) {
			p, err := conn.Open(ctx, host.Cmd{Argv: store.Serve(write), Elevate: write})
			if err != nil {
				return nil, err
			}
			return &store.Stream{Stdin: p.Stdin, Stdout: p.Stdout, Stderr: p.Stderr, Wait: p.Wait, Kill: p.Kill}, nil
		},
	}
}
