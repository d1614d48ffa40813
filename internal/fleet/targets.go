package fleet

import (
	"fmt"
	"slices"
	"strings"
)

// Targets are addresses of hosts for one run, as a person says them: HOST=ADDRESS, or an
// address alone for a single host. Several addresses, with commas between them, are
// tried in order. An address is what ParseDestination reads.
type Targets []string

// Apply gives a host the addresses that were said for it. What the first of them leaves
// open is as it was.
func (t Targets) Apply(h *Host) {
	to, ok := t.Of(h.Name)
	if !ok {
		return
	}
	first := to[0]
	h.At.Host, h.At.Also = first.Host, nil
	if first.User != "" {
		h.At.User = first.User
	}
	if first.Port != 0 {
		h.At.Port = first.Port
	}
	for _, d := range to[1:] {
		h.At.Also = append(h.At.Also, d.String())
	}
}

// Of gives the addresses of a host, if there are some.
func (t Targets) Of(host string) ([]Destination, bool) {
	for _, word := range t {
		name, address, named := strings.Cut(word, "=")
		if !named {
			address = word
		} else if name != host {
			continue
		}
		if to, err := parseAddresses(address); err == nil {
			return to, true
		}
	}
	return nil, false
}

// parseAddresses reads ADDRESS[,ADDRESS...].
func parseAddresses(s string) ([]Destination, error) {
	var to []Destination
	for word := range strings.SplitSeq(s, ",") {
		d, err := ParseDestination(strings.TrimPrefix(word, "ssh://"))
		if err != nil {
			return nil, err
		}
		to = append(to, d)
	}
	return to, nil
}

// Check refuses addresses of hosts that there are not, and what is none. all are the
// hosts of the configuration, and selected those of the run.
func (t Targets) Check(all, selected []string) error {
	seen := map[string]bool{}
	for _, word := range t {
		name, address, named := strings.Cut(word, "=")
		switch {
		case !named && len(selected) != 1:
			return &SelectionError{
				Msg:   fmt.Sprintf("--target %s is for a single host, and this run has %d", word, len(selected)),
				Hints: []string{"--target HOST=" + word},
			}
		case !named:
			name, address = selected[0], word
		case !slices.Contains(all, name):
			return &SelectionError{Msg: fmt.Sprintf("--target %s: there is no host '%s'%s", word, name, meant(name, all))}
		}
		if _, err := parseAddresses(address); err != nil {
			return &SelectionError{Msg: fmt.Sprintf("--target %s: %s", word, err)}
		}
		if seen[name] {
			return &SelectionError{Msg: fmt.Sprintf("--target names two addresses of %s", name), Hints: []string{"--target " + name + "=ADDRESS,ADDRESS tries them in order"}}
		}
		seen[name] = true
	}
	return nil
}

// ApplyAll gives hosts that are not from a configuration the addresses of this run.
func (t Targets) ApplyAll(hosts []Host) error {
	var names []string
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	if err := t.Check(names, names); err != nil {
		return err
	}
	for i := range hosts {
		t.Apply(&hosts[i])
	}
	return nil
}
