package convert

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/flakeref"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/source"
	"godwit/internal/source/all"
	"godwit/internal/source/reader"
)

// FleetFile is the file that says how godwit reads a configuration whose systems no
// output of a flake has.
const FleetFile = "godwit-fleet.nix"

// Converted is what is to be written into the repository.
type Converted struct {
	// Files are their contents by name: godwit.nix, and what it needs.
	Files map[string]string
}

// wrappers are what the profiles of deploy-rs are taken apart with.
const wrappers = `  # What deploy-rs put its script around; and that, without its program for the host.
  inside = path:
    if path ? pathsToLink then builtins.head (path.override (old: { passthru = (old.passthru or { }) // { inside = old.paths; }; })).inside else path;
  without = path:
    if path ? pathsToLink then path.override (old: { paths = [ (builtins.head old.paths) ] ++ builtins.filter (p: builtins.match ".*-activate-rs" (p.name or "") == null) (builtins.tail old.paths); }) else path;
`

// From converts a loaded configuration, and sees to it that what is deployed stays the
// same: each host that it gives is compared with the one that it was made of.
func From(ctx context.Context, tool *nix.Tool, d *source.Dialect, a source.About, hosts []fleet.Host, o source.Options) (*Converted, error) {
	c := &converter{d: d, about: a, hosts: hosts, opts: o, own: map[string]bool{}}
	for _, h := range hosts {
		c.own[h.Name] = a.At.Flake == "" || !is(h.Main().Kind, fleet.NixOS, fleet.Darwin)
	}
	// First the flake's own configurations; where these are others, what the dialect makes.
	for {
		again, failed, err := c.load(ctx, tool)
		if err != nil {
			return nil, err
		}
		var other []string
		worse := false
		for i, h := range hosts {
			differs := failed[h.Name]
			if differs == "" {
				differs = difference(h, again[h.Name])
			}
			if differs != "" {
				other = append(other, h.Name+": "+differs)
				if !c.own[hosts[i].Name] {
					c.own[hosts[i].Name], worse = true, true
				}
			}
		}
		switch {
		case len(other) == 0:
			return c.files(), nil
		case !worse:
			return nil, fault.New("it cannot be converted so that the same is deployed").Detail(other...)
		}
	}
}

func is(k fleet.Kind, kinds ...fleet.Kind) bool { return slices.Contains(kinds, k) }

type converter struct {
	d     *source.Dialect
	about source.About
	hosts []fleet.Host
	opts  source.Options
	own   map[string]bool // hosts whose system is what the dialect makes of it
}

func (c *converter) deployRs() bool { return c.d.Name == "deploy-rs" }

// reads tells whether a file is needed that says how godwit reads the configuration.
func (c *converter) reads() bool {
	if c.deployRs() && c.about.At.Flake != "" {
		return false
	}
	return slices.ContainsFunc(c.hosts, func(h fleet.Host) bool {
		return c.own[h.Name] || slices.ContainsFunc(h.Secrets, func(s fleet.Secret) bool { return s.From.Text != "" })
	})
}

// expr is what a profile is made of.
func (c *converter) expr(h fleet.Host, p fleet.Profile) string {
	system := p.Name == fleet.SystemProfile && is(p.Kind, fleet.NixOS, fleet.Darwin)
	switch {
	case system && !c.own[h.Name]:
		return ""
	case c.deployRs():
		from := "self." + c.about.At.Attr
		if c.about.At.Flake == "" {
			from = "fleet"
		}
		path := fmt.Sprintf("%s.nodes.%s.profiles.%s.path", from, name(h.Name), name(p.Name))
		if p.Kind == fleet.Custom {
			return "without " + path
		}
		return "inside " + path
	}
	return "fleet.nodes." + name(h.Name)
}

// secret is the text of a secret, which stays where it is.
func (c *converter) secret(h fleet.Host, s fleet.Secret) string {
	return fmt.Sprintf("(fleet.host { system = false; } %s).secrets.%s.from.text", quote(h.Name), name(s.Name))
}

// text is godwit.nix, with an expression of how godwit reads the configuration.
func (c *converter) text(fleetExpr string) string {
	f := Fleet{About: c.about, Hosts: c.hosts, Expr: c.expr, Secret: c.secret}
	if c.reads() {
		f.Let += "  fleet = " + fleetExpr + ";\n"
	}
	if c.deployRs() {
		f.Let += wrappers
	}
	return f.Text()
}

// reading is that expression, a function of the flake, with the file at a path.
func (c *converter) reading(file string) string {
	at := c.about.At
	platforms := map[string]string{}
	for _, h := range c.hosts {
		if h.Platform.Guessed() {
			platforms[h.Name] = h.Platform.Name
		}
	}
	quoted, err := nix.QuoteJSON(platforms)
	if err != nil { // a map of texts has a JSON form
		panic(err)
	}
	if at.Flake != "" {
		at.Locked = &flakeref.Locked{Expr: "self"}
	}
	expr := c.d.Expr(at, c.opts)
	if at.Flake == "" {
		expr = strings.Replace(expr, nix.Quote(at.File), file, 1)
	}
	fallback := c.opts.Fallback
	if fallback == "" {
		fallback = "x86_64-linux"
	}
	return fmt.Sprintf("self: %s { systems = %s; fallback = %s; }", expr, quoted, nix.Quote(fallback))
}

// load reads what the text says, as it will be read out of the repository. failed says
// why a host cannot be read again.
func (c *converter) load(ctx context.Context, tool *nix.Tool) (hosts map[string]fleet.Host, failed map[string]string, err error) {
	at := c.about.At
	text := c.text("(" + c.reading(nix.Quote(at.File)) + ") self")
	locked := flakeref.Locked{Expr: "{ }"}
	if at.Locked != nil {
		locked = *at.Locked
	}
	locked.Expr = fmt.Sprintf("(let godwitFlake = %s; self = godwitFlake // { godwit = (%s) { inherit self; }; }; in self)", locked.Expr, text)
	locked.Key, locked.Dir = "", at.Dir() // the content is another
	o := c.opts
	o.Ahead, o.Above = nil, nil
	own, err := all.Named("godwit")
	if err != nil {
		return nil, nil, err
	}
	r, err := reader.Open(ctx, tool, own, source.Location{Flake: "path:" + at.Dir(), Attr: "godwit", Locked: &locked}, o)
	if err != nil {
		return nil, nil, err
	}
	res, err := r.Load(ctx, source.Request{Outputs: true, Selection: fleet.Selection{Every: 1}})
	if err != nil {
		return nil, nil, err
	}
	hosts, failed = map[string]fleet.Host{}, map[string]string{}
	for _, f := range res.Failed {
		failed[f.Host] = "what was written cannot be read again: " + event.Message(f.Err)
	}
	for _, h := range res.Fleet.Hosts {
		hosts[h.Name] = h
	}
	return hosts, failed, nil
}

// files are what is written, when all is the same.
func (c *converter) files() *Converted {
	out := &Converted{Files: map[string]string{}}
	out.Files["godwit.nix"] = c.text("import ./" + FleetFile + " self")
	if c.reads() {
		out.Files[FleetFile] = "# Written by 'godwit convert': how godwit reads the configuration.\n" +
			c.reading("(toString ./"+filepath.Base(c.about.At.File)+")") + "\n"
	}
	if c.about.At.Flake == "" {
		out.Files["flake.nix"] = "# Written by 'godwit convert'.\n{\n  outputs = { self }: { godwit = import ./godwit.nix { inherit self; }; };\n}\n"
	}
	return out
}

// difference says in what two readings of a host differ that matters to a deployment;
// "": in nothing.
func difference(was, is fleet.Host) string {
	if is.Name == "" {
		return "it is missing"
	}
	for _, s := range was.Secrets { // what no JSON has
		i := slices.IndexFunc(is.Secrets, func(x fleet.Secret) bool { return x.Name == s.Name })
		if i >= 0 && (is.Secrets[i].From.Text != s.From.Text || !slices.Equal(is.Secrets[i].From.Command, s.From.Command)) {
			return "the content of the secret " + s.Name + " would be another"
		}
	}
	a, b := plain(was), plain(is)
	for _, key := range slices.Sorted(slices.Values(slices.Collect(keysOf(a, b)))) {
		if !reflect.DeepEqual(a[key], b[key]) {
			before, _ := json.Marshal(a[key])
			after, _ := json.Marshal(b[key])
			return fmt.Sprintf("%s was %s and would be %s", key, before, after)
		}
	}
	return ""
}

func keysOf(all ...map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for _, m := range all {
			for key := range m {
				if !seen[key] {
					seen[key] = true
					if !yield(key) {
						return
					}
				}
			}
		}
	}
}

// plain is a host as its JSON form says it, without what only tells where things come from.
func plain(h fleet.Host) map[string]any {
	h.Platform.From = ""
	h.Profiles = slices.Clone(h.Profiles)
	for i := range h.Profiles {
		h.Profiles[i].Version = ""
	}
	h.Secrets = slices.Clone(h.Secrets)
	for i := range h.Secrets {
		h.Secrets[i].FileGiven = ""
	}
	b, err := json.Marshal(h)
	var out map[string]any
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	return out
}
