// Package flake is the dialect of plain flakes: every nixosConfigurations.* and
// darwinConfigurations.* is a host whose address is its name, and
// homeConfigurations."user@host" are profiles of hosts. What else there is to know of a
// host says the option deployment.* of its system (common/deployment.nix), which a
// configuration imports, or which is put in where it is used without.
package flake

import (
	"godwit/internal/fault"
	"godwit/internal/source"
	"godwit/internal/source/common"
)

// Dialect is that of plain flakes.
var Dialect = &source.Dialect{
	Name:    "flake",
	Outputs: []string{"nixosConfigurations", "darwinConfigurations", "homeConfigurations"},
	Expr:    source.FlakeExpr(common.Outputs(false)),
	Setting: func(name string) string { return "deployment." + name },
	Kept: func(l source.Location) error {
		return fault.New("%s has plain configurations, which need no output godwit", l.Name()).
			Hint("addresses and the like stand in the option deployment.* of each, or in an output godwit: see docs/flakes.md")
	},
	Empty: "each of nixosConfigurations, darwinConfigurations and homeConfigurations.\"user@host\" is a host",
}
