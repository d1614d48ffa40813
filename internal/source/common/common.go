// Package common is the Nix that dialects share: where the platform of a NixOS
// node comes from, its checks, its system, the names beside an option.
package common

import _ "embed" // common.nix, deployment.nix

// Nix is the text of common.nix, an expression.
//
//go:embed common.nix
var Nix string

// Deployment is the text of deployment.nix: a function of { always } to a NixOS module
// with the options deployment.*.
//
//go:embed deployment.nix
var Deployment string
