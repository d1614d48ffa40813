package reader

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"godwit/internal/evalcache"
	"godwit/internal/event"
	"godwit/internal/nix"
	"godwit/internal/paths"
	"godwit/internal/regular"
	"godwit/internal/source"
)

// A configuration that is a file may read anything of this machine, so what it gave is
// kept only where it is known what it read. Nix evaluates it with restrict-eval: it reads
// the tree of the repository, the search path and the store, or it fails. Names that look
// at something else are replaced by ones of ours (watch.nix), which tell what was asked:
// environment variables, and whether files exist. The key is the content of all that may be read;
// an entry holds what was asked besides, and is taken only where all of that has the
// same answer. What cannot be told again (the time, a fetch without hash) ends the attempt,
// and what is left is evaluated as Nix does it.

//go:embed watch.nix
var watchNix string

// watched is one way to evaluate a configuration so that it is known what it reads.
type watched struct {
	file  string // of known
	known known
	tree  string
	store string
	roots []string // what may be read, beside the search path
	// allowed are roots, the store and the search path, with what symbolic links among them
	// lead to; above are the directories on the way there, of which no more may be read.
	allowed []string
	above   map[string]bool
	env     map[string]string
	sum     string // of the content of all that may be read
	again   func() (string, error)

	mu    sync.Mutex
	seen  seen
	files map[string]bool
	blame *blame
	// failed is what Nix said of an evaluation that failed for another reason.
	failed  string
	learned bool // the files of an expression, and nothing else
}

// known is what earlier evaluations of a configuration told, whatever its content was.
type known struct {
	Files []string `json:"files,omitempty"` // that were evaluated
	// More are files and directories outside of the tree that it reads.
	More  []string `json:"more,omitempty"`
	Blame *blame   `json:"blame,omitempty"`
	// Exprs are digests of the expressions whose files are among Files, the last used last.
	Exprs []string `json:"exprs,omitempty"`
}

// mostExprs bounds known.Exprs.
const mostExprs = 50

// learns notes an expression, and tells whether its files are not known yet. Then Nix
// evaluates it as ever, and tells the files: watched, each would be parsed anew for each
// import, which takes about twice as long.
func (w *watched) learns(expr string) bool {
	d := digest(expr)
	at := slices.Index(w.known.Exprs, d)
	if at >= 0 {
		w.known.Exprs = slices.Delete(w.known.Exprs, at, at+1)
	}
	w.known.Exprs = append(w.known.Exprs, d)
	w.known.Exprs = w.known.Exprs[max(0, len(w.known.Exprs)-mostExprs):]
	return at < 0
}

// evaluated notes a file.
func (w *watched) evaluated(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.files) < mostKnown {
		w.files[path] = true
	}
}

// blame is why nothing is kept.
type blame struct {
	What string `json:"what"`
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Text string `json:"text,omitempty"` // of the line
	// again says that the next attempt may succeed.
	again bool
}

func (b *blame) String() string {
	if b.File == "" {
		return b.What
	}
	return fmt.Sprintf("%s:%d: %s", source.Here(b.File), b.Line, b.What)
}

// stands tells whether the line to blame is still there.
func (b *blame) stands() bool {
	if b == nil || b.Text == "" {
		return false
	}
	text, err := regular.Read(b.File, 16<<20)
	return err == nil && slices.ContainsFunc(strings.Split(string(text), "\n"), func(l string) bool { return strings.TrimSpace(l) == b.Text })
}

// seen are the answers that an evaluation got of this machine.
type seen struct {
	Env    map[string]string `json:"env,omitempty"`    // name -> digest of the value
	Exists map[string]bool   `json:"exists,omitempty"` // path -> whether it is there
}

// same tells whether the answers would be the same now.
func (s seen) same(env map[string]string) bool {
	for name, was := range s.Env {
		if was != digest(env[name]) {
			return false
		}
	}
	for path, was := range s.Exists {
		if was != exists(path) {
			return false
		}
	}
	return true
}

// digest hides a value: it may be a secret.
func digest(value string) string {
	sum := sha256.Sum256([]byte("godwit " + value))
	return hex.EncodeToString(sum[:12])
}

// exists is builtins.pathExists: of a path that ends with /. a directory is wanted.
func exists(path string) bool {
	if dir, ok := strings.CutSuffix(path, "/."); ok {
		st, err := os.Stat(dir + "/")
		return err == nil && st.IsDir()
	}
	_, err := os.Lstat(path)
	return err == nil
}

// mostKnown bounds the list of evaluated files.
const mostKnown = 20_000

// notInTree are names at the top of a tree that no configuration is made of: what
// godwit, git and Nix write there. Reading them is refused.
var notInTree = regexp.MustCompile(`^(\.git|\.gcroots|\.direnv|result(-.*)?)$`)

// errUnwatched ends an evaluation whose result could not be kept, or would not be what
// Nix gives.
var errUnwatched = errors.New("it reads what cannot be watched")

// search is how Nix finds <names> in an evaluation.
type search struct {
	Path   []struct{ Path, Prefix string }
	Impure bool
}

// search asks Nix, once for the same settings, arguments and environment of Nix's own.
func (r *Reader) search(ctx context.Context, c *nix.Config) (s search, err error) {
	const expr = "{ path = builtins.nixPath; impure = builtins ? currentTime; }"
	all := []string{"search", r.tool.Version.String(), r.tool.Program("nix-instantiate"), c.Fingerprint(), strings.Join(r.args(), "\x00"), expr}
	for _, v := range r.tool.Environ() {
		if nixsVariable.MatchString(v) {
			all = append(all, v)
		}
	}
	key := evalcache.Key(all...)
	if known := r.cache().Get(key)["search"]; known != nil && json.Unmarshal(known, &s) == nil {
		return s, nil
	}
	out, err := r.tool.Eval(ctx, nix.Evaluation{Expr: expr, Args: r.args(), Scope: event.On(event.Discard, "", "")})
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(out, &s); err != nil {
		return s, err
	}
	r.cache().Put(key, map[string]json.RawMessage{"search": out})
	return s, nil
}

// nixsVariable are the variables that Nix makes a search path of, with where it looks for channels.
var nixsVariable = regexp.MustCompile(`^(NIX_[A-Z_]*|HOME|USER|XDG_[A-Z_]*)=`)

// watch prepares the watching of a configuration; nil with the reason where it cannot be.
func (r *Reader) prepare(ctx context.Context) (*watched, error) {
	c, err := r.tool.Config(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.tells(ctx); err != nil {
		return nil, err
	}
	for _, name := range []string{"restrict-eval", "allow-unsafe-native-code-during-evaluation"} {
		if v, _ := c.Get(name); v == "true" {
			return nil, fmt.Errorf("the setting %s is on", name)
		}
	}
	h := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", r.dialect.Name, r.about.At.Key(), r.tool.Settings().Options))
	w := &watched{file: filepath.Join(r.opts.Cache, "known-"+hex.EncodeToString(h[:12])+".json"), store: c.StoreDir, env: map[string]string{},
		seen: seen{Env: map[string]string{}, Exists: map[string]bool{}}, files: map[string]bool{}}
	if b, err := regular.Read(w.file, 32<<20); err == nil {
		_ = json.Unmarshal(b, &w.known)
	}
	if b := w.known.Blame; b.stands() {
		w.blame = b
		return w, nil
	}
	for _, v := range r.tool.Environ() {
		name, value, _ := strings.Cut(v, "=")
		w.env[name] = value
	}
	nixs, err := r.search(ctx, c)
	if err != nil {
		return nil, err
	}
	if !nixs.Impure {
		return nil, errors.New("the setting pure-eval is on")
	}
	search := nixs.Path
	w.tree = treeOf(r.about.At.File)
	entries, err := os.ReadDir(w.tree)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !notInTree.MatchString(e.Name()) {
			w.roots = append(w.roots, filepath.Join(w.tree, e.Name()))
		}
	}
	w.roots = append(w.roots, w.known.More...)
	allowed := append([]string{w.store}, w.roots...)
	for _, e := range search {
		if strings.Contains(e.Path, ":") {
			return nil, fmt.Errorf("the search path names %s", e.Path)
		}
		allowed = append(allowed, e.Path)
	}
	w.allow(allowed)
	w.again = func() (string, error) {
		within := append([]string{w.store}, w.roots...)
		for _, e := range search {
			within = append(within, e.Path)
		}
		p := evalcache.NewPrint(within...)
		add := func(path string) error {
			end, err := filepath.EvalSymlinks(path)
			p.Note(path, end)
			met, _ := walk(path)
			for _, l := range met {
				to, _ := os.Readlink(l)
				p.Note(l, to)
			}
			if err != nil || evalcache.In(end, w.store) {
				return nil // nothing is there; or it stands for itself
			}
			return p.Add(end)
		}
		for _, root := range w.roots {
			if err := add(root); err != nil {
				return "", err
			}
		}
		for _, e := range search {
			p.Note(e.Prefix, e.Path)
			if err := add(e.Path); err != nil {
				return "", err
			}
		}
		return p.Sum(), nil
	}
	if w.sum, err = w.again(); err != nil {
		return nil, err
	}
	return w, nil
}

// treeOf is the repository that a file is in, or else its directory.
func treeOf(file string) string {
	for dir := filepath.Dir(file); ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return filepath.Dir(file)
		}
	}
}

// each makes an evaluation one that is watched. cancel ends it.
func (w *watched) each(e nix.Each, cancel func()) (nix.Each, error) {
	aside, env := nix.NewMark(), w.environ(e.Env)
	values, err := nix.QuoteJSON(env)
	if err != nil {
		return e, err
	}
	var files []string
	for _, f := range w.known.Files {
		if files = append(files, f); filepath.Base(f) == "default.nix" {
			files = append(files, filepath.Dir(f))
		}
	}
	list, err := nix.QuoteJSON(append([]string{}, files...))
	if err != nil {
		return e, err
	}
	e.Expr = fmt.Sprintf(`(let godwit = (%s) { aside = %s; env = %s; files = %s; }; in let
		inherit (godwit) builtins import scopedImport fetchTarball fetchGit fetchMercurial __findFile __nixPath __getEnv __pathExists __readDir __currentTime; in %s)`,
		watchNix, nix.Quote(aside), values, list, e.Expr)
	e.Args = append(slices.Clone(e.Args), "--option", "restrict-eval", "true", "--option", "allowed-uris", "http:/ https:/ ssh:/ git+ssh:/ git+https:/ git:/")
	for i, path := range w.allowed {
		e.Args = append(e.Args, "-I", fmt.Sprintf("godwit-%d=%s", i, path))
	}
	e.Aside, e.File, e.Began = aside, w.evaluated, w.began
	e.Saw = func(line string) error { return w.saw(line, env) }
	e.Again = func(name, said string) bool {
		if w.refused(said) {
			cancel()
		} else {
			w.failed = said
		}
		return true
	}
	return e, nil
}

// environ is the environment of an evaluation.
func (w *watched) environ(more []string) map[string]string {
	env := maps.Clone(w.env)
	for _, v := range more {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	return env
}

// saw takes what an evaluation asked.
func (w *watched) saw(line string, env map[string]string) error {
	word, value, _ := strings.Cut(line, " ")
	w.mu.Lock()
	defer w.mu.Unlock()
	switch word {
	case "env":
		var name string
		if json.Unmarshal([]byte(value), &name) == nil {
			w.seen.Env[name] = digest(env[name])
		}
	case "exists":
		var e struct {
			Path string
			Is   bool
		}
		if json.Unmarshal([]byte(value), &e) != nil || !filepath.IsAbs(e.Path) || strings.Contains(e.Path, "/../") || strings.HasSuffix(e.Path, "/..") {
			w.blame = w.find("pathExists", "asks whether a path is there that is not in its shortest form")
			return errUnwatched
		}
		// It is not there for who may not read it: Nix would have said that it is.
		if e.Is != exists(e.Path) {
			if w.above[filepath.Clean(e.Path)] {
				return w.partly(filepath.Clean(e.Path))
			}
			w.blame = w.find("pathExists", fmt.Sprintf("asks whether %s is there, which is outside of %s", e.Path, w.tree))
			w.more(e.Path)
			return errUnwatched
		}
		w.seen.Exists[e.Path] = e.Is
	case "names":
		var dir string
		if json.Unmarshal([]byte(value), &dir) != nil || !filepath.IsAbs(dir) {
			w.blame = w.find("readDir", "reads the names in a directory that is not in its shortest form")
			return errUnwatched
		}
		dir = filepath.Clean(dir)
		end, err := filepath.EvalSymlinks(dir)
		if err == nil && end == w.store || w.above[dir] || w.above[end] {
			return w.partly(dir)
		}
	case "blame":
		var b struct{ Word, What string }
		_ = json.Unmarshal([]byte(value), &b)
		w.blame = w.find(b.Word, "reads "+b.What)
	}
	return nil
}

// find is the blame of the first line of the configuration's own files that has a word.
func (w *watched) find(word, what string) *blame {
	return w.findLine(what, func(_, line string) bool { return strings.Contains(line, word) })
}

// findLine is the blame of the first line of the configuration's own files that is to
// blame, without a line where none is; is takes the file, too.
func (w *watched) findLine(what string, is func(file, line string) bool) *blame {
	for _, f := range slices.Sorted(maps.Keys(w.files)) {
		if !evalcache.In(f, w.tree) {
			continue
		}
		b, err := regular.Read(f, 16<<20)
		if err != nil {
			continue
		}
		for i, l := range strings.Split(string(b), "\n") {
			if is(f, l) {
				return &blame{What: what, File: f, Line: i + 1, Text: strings.TrimSpace(l)}
			}
		}
	}
	return &blame{What: what}
}

var (
	forbidden = regexp.MustCompile(`access to (?:absolute )?(?:path|URI) '([^']*)' is forbidden`)
	position  = regexp.MustCompile(`(?m)at (/[^:\n]+):(\d+)(?::\d+)?:`)
)

// refused takes the error of an evaluation that read what it may not, and tells false for
// any other error.
func (w *watched) refused(said string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := forbidden.FindStringSubmatch(said)
	if m == nil && w.blame == nil {
		return false
	}
	if w.blame == nil && w.above[m[1]] {
		_ = w.partly(m[1])
	}
	if w.blame == nil {
		w.blame = &blame{What: "reads " + m[1]}
		if filepath.IsAbs(m[1]) {
			w.blame.What += ", which is outside of " + w.tree
			w.more(m[1])
		}
	}
	if w.blame.File != "" {
		return true
	}
	defer func() {
		if !w.blame.again {
			w.blame.Text = lineOf(w.blame.File, w.blame.Line)
		}
	}()
	// The trace is from the outside in, with versions differing; what is wanted is the
	// innermost line of the configuration's own.
	for _, p := range position.FindAllStringSubmatch(said, -1) {
		if evalcache.In(p[1], w.tree) {
			w.blame.File = p[1]
			w.blame.Line, _ = strconv.Atoi(p[2])
		}
	}
	return true
}

func lineOf(file string, n int) string {
	b, err := regular.Read(file, 16<<20)
	if err != nil {
		return ""
	}
	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(nil, 1<<20)
	for i := 1; sc.Scan(); i++ {
		if i == n {
			return strings.TrimSpace(sc.Text())
		}
	}
	return ""
}

// more has a path outside of the tree be part of the key from the next evaluation on.
func (w *watched) more(path string) {
	for _, dir := range []string{"/proc", "/sys", "/dev", w.tree + "/.git"} {
		if evalcache.In(path, dir) || path == "/" {
			return
		}
	}
	if evalcache.In(w.tree, path) || len(w.known.More) >= 50 || slices.Contains(w.known.More, path) {
		return
	}
	w.known.More = append(w.known.More, path)
	w.blame.Text, w.blame.again = "", true
	w.blame.What += " (it is watched from now on)"
}

// remember keeps what the next evaluation is to know.
func (w *watched) remember(dir string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := known{More: w.known.More, Files: w.known.Files, Exprs: w.known.Exprs}
	if len(w.files) > 0 {
		k.Files = slices.Sorted(maps.Keys(w.files))
		if w.learned { // those of other expressions, too
			k.Files = slices.Compact(slices.Sorted(slices.Values(append(k.Files, w.known.Files...))))
			k.Files = k.Files[:min(len(k.Files), mostKnown)]
		}
	}
	if w.blame != nil && w.blame.Text != "" {
		k.Blame = w.blame
	}
	if b, err := json.Marshal(k); err == nil && os.MkdirAll(dir, 0o700) == nil {
		_ = paths.Write(w.file, b)
	}
}

// seenKey is where an entry holds what was asked.
const seenKey = "\x00seen"

// kept are the hosts of an entry, where all that was asked has the same answer.
func (w *watched) kept(c evalcache.Cache, key string, env map[string]string) map[string]json.RawMessage {
	all := c.Get(key)
	var s seen
	if all == nil || json.Unmarshal(all[seenKey], &s) != nil || !s.same(env) {
		return nil
	}
	return all
}

// keep adds hosts to an entry, if nothing changed while they were evaluated.
func (w *watched) keep(c evalcache.Cache, key string, env map[string]string, fresh map[string]json.RawMessage) error {
	if len(fresh) == 0 {
		return nil
	}
	if now, err := w.again(); err != nil || now != w.sum {
		return errors.Join(err, errors.New("a file changed while it was evaluated"))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.kept(c, key, env)
	if all == nil {
		all = map[string]json.RawMessage{}
	}
	var s seen
	_ = json.Unmarshal(all[seenKey], &s)
	maps.Copy(w.seen.Env, s.Env)
	maps.Copy(w.seen.Exists, s.Exists)
	b, err := json.Marshal(w.seen)
	if err != nil {
		return err
	}
	maps.Copy(all, fresh)
	all[seenKey] = b
	c.Set(key, all)
	return nil
}

// lastLine is what an error of Nix's says in the end, or in its first line, where
// versions before 2.16 say it.
func lastLine(said string) string {
	line := ""
	for l := range strings.Lines(said) {
		if e, ok := strings.CutPrefix(strings.TrimSpace(l), "error: "); ok && e != "" {
			line = e
		}
	}
	return line
}
