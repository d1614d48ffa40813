package fleet

import (
	"fmt"
	"slices"
	"strings"
)

// Targets are addresses of hosts for one run, as a person says them: HOST=ADDRESS, or an
// address alone for a single host. An address is what ParseDestination reads.
type Targets []string

// Of gives the address of a host, if there is one.
func (t Targets) Of(host string) (Destination, bool) {
	for _, word := range t {
		name, address, named := strings.Cut(word, "=")
		if !named {
			address = word
		} else if name != host {
			continue
		}
		if d, err := ParseDestination(strings.TrimPrefix(address, "ssh://")); err == nil {
			return d, true
		}
	}
	return Destination{}, false
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
		if _, err := ParseDestination(strings.TrimPrefix(address, "ssh://")); err != nil {
			return &SelectionError{Msg: fmt.Sprintf("--target %s: %s", word, err)}
		}
		if seen[name] {
			return &SelectionError{Msg: fmt.Sprintf("--target names two addresses of %s", name)}
		}
		seen[name] = true
	}
	return nil
}
