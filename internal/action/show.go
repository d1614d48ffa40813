package action

import (
	"context"

	"godwit/internal/builder"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/source"
)

// ListRequest asks what a configuration says of its hosts.
type ListRequest struct {
	HostsRequest
	// Header shows the lines that a run of the dialect's own tool begins with.
	Header bool
}

// Listed are the hosts of a configuration, and the errors of those that cannot be
// evaluated.
type Listed struct {
	Hosts  []fleet.Host
	Broken []error
}

// List evaluates what there is to know of hosts but their systems. No host is contacted.
func List(ctx context.Context, e *Env, r ListRequest) (*Listed, error) {
	s := e.open()
	defer s.close()
	if err := s.load(ctx, loadRequest{where: r.Where, selection: r.Selection, header: r.Header}); err != nil {
		return nil, err
	}
	out := &Listed{Hosts: s.hosts}
	for _, b := range s.broken {
		out.Broken = append(out.Broken, b.Err)
	}
	return out, nil
}

// EvalRequest asks for a value of a configuration.
type EvalRequest struct {
	Where Where
	// Attribute is one of the nodes', in Nix syntax or as JSON; Function is one of
	// { nodes, pkgs, lib } in its place.
	Attribute, Function string
	JSON                bool
}

// Eval evaluates an attribute of the nodes, or what a function makes of them.
func Eval(ctx context.Context, e *Env, r EvalRequest) (string, error) {
	s := e.open()
	defer s.close()
	if err := s.find(ctx, r.Where); err != nil {
		return "", err
	}
	if err := s.openSource(ctx, source.Options{}); err != nil {
		return "", err
	}
	of, ok := s.source.(source.Evaluator)
	switch {
	case !ok:
		return "", fault.New("%s has no nodes to evaluate", s.source.About().At)
	case r.Function != "":
		return of.Apply(ctx, r.Function)
	}
	return of.Eval(ctx, r.Attribute, r.JSON)
}

// Nix is the Nix of this machine.
func Nix(ctx context.Context, e *Env) (*nix.Tool, error) {
	s := e.open()
	defer s.close()
	err := s.findNix(ctx)
	return s.tool, err
}

// Builders looks after the container builders of this machine.
func Builders(ctx context.Context, e *Env) (*builder.Manager, error) {
	s := e.open()
	defer s.close()
	settings, err := s.builderSettings()
	if err != nil {
		return nil, err
	}
	if err := s.findNix(ctx); err != nil {
		return nil, err
	}
	return builder.NewManager(s.tool, settings, s.View), nil
}
