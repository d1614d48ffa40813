package action

import (
	"context"
	"os"
	"strings"
	"sync"

	"godwit/internal/crash"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/host/local"
	"godwit/internal/ssh"
	"godwit/internal/vault"
)

// openPool makes the pool of ssh connections.
func (s *session) openPool() error {
	if s.conns != nil {
		return nil
	}
	o, err := ssh.OptionsFromEnv(s.Getenv)
	if err != nil {
		return err
	}
	if err := ssh.CheckUser(s.User); err != nil {
		return err
	}
	o.Elevate = s.Elevate
	o.Agent = s.ForwardAgent
	o.Sink = s.View
	o.Greeting = deploy.Greeting
	o.HostKeys = s.vouchedKey
	o.Password, o.PasswordOnRequest = s.Password, s.PasswordOnRequest
	return s.openPools(o)
}

// vouchedKey is the ssh host key that the secrets of the configuration's repository have of
// a machine, where an operator whom this machine knows has signed it; "" for none.
func (s *session) vouchedKey(name string) string {
	if s.at != nil {
		s.keysOnce.Do(func() { s.keysFound = vault.HostKeys(s.at.At.Dir()) })
	}
	return s.keysFound[name]
}

// openPools makes the connections of a run as o says.
func (s *session) openPools(o ssh.Options) error {
	compression := func(o ssh.Options, word string) ssh.Options {
		// Before the person's options, because ssh takes the first value.
		o.ExtraArgs = append([]string{"-o", "Compression=" + word}, o.ExtraArgs...)
		return o
	}
	open := func(o ssh.Options) (*ssh.Pool, error) {
		pool, err := ssh.NewPool(o)
		if err == nil {
			s.closers = append(s.closers, func() { _ = pool.Close() })
		}
		return pool, err
	}
	switch s.Copy.Compress {
	case "on":
		o = compression(o, "yes")
	case "off":
		o = compression(o, "no")
	case "auto":
		if ask := o.Password; ask != nil {
			var mu sync.Mutex
			var known bool
			var password string
			o.Password = func(ctx context.Context) (string, error) { // once for both
				mu.Lock()
				defer mu.Unlock()
				if known {
					return password, nil
				}
				p, err := ask(ctx)
				password, known = p, err == nil
				return p, err
			}
		}
		slow := compression(o, "yes")
		slow.Sink = nil
		var err error
		if s.slow, err = open(slow); err != nil {
			return err
		}
	}
	var err error
	if s.pool, err = open(o); err != nil {
		return err
	}
	conns := local.NewPool(local.Options{Elevate: o.Elevate, Password: o.Password, PasswordOnRequest: o.PasswordOnRequest, Greeting: o.Greeting}, s.here, elsewhere{s.pool, s.reached})
	s.conns = conns
	s.closers = append(s.closers, func() { _ = conns.Close() })
	return nil
}

// copyInto tells pushers how to copy.
func (s *session) copyInto(p *deploy.Pushers) {
	p.Slow = s.slow
	p.Direct, p.Builders = deploy.Direct(s.Copy.Direct), s.pool
	if s.Copy.With == "nix" {
		p.Nix = &deploy.NixCopy{Tool: s.tool, Pool: s.pool, Sink: s.View}
	}
}

// call opens the connection to a host. Its error is met by who needs the connection.
func (s *session) call(ctx context.Context, h fleet.Host) {
	if !h.BuildOnly {
		_ = s.conns.Conn(h).Connect(ctx)
	}
}

// callAhead opens the connections to hosts while caches are asked what they
// have: both are waiting for a network. Who needs a connection waits for the same.
func (s *session) callAhead(ctx context.Context, hosts []fleet.Host) {
	for _, h := range hosts {
		go func() { defer crash.Catch(); s.call(ctx, h) }()
	}
}

// reached is the host with the user that it has in this run: that of --target for the
// host, or else --user.
func (s *session) reached(h fleet.Host) fleet.Host {
	if s.User == "" {
		return h
	}
	if to, ok := s.Targets.Of(h.Name); !ok || to[0].User == "" {
		h.At.User = s.User
	}
	return h
}

// elsewhere is a pool in which hosts are as they are in this run: also those that are
// called before all are known.
type elsewhere struct {
	host.Pool
	reached func(fleet.Host) fleet.Host
}

func (e elsewhere) Conn(h fleet.Host) host.Conn { return e.Pool.Conn(e.reached(h)) }

// ThisMachine is Options.Local for the host that has this machine's name.
const ThisMachine = "."

// localName is the host that is this machine; empty for none.
func (s *session) localName() string {
	if s.Local != ThisMachine {
		return s.Local
	}
	return hostname()
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	name, _, _ = strings.Cut(name, ".")
	return name
}

// here tells whether a host is this machine, so that no ssh is needed: because a person
// says so, or because the configuration lets the host deploy itself and it has this
// machine's name.
func (s *session) here(h fleet.Host) bool {
	return h.Name != "" && (h.Name == s.localName() || h.At.Local && h.Name == hostname())
}

// settled is a host of the configuration as it is in this run: reached in another way,
// with substitution or without.
func (s *session) settled(h fleet.Host) (fleet.Host, error) {
	if s.Copy.NoSubstitute {
		h.SubstituteOnDestination = false
	}
	// One without an address is only built, as a rule, and can be deployed to from where
	// it is.
	switch {
	case !s.here(h):
	case !h.At.Local && s.LocalAllowed:
		return h, fault.New("its configuration does not allow it to deploy itself").On(h.Name).
			Hint("write deployment.allowLocalDeployment = true;")
	case h.At.Local && h.At.Host == "":
		h.BuildOnly = false
	}
	return s.reached(h), nil
}

// onlyHere is the selection of a run in which --local stands alone: this machine.
func (s *session) onlyHere(sel fleet.Selection) fleet.Selection {
	if name := s.localName(); name != "" && len(sel.On) == 0 && len(sel.Tagged) == 0 {
		sel.On = []string{name}
	}
	return sel
}

// overSSH is the connection to a host that ssh is needed for; nil for this machine.
func (s *session) overSSH(h fleet.Host) *ssh.Host {
	if s.pool == nil || s.here(h) {
		return nil
	}
	return s.pool.Host(ssh.TargetOf(s.reached(h)))
}
