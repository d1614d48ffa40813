package reader

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"strings"

	"godwit/internal/evalcache"
	"godwit/internal/flakeref"
	"godwit/internal/nix"
	"godwit/internal/source"
	"godwit/internal/ui/text"
)

// What a pure evaluation of a flake gave is kept by all that it depended on: the content
// of the flake and of its inputs, what is asked for in the words of the dialect's own
// Nix, and Nix itself with its settings. A second run of the same evaluates nothing.

// depends is everything that an evaluation depends on; "" where not all of it is known.
// of gives the expression, of a reader whose flake stands for its content alone: the way
// into a flake depends on what the store has at the moment.
func (r *Reader) depends(ctx context.Context, of func(r *Reader) (string, error)) string {
	locked := r.about.At.Locked
	if r.opts.Cache == "" || locked == nil || locked.Key == "" {
		return ""
	}
	c, err := r.tool.Config(ctx)
	if err != nil {
		return ""
	}
	bare := *r
	bare.about.At.Locked = &flakeref.Locked{Expr: "flake"}
	if bare.opts.Fallback == "" {
		bare.opts.Fallback = source.LinuxCounterpart(c.System)
	}
	expr, err := of(&bare)
	if err != nil {
		return ""
	}
	return evalcache.Key(locked.Key, c.Fingerprint(), r.tool.Version.String(), strings.Join(r.args(), "\x00"), expr)
}

// Outputs are the names of the outputs of an entered flake (flakeref.Locked.Outputs).
func Outputs(ctx context.Context, tool *nix.Tool, at source.Location, opts source.Options) ([]string, error) {
	r := &Reader{about: source.About{At: at}, tool: tool, dialect: &source.Dialect{}, opts: opts}
	key := r.depends(ctx, func(*Reader) (string, error) { return "outputs", nil })
	var names []string
	if json.Unmarshal(r.cache().Get(key)["outputs"], &names) == nil {
		return names, nil
	}
	names, err := at.Locked.Outputs(ctx, tool)
	if b, err2 := json.Marshal(names); err == nil && err2 == nil {
		r.cache().Put(key, map[string]json.RawMessage{"outputs": b})
	}
	return names, err
}

func (r *Reader) cache() evalcache.Cache { return evalcache.Cache{Dir: r.opts.Cache} }

// reopen describes the configuration as an earlier run found it.
func (r *Reader) reopen(ctx context.Context) bool {
	known := r.cache().Get(r.summaryKey(ctx))["summary"]
	if known == nil || r.describe(known) != nil {
		return false
	}
	c, err := r.tool.Config(ctx)
	if err != nil {
		return false
	}
	if r.opts.Fallback == "" {
		r.opts.Fallback = source.LinuxCounterpart(c.System)
	}
	return true
}

// keepSummary keeps what the configuration said of itself.
func (r *Reader) keepSummary(ctx context.Context) {
	if r.raw != nil {
		r.cache().Put(r.summaryKey(ctx), map[string]json.RawMessage{"summary": r.raw})
	}
}

func (r *Reader) summaryKey(ctx context.Context) string {
	return r.depends(ctx, func(r *Reader) (string, error) { return r.call(source.Request{}) + ".summary", nil })
}

// watchedKey is the key of an evaluation that is watched: all that is known of it before.
// What it asked of its environment is in the entry.
func (r *Reader) watchedKey(ctx context.Context, expr string) string {
	c, err := r.tool.Config(ctx)
	if err != nil || r.watch.sum == "" {
		return ""
	}
	return evalcache.Key(r.watch.sum, c.Fingerprint(), r.tool.Version.String(), strings.Join(r.args(), "\x00"), expr)
}

// evalEach evaluates what was not evaluated before, watched where that is possible, and
// keeps what it gave. expr is what each name is put to; left are the names without a
// result.
func (r *Reader) evalEach(ctx context.Context, each nix.Each, expr, key string, fresh map[string]json.RawMessage, left func() []string) error {
	w := r.watch
	if w == nil || w.sum == "" || len(each.Names) == 0 {
		err := r.tool.EvalEach(ctx, each)
		if err == nil && w == nil {
			r.cache().Put(key, fresh)
		}
		return err
	}
	if w.learns(expr) {
		w.learned, each.File = true, w.evaluated
		defer w.remember(r.opts.Cache)
		return r.tool.EvalEach(ctx, each)
	}
	alone, cancel := context.WithCancel(ctx)
	defer cancel()
	watching, err := w.each(each, cancel)
	if err != nil {
		return err
	}
	led := false
	if each.Lead != nil {
		watching.Lead = func(v json.RawMessage) error {
			led = true
			return each.Lead(v)
		}
	}
	err = r.tool.EvalEach(alone, watching)
	if ctx.Err() != nil || errors.Is(err, errGuess) {
		return err
	}
	defer w.remember(r.opts.Cache)
	if kept := w.keep(r.cache(), key, w.environ(each.Env), maps.Clone(fresh)); kept != nil && w.blame == nil {
		w.blame = &blame{What: kept.Error()}
	}
	// Also what failed: the error of an evaluation as Nix does it is the one that counts.
	if each.Names = left(); len(each.Names) == 0 {
		return nil
	}
	if led {
		each.Expr, each.Lead = "("+each.Expr+").each", nil
	}
	return r.tool.EvalEach(ctx, each)
}

// explainCache says whether results are kept, and which line is to blame where not.
func (r *Reader) explainCache() {
	if !r.opts.ExplainCache {
		return
	}
	switch {
	case r.opts.Cache == "":
		r.on().Note("results are not kept: --no-eval-cache")
	case r.about.At.Locked != nil && r.about.At.Locked.Key == "":
		r.on().Note("results are not kept: the flake is not evaluated purely")
	case r.unwatched != nil:
		r.on().Note("results are not kept: " + r.unwatched.Error())
	case r.watch != nil && r.watch.blame != nil:
		r.on().Note("results are not kept: " + r.watch.blame.String())
	case r.watch != nil && r.watch.learned:
		r.on().Note("results are kept from the next evaluation on: this one told which files it reads")
	case r.watch != nil && r.watch.failed != "":
		r.on().Note("not all results are kept: " + lastLine(r.watch.failed))
	default:
		r.on().Note("results are kept")
	}
}

// again takes what was evaluated before and gives the names of the other hosts of a
// query, which have to be evaluated.
func (r *Reader) again(key string, q query, env []string, take func(name string, value json.RawMessage) error) []string {
	if key == "" || q.lead != nil {
		return q.names
	}
	kept := r.cache().Get(key)
	what := "the flake has not changed"
	if r.watch != nil {
		kept, what = r.watch.kept(r.cache(), key, r.watch.environ(env)), "nothing that they read has changed"
	}
	names := []string{}
	for _, name := range q.names {
		if value, ok := kept[name]; !ok || !instantiated(value) || take(name, value) != nil {
			names = append(names, name)
		}
	}
	if n := len(q.names) - len(names); n > 0 {
		r.on().Note(text.Count(n, "host") + " as evaluated before: " + what)
	}
	return names
}

// knownAll tells whether a request needs no evaluation of hosts.
func (r *Reader) knownAll(ctx context.Context, req source.Request, m *memory) bool {
	if r.watch == nil || m == nil {
		return false
	}
	guess := *r
	guess.about = source.About{At: r.about.At, Names: m.Names, OrderingTags: m.OrderingTags}
	guess.opts.Fallback = m.Fallback
	first, err := guess.first(req)
	if err != nil {
		return false
	}
	host, err := first.query.host(guess.call(req))
	if err != nil {
		return false
	}
	env := guess.env(source.Hosts, first.names)
	kept := r.watch.kept(r.cache(), guess.watchedKey(ctx, host), r.watch.environ(env))
	for _, name := range first.names {
		if value, ok := kept[name]; !ok || !instantiated(value) {
			return false
		}
	}
	return true
}

// keepable says whether nothing in a host's metadata is a secret: the text of one, or a
// command that may hold one, is never written to a file.
func keepable(value json.RawMessage) bool {
	var j struct {
		Secrets map[string]struct {
			From struct {
				Text    *string
				Command []string
			}
		}
	}
	if json.Unmarshal(value, &j) != nil {
		return false
	}
	for _, s := range j.Secrets {
		if s.From.Text != nil || len(s.From.Command) > 0 {
			return false
		}
	}
	return true
}

// instantiated says whether the store has all derivations of a host. What one is built
// from lives as long as it does.
func instantiated(value json.RawMessage) bool {
	var j struct {
		Profiles []drvJSON
		Targets  map[string]drvJSON
	}
	if json.Unmarshal(value, &j) != nil {
		return false
	}
	for _, t := range j.Targets {
		j.Profiles = append(j.Profiles, t)
	}
	for _, p := range j.Profiles {
		if p.Drv == "" {
			continue
		}
		if _, err := os.Lstat(p.Drv); err != nil {
			return false
		}
	}
	return true
}
