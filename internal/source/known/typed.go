package known

import (
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/storepath"
)

// ParseTo reads [USER@]HOST[:PORT]; IPv6 addresses as they are, or in brackets
// before a port. The host is called as it was written, without the user.
func ParseTo(s string) (fleet.Host, error) {
	u, err := fleet.ParseDestination(s)
	if err != nil || strings.Contains(s, "?") {
		return fleet.Host{}, fault.New("--to %q is not [USER@]HOST[:PORT]", s).Hint("an IPv6 address before a port goes into brackets: --to [2001:db8::1]:2222")
	}
	h := fleet.Host{Name: u.Host, At: fleet.Address{Host: u.Host, User: u.User, Port: u.Port}}
	if u.Port != 0 {
		h.Name = net.JoinHostPort(u.Host, strconv.Itoa(u.Port))
	}
	return h, nil
}

// Resolve makes a store path of what was typed; a link such as `result' will do.
func Resolve(typed string) (string, error) {
	p := strings.TrimRight(typed, "/")
	if storepath.Check(p) == nil {
		return p, nil
	}
	if real, err := filepath.EvalSymlinks(p); err == nil {
		if real, err = filepath.Abs(real); err == nil {
			p = real
		}
		if storepath.Check(p) == nil {
			return p, nil
		}
	}
	e := fault.New("%s is not a store path", typed)
	for up := filepath.Dir(p); len(up) > 1; up = filepath.Dir(up) {
		if storepath.Check(up) == nil {
			return "", e.Hint("whole store paths are copied: --store-path %s", up)
		}
	}
	return "", e.Hint("a store path is such as /nix/store/0c5b…-nixos-system-web, or a link to one (result)")
}
