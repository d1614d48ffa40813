package cli

import (
	"context"
	"maps"

	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// buildTargets builds what --target or --target-file made of the hosts. Each
// derivation goes through the same stages as a host's system; the result
// directory has a link HOST/TARGET for each.
func (s *session) buildTargets(ctx context.Context, d deploy.Options) error {
	var pseudo []fleet.Host
	place := map[string]string{} // name in the run -> HOST/TARGET
	for _, h := range s.hosts {
		targets := s.result.Targets[h.Name]
		for _, t := range targets {
			p := h
			if len(targets) > 1 {
				p.Name = h.Name + "/" + t.Name
			}
			p.Profiles = []fleet.Profile{fleet.System(t.DrvPath, t.OutPath)}
			place[p.Name] = h.Name + "/" + t.Name
			pseudo = append(pseudo, p)
		}
	}
	if len(pseudo) == 0 && len(s.broken) == 0 {
		return fault.New("the target makes nothing of the selected hosts")
	}
	names := make([]string, len(pseudo))
	for i, p := range pseudo {
		names[i] = p.Name
	}
	s.ui.Announce(names)
	return s.runJobs(ctx, d, pseudo, func(systems map[string]string) map[string]string {
		links := maps.Clone(systems)
		clear(links)
		for name, path := range systems {
			links[place[name]] = path
		}
		return links
	})
}
