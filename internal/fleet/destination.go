package fleet

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Destination is where ssh is to connect to, in parts.
type Destination struct {
	User, Host string // User may be empty
	Port       int    // 0: none was given
}

// String is the destination as ParseDestination reads it.
func (d Destination) String() string {
	s := d.Host
	if d.Port != 0 {
		s = net.JoinHostPort(d.Host, strconv.Itoa(d.Port))
	}
	if d.User != "" {
		s = d.User + "@" + s
	}
	return s
}

// ParseDestination reads [user@]host[:port]; an IPv6 address before a port is in
// brackets, and one without may be. Everything that takes a host from a person
// reads it with this.
func ParseDestination(s string) (Destination, error) {
	var d Destination
	rest := s
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		d.User, rest = rest[:i], rest[i+1:]
	}
	if h, port, ok := splitPort(rest); ok {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return d, fmt.Errorf("%q: bad port %q", s, port)
		}
		rest, d.Port = h, int(n)
	}
	d.Host = strings.TrimSuffix(strings.TrimPrefix(rest, "["), "]")
	if d.Host == "" || strings.HasPrefix(d.Host, "-") || strings.HasPrefix(d.User, "-") || strings.ContainsAny(d.Host+d.User, " \t\n/'\"") {
		return d, fmt.Errorf("%q has no usable host name", s)
	}
	return d, nil
}

// splitPort takes "host:port" and "[::1]:port" apart; a bare IPv6 address has no port.
func splitPort(s string) (host, port string, ok bool) {
	if strings.HasPrefix(s, "[") {
		i := strings.IndexByte(s, ']')
		if i < 0 || !strings.HasPrefix(s[i+1:], ":") {
			return s, "", false
		}
		return s[:i+1], s[i+2:], true
	}
	if strings.Count(s, ":") != 1 {
		return s, "", false
	}
	host, port, _ = strings.Cut(s, ":")
	return host, port, true
}

// SettleTarget takes a targetHost apart that says more than a host: a user, a
// port, both as ssh://user@host:port. From then on At.Host is what everybody
// may connect to, not only ssh.
func (h *Host) SettleTarget() error {
	rest, uri := strings.CutPrefix(h.At.Host, "ssh://")
	d, err := ParseDestination(strings.TrimSuffix(rest, "/"))
	switch {
	case err != nil && (uri || strings.Count(rest, ":") == 1):
		return fmt.Errorf("targetHost = %q is neither a name, nor an address, nor [user@]host[:port]", h.At.Host)
	case err != nil: // connecting to it says what is wrong, if anybody does
		return nil
	case d.User != "" && h.At.User != "" && d.User != h.At.User:
		return fmt.Errorf("targetHost = %q and targetUser = %q name two users", h.At.Host, h.At.User)
	case d.Port != 0 && h.At.Port != 0 && d.Port != h.At.Port:
		return fmt.Errorf("targetHost = %q and targetPort = %d name two ports", h.At.Host, h.At.Port)
	}
	for i, also := range h.At.Also {
		also = strings.TrimSuffix(strings.TrimPrefix(also, "ssh://"), "/")
		if _, err := ParseDestination(also); err != nil {
			return fmt.Errorf("targetHost: the further address %w", err)
		}
		h.At.Also[i] = also
	}
	h.At.Host = d.Host
	if d.User != "" {
		h.At.User = d.User
	}
	if d.Port != 0 {
		h.At.Port = d.Port
	}
	return nil
}
