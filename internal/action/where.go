package action

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/history"
	"godwit/internal/nix"
	"godwit/internal/source"
	"godwit/internal/source/all"
)

// Where are the arguments of a verb about hosts: where the configuration is, and
// names or patterns of hosts. Where nobody says it, the configuration is looked for.
type Where struct {
	Wish  all.Wish
	Hosts []string
	// Found is why it is this configuration, when nobody named it.
	Found string
}

// selection adds the hosts that were named to what the flags select.
func (f Where) selection(s fleet.Selection) fleet.Selection {
	s.On = append(append([]string{}, s.On...), f.Hosts...)
	return s
}

// String is how hints name the configuration: as it was typed.
func (f Where) String() string {
	switch {
	case len(f.Wish.Words) > 0:
		return f.Wish.Words[0]
	case f.Wish.Flake != "":
		return f.Wish.Flake
	}
	return f.Wish.File
}

// find finds the configuration of a run, and says which it is when nobody named it.
func (s *session) find(ctx context.Context, f Where) error {
	if s.at != nil {
		return nil
	}
	found, err := all.Find(ctx, func(ctx context.Context) (*nix.Tool, error) { err := s.findNix(ctx); return s.tool, err }, f.Wish, s.sourceOptions())
	if err != nil {
		if len(f.Hosts) > 0 && f.Wish.Empty() {
			return fault.New("there is no file '%s', and no host of that name was deployed from here", f.Hosts[0]).Because(err).Hint("%s", fault.Raw("-f FILE or --flake REF name the configuration"))
		}
		return err
	}
	if err := takesAbove(s.Above, found.At.Dialect); err != nil {
		return err
	}
	s.at = found
	if f.Found != "" || found.Looked {
		s.View.Using(found.At, f.Found)
	}
	return nil
}

// sourceOptions are those of every configuration of this run.
func (s *session) sourceOptions() source.Options {
	return source.Options{
		Sink: s.View, Asker: s.View, KeepGCRoot: s.KeepResult, AllowBuildShell: s.AllowBuildShell,
		Above: s.Above, Impure: s.Impure, Overrides: s.Overrides, Cache: s.evalCache(), ExplainCache: s.ExplainCache, Reach: s.Targets,
	}
}

// openSource opens the configuration that was found.
func (s *session) openSource(ctx context.Context, o source.Options) error {
	if s.source != nil {
		return nil
	}
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

// takesAbove refuses settings above the configuration's own where its dialect has none.
func takesAbove(above map[string]any, dialect string) error {
	var takers []string
	for _, d := range all.Dialects {
		if d.Above && d.Name == dialect {
			return nil
		} else if d.Above {
			takers = append(takers, d.Name)
		}
	}
	if len(above) == 0 {
		return nil
	}
	return fault.New("the configuration is one of %s, and %s can be set from the command line for %s only", dialect,
		strings.Join(slices.Sorted(maps.Keys(above)), ", "), strings.Join(takers, ", "))
}

// DeployedWith is the configuration that a host was last deployed with from this machine,
// as far as it is still there.
func DeployedWith(ctx context.Context, host string) (at source.Location, ok bool) {
	db, err := history.Open(ctx, "")
	if err != nil {
		return at, false
	}
	defer db.Close()
	key, err := db.FileOf(ctx, host)
	if err != nil || key == "" {
		return at, false
	}
	at = source.ParseKey(key)
	if at.Flake == "" { // a store path (deploy --store-path) is a folder, and no deployment file
		st, err := os.Stat(at.File)
		return at, err == nil && !st.IsDir()
	}
	if filepath.IsAbs(at.Flake) {
		_, err := os.Stat(filepath.Join(at.Dir(), "flake.nix"))
		return at, err == nil
	}
	return at, true
}
