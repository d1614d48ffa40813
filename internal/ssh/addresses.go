package ssh

import (
	"context"
	"net"
	"strconv"
	"strings"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
)

// address is one of the places where a host may answer.
type address struct {
	user, host string // user may be empty
	port       int    // 0: ssh's choice
}

// addressesOf are the addresses of a target, in the order in which they are tried. What
// a further one leaves open is as the first one has it.
func addressesOf(t Target) ([]address, error) {
	all := []address{{t.User, t.Host, t.Port}}
	for _, word := range t.Also.List() {
		d, err := fleet.ParseDestination(word)
		if err != nil {
			return all, err
		}
		a := address{d.User, d.Host, d.Port}
		if a.user == "" {
			a.user = t.User
		}
		if a.port == 0 {
			a.port = t.Port
		}
		all = append(all, a)
	}
	return all, nil
}

// current is the address that connections go to now: the first, or the one that answered.
func (h *Host) current() address { return h.addresses[int(h.at.Load())%len(h.addresses)] }

// String is the address as a person knows it, with the port where there is one.
func (a address) String() string {
	if a.port == 0 {
		return a.host
	}
	return net.JoinHostPort(a.host, strconv.Itoa(a.port))
}

// elsewhere tells whether another address of the same host may do better: nobody
// answered, or it was another machine, as in a network that has the same private
// addresses. A host that refuses our keys is the one that was meant.
func elsewhere(err error) bool {
	switch host.KindOf(err) {
	case host.Unreachable, host.NameNotFound, host.Refused, host.Timeout, host.Dropped, host.HostKeyUnknown, host.HostKeyChanged:
		return true
	}
	return false
}

// turn has connections go to the address behind from, unless that happened already.
func (h *Host) turn(from int32) bool {
	if len(h.addresses) < 2 {
		return false
	}
	if h.at.CompareAndSwap(from, (from+1)%int32(len(h.addresses))) {
		h.mu.Lock()
		h.where = nil
		h.mu.Unlock()
	}
	return true
}

// anyLane opens a connection to the first address that lets us in, beginning with the
// one that did the last time.
func (h *Host) anyLane(ctx context.Context) (*lane, error) {
	var failed []error
	var tried []address
	for {
		from := h.at.Load()
		a := h.current()
		l, err := h.patientLane(ctx)
		if err == nil {
			if len(failed) > 0 {
				event.On(h.pool.opts.Sink, h.target.Name, event.StepConnect).
					Note("connected at " + a.String() + "; " + reasons(tried, failed, "; "))
			}
			return l, nil
		}
		if len(h.addresses) < 2 || !elsewhere(err) || ctx.Err() != nil {
			return nil, err
		}
		failed, tried = append(failed, err), append(tried, a)
		h.turn(from)
		if len(failed) == len(h.addresses) {
			return nil, h.nowhere(tried, failed)
		}
	}
}

// patientLane is tryLane, again where ssh gave up before its time.
func (h *Host) patientLane(ctx context.Context) (*lane, error) {
	for n := 1; ; n++ {
		l, err := h.tryLane(ctx)
		if n == again || !tooEarly(err) || ctx.Err() != nil {
			return l, err
		}
	}
}

// reasons says of each address why it was not the one.
func reasons(tried []address, failed []error, sep string) string {
	var lines []string
	for i, err := range failed {
		lines = append(lines, whyNot(tried[i], err))
	}
	return strings.Join(lines, sep)
}

func whyNot(a address, err error) string {
	return a.String() + ": " + string(host.KindOf(err))
}

// nowhere is a host that answers at none of its addresses. Whether trying again may
// help is as with the one for which it may.
func (h *Host) nowhere(tried []address, failed []error) error {
	why := failed[0]
	for _, err := range failed {
		if host.Retryable(err) {
			why = err
			break
		}
	}
	f := fault.New("it answers at none of its %d addresses", len(tried)).On(h.target.Name).
		Because(&host.ConnectError{Kind: host.KindOf(why), Stderr: reasons(tried, failed, "\n")})
	for i, err := range failed {
		f.Detail(whyNot(tried[i], err))
		if !host.Retryable(err) { // what to do about a key
			f.Hint("%s: %s", tried[i], strings.Join(fault.Hints(err), "; "))
		}
	}
	return f.Hint("%s", h.Typed([]string{"-v"}, "true"))
}

// CheckUser refuses a --user that ssh would take for something else.
func CheckUser(user string) error {
	if strings.HasPrefix(user, "-") || strings.ContainsAny(user, " \t\n/'\"@") {
		return fault.New("--user %q is not a user name", user)
	}
	return nil
}
