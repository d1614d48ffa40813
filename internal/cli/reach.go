package cli

import (
	"strings"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
)

// checkUser refuses a --user that ssh would take for something else.
func (g *globals) checkUser() error {
	if strings.HasPrefix(g.user, "-") || strings.ContainsAny(g.user, " \t\n/'\"@") {
		return fault.New("--user %q is no name of a user", g.user)
	}
	return nil
}

// reached is the host with the user that it has in this run: that of --target for the
// host, or else --user.
func (s *session) reached(h fleet.Host) fleet.Host {
	g := &s.app.globals
	if g.user == "" {
		return h
	}
	if d, ok := g.targets.Of(h.Name); !ok || d.User == "" {
		h.At.User = g.user
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
