// Package flakeref enters flakes: it locks a reference as Nix does and gives an
// expression with which any of Nix's evaluating processes has the flake's outputs.
//
// `nix flake metadata --json` does the locking. It knows every kind of reference,
// finds the flake above a directory, takes tokens and registries from Nix's own
// settings, and never writes a lock file here. What it answers is all that the
// outputs depend on, so evaluation can be pure, which makes two things possible:
// the outputs are those that `nix build` sees, and a result can be known again by
// Locked.Key. Shown for Nix 2.8, 2.26 and 2.34 by TestEnter.
package flakeref

import (
	"context"
	"crypto/sha256"
	_ "embed" // enter.nix
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"godwit/internal/bounded"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/nix"
	"godwit/internal/store"
	"godwit/internal/storepath"
	"godwit/internal/ui/text"
)

//go:embed enter.nix
var enterNix string

// Options say how a flake is locked and evaluated.
type Options struct {
	// Overrides are inputs and what to take in their place: --override-input.
	Overrides [][2]string
	// Impure lets the configuration see this machine, as --impure does.
	Impure bool
	// Scope takes what Nix says meanwhile.
	Scope event.Scope
}

// Locked is a flake whose content cannot change any more.
type Locked struct {
	// URL is the reference as Nix wrote it, with the path of a local flake absolute.
	URL string
	// Dir is the directory on this machine that the files are of; "" for a flake
	// elsewhere. Path is their copy in the store; Subdir is where in them flake.nix is.
	Dir, Path, Subdir string
	// Rev is the revision; "" where there is none, as for a tree with changes.
	Rev string
	// Dirty says that it is a work tree with changes that are not committed.
	Dirty bool
	// Unlocked are changes that the flake's lock file needs, a line each, such as
	// "added input 'nixpkgs'". They hold for this run alone.
	Unlocked []string
	// Expr is a Nix expression that gives the flake, and Args are what the process that
	// evaluates it must be given.
	Expr string
	Args []string
	// Key names all content that the flake consists of; "" when evaluation is impure
	// and may depend on more.
	Key string
}

// Split takes apart REF#ATTR. Ref is "." where only an attribute is named.
func Split(given string) (ref, attr string) {
	ref, attr, _ = strings.Cut(given, "#")
	if ref == "" {
		ref = "."
	}
	return ref, attr
}

// metadata is what `nix flake metadata --json` says; all of it is there since 2.8.
type metadata struct {
	URL         string
	ResolvedURL string
	Path        string
	Locked      json.RawMessage
	Locks       json.RawMessage
	Resolved    struct{ Type, URL, Path, Dir string }
}

// most is how much of what Nix prints is read, in bytes. A lock of a hundred inputs
// has a tenth of a megabyte.
const most = 64 << 20

// Lock locks a flake. Whatever its lock file lacks is worked out as Nix does, which may
// need the network; nothing else is fetched.
func Lock(ctx context.Context, tool *nix.Tool, ref string, o Options) (*Locked, error) {
	args := []string{"flake", "metadata", "--json", "--no-write-lock-file"}
	if o.Impure {
		args = append(args, "--impure")
	}
	for _, v := range o.Overrides {
		args = append(args, "--override-input", v[0], v[1])
	}
	if o.Scope.Sink != nil { // it may have to fetch something
		o.Scope.Emit(event.Event{Kind: event.Progress, Text: "locking " + text.OneLine(ref)})
	}
	cmd := tool.Command(ctx, "nix", append(args, "--", ref)...)
	stderr := bounded.NewTail(8 << 20)
	cmd.Stderr = stderr
	out, err := bounded.Output(cmd, "what Nix says of the flake", most)
	if err != nil {
		return nil, explain(tool.Failure(ctx, cmd, err, stderr.String()), ref)
	}
	l, err := read(out, stderr.String(), o)
	if err != nil {
		return nil, fault.New("cannot read what %s says of the flake '%s': %s", tool.Version, ref, err).Because(err)
	}
	return l, nil
}

// read makes a flake of what `nix flake metadata --json` printed and said.
func read(out []byte, stderr string, o Options) (*Locked, error) {
	var m metadata
	var locked struct {
		Type, Rev, Dir string
		Submodules     bool
	}
	if err := json.Unmarshal(out, &m); err != nil {
		return nil, err
	}
	if m.Path == "" || len(m.Locks) == 0 || len(m.Locked) == 0 {
		return nil, errors.New("it says nothing of a lock")
	}
	if err := json.Unmarshal(m.Locked, &locked); err != nil {
		return nil, err
	}
	l := &Locked{URL: m.ResolvedURL, Path: m.Path, Subdir: locked.Dir, Rev: locked.Rev}
	l.Dir = directory(m.Resolved.Type, m.Resolved.URL, m.Resolved.Path)
	l.Dirty = l.Rev == "" && (locked.Type == "git" || locked.Type == "mercurial")
	changed := listen(stderr, l, o.Scope)
	l.Args = []string{"--extra-experimental-features", "nix-command flakes"}
	if !o.Impure {
		l.Args = append(l.Args, "--option", "pure-eval", "true")
		h := sha256.New()
		fmt.Fprintf(h, "%q %q %q %t", m.Locked, m.Locks, l.Subdir, changed)
		l.Key = hex.EncodeToString(h.Sum(nil))
	}
	// The URL that Nix 2.8 writes does not say that submodules are wanted.
	if l.Rev != "" && !changed && !locked.Submodules {
		l.Expr = "(builtins.getFlake " + nix.Quote(m.URL) + ")"
		return l, nil
	}
	there, err := nix.QuoteJSON(present(m.Locks, filepath.Dir(m.Path)))
	if err != nil {
		return nil, err
	}
	l.Expr = fmt.Sprintf("((%s) { lock = %s; locked = builtins.fromJSON %s; path = %s; dir = %s; there = %s; changed = %t; })",
		enterNix, nix.Quote(string(m.Locks)), nix.Quote(string(m.Locked)), nix.Quote(m.Path), nix.Quote(l.Subdir), there, changed)
	return l, nil
}

// present are the nodes of a lock whose files the store has: their hash is the path.
func present(locks []byte, storeDir string) map[string]string {
	var lock struct {
		Nodes map[string]struct {
			Locked struct{ NarHash string }
		}
	}
	out := map[string]string{}
	if json.Unmarshal(locks, &lock) != nil {
		return out
	}
	for name, n := range lock.Nodes {
		sum, err := store.ParseHash(n.Locked.NarHash)
		if err != nil {
			continue
		}
		path := storepath.OfNAR(storeDir, "source", sum)
		if _, err := os.Lstat(path); err == nil {
			out[name] = path
		}
	}
	return out
}

// directory is where a local flake's tree begins.
func directory(kind, ref, path string) string {
	switch kind {
	case "path":
		return path
	case "git", "mercurial", "hg":
		if u, err := url.Parse(ref); err == nil && u.Scheme == "file" {
			return u.Path
		}
	}
	return ""
}

var lockChange = regexp.MustCompile(`^• (Added|Updated|Removed) input (.+?):?$`)

// Other warnings are those of any Nix process: of its settings, of the store. That a tree
// is dirty, we say ourselves where it matters.
var aboutFlake = regexp.MustCompile(`\binputs?\b|\bflake configuration setting\b|\block file\b`)

// listen passes on what Nix warns of, and says whether the lock differs from the file
// in the tree. That it does not write the file is what we asked for.
func listen(stderr string, l *Locked, scope event.Scope) (changed bool) {
	within := false
	for _, line := range strings.Split(stderr, "\n") {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "warning: ")
		if m := lockChange.FindStringSubmatch(line); m != nil && within {
			l.Unlocked = append(l.Unlocked, text.Clean(strings.ToLower(m[1])+" input "+m[2]))
		}
		if !ok {
			continue
		}
		within = strings.HasPrefix(rest, "not writing modified lock file")
		if within {
			changed = true
		} else if aboutFlake.MatchString(rest) && scope.Sink != nil {
			scope.Warn(text.OneLine(rest))
		}
	}
	return changed
}

// explain adds what only this side knows: the directory that was meant.
func explain(err error, ref string) error {
	f, ok := err.(*fault.Error)
	if !ok || !strings.Contains(f.Msg, "flake.nix") {
		return err
	}
	if st, err2 := os.Stat(filepath.Join(ref, "flake.nix")); err2 == nil && st.Mode().IsRegular() {
		f.Msg = "flake.nix is there, but git does not know it, and a flake sees only what git knows"
		f.Hints = nil
		f.Hint("git -C %s add flake.nix", ref)
	}
	return err
}

// Outputs are the names of the flake's outputs. Only the function that gives them is
// called; none of them is evaluated.
func (l *Locked) Outputs(ctx context.Context, tool *nix.Tool) ([]string, error) {
	out, err := l.Tool(tool).Eval(ctx, nix.Evaluation{Expr: "builtins.attrNames " + l.Expr + ".outputs", Args: l.Args})
	if err != nil {
		return nil, err
	}
	var names []string
	if err := json.Unmarshal(out, &names); err != nil {
		return nil, fault.New("cannot read the outputs of the flake '%s': %s", l.URL, err).Because(err)
	}
	return names, nil
}

// Tool is a Nix whose errors name the person's own files, where they are copies of
// these in the store.
func (l *Locked) Tool(tool *nix.Tool) *nix.Tool {
	if l.Dir == "" {
		return tool
	}
	return tool.Reading(l.Path, l.Dir)
}

// Notes are lines for the person: what of the run comes from no file that others
// have.
func (l *Locked) Notes() []string {
	if len(l.Unlocked) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the lock file needs changes, which hold for this run alone: %s (nix flake lock writes them)", strings.Join(l.Unlocked, ", "))}
}
