// Package all lists the dialects that godwit reads, and finds which one a
// configuration is written in.
package all

import (
	"godwit/internal/source"
	"godwit/internal/source/colmena"
	"godwit/internal/source/deployrs"
	"godwit/internal/source/flake"
	"godwit/internal/source/morph"
	"godwit/internal/source/own"
)

// Dialects are all that there are, in the order in which a directory is searched for
// them: for an output of its flake, then for a file. A flake with plain configurations
// alone comes last.
var Dialects = []*source.Dialect{
	own.Dialect,
	morph.Dialect,
	colmena.Dialect,
	deployrs.Dialect,
	flake.Dialect,
}

// Names are those of the dialects.
func Names() []string {
	var out []string
	for _, d := range Dialects {
		out = append(out, d.Name)
	}
	return out
}
