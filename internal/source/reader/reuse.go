package reader

import (
	"context"
	"encoding/json"
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

// again takes what was evaluated before and gives the names of the other hosts of a
// query, which have to be evaluated.
func (r *Reader) again(key string, q query, take func(name string, value json.RawMessage) error) []string {
	if key == "" || q.lead != nil {
		return q.names
	}
	kept := r.cache().Get(key)
	names := []string{}
	for _, name := range q.names {
		if value, ok := kept[name]; !ok || !instantiated(value) || take(name, value) != nil {
			names = append(names, name)
		}
	}
	if n := len(q.names) - len(names); n > 0 {
		r.on().Note(text.Count(n, "host") + " as evaluated before: the flake has not changed")
	}
	return names
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
