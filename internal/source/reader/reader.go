// Package reader evaluates a configuration of any dialect: the names of its hosts
// first, then the hosts that a selection is about, in parallel, each with an error of
// its own. What it needs of a dialect is docs/dialects.md's contract.
package reader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/flakeref"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/regular"
	"godwit/internal/source"
)

// Reader is an opened configuration: its names and what it says of itself.
type Reader struct {
	about   source.About
	tool    *nix.Tool
	dialect *source.Dialect
	opts    source.Options
	notes   []string
	raw     json.RawMessage // what the configuration said of itself
	ahead   *ahead          // nil: nothing was begun
	// accepted are settings of Nix that the flake asks for itself; they hold for the run.
	accepted []flakeref.Setting
	// watch is how a file is evaluated so that results can be kept; nil: they are not, for
	// the reason unwatched, or since it is a flake.
	watch     *watched
	unwatched error
}

// Open reads the names of the hosts and what the configuration says of itself, which
// needs no module system (0.03 s where reading all hosts takes many seconds).
func Open(ctx context.Context, tool *nix.Tool, d *source.Dialect, at source.Location, opts source.Options) (*Reader, error) {
	at.Dialect = d.Name
	if at.Flake == "" {
		var err error
		if at, err = settleFile(at); err != nil {
			return nil, err
		}
	}
	if opts.Sink == nil {
		opts.Sink = event.Discard
	}
	// Names take long where the configuration fetches something first.
	event.On(opts.Sink, "", event.StepEvaluate).Emit(event.Event{Kind: event.Progress, Text: "reading " + shortName(at)})
	var accepted []flakeref.Setting
	if at.Flake != "" {
		var err error
		if at, err = Enter(ctx, tool, at, opts); err != nil {
			return nil, err
		}
		if accepted, err = at.Locked.Accepted(ctx, tool, opts.Asker, event.On(opts.Sink, "", event.StepEvaluate)); err != nil {
			return nil, err
		}
		for _, s := range accepted {
			tool = tool.With([][2]string{{s.Name, s.Value}})
		}
		tool = at.Locked.Tool(tool)
	}
	r := &Reader{about: source.About{At: at}, tool: tool, dialect: d, opts: opts, accepted: accepted}
	if r.reopen(ctx) {
		r.named()
		return r, nil
	}
	if at.Flake == "" && opts.Cache != "" {
		r.watch, r.unwatched = r.prepare(ctx)
	}
	var before *memory
	if opts.Ahead != nil {
		before = r.remembered()
	}
	if opts.Ahead != nil && !r.knownAll(ctx, *opts.Ahead, before) {
		if done, err := r.openAhead(ctx, before); done || err != nil {
			r.keepSummary(ctx)
			return r, err
		}
	}
	openErr := r.open(ctx)
	c, err := tool.Config(ctx)
	if err != nil {
		return nil, errors.Join(openErr, err)
	}
	if r.opts.Fallback == "" {
		r.opts.Fallback = source.LinuxCounterpart(c.System)
	}
	// On a Mac a configuration that looks at builtins.currentSystem before anything
	// else gets a second reading, with the system that hosts are evaluated with.
	if openErr != nil && r.opts.Fallback != c.System {
		openErr = r.open(ctx)
	}
	if openErr != nil {
		return nil, openErr
	}
	if opts.Ahead != nil {
		r.remember(ctx, before)
	}
	r.keepSummary(ctx)
	r.named()
	return r, nil
}

// Enter locks the flake of a location, which every evaluation of it begins with.
func Enter(ctx context.Context, tool *nix.Tool, at source.Location, opts source.Options) (source.Location, error) {
	if at.Locked != nil {
		return at, nil
	}
	var err error
	at.Locked, err = flakeref.Lock(ctx, tool, at.Flake, flakeref.Options{
		Overrides: opts.Overrides, Impure: opts.Impure, Scope: event.On(opts.Sink, "", event.StepEvaluate),
	})
	return at, err
}

// settleFile makes the path of a deployment file absolute and refuses what is none.
func settleFile(at source.Location) (source.Location, error) {
	given := at.Given
	if given == "" {
		given = at.File
	}
	path, err := filepath.Abs(at.File)
	if err != nil {
		return at, err
	}
	at.File = path
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		f := fault.New("there is no file '%s'", given).Because(err)
		if near := nearFile(path); near != "" {
			f.Hint("did you mean %s?", near)
		}
		return at, f
	case err != nil:
		return at, fault.New("cannot read '%s': %s", given, err).Because(err)
	case st.IsDir():
		f := fault.New("'%s' is a directory; name the deployment file in it", given)
		if near := nearFile(filepath.Join(path, "network.nix")); near != "" {
			f.Hint("for instance %s", near)
		}
		return at, f
	case !st.Mode().IsRegular():
		return at, fault.New("cannot read '%s': %w", given, fault.Reason(regular.Check(path))).
			Hint("write it to a file first: it is read more than once, and paths in it begin where it is")
	}
	return at, nil
}

// nearFile is a Nix file that a misspelt path may have meant, as typed from here.
func nearFile(path string) string {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".nix") {
			names = append(names, e.Name())
		}
	}
	base := filepath.Base(path)
	near := fleet.Nearest(base, names)
	switch {
	case slices.Contains(names, base):
		near = base
	case near == "" && slices.Contains(names, "network.nix"):
		near = "network.nix"
	case near == "" && len(names) == 1:
		near = names[0]
	}
	if near == "" {
		return ""
	}
	return source.Here(filepath.Join(filepath.Dir(path), near))
}

// shortName is what a line of progress calls the configuration.
func shortName(at source.Location) string {
	if at.Flake == "" {
		return filepath.Base(at.File)
	}
	return at.Name()
}

// About is what the configuration says of itself.
func (r *Reader) About() source.About { return r.about }

// Header is the dialect's list of selected hosts; empty where it has none.
func (r *Reader) Header(hosts []fleet.Host, counts fleet.Counts) string {
	if r.dialect.Header == nil {
		return ""
	}
	return r.dialect.Header(hosts, counts) + "\n"
}

// openAhead opens the configuration with an evaluation that begins at once; false
// when it must be opened as ever.
func (r *Reader) openAhead(ctx context.Context, m *memory) (bool, error) {
	a := r.begin(ctx, *r.opts.Ahead, m)
	if a == nil {
		return false, nil
	}
	led := <-a.led
	c, err := r.tool.Config(ctx)
	if err == nil && led {
		fallback := r.opts.Fallback
		if fallback == "" {
			fallback = source.LinuxCounterpart(c.System)
		}
		var args []string
		if args, err = r.tool.SystemOption(ctx, fallback); err == nil && fallback == m.Fallback && slices.Equal(args, m.Args) {
			*r = *a.guess
			r.ahead = a
			return true, nil
		}
	}
	a.stop()
	return false, err
}

// call is the expression that opens the configuration in Nix, for a request.
func (r *Reader) call(q source.Request) string {
	platforms, err := nix.QuoteJSON(q.Platforms)
	if err != nil || q.Platforms == nil {
		platforms = "{ }"
	}
	targets := q.Targets
	if targets == "" {
		targets = "null"
	}
	return fmt.Sprintf("(%s { systems = %s; fallback = %s; targets = %s; })",
		r.dialect.Expr(r.about.At, r.opts), platforms, nix.Quote(r.opts.Fallback), targets)
}

// args are those of every evaluating process of this configuration.
func (r *Reader) args() []string {
	var args []string
	if r.about.At.Locked != nil {
		args = slices.Clone(r.about.At.Locked.Args)
	}
	if r.dialect.Args != nil {
		args = append(args, r.dialect.Args(r.about.At, r.opts)...)
	}
	return args
}

// env is what the dialect's own tool would export.
func (r *Reader) env(what string, names []string) []string {
	if r.dialect.Env == nil {
		return nil
	}
	return r.dialect.Env(source.Evaluating{Location: r.about.At, Options: r.opts, About: r.about, Nix: r.tool.Settings(), What: what, Names: names})
}

// eval evaluates one expression of this configuration with builtins.currentSystem
// being system; "": this machine's.
func (r *Reader) eval(ctx context.Context, e nix.Evaluation, system, what string) ([]byte, error) {
	args, err := r.tool.SystemOption(ctx, system)
	if err != nil {
		return nil, err
	}
	e.Args = slices.Concat(r.args(), args, e.Args)
	e.Env = r.env(what, nil)
	return r.tool.Eval(ctx, e)
}

// on is the scope of everything that concerns no single host.
func (r *Reader) on() event.Scope { return event.On(r.opts.Sink, "", event.StepEvaluate) }

func (r *Reader) open(ctx context.Context) error {
	out, err := r.eval(ctx, nix.Evaluation{Expr: r.call(source.Request{}) + ".summary", Scope: r.on()}, r.opts.Fallback, source.Summary)
	if err != nil {
		return err
	}
	return r.describe(out)
}

// named says what the configuration wants to be said, and tells Options.Named.
func (r *Reader) named() {
	for _, note := range r.notes {
		r.on().Note(note)
	}
	if r.opts.Named != nil {
		r.opts.Named(r.about.Names)
	}
}

// describe reads the summary that the dialect's Nix gives.
func (r *Reader) describe(summary []byte) error {
	s, err := decodeSummary(summary)
	if err != nil {
		return fault.New("cannot read what '%s' says of itself: %s", r.about.At.Key(), err).Because(err)
	}
	at := r.about.At
	if s.Other != nil {
		err := error(fault.New("'%s' is a %s, and not for %s", at.Key(), s.Other.Kind, r.dialect.Name))
		if r.dialect.Other != nil {
			err = r.dialect.Other(at, s.Other.Kind, s.Other.Args)
		}
		var f *fault.Error
		if errors.As(err, &f) {
			f.Because(&source.OtherKind{Kind: s.Other.Kind})
		}
		return err
	}
	settings, err := fleet.ParseSettings(s.Godwit, at.Dir())
	if err == nil {
		err = settings.Check(s.Names)
	}
	if err != nil {
		return fault.New("%s in '%s': %w", r.dialect.Word("godwit"), at.Key(), err)
	}
	r.notes, r.raw = s.Notes, summary
	if at.Locked != nil {
		r.notes = append(at.Locked.Notes(), r.notes...)
	}
	for _, w := range r.accepted {
		if _, said := s.NixConfig[w.Name]; !said {
			if s.NixConfig == nil {
				s.NixConfig = map[string]string{}
			}
			s.NixConfig[w.Name] = w.Value
		}
	}
	r.about = source.About{At: at, Names: s.Names, Description: s.Description, OrderingTags: s.OrderingTags, NixConfig: s.NixConfig, Settings: settings, Shell: s.BuildShell,
		MustChoose: s.ApplyAll != nil && !*s.ApplyAll, UploadSecrets: r.dialect.UploadSecrets}
	return nil
}
