// Package common is the Nix that dialects share: where the platform of a NixOS
// node comes from, its checks, its system, the names beside an option.
package common

import _ "embed" // common.nix

// Nix is the text of common.nix, an expression.
//
//go:embed common.nix
var Nix string
