package action

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"godwit/internal/builder"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nar"
	"godwit/internal/nix"
	"godwit/internal/profile/kinds"
	"godwit/internal/source"
	"godwit/internal/source/all"
	"godwit/internal/source/known"
	"godwit/internal/store"
)

// StorePaths are paths that exist already, for hosts without a configuration.
type StorePaths struct {
	// Paths are what the hosts get, To where they are: [USER@]HOST[:PORT].
	Paths, To []string
	// From is the store that has the paths, in the words of --from; empty: this machine's.
	From string
	// Substitute lets the hosts fetch what their own caches have.
	Substitute bool
}

// open takes the hosts and what they get from the command line. Nothing is evaluated or
// built.
func (o StorePaths) open(ctx context.Context, s *session, d *deployment) (loadRequest, error) {
	l := loadRequest{selection: everyHost}
	if err := s.openPool(); err != nil {
		return l, err
	}
	var roots []string
	var profiles []fleet.Profile
	for _, typed := range o.Paths {
		path, err := known.Resolve(typed)
		if err != nil {
			return l, err
		}
		if !slices.Contains(roots, path) {
			roots = append(roots, path)
			profiles = append(profiles, fleet.System("", path))
		}
	}
	var hosts []fleet.Host
	var names []string
	for _, to := range o.To {
		h, err := known.ParseTo(to)
		if err != nil {
			return l, err
		}
		if slices.Contains(names, h.Name) {
			return l, fault.New("--to names %s twice", h.Name)
		}
		h.SubstituteOnDestination, h.Profiles = o.Substitute, profiles
		hosts, names = append(hosts, h), append(names, h.Name)
	}
	s.View.Announce(names)
	if s.Copy.With == "nix" {
		if err := s.findNix(ctx); err != nil {
			return l, err
		}
	}
	settings, err := s.builderSettings()
	if err != nil {
		return l, err
	}
	src, closeFrom, err := builder.From(ctx, o.From, func() (*nix.Tool, error) { err := s.findNix(ctx); return s.tool, err }, s.pool, settings)
	if err != nil {
		return l, err
	}
	s.closers = append(s.closers, func() { _ = closeFrom() })
	if err := checkReady(ctx, src, roots, d.Goal == deploy.GoalActivate); err != nil {
		return l, err
	}
	s.ready = src
	s.at = &all.Found{At: source.Location{Dialect: "store path", File: roots[0]}}
	s.source = known.New(source.About{At: s.at.At}, hosts, fmt.Sprintf("From %s to %s:\n\t%s\n\n", src.Name, strings.Join(names, ", "), strings.Join(roots, "\n\t")))
	return l, nil
}

// checkReady finds out whether the paths are there, and whether the one that is
// to be activated is a system.
func checkReady(ctx context.Context, src store.Endpoint, roots []string, system bool) error {
	infos, err := store.PathInfos(ctx, src, roots)
	if err != nil {
		return err
	}
	for _, r := range roots {
		i := slices.IndexFunc(infos, func(i *store.Info) bool { return i.Path == r })
		if i < 0 {
			return fault.New("%s is not in %s", r, src.Name).
				Hint("name the store that has it: --from ssh-ng://user@builder, or --from container")
		}
		if !system {
			continue
		}
		kind, _ := kinds.Of(string(fleet.NixOS))
		not := func(lacks string) error {
			e := fault.New("%s is not a NixOS system: it has no %s", r, lacks)
			if strings.HasSuffix(r, ".drv") {
				e.Hint("it is a derivation: `nix-store --realise %s` builds it and prints the path", r)
			}
			return e.Hint("a system is what config.system.build.toplevel builds; godwit push copies any path")
		}
		if infos[i].NarSize > 16<<20 { // a system holds links and a few scripts
			return not(kind.Needs[0])
		}
		nars, err := store.Read(ctx, src, []*store.Info{infos[i]})
		if err != nil {
			return err
		}
		tree, err := nar.ReadTree(bytes.NewReader(nars[0]), 64<<20)
		if err != nil {
			return fault.New("%s: %s: %w", src.Name, r, err)
		}
		for _, file := range kind.Needs {
			if _, ok := tree[file]; !ok {
				return not(file)
			}
		}
	}
	return nil
}
