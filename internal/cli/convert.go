package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"godwit/internal/convert"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/source"
	"godwit/internal/source/all"
	"godwit/internal/source/flake"
	"godwit/internal/source/own"
	"godwit/internal/ui/text"
)

func newConvert(a *app) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "convert [DEPLOYMENT]",
		Short: "write godwit's own flake output for a fleet of morph, colmena or deploy-rs",
		Long: `convert reads a configuration and writes godwit.nix beside it: the flake output
godwit with the same hosts. Before anything is written it reads what it would write,
and compares: each host must get the same derivations, settings, secrets and checks.
No host is contacted, nothing is built, and no file that exists is changed.

Where the systems are in no output of a flake, as those of network.nix and hive.nix,
it also writes godwit-fleet.nix, which says how they are made, and a flake.nix.
Nobody has to convert: godwit deploys all of these as they are.` + "\n" + whereHelp + exitStatusHelp,
		Example: `  godwit convert                      # in a directory with a flake, network.nix or hive.nix
  godwit convert network.nix --dry-run`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			f, err := a.whereArgs(c, args)
			if err != nil {
				return err
			}
			return a.withSession(c.Context(), func(ctx context.Context, s *session) error { return s.convert(ctx, f, dir) })
		},
	}
	c.Flags().StringVarP(&dir, "output", "o", "", "write the files into `DIR` (default: where the configuration is)")
	return c
}

func (s *session) convert(ctx context.Context, f fleetArgs, dir string) error {
	if err := s.load(ctx, loadRequest{where: f, selection: fleet.Selection{Every: 1}, systems: true}); err != nil {
		return err
	}
	about := s.source.About()
	switch about.At.Dialect {
	case own.Dialect.Name:
		return fault.New("%s is godwit's own already", about.At.Name())
	case flake.Dialect.Name:
		return fault.New("%s has plain configurations, which need no output godwit", about.At.Name()).
			Hint("addresses and the like stand in the option deployment.* of each, or in an output godwit: see docs/flakes.md")
	}
	if len(s.broken) > 0 {
		return fault.New("a host cannot be evaluated, so the configuration cannot be converted: %w", s.broken[0].Err)
	}
	if dir == "" {
		dir = about.At.Dir()
	}
	if dir == "" && !s.app.globals.dryRun {
		return fault.New("%s is not on this machine", about.At.Name()).Hint("-o DIR says where to write, --dry-run shows the files")
	}
	d, err := all.Named(about.At.Dialect)
	if err != nil {
		return err
	}
	config, err := s.tool.Config(ctx)
	if err != nil {
		return err
	}
	o := s.sourceOptions()
	o.Fallback = source.LinuxCounterpart(config.System)
	done, err := convert.From(ctx, s.tool, d, about, s.hosts, o)
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(done.Files))
	for _, note := range done.Notes {
		s.println("note: " + note)
	}
	if s.app.globals.dryRun {
		for _, name := range names {
			s.output("# " + name + "\n" + done.Files[name])
		}
		return nil
	}
	flakeNix := false // written, too
	for _, name := range names {
		path := filepath.Join(dir, name)
		if name == "flake.nix" {
			if _, err := os.Lstat(path); err == nil {
				continue // a person's: the line for it is said below
			}
			flakeNix = true
		}
		if err := writeNew(path, done.Files[name]); err != nil {
			return err
		}
		s.output(path)
	}
	s.println(fmt.Sprintf("%s, each with the same derivations, settings, secrets and checks as before", text.Count(len(s.hosts), "host")))
	if !flakeNix {
		s.println("write in flake.nix, among its outputs:  godwit = import ./godwit.nix { inherit self; };")
	}
	if about.At.Flake == "" {
		s.println("with --impure it may read what flakes may not: <nixpkgs>, the environment, files outside of the repository")
	}
	s.println("new files of a git repository have to be added (git add) before Nix sees them")
	return nil
}

// writeNew writes a file that is not there yet.
func writeNew(path, content string) error {
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fault.New("'%s' is there already", source.Here(path)).Hint("-o DIR writes into another directory, --dry-run shows the files")
	}
	if err == nil {
		_, err = w.WriteString(content)
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		return fault.New("cannot write '%s': %w", source.Here(path), fault.Reason(err)).Because(err)
	}
	return nil
}
