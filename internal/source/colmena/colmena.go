// Package colmena reads the hives that zhaofengli/colmena (now
// nix-community/colmena) deploys: hive.nix, the output colmenaHive that its
// makeHive makes, and the raw output colmena of older flakes. Its Nix code
// (hive.nix beside this file) is godwit's own.
package colmena

import (
	_ "embed" // hive.nix
	"fmt"
	"strings"

	"godwit/internal/nix"
	"godwit/internal/source/common"
)

//go:embed hive.nix
var hiveNix string

// Outputs of a flake that are hives, in the order in which they are looked for.
const (
	Made = "colmenaHive" // of makeHive
	Raw  = "colmena"     // as colmena 0.4 takes it
)

// expr is a function in Nix of { systems, fallback, targets }. A hive is a file, or
// the output attr of a flake.
func expr(file, flake, attr string) string {
	var at strings.Builder
	if flake == "" {
		fmt.Fprintf(&at, "file = %s;", nix.Quote(file))
	} else {
		// What a raw hive says was written for 0.4, where name and nodes were not
		// to be replaced.
		version := "0.5"
		if attr == Raw {
			version = "0.4"
		}
		fmt.Fprintf(&at, "flake = %s; attr = %s; version = %s;", nix.Quote(flake), nix.Quote(attr), nix.Quote(version))
	}
	return fmt.Sprintf("(args: (%s) ({ %s common = (%s); } // args))", hiveNix, &at, common.Nix)
}
