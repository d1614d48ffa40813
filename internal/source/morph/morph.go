// Package morph is the dialect of morph's network.nix: the attribute set of machines
// that DBCDK/morph deploys. Its Nix code (network.nix beside this file) is godwit's
// own and needs nothing but builtins until a host's own eval-config.nix runs.
package morph

import (
	_ "embed" // network.nix, evalmachines.nix
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/source"
	"godwit/internal/source/common"
)

var (
	//go:embed network.nix
	networkNix string
	//go:embed evalmachines.nix
	evalMachinesNix string
)

// Dialect is morph's.
var Dialect = &source.Dialect{
	Name:  "morph",
	Files: []string{"network.nix"},
	Kinds: []string{"network", "morph"},
	Expr:  expr,
	Env:   env,
	Setting: func(name string) string {
		switch name {
		case "godwit", "buildShell", "description":
			return "network." + name
		}
		return "deployment." + name
	},
	Foreign: foreign,
	Other:   notANetwork,
	Fit:     fit,
	Empty:   "every attribute of the file but network, defaults, resources and require is a host",
	Header:  header,
}

// evalMachines is somebody's replacement for morph's eval-machines.nix; "": none.
func evalMachines() string { return os.Getenv("MORPH_NIX_EVAL_MACHINES") }

// expr is network.nix for a file, or the adapter for a replacement of morph's own.
func expr(l source.Location, o source.Options) string {
	machines := evalMachines()
	if machines == "" {
		return source.FileExpr("args: ("+networkNix+") (args // { common = ("+common.Nix+"); deploymentOptions = ("+common.Options()+"); })")(l, o)
	}
	if abs, err := filepath.Abs(machines); err == nil {
		machines = abs
	}
	return source.FileExpr(fmt.Sprintf("args: (%s) (args // { machines = %s; })", evalMachinesNix, nix.Quote(machines)))(l, o)
}

// env is what morph exports to its Nix processes: a configuration may read
// MORPH_ARGS. The file that MORPH_ARGS_FILE names in morph exists only while it
// builds; here the same text is in the variable at any time.
func env(e source.Evaluating) []string {
	attr := e.What // nodes.ATTRIBUTE
	switch attr {
	case source.Summary:
		attr = "info.deployment"
	case source.Hosts:
		attr = "machines"
	case source.Shell:
		attr = "info.buildShell"
	}
	args := map[string]any{
		"ArgsFile": "", "Attr": attr, "DeploymentPath": e.Location.File, "Names": e.Names, "NixArgs": nil,
		"NixBuildTargets": "", "NixConfig": e.About.NixConfig, "ResultLinkPath": "",
		"NixContext": map[string]any{
			"EvalCmd": e.Nix.EvalCmd, "BuildCmd": e.Nix.BuildCmd, "ShellCmd": e.Nix.ShellCmd,
			"EvalMachines": evalMachines(), "ShowTrace": e.Nix.ShowTrace,
			"KeepGCRoot": e.Options.KeepGCRoot, "AllowBuildShell": e.Options.AllowBuildShell,
		},
	}
	b, err := json.Marshal(args)
	if err != nil {
		return nil
	}
	return []string{"MORPH_ARGS=" + string(b)}
}

// fit says why a host can never be a NixOS: its packages are a Mac's.
func fit(h fleet.Host) error {
	if !strings.HasSuffix(h.Platform.Name, "-darwin") {
		return nil
	}
	linux := source.LinuxCounterpart(h.Platform.Name)
	f := fault.New("a NixOS host cannot be %s", h.Platform.Name).On(h.Name)
	switch h.Platform.From {
	case "pkgs":
		return f.Detail("its packages (network.pkgs or nixpkgs.pkgs) are those of a Mac").
			Hint(`write pkgs = import <nixpkgs> { system = "%s"; };`, linux)
	case "hostPlatform":
		return f.Hint(`write nixpkgs.hostPlatform = "%s";`, linux)
	case "localSystem":
		return f.Hint(`write nixpkgs.localSystem.system = "%s";`, linux)
	default:
		return f.Hint(`write nixpkgs.system = "%s";`, linux)
	}
}

// header is morph's list of selected hosts, with a line break after each line
// and without the empty line that morph prints next. As in morph, hosts that
// tags left out count as "limits", and preDeployChecks are not counted.
func header(hosts []fleet.Host, c fleet.Counts) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Selected %d/%d hosts (name filter:-%d, limits:-%d):\n", c.Chosen, c.Total, c.Total-c.Named, c.Named-c.Chosen)
	for i, h := range hosts {
		checks := len(h.HealthChecks.Cmd) + len(h.HealthChecks.HTTP) // the kinds that morph has
		fmt.Fprintf(&b, "\t%3d: %s (secrets: %d, health checks: %d, tags: %s)\n", i, h.Name, len(h.Secrets), checks, strings.Join(h.Tags, ","))
	}
	return b.String()
}
