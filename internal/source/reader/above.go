package reader

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"godwit/internal/evalcache"
	"godwit/internal/event"
	"godwit/internal/nix"
	"godwit/internal/scratch"
)

// Since 2.19 restrict-eval does not refuse a directory above what may be read: it leaves
// out of it, silently, what may not (AllowListSourceAccessor). Who copies such a directory
// to the store gets another store path than without restrict-eval, and who lists it
// gets other names. Both can be told: watch.nix says which directories are listed, and Nix's
// log names all that it copies before the value that comes of it. tells finds out whether
// the log does.

// allow says what an evaluation may read.
func (w *watched) allow(paths []string) {
	w.above = map[string]bool{}
	for _, path := range paths {
		met, _ := walk(path)
		for _, p := range append(append([]string{resolved(path)}, met...), path) {
			if !slices.Contains(w.allowed, p) {
				w.allowed = append(w.allowed, p)
			}
		}
	}
	w.allowed = inTurn(w.allowed)
	for _, p := range w.allowed {
		for dir := filepath.Dir(p); ; dir = filepath.Dir(dir) {
			if !slices.ContainsFunc(w.allowed, func(a string) bool { return evalcache.In(dir, a) }) {
				w.above[dir], w.above[resolved(dir)] = true, true
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
}

// inTurn orders what may be read as Nix 2.26 takes it: it follows each entry as it comes to it,
// and all that is on the way must be allowed by then, or be a directory above what is.
func inTurn(entries []string) []string {
	var turn []string
	ways := map[string][]string{}
	for _, e := range entries {
		_, ways[e] = walk(e)
	}
	left := slices.Clone(entries)
	for ready := true; ready; {
		ready = false
		left = slices.DeleteFunc(left, func(e string) bool {
			for _, at := range ways[e] {
				if !slices.ContainsFunc(append(turn, e), func(a string) bool { return evalcache.In(at, a) || evalcache.In(a, at) }) {
					return false
				}
			}
			turn, ready = append(turn, e), true
			return true
		})
	}
	return append(turn, left...)
}

// walk goes to what an absolute path names: the symbolic links on the way, and all that it
// comes to, both as they are met.
func walk(path string) (links, way []string) {
	at, rest := "/", strings.Split(strings.Trim(filepath.Clean(path), "/"), "/")
	for len(rest) > 0 {
		next := filepath.Join(at, rest[0])
		way, rest = append(way, next), rest[1:]
		to, err := os.Readlink(next)
		if err != nil {
			at = next
			continue
		}
		if links = append(links, next); len(links) > 40 {
			break // as the kernel does
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(at, to)
		}
		at, rest = "/", append(strings.Split(strings.Trim(filepath.Clean(to), "/"), "/"), rest...)
	}
	return links, way
}

// resolved is a path without symbolic links; the path itself where nothing is there.
func resolved(path string) string {
	if end, err := filepath.EvalSymlinks(path); err == nil {
		return end
	}
	return path
}

// began takes the text of an activity: a copy of what may not be read in whole ends the
// evaluation.
func (w *watched) began(text string) error {
	if !strings.Contains(text, "'/") {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for dir := range w.above {
		if strings.Contains(text, "'"+dir+"'") {
			return w.partly(dir)
		}
	}
	return nil
}

// partly ends an evaluation that reads a directory of which it may read a part.
func (w *watched) partly(dir string) error {
	w.blame = w.findPath(dir, "reads the directory "+dir+", and not all of it is watched")
	w.more(dir)
	return errUnwatched
}

// pathLiteral is a path of the Nix language that begins where its file is.
var pathLiteral = regexp.MustCompile(`\.\.?/[A-Za-z0-9._/+-]*`)

// findPath is the blame of the first line of the configuration's own files that names a path.
func (w *watched) findPath(path, what string) *blame {
	b := w.findLine(what, func(file, line string) bool {
		return slices.ContainsFunc(pathLiteral.FindAllString(line, -1), func(p string) bool { return filepath.Join(filepath.Dir(file), p) == path })
	})
	if b.File == "" {
		return w.find(path, what)
	}
	return b
}

// copies are the ways of the Nix language to copy a directory to the store, as expressions
// of one in PLACE.
var copies = []string{`"${PLACE}"`, `builtins.toJSON PLACE`, `builtins.path { name = "path"; path = PLACE; }`,
	`builtins.path { name = "filter"; path = PLACE; filter = _: _: true; }`, `builtins.filterSource (_: _: true) PLACE`,
	`(derivation { name = "d"; system = "s"; builder = "b"; src = PLACE; }).drvPath`}

// tells is nil where Nix refuses to read a directory of which it may read a part, or
// tells of each copy of one. It is asked once of each Nix, by two processes: what one
// keeps, the other may find.
func (r *Reader) tells(ctx context.Context) error {
	v := r.tool.Version
	if v.IsLix() {
		return fmt.Errorf("what a file reads cannot be told with %s", v)
	}
	if !v.AtLeast(2, 19) {
		return nil
	}
	c, err := r.tool.Config(ctx)
	if err != nil {
		return err
	}
	key := evalcache.Key("tells", v.String(), c.Fingerprint(), strings.Join(copies, "\x00"))
	known := r.cache().Get(key)["tells"]
	if known == nil {
		told, err := r.probe(ctx)
		if err != nil {
			return err
		}
		if known, err = json.Marshal(told); err != nil {
			return err
		}
		r.cache().Put(key, map[string]json.RawMessage{"tells": known})
	}
	if string(known) != "true" {
		return fmt.Errorf("what a file reads cannot be told with %s", v)
	}
	return nil
}

// probe copies a directory in each way and tells whether each was refused or told of.
func (r *Reader) probe(ctx context.Context) (bool, error) {
	tmp, err := scratch.New("watch-")
	if err != nil {
		return false, err
	}
	defer func() { _ = tmp.Remove() }()
	// The person's search path is none of it: it may lead over links to what is not allowed here.
	each := nix.Each{Workers: 1, Sink: event.Discard, Args: []string{"--option", "restrict-eval", "true", "--option", "nix-path", ""}, Expr: "name: {"}
	dirs := map[string]string{}
	for i, way := range copies {
		name := fmt.Sprintf("way%d", i)
		dir := filepath.Join(resolved(tmp.Path), name)
		for _, sub := range []string{"seen", "unseen"} {
			if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
				return false, err
			}
			if err := os.WriteFile(filepath.Join(dir, sub, "file"), []byte(sub), 0o644); err != nil {
				return false, err
			}
		}
		dirs[name] = dir
		each.Names = append(each.Names, name)
		each.Expr += fmt.Sprintf(" %s = %s;", name, strings.ReplaceAll(way, "PLACE", nix.QuotePath(dir)))
		each.Args = append(each.Args, "-I", fmt.Sprintf("%s=%s", name, filepath.Join(dir, "seen")))
	}
	each.Expr += " }.${name}"
	for range 2 {
		told := map[string]bool{}
		each.Began = func(text string) error {
			for name, dir := range dirs {
				if strings.Contains(text, "'"+dir+"'") {
					told[name] = true
				}
			}
			return nil
		}
		good := 0
		each.Got = func(name string, _ json.RawMessage) error {
			if told[name] {
				good++
			}
			return nil
		}
		each.Again = func(_, said string) bool {
			if forbidden.MatchString(said) {
				good++
			}
			return true
		}
		if err := r.tool.EvalEach(ctx, each); err != nil {
			return false, err
		}
		if good != len(copies) {
			return false, nil
		}
	}
	return true, nil
}
