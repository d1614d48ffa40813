// Package deployrs is the dialect of deploy-rs: the flake output 'deploy', with its
// nodes and their profiles. Its Nix code (deploy.nix beside this file) is godwit's own.
// It looks through the wrappers that deploy-rs puts around a profile, so that what is
// in them is built and activated, and none of deploy-rs's own programs.
package deployrs

import (
	_ "embed" // deploy.nix
	"path/filepath"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/nix"
	"godwit/internal/source"
)

//go:embed deploy.nix
var deployNix string

// Dialect is deploy-rs's.
var Dialect = &source.Dialect{
	Name:    "deploy-rs",
	Outputs: []string{"deploy"},
	Kinds:   []string{"deploy"},
	Expr:    expr,
	Above:   true,
	Habits:  habits,
	Setting: func(name string) string {
		switch name {
		case "godwit":
			return "deploy." + name
		case "targetHost":
			return "hostname"
		case "targetUser":
			return "sshUser"
		case "targetPort":
			return "sshOpts"
		case "buildOn":
			return "remoteBuild"
		}
		return name
	},
	Other: noDeploy,
	Empty: "each attribute of deploy.nodes is a host",
}

// expr is deploy.nix for a flake's output or a file, with what the command line says
// above all of it.
func expr(l source.Location, o source.Options) string {
	text := deployNix
	if len(o.Above) > 0 {
		above, err := nix.QuoteJSON(o.Above)
		if err != nil { // a map of texts, truths and numbers always has a JSON form
			panic(err)
		}
		text = "args: (" + deployNix + ") (args // { cli = " + above + "; })"
	}
	if l.Flake == "" {
		return source.FileExpr(text)(l, o)
	}
	return source.FlakeExpr(text)(l, o)
}

// noDeploy says what a configuration is that has no nodes of deploy-rs's. kind is
// deploy.nix's word; args are the names that a function wants.
func noDeploy(l source.Location, kind string, args []string) error {
	f := func(is string) *fault.Error {
		return fault.New("'%s' is %s; deploy-rs takes a set with 'deploy'", l.Name(), is)
	}
	switch kind {
	case "function":
		return f("a function that wants "+strings.Join(args, ", ")).
			Hint("write a file that calls it: import ./%s { %s = …; }", filepath.Base(l.File), fault.Raw(strings.Join(args, " = …; ")))
	case "flake":
		return f("the text of a flake").Hint("name its directory: --flake %s", fault.Raw(l.Dir()))
	case "hive":
		return f("a colmena hive").Hint("--dialect colmena reads it")
	case "network":
		return f("a morph network").Hint("--dialect morph reads it")
	case "nothing":
		return f("a set without 'deploy'")
	}
	return f("a " + kind)
}
