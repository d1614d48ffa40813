package all

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/flakeref"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/source"
	"godwit/internal/source/reader"
)

// Wish is what a person said of where the configuration is. Nothing: it is looked for.
type Wish struct {
	// Words are files, directories or references to flakes, as they were typed. Several
	// are of the same flake: .#web .#db.
	Words []string
	// File, Flake and Dialect are what flags say.
	File, Flake, Dialect string
}

// Empty tells whether nobody said where the configuration is.
func (w Wish) Empty() bool { return len(w.Words) == 0 && w.File == "" && w.Flake == "" }

// Found is a configuration, and which part of it was meant.
type Found struct {
	At source.Location
	// Hosts are the hosts that were named behind "#", and OnlyOf the profiles of those of
	// which some were named.
	Hosts  []string
	OnlyOf map[string][]string
	// Looked says that nobody named the configuration.
	Looked bool
	// open says that the dialect is a guess: what the file holds decides.
	open bool
}

// schemes are those of references to flakes, which no name of a host or a file has.
var schemes = regexp.MustCompile(`^(github|gitlab|sourcehut|flake|path|(git|hg|tarball|file)(\+(https?|ssh|file))?|https?):.`)

// asked tells a directory with parameters behind it, such as .?submodules=1.
func asked(word string) bool {
	dir, query, ok := strings.Cut(word, "?")
	if !ok || !strings.Contains(query, "=") {
		return false
	}
	st, err := os.Stat(dir)
	return err == nil && st.IsDir()
}

// IsPlace tells a file, a directory or a reference to a flake from other words, such as
// the name of a host. Whether it is there is another question.
func IsPlace(word string) bool {
	if word == "." || word == ".." || strings.ContainsAny(word, "/#") || strings.HasSuffix(word, ".nix") || asked(word) || schemes.MatchString(word) {
		return true
	}
	st, err := os.Stat(word)
	return err == nil && !st.IsDir()
}

// Find finds the configuration that w is about: what was named, or what there is in the
// current directory or above it. Nix is looked for when a flake has to be asked for its
// outputs; nothing else is evaluated.
func Find(ctx context.Context, findNix func(context.Context) (*nix.Tool, error), w Wish, o source.Options) (*Found, error) {
	if w.Dialect != "" {
		if _, err := Named(w.Dialect); err != nil {
			return nil, err
		}
	}
	f := &finder{ctx: ctx, nix: findNix, wish: w, opts: o}
	switch {
	case w.File != "" && w.Flake != "", w.File != "" && len(w.Words) > 0, w.Flake != "" && len(w.Words) > 0:
		return nil, fault.New("the configuration is named twice").Hint("name it as a word, with -f FILE or with --flake REF")
	case w.File != "":
		return f.file(w.File)
	case w.Flake != "":
		return f.flake([]string{w.Flake})
	case len(w.Words) == 0:
		return f.look()
	}
	if st, err := os.Stat(w.Words[0]); len(w.Words) == 1 && err == nil {
		if !st.IsDir() {
			return f.file(w.Words[0])
		}
		found, err := f.in(w.Words[0])
		if found == nil && err == nil {
			err = nearby(fault.New("'%s' is a directory without a configuration that godwit knows", w.Words[0]).Hint("%s", fault.Raw(lookedFor)), w.Words[0])
		}
		return found, err
	}
	if strings.Contains(w.Words[0], "#") || asked(w.Words[0]) || schemes.MatchString(w.Words[0]) {
		return f.flake(w.Words)
	}
	return f.file(w.Words[0]) // which says that there is none
}

const lookedFor = "looked for network.nix, hive.nix and flake.nix; name a file with -f FILE, a flake with --flake REF"

type finder struct {
	ctx  context.Context
	nix  func(context.Context) (*nix.Tool, error)
	wish Wish
	opts source.Options
}

// file is a file that was named.
func (f *finder) file(path string) (*Found, error) {
	if filepath.Base(path) == "flake.nix" {
		if abs, err := filepath.Abs(path); err == nil {
			return f.flake([]string{filepath.Dir(abs)})
		}
	}
	at := source.Location{Dialect: f.wish.Dialect, File: path, Given: path}
	if abs, err := filepath.Abs(path); err == nil {
		at.File = abs
	}
	if at.Dialect != "" {
		return &Found{At: at}, nil
	}
	at.Dialect = fileDialect(path)
	return &Found{At: at, open: true}, nil
}

// fileDialect is what a file is taken for by its name, before anybody looked into it.
func fileDialect(path string) string {
	for _, d := range Dialects {
		if slices.Contains(d.Files, filepath.Base(path)) {
			return d.Name
		}
	}
	for _, d := range Dialects { // a file of any name
		if len(d.Files) > 0 {
			return d.Name
		}
	}
	return Dialects[0].Name
}

// look goes upwards from the current directory.
func (f *finder) look() (*Found, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, fault.New("cannot look for a configuration: %w", err)
	}
	for from := dir; ; dir = filepath.Dir(dir) {
		found, err := f.in(dir)
		if found != nil {
			found.Looked = true
			found.At.Given = ""
		}
		if found != nil || err != nil {
			return found, err
		}
		if dir == filepath.Dir(dir) {
			return nil, nearby(fault.New("there is no configuration in %s or above it", from).Hint("%s", fault.Raw(lookedFor)), from)
		}
	}
}

// in looks in one directory, for each dialect in their order: for an output of the
// flake there, then for a file. Nothing there is nil.
func (f *finder) in(dir string) (*Found, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fault.New("cannot look for a configuration: %w", err)
	}
	is := func(name string) bool {
		st, err := os.Stat(filepath.Join(dir, name))
		return err == nil && st.Mode().IsRegular()
	}
	flake := is("flake.nix")
	choice := 0 // configurations that there may be
	for _, d := range Dialects {
		for _, name := range d.Files {
			if is(name) {
				choice++
			}
		}
	}
	if flake {
		choice++
	}
	var at source.Location
	var outputs []string
	var flakeErr error
	for _, d := range f.dialects() {
		if flake && len(d.Outputs) > 0 {
			if at.Locked == nil && flakeErr == nil {
				at, outputs, flakeErr = f.outputs(dir)
			}
			if out := first(d.Outputs, outputs); out != "" {
				at.Dialect, at.Attr = d.Name, out
				return &Found{At: at}, nil
			}
		}
		for _, name := range d.Files {
			if !is(name) {
				continue
			}
			path := filepath.Join(dir, name)
			if at := (source.Location{Dialect: d.Name, File: path}); choice == 1 || !f.something(d, at) {
				return &Found{At: at, open: f.wish.Dialect == ""}, nil
			}
		}
	}
	if flake && flakeErr == nil && len(outputs) > 0 {
		return nil, nearby(noOutput(at, outputs), dir)
	}
	return nil, flakeErr
}

// something tells whether a file only has the name of one of the dialect: a NixOS module
// in network.nix, say. A file that cannot be read is the dialect's to complain of.
func (f *finder) something(d *source.Dialect, at source.Location) bool {
	o := f.opts
	o.Sink, o.Ahead, o.Named = event.Discard, nil, nil
	tool, err := f.nix(f.ctx)
	if err == nil {
		_, err = reader.Open(f.ctx, tool, d, at, o)
	}
	var other *source.OtherKind
	return errors.As(err, &other)
}

// dialects are those that may be meant.
func (f *finder) dialects() []*source.Dialect {
	if f.wish.Dialect == "" {
		return Dialects
	}
	d, _ := Named(f.wish.Dialect)
	return []*source.Dialect{d}
}

// outputs enters a flake.
func (f *finder) outputs(ref string) (source.Location, []string, error) {
	if st, err := os.Stat(ref); err == nil && st.IsDir() {
		if abs, err := filepath.Abs(ref); err == nil {
			ref = abs
		}
	}
	at := source.Location{Flake: ref}
	tool, err := f.nix(f.ctx)
	if err == nil {
		at, err = reader.Enter(f.ctx, tool, at, f.opts)
	}
	if err != nil {
		return at, nil, err
	}
	outputs, err := reader.Outputs(f.ctx, tool, at, f.opts)
	return at, outputs, err
}

// flake is a flake that was named, with or without an attribute: an output that holds
// hosts, or a host and perhaps one of its profiles.
func (f *finder) flake(words []string) (*Found, error) {
	out := &Found{}
	ref, attr := "", ""
	for i, word := range words {
		r, path := flakeref.Split(word)
		if i > 0 && r != ref {
			return nil, fault.New("%s and %s are two flakes, and a run is about one", words[0], word)
		}
		ref = r
		if path == "" {
			continue
		}
		names, err := split(path)
		if err != nil {
			return nil, fault.New("%s: %w", word, err)
		}
		if outputDialect(names[0]) != nil {
			if attr != "" && attr != names[0] {
				return nil, fault.New("%s and %s are two outputs, and a run is about one", attr, names[0])
			}
			attr, names = names[0], names[1:]
		}
		if len(names) > 0 {
			out.Hosts = append(out.Hosts, names[0])
		}
		if len(names) > 1 && attr != "nixosConfigurations" && attr != "darwinConfigurations" && attr != "homeConfigurations" {
			if out.OnlyOf == nil {
				out.OnlyOf = map[string][]string{}
			}
			out.OnlyOf[names[0]] = append(out.OnlyOf[names[0]], names[1])
		}
	}
	at, outputs, err := f.outputs(ref)
	if err != nil {
		return nil, err
	}
	at.Given = words[0]
	for _, d := range f.dialects() {
		name := first(d.Outputs, outputs)
		if attr != "" {
			if name = ""; slices.Contains(d.Outputs, attr) && slices.Contains(outputs, attr) {
				name = attr
			}
		}
		if name != "" {
			at.Dialect, at.Attr = d.Name, name
			out.At = at
			return out, nil
		}
	}
	if attr != "" {
		outputs = slices.DeleteFunc(outputs, func(o string) bool { return o == attr })
		return nil, fault.New("the flake %s has no output %s that godwit can deploy", ref, attr).Hint("its outputs: %s", fault.Raw(strings.Join(outputs, ", ")))
	}
	return nil, noOutput(at, outputs)
}

// noOutput says that a flake has nothing to deploy.
func noOutput(at source.Location, outputs []string) *fault.Error {
	f := fault.New("the flake %s has no output that godwit can deploy", at.Name())
	if len(outputs) > 0 {
		f.Detail("its outputs: " + strings.Join(outputs, ", "))
	}
	var all []string
	for _, d := range Dialects {
		all = append(all, d.Outputs...)
	}
	return f.Hint("hosts are in one of %s", fault.Raw(strings.Join(all, ", ")))
}

func outputDialect(name string) *source.Dialect {
	for _, d := range Dialects {
		if slices.Contains(d.Outputs, name) {
			return d
		}
	}
	return nil
}

// first is the first of wanted that there is.
func first(wanted, there []string) string {
	for _, w := range wanted {
		if slices.Contains(there, w) {
			return w
		}
	}
	return ""
}

// Open opens what was found. A file of no telling name is opened with the dialect that
// it turns out to be written in.
func (f *Found) Open(ctx context.Context, tool *nix.Tool, o source.Options) (source.Source, error) {
	d, err := Named(f.At.Dialect)
	if err != nil {
		return nil, err
	}
	src, err := reader.Open(ctx, tool, d, f.At, o)
	var other *source.OtherKind
	if err == nil || !f.open || !errors.As(err, &other) {
		return src, err
	}
	for _, d := range Dialects {
		if slices.Contains(d.Kinds, other.Kind) && d.Name != f.At.Dialect {
			f.At.Dialect = d.Name
			return reader.Open(ctx, tool, d, f.At, o)
		}
	}
	return nil, err
}

// Empty says how a host is written down, where there is none.
func (f *Found) Empty() string {
	if d, err := Named(f.At.Dialect); err == nil {
		return d.Empty
	}
	return ""
}

// Named is the dialect of a name.
func Named(name string) (*source.Dialect, error) {
	for _, d := range Dialects {
		if d.Name == name {
			return d, nil
		}
	}
	names := Names()
	f := fault.New("there is no dialect '%s': there is %s", name, strings.Join(names, ", "))
	if near := fleet.Nearest(name, names); near != "" {
		f.Hint("did you mean %s?", near)
	}
	return nil, f
}

// At is the configuration of a key that a plan or a record names (source.Location.Key).
// Nothing is evaluated.
func At(ctx context.Context, tool *nix.Tool, key string, o source.Options) (*Found, error) {
	at := source.ParseKey(key)
	if at.Flake == "" {
		at.Dialect = fileDialect(at.File)
		return &Found{At: at, open: true}, nil
	}
	if d := outputDialect(at.Attr); d != nil {
		at.Dialect = d.Name
	}
	at, err := reader.Enter(ctx, tool, at, o)
	return &Found{At: at}, err
}

// Near is where a configuration most likely is, for who must not ask Nix: a flake's
// output is not known then.
func Near(w Wish) (source.Location, bool) {
	f := &finder{wish: w}
	word := w.File + w.Flake
	if len(w.Words) > 0 {
		word = w.Words[0]
	}
	if st, err := os.Stat(word); word != "" && err == nil && !st.IsDir() && filepath.Base(word) != "flake.nix" {
		found, err := f.file(word)
		return found.At, err == nil
	}
	if ref, _ := flakeref.Split(word); word != "" {
		if abs, err := filepath.Abs(ref); err == nil && !schemes.MatchString(ref) {
			ref = strings.TrimSuffix(abs, "/flake.nix")
		}
		return source.Location{Flake: ref}, true
	}
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		for _, d := range Dialects {
			for _, name := range d.Files {
				if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode().IsRegular() {
					return source.Location{File: filepath.Join(dir, name)}, true
				}
			}
		}
		if st, err := os.Stat(filepath.Join(dir, "flake.nix")); err == nil && st.Mode().IsRegular() {
			return source.Location{Flake: dir}, true
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	return source.Location{}, false
}
