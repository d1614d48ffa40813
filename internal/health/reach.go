package health

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"strings"

	"godwit/internal/fleet"
)

// reach is how this machine gets to what a check asks for: ssh may know a host
// by a name that DNS does not.
type reach struct {
	name    string // in the URL, so in the certificate that is wanted
	address string // that is connected to
	via     string // how ssh gets there, when this machine may not
}

// reach is for a check that names the host own, or the deployed host itself.
func (o Options) reach(h fleet.Host, own string) reach {
	name := nameOf(h, own)
	to := reach{name: name, address: name}
	if own != "" {
		return to
	}
	if o.Where.Via != "" {
		// The address is one behind the jump host: here it may be another machine's.
		to.via = o.Where.Via
		return to
	}
	to.address = cmp.Or(bare(o.Where.Host), name)
	// A name with a dot is what certificates and virtual hosts are made for; a bare
	// alias of ssh_config is known to nobody else.
	if _, err := netip.ParseAddr(name); err != nil && !strings.Contains(name, ".") {
		to.name = to.address
	}
	return to
}

// dial connects to the address where the name is meant. A redirect may lead to
// other hosts.
func (to reach) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if host, port, err := net.SplitHostPort(addr); err == nil && host == to.name {
		addr = net.JoinHostPort(to.address, port)
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// explain adds to a failure what a person may not think of.
func (to reach) explain(failure string) string {
	if failure == "" || to.via == "" {
		return failure
	}
	return failure + "; ssh gets to this host by way of " + to.via + ", a check of this kind goes straight: name a host that answers here, or use a cmd check"
}
