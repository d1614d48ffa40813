package action

import (
	"context"
	"sync"
	"time"

	"godwit/internal/builder"
	"godwit/internal/crash"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/intake"
	"godwit/internal/nix"
	"godwit/internal/secrets/bundle"
	"godwit/internal/source"
	"godwit/internal/source/all"
	"godwit/internal/ssh"
	"godwit/internal/store"
)

// session is one action under way: Nix, the loaded configuration, the connections, and
// what else it opens on the way. close ends all of it.
type session struct {
	*Env
	start time.Time

	tool   *nix.Tool
	at     *all.Found // where the configuration is; nil before find
	source source.Source
	// ready is the store that has what is not built (StorePaths).
	ready store.Endpoint
	// hosts are the selected hosts that could be evaluated; broken the others.
	hosts  []fleet.Host
	broken []source.HostError
	result *source.Result

	sourceOnce sync.Once // sourceOf has warned

	// twinsFound are hosts that share an address (preflight.go).
	twinsOnce  sync.Once
	twinsFound map[string]string

	keysOnce  sync.Once // vouchedKey (connect.go)
	keysFound map[string]string

	restingOnce  sync.Once // resting (preflight.go)
	restingFound func(context.Context, fleet.Host) (*bundle.Bundle, error)

	pool    *ssh.Pool
	slow    *ssh.Pool // of connections that compress
	chooser *builder.Chooser
	early   *intake.Intake // what begins before all hosts are evaluated; nil: nothing does
	conns   host.Pool      // to all hosts: with this machine, where it is one of them
	closers []func()
}

// open begins an action.
func (e *Env) open() *session {
	s := &session{Env: e, start: time.Now()}
	if e.fakes != nil {
		e.fakes(s)
	}
	return s
}

// close ends everything that the session opened. Deferred, it ends the process when
// there was a panic: what is open then may never close.
func (s *session) close() {
	if v := recover(); v != nil {
		crash.Die(v)
	}
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	s.closers = nil
}
