package action

import (
	"context"

	"godwit/internal/fleet"
	"godwit/internal/newrepo"
	"godwit/internal/nix"
	"godwit/internal/ui/text"
)

// InitRequest asks for a new repository.
type InitRequest struct {
	// Dir is where; it need not be there.
	Dir string
	// Form is what is written; "" asks, or takes what Nix has.
	Form newrepo.Form
	// From are running NixOS hosts to write into it.
	From []fleet.Destination
}

// Init writes a repository. It overwrites nothing, and changes no host.
func Init(ctx context.Context, e *Env, r InitRequest) error {
	s := e.open()
	defer s.close()
	if len(r.From) > 0 {
		if err := s.openPool(); err != nil {
			return err
		}
	}
	o := newrepo.Options{Form: r.Form}
	for _, at := range r.From {
		h := s.reached(fleet.Host{Name: at.String(), At: fleet.Address{Host: at.Host, User: at.User, Port: at.Port}})
		at.User = h.At.User
		f, err := newrepo.Read(ctx, s.conns.Conn(h), at)
		if err != nil {
			return err
		}
		o.Hosts = append(o.Hosts, f)
	}
	if o.Form == "" {
		ask := s.View.Ask
		if !s.View.CanAsk() {
			ask = nil
		}
		tool, err := nix.Find(ctx, nix.Settings{})
		if o.Form, err = newrepo.Choose(ctx, err == nil && tool.Flakes(ctx), ask); err != nil {
			return err
		}
	}
	paths, lines, err := newrepo.Make(r.Dir, o, s.DryRun)
	for _, p := range paths {
		s.View.Output(p)
	}
	for _, l := range lines {
		s.View.Tell(text.Clean(l))
	}
	return err
}
