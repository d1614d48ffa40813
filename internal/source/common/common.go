// Package common is the Nix that dialects share: where the platform of a NixOS
// node comes from, its checks, its system, the names beside an option.
package common

import (
	_ "embed" // common.nix, deployment.nix, outputs.nix, pin.nix
	"fmt"
)

// Nix is the text of common.nix, an expression.
//
//go:embed common.nix
var Nix string

// Deployment is the text of deployment.nix: a function of { always } to a NixOS module
// with the options deployment.*.
//
//go:embed deployment.nix
var Deployment string

//go:embed pin.nix
var pin string

// Options is Deployment with what it needs: an expression.
func Options() string {
	return fmt.Sprintf("(args: (%s) ({ pin = (%s); } // args))", Deployment, pin)
}

// Pin is the text of pin.nix: a function of { revision, when } to a module that puts the
// nixpkgs of a system on its host.
func Pin() string { return pin }

//go:embed outputs.nix
var outputs string

// Outputs is the text of outputs.nix with what it needs: the configurations of a flake
// as hosts. own says that the output godwit tells which, and what they are like.
func Outputs(own bool) string {
	return fmt.Sprintf("args: (%s) (args // { common = (%s); deploymentOptions = (%s); pin = (%s); own = %t; })", outputs, Nix, Options(), pin, own)
}
