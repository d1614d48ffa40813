package action

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"godwit/internal/convert"
	"godwit/internal/fault"
	"godwit/internal/source"
	"godwit/internal/source/all"
	"godwit/internal/ui/text"
)

// ConvertRequest asks for godwit's own output to be written for a configuration.
type ConvertRequest struct {
	Where Where
	// Dir is where; empty: where the configuration is.
	Dir string
}

// Convert writes godwit's own output, which gives the same hosts, beside a configuration.
func Convert(ctx context.Context, e *Env, r ConvertRequest) error {
	s := e.open()
	defer s.close()
	dir := r.Dir
	if err := s.load(ctx, loadRequest{where: r.Where, selection: everyHost, systems: true}); err != nil {
		return err
	}
	about := s.source.About()
	d, err := all.Named(about.At.Dialect)
	if err == nil && d.Kept != nil {
		err = d.Kept(about.At)
	}
	if err != nil {
		return err
	}
	if len(s.broken) > 0 {
		return fault.New("a host cannot be evaluated, so the configuration cannot be converted: %w", s.broken[0].Err)
	}
	if dir == "" {
		dir = about.At.Dir()
	}
	if dir == "" && !s.DryRun {
		return fault.New("%s is not on this machine", about.At.Name()).Hint("-o DIR says where to write, --dry-run shows the files")
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
	if s.DryRun {
		for _, name := range names {
			s.View.Output("# " + name + "\n" + done.Files[name])
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
		if err := convert.WriteNew(path, done.Files[name]); err != nil {
			return err
		}
		s.View.Output(path)
	}
	s.View.Tell(fmt.Sprintf("%s, each with the same derivations, settings, secrets and checks as before", text.Count(len(s.hosts), "host")))
	if !flakeNix {
		s.View.Tell("write in flake.nix, among its outputs:  godwit = import ./godwit.nix { inherit self; };")
	}
	if about.At.Flake == "" {
		s.View.Tell("with --impure it may read what flakes may not: <nixpkgs>, the environment, files outside of the repository")
	}
	s.View.Tell("new files of a git repository have to be added (git add) before Nix sees them")
	return nil
}
