package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"godwit/internal/action"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/source/all"
	"godwit/internal/ui/text"
)

const whereHelp = `
DEPLOYMENT is a file (network.nix, hive.nix or another one), a directory, or a flake:
REF, REF#HOST, REF#HOST.PROFILE or REF#OUTPUT, where REF is . or for example
github:me/fleet. Without it godwit uses the configuration in this directory or above it,
and says in one line which one that is. -f FILE, --flake REF and --dialect NAME choose
it, too.
`

const foundFileHelp = whereHelp + `
If you name only HOST, godwit uses the configuration with which HOST was last deployed
from this machine.
`

// wish is where the flags say that the configuration is.
func (a *app) wish() all.Wish {
	g := a.globals
	return all.Wish{File: g.file, Flake: g.flake, Dialect: g.dialect}
}

// places are the leading words that say where the configuration is; the rest are others.
func places(args []string) (words, rest []string) {
	for i, arg := range args {
		if !all.IsPlace(arg) || i > 0 && (!strings.Contains(arg, "#") || !strings.Contains(args[0], "#")) {
			return args[:i], args[i:]
		}
	}
	return args, nil
}

// whereArgs are the arguments of a verb that takes nothing but a configuration. What is
// no file and no flake is refused when it is opened, with what was most likely meant.
func (a *app) whereArgs(c *cobra.Command, args []string) (action.Where, error) {
	f := action.Where{Wish: a.wish()}
	words, rest := places(args)
	if len(words) == 0 && len(rest) == 1 {
		words, rest = rest, nil
	}
	if len(rest) > 0 {
		return f, fault.New("%s takes a deployment file, not %s", c.CommandPath(), text.Count(len(args), "argument")).Hint("%s", fault.Raw(c.UseLine()))
	}
	f.Wish.Words = words
	return f, nil
}

// fleetArgs are those of a verb that takes hosts as well.
func (a *app) fleetArgs(ctx context.Context, args []string) action.Where {
	words, rest := places(args)
	f := action.Where{Wish: a.wish(), Hosts: rest}
	f.Wish.Words = words
	if !f.Wish.Empty() || f.Wish.Dialect != "" || len(args) == 0 {
		return f
	}
	at, ok := action.DeployedWith(ctx, args[0])
	switch {
	case !ok:
		return f
	case at.Flake != "":
		f.Wish.Flake = at.Key()
	default:
		f.Wish.File = at.Key()
	}
	f.Found = "with which " + args[0] + " was last deployed"
	return f
}

// needHosts refuses a verb that changes hosts when nobody said which.
func needHosts(f action.Where, c *cobra.Command, s fleet.Selection) error {
	if len(f.Hosts) > 0 || len(s.On) > 0 || len(s.Tagged) > 0 || fragment(f) {
		return nil
	}
	return fault.New("%s needs to know which hosts", c.CommandPath()).Hint("name them, or use --on '*' for all")
}

// fragment tells whether a flake was named with something behind "#": a host, most likely.
func fragment(f action.Where) bool {
	return slices.ContainsFunc(append(slices.Clone(f.Wish.Words), f.Wish.Flake), func(w string) bool { return strings.Contains(w, "#") })
}
