// Package flake is the dialect of plain flakes: every nixosConfigurations.* and
// darwinConfigurations.* is a host whose address is its name, and
// homeConfigurations."user@host" are profiles of hosts. What else there is to know of a
// host says the option deployment.* of its system (common/deployment.nix), which a
// configuration imports, or which is put in where it is used without.
package flake

import (
	_ "embed" // outputs.nix

	"godwit/internal/source"
	"godwit/internal/source/common"
)

//go:embed outputs.nix
var outputsNix string

// Dialect is that of plain flakes.
var Dialect = &source.Dialect{
	Name:    "flake",
	Outputs: []string{"nixosConfigurations", "darwinConfigurations", "homeConfigurations"},
	Expr:    func(l source.Location, o source.Options) string { return Expr(l, o, false) },
	Setting: func(name string) string { return "deployment." + name },
	Empty:   "each of nixosConfigurations, darwinConfigurations and homeConfigurations.\"user@host\" is a host",
}

// Expr is outputs.nix for a flake; own says that its output "godwit" is to be read, as
// source/own does.
func Expr(l source.Location, o source.Options, own bool) string {
	text := "args: (" + outputsNix + ") (args // { common = (" + common.Nix + "); deploymentOptions = (" + common.Deployment + "); own = "
	if own {
		return source.FlakeExpr(text+"true; })")(l, o)
	}
	return source.FlakeExpr(text+"false; })")(l, o)
}
