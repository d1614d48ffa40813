package host

import (
	"net/netip"
	"strings"
)

// Where is where connections to a host go.
type Where struct {
	// Host is the name or address that is connected to, Port its port ("22").
	Host, Port string
	// Via is the ProxyJump or ProxyCommand on the way; empty: there is none, and
	// Host is what this machine itself connects to.
	Via string
	// Alias tells apart what Via tells apart: the name that was asked for.
	Alias string
}

// Address is equal for connections that end at one address, so at one sshd. The
// same private address behind different jump hosts is not one. Names and addresses
// are compared as they are; DNS is not asked.
func (w Where) Address() string {
	return strings.Join([]string{plainAddress(w.Host), w.Port, w.Via, w.Alias}, "\x00")
}

// String is "192.0.2.7 port 22".
func (w Where) String() string {
	s := w.Host + " port " + w.Port
	if w.Via != "" {
		s += " by way of " + w.Via
	}
	return s
}

func plainAddress(s string) string {
	s = strings.TrimSuffix(strings.ToLower(s), ".")
	if s == "localhost" {
		s = "127.0.0.1"
	}
	if a, err := netip.ParseAddr(s); err == nil {
		if a = a.Unmap(); a == netip.IPv6Loopback() {
			a = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		return a.String()
	}
	return s
}
