// Package all lists the dialects that godwit reads, and finds which one a
// configuration is written in.
package all

import (
	"context"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/source"
	"godwit/internal/source/colmena"
	"godwit/internal/source/deployrs"
	"godwit/internal/source/morph"
	"godwit/internal/source/reader"
)

// Dialects are all that there are.
var Dialects = []*source.Dialect{
	colmena.Dialect,
	deployrs.Dialect,
	morph.Dialect,
}

// Open opens the configuration at a location with the dialect that it names.
func Open(ctx context.Context, tool *nix.Tool, at source.Location, o source.Options) (source.Source, error) {
	d, err := Named(at.Dialect)
	if err != nil {
		return nil, err
	}
	return reader.Open(ctx, tool, d, at, o)
}

// Named is the dialect of a name.
func Named(name string) (*source.Dialect, error) {
	names := make([]string, len(Dialects))
	for i, d := range Dialects {
		if names[i] = d.Name; d.Name == name {
			return d, nil
		}
	}
	f := fault.New("there is no dialect '%s'", name)
	if near := fleet.Nearest(name, names); near != "" {
		return nil, f.Hint("did you mean %s?", near)
	}
	return nil, f
}
