// Package colmena is the dialect of the hives that zhaofengli/colmena (now
// nix-community/colmena) deploys: hive.nix, the output colmenaHive that its
// makeHive makes, and the raw output colmena of older flakes. Its Nix code
// (hive.nix beside this file) is godwit's own. docs/colmena.md says what of
// colmena's contract is kept, and what is different and why.
package colmena

import (
	_ "embed" // hive.nix
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/source"
	"godwit/internal/source/common"
)

//go:embed hive.nix
var hiveNix string

// Outputs of a flake that are hives, in the order in which they are looked for.
const (
	Made = "colmenaHive" // of makeHive
	Raw  = "colmena"     // as colmena 0.4 takes it
)

// Dialect is colmena's.
var Dialect = &source.Dialect{
	Name:          "colmena",
	Files:         []string{"hive.nix"},
	Outputs:       []string{Made, Raw},
	Kinds:         []string{"hive"},
	Expr:          expr,
	Setting:       setting,
	Other:         notAHive,
	Foreign:       foreign,
	Fit:           fit,
	UploadSecrets: true,
	Habits:        habits,
	Empty:         "every attribute of the hive but meta, network and defaults is a host",
}

// expr is hive.nix for a file, or for an output of a flake.
func expr(l source.Location, _ source.Options) string {
	at := fmt.Sprintf("file = %s;", nix.Quote(l.File))
	if l.Flake != "" {
		// What a raw hive says was written for 0.4, where name and nodes were not
		// to be replaced.
		version := "0.5"
		if l.Attr == Raw {
			version = "0.4"
		}
		at = fmt.Sprintf("flake = %s; attr = %s; version = %s;", l.FlakeExpr(), nix.Quote(l.Attr), nix.Quote(version))
	}
	return fmt.Sprintf("(args: (%s) ({ %s common = (%s); pin = (%s); } // args))", hiveNix, at, common.Nix, common.Pin())
}

// setting is how a hive spells what godwit has other words for. In settings of one
// secret, %q stands for its name.
func setting(name string) string {
	if field, ok := strings.CutPrefix(name, "secrets.%q."); ok {
		switch field {
		case "destination":
			field = "destDir"
		case "owner.user", "owner.group":
			field = strings.TrimPrefix(field, "owner.")
		}
		return "deployment.keys.%q." + field
	}
	switch name {
	case "description":
		return "meta.description"
	case "applyAll":
		return "meta.allowApplyAll"
	case "buildOn":
		return "deployment.buildOnTarget"
	}
	return "deployment." + name
}

// notAHive says what a file is that is no hive, and what to do with it. kind is
// hive.nix's word; args are the names that a function wants.
func notAHive(at source.Location, kind string, args []string) error {
	is := func(what string) *fault.Error {
		return fault.New("'%s' is %s, not a colmena hive", at.Name(), what)
	}
	module := func() *fault.Error {
		return is("a NixOS module, the configuration of one machine").
			Hint("write a hive.nix beside it: { meta.nixpkgs = import <nixpkgs> { }; HOST = ./%s; }", filepath.Base(at.File))
	}
	switch kind {
	case "network":
		return is("a morph network").Hint("--dialect morph reads it")
	case "flake":
		return is("a flake").Hint("--flake %s reads its outputs", filepath.Dir(at.File))
	case "nixops":
		return is("a NixOps network").Hint("leave out network.storage and network.enableRollback; deployment.targetHost and deployment.keys stay")
	case "module":
		return module()
	}
	if slices.ContainsFunc(args, func(a string) bool {
		return slices.Contains([]string{"config", "lib", "pkgs", "modulesPath", "options"}, a)
	}) {
		return module()
	}
	return is("a function of "+strings.Join(args, ", ")).
		Hint("colmena calls a hive without arguments: give them defaults, or write a file that calls it: import ./%s { %s = …; }", filepath.Base(at.File), fault.Raw(strings.Join(args, " = …; ")))
}

// foreign are options of NixOps and of morph that hives still have.
func foreign(option string) string {
	name, ok := strings.CutPrefix(option, "deployment.")
	name, _, _ = strings.Cut(name, ".")
	switch {
	case !ok:
	case name == "secrets":
		return "deployment.secrets is morph's; colmena's are deployment.keys (keyFile, keyCommand, text)"
	case slices.Contains([]string{"targetEnv", "alwaysActivate", "owners", "storeKeysOnMachine", "provisionSSHKey", "hasFastConnection"}, name):
		return "deployment." + name + " is an option of NixOps, which made machines: leave it out"
	}
	return ""
}

// fit says why a host can never be a NixOS: its packages are a Mac's.
func fit(h fleet.Host) error {
	if !strings.HasSuffix(h.Platform.Name, "-darwin") {
		return nil
	}
	linux := source.LinuxCounterpart(h.Platform.Name)
	f := fault.New("a NixOS host cannot be %s", h.Platform.Name).On(h.Name)
	if h.Platform.From == "pkgs" {
		return f.Detail("its packages (meta.nixpkgs, meta.nodeNixpkgs or nixpkgs.pkgs) are those of a Mac").
			Hint(`write meta.nixpkgs = import <nixpkgs> { system = "%s"; };`, linux)
	}
	return f.Hint(`write nixpkgs.hostPlatform = "%s";`, linux)
}
