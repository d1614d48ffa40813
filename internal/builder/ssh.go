package builder

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"godwit/internal/builder/machines"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/nix"
	"godwit/internal/ssh"
	"godwit/internal/store"
)

// sshStore builds on another machine over ssh.
type sshStore struct {
	tool  *nix.Tool
	name  string
	kind  Kind
	place sshPlace
	own   *ssh.Pool // closed with the builder; nil: the pool is the caller's

	once sync.Mutex
	said bool
}

// NewSSH is an ssh store (ssh://user@host, ssh-ng://user@host:port?ssh-key=…).
// Which of the two schemes makes no difference: derivations go there through
// nix-store --serve and are built by nix-store --realise.
func NewSSH(tool *nix.Tool, pool *ssh.Pool, uri string) (Builder, error) {
	u, err := machines.ParseStoreURI(uri)
	if err != nil {
		return nil, fault.New("%s", err).Because(err)
	}
	s := &sshStore{tool: tool, name: u.Text, kind: KindSSH}
	if u.Key != "" {
		if pool, err = ssh.NewPool(ssh.Options{IdentityFile: u.Key}); err != nil {
			return nil, err
		}
		s.own = pool
	}
	if pool == nil {
		return nil, fault.New("%s: no ssh here", uri)
	}
	s.place = sshPlace{host: pool.Host(ssh.Target{Name: u.Text, Host: u.Host, User: u.User, Port: u.Port}), remote: u.Remote}
	return s, nil
}

// NewTarget is the host itself as its builder. What is copied to it goes
// through root's nix-store, as a deploy does, so that no trusted user is needed.
func NewTarget(tool *nix.Tool, pool *ssh.Pool, h fleet.Host) (Builder, error) {
	if pool == nil {
		return nil, fault.New("no ssh here").On(h.Name)
	}
	if h.BuildOnly || h.At.Host == "" {
		return nil, fault.New("cannot be built on itself: it has no address").On(h.Name).Hint("choose another builder: --builder auto")
	}
	return &sshStore{tool: tool, name: h.Name + " itself", kind: KindTarget, place: sshPlace{host: pool.Host(ssh.TargetOf(h)), elevate: true}}, nil
}

func (s *sshStore) Name() string             { return s.name }
func (s *sshStore) Kind() Kind               { return s.kind }
func (s *sshStore) Stores() []store.Endpoint { return []store.Endpoint{s.store()} }
func (s *sshStore) store() store.Endpoint    { return endpoint(s.name, s.place) }

func (s *sshStore) Close() error {
	if s.own != nil {
		return s.own.Close()
	}
	return nil
}

// helloWait bounds the first answer of a builder's nix-store.
const helloWait = 30 * time.Second

// Ready connects and says hello to the nix-store there.
func (s *sshStore) Ready(ctx context.Context, _ event.Sink) error {
	s.once.Lock()
	defer s.once.Unlock()
	if s.said {
		return nil
	}
	st, err := s.place.dial(ctx, store.Serve(true))
	if err == nil {
		_, err = greet(ctx, st, helloWait, func(rw io.ReadWriter) (struct{}, error) { return struct{}{}, serveHello(rw) })
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		var f *fault.Error
		if errors.As(err, &f) {
			return err
		}
		return fault.New("%s: cannot be used as a builder: %s", s.name, err).Because(err).
			Hint("try it: %s nix-store --version", fault.Raw(s.place.host.CommandLine()))
	}
	s.said = true
	return nil
}

// Build builds there.
func (s *sshStore) Build(ctx context.Context, req Request, sink event.Sink) (*Built, error) {
	if err := s.Ready(ctx, sink); err != nil {
		return nil, err
	}
	return buildAt(ctx, s.tool, s.name, s.place, s.store(), forwarded(s.tool), req, sink)
}

// sshPlace is a place behind ssh.
type sshPlace struct {
	host    *ssh.Host
	elevate bool   // to write to the store
	remote  string // --store there
}

// findNix adds the places where Nix is installed to the PATH of a shell that is
// not a login shell: on many machines it is the bare one of sshd.
const findNix = `PATH=$PATH:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:$HOME/.nix-profile/bin; export PATH; exec "$@"`

func (p sshPlace) words(argv []string) []string {
	if p.remote != "" && len(argv) > 0 {
		argv = append([]string{argv[0], "--store", p.remote}, argv[1:]...)
	}
	return append([]string{"/bin/sh", "-c", findNix, "sh"}, argv...)
}

func (p sshPlace) run(ctx context.Context, argv []string, stdout, stderr io.Writer) error {
	return p.host.Run(ctx, host.Cmd{Argv: p.words(argv), Stdout: stdout, Stderr: stderr, KillOnCancel: true, Limit: host.NoLimit})
}

func (p sshPlace) dial(ctx context.Context, argv []string) (*store.Stream, error) {
	elevate := p.elevate && len(argv) > 2 && argv[2] == "--write"
	c, err := p.host.Open(ctx, host.Cmd{Argv: p.words(argv), Elevate: elevate, KillOnCancel: true})
	if err != nil {
		return nil, err
	}
	return &store.Stream{Stdin: c.Stdin, Stdout: c.Stdout, Stderr: c.Stderr, Wait: c.Wait, Kill: c.Kill}, nil
}

func (p sshPlace) logHint(drv string) string {
	return p.host.CommandLine() + " nix-store --read-log " + drv
}
