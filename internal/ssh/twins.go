package ssh

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"godwit/internal/fleet"
)

// Twins are the hosts that ssh reaches at the address of another of them, each with what
// to say of it.
func (p *Pool) Twins(ctx context.Context, hosts []fleet.Host) map[string]string {
	var names []string
	var targets []Target
	for _, h := range hosts {
		if !h.BuildOnly && h.At.Host != "" {
			names, targets = append(names, h.Name), append(targets, TargetOf(h))
		}
	}
	if len(names) < 2 {
		return nil
	}
	where := p.Where(ctx, targets)
	at := map[string][]string{}
	for i, t := range targets {
		if w, ok := where[t]; ok {
			at[w.Address()] = append(at[w.Address()], names[i])
		}
	}
	found := map[string]string{}
	for i, t := range targets {
		w, ok := where[t]
		if all := at[w.Address()]; ok && len(all) > 1 {
			others := slices.DeleteFunc(slices.Clone(all), func(n string) bool { return n == names[i] })
			found[names[i]] = fmt.Sprintf("it has the address of %s: %s", strings.Join(others, ", "), w)
		}
	}
	return found
}
