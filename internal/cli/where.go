package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/nix"
	"godwit/internal/source"
	"godwit/internal/source/all"
	"godwit/internal/ui/text"
)

// fleetArgs are the arguments of a verb about hosts: where the configuration is, and
// names or patterns of hosts. Where nobody says it, the configuration is looked for.
type fleetArgs struct {
	wish  all.Wish
	hosts []string
	found string // why this configuration, when it was not named
}

const whereHelp = `
DEPLOYMENT is a file (network.nix, hive.nix, any other), a directory, or a flake:
REF, REF#HOST, REF#HOST.PROFILE or REF#OUTPUT, where REF is . or such as
github:me/fleet. Without it godwit takes what is in this directory or above it, and
says in a line what that is. -f FILE, --flake REF and --dialect NAME say it, too.
`

const foundFileHelp = whereHelp + `
When HOST alone is named, it is the one that HOST was last deployed with from this
machine.
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
func (a *app) whereArgs(c *cobra.Command, args []string) (fleetArgs, error) {
	f := fleetArgs{wish: a.wish()}
	words, rest := places(args)
	if len(words) == 0 && len(rest) == 1 {
		words, rest = rest, nil
	}
	if len(rest) > 0 {
		return f, fault.New("%s takes a deployment file, not %s", c.CommandPath(), text.Count(len(args), "argument")).Hint("%s", fault.Raw(c.UseLine()))
	}
	f.wish.Words = words
	return f, nil
}

// fleetArgs are those of a verb that takes hosts as well.
func (a *app) fleetArgs(ctx context.Context, args []string) fleetArgs {
	words, rest := places(args)
	f := fleetArgs{wish: a.wish(), hosts: rest}
	f.wish.Words = words
	if !f.wish.Empty() || f.wish.Dialect != "" || len(args) == 0 {
		return f
	}
	db, err := history.Open(ctx, "")
	if err != nil {
		return f
	}
	defer db.Close()
	key, err := db.FileOf(ctx, args[0])
	if err != nil || key == "" {
		return f
	}
	// A store path (deploy --store-path) is a folder, and no deployment file.
	at := source.ParseKey(key)
	if st, err := os.Stat(at.File); at.Flake == "" && (err != nil || st.IsDir()) {
		return f
	}
	if dir := at.Dir(); at.Flake != "" && filepath.IsAbs(at.Flake) {
		if _, err := os.Stat(filepath.Join(dir, "flake.nix")); err != nil {
			return f
		}
	}
	if at.Flake != "" {
		f.wish.Flake = key
	} else {
		f.wish.File = key
	}
	f.found = "with which " + args[0] + " was last deployed"
	return f
}

// selection adds the hosts that were named to what the flags select.
func (f fleetArgs) selection(s fleet.Selection) fleet.Selection {
	s.On = append(append([]string{}, s.On...), f.hosts...)
	return s
}

// needHosts refuses a verb that changes hosts when nobody said which.
func (f fleetArgs) needHosts(c *cobra.Command, s fleet.Selection) error {
	if len(f.hosts) > 0 || len(s.On) > 0 || len(s.Tagged) > 0 || f.fragment() {
		return nil
	}
	return fault.New("%s wants to know which hosts", c.CommandPath()).Hint("name them, or use --on '*' for all")
}

// fragment tells whether a flake was named with something behind "#": a host, most likely.
func (f fleetArgs) fragment() bool {
	return slices.ContainsFunc(append(slices.Clone(f.wish.Words), f.wish.Flake), func(w string) bool { return strings.Contains(w, "#") })
}

// String is how hints name the configuration: as it was typed.
func (f fleetArgs) String() string {
	switch {
	case len(f.wish.Words) > 0:
		return f.wish.Words[0]
	case f.wish.Flake != "":
		return f.wish.Flake
	}
	return f.wish.File
}

// find finds the configuration of a run, and says which it is when nobody named it.
func (s *session) find(ctx context.Context, f fleetArgs) error {
	if s.at != nil {
		return nil
	}
	found, err := all.Find(ctx, func(ctx context.Context) (*nix.Tool, error) { err := s.findNix(ctx); return s.tool, err }, f.wish, s.sourceOptions())
	if err != nil {
		if len(f.hosts) > 0 && f.wish.Empty() {
			return fault.New("there is no file `%s', and no host of that name was deployed from here", f.hosts[0]).Because(err).Hint("%s", fault.Raw("-f FILE or --flake REF name the configuration"))
		}
		return err
	}
	if err := onlyDeployRs(s.above, found.At.Dialect); err != nil {
		return err
	}
	s.at = found
	switch {
	case f.found != "":
		fmt.Fprintf(s.app.stderr, "using %s, %s\n", found.At.Name(), f.found)
	case found.Looked && !s.quiet():
		fmt.Fprintln(s.app.stderr, found.At)
	}
	return nil
}

// sourceOptions are those of every configuration of this run.
func (s *session) sourceOptions() source.Options {
	g := s.app.globals
	return source.Options{
		Sink: s.ui, KeepGCRoot: g.keepResult, AllowBuildShell: g.allowBuildShell,
		Above: s.above, Impure: g.impure, Overrides: g.overrides(), Cache: s.evalCache(), Reach: g.targets,
	}
}

// openSource opens the configuration that was found.
func (s *session) openSource(ctx context.Context, o source.Options) error {
	if err := s.findNix(ctx); err != nil {
		return err
	}
	all := s.sourceOptions()
	all.Ahead, all.Memory, all.Named = o.Ahead, o.Memory, o.Named
	src, err := s.at.Open(ctx, s.tool, all)
	if err != nil {
		return err
	}
	s.source = src
	if len(src.About().Names) == 0 {
		f := fault.New("%s describes no hosts", s.at.At.Name())
		if why := s.at.Empty(); why != "" {
			f.Hint("%s", fault.Raw(why))
		}
		return f
	}
	return nil
}
