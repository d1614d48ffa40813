package reader

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
	"godwit/internal/source"
)

// Eval gives nodes.ATTRIBUTE as Nix writes it, or as JSON. The attribute is a
// path as nix-instantiate --attr takes it: names with dots are in double quotes.
func (r *Reader) Eval(ctx context.Context, attribute string, asJSON bool) (string, error) {
	host := firstWord(attribute)
	if host == "" {
		return "", fault.New("name an attribute").Hint("it begins with the name of a host, such as %s", fault.Raw(example(r.about.Names)))
	}
	if !slices.Contains(r.about.Names, host) {
		f := fault.New("there is no host '%s'", host)
		if near := fleet.Nearest(host, r.about.Names); near != "" {
			f.Msg += fmt.Sprintf(" (did you mean %s?)", near)
		}
		return "", f.Hint("an attribute begins with the name of a host, such as %s", fault.Raw(example(r.about.Names)))
	}
	if strings.Trim(attribute, `". `) == firstWord(attribute) {
		// A node refers to itself in many ways: Nix would be at it for ever.
		return "", fault.New("a whole node cannot be printed, because it contains itself: name one of its attributes").Hint("for instance %s", fault.Raw(example([]string{firstWord(attribute)})))
	}
	out, err := r.eval(ctx, nix.Evaluation{
		Expr: r.call(source.Request{}), Args: []string{"--attr", "nodes." + attribute}, Text: !asJSON, Scope: r.on(),
	}, r.opts.Fallback, "nodes."+attribute)
	return string(out), err
}

// Apply gives what a function of { nodes, pkgs, lib } gives, as JSON. A dialect that has
// no packages of its own gives those of the first host.
func (r *Reader) Apply(ctx context.Context, function string) (string, error) {
	out, err := r.eval(ctx, nix.Evaluation{
		Expr: fmt.Sprintf(`(let
			h = %s;
			first = h.nodes.${builtins.head h.summary.names};
			introspect = h.introspect or (f: f { inherit (h) nodes; inherit (first) pkgs; inherit (first.pkgs) lib; });
			f =
%s
;
		in introspect f)`, r.call(source.Request{}), function), Scope: r.on(),
	}, r.opts.Fallback, "introspect")
	return string(out), err
}

func example(names []string) string {
	name := "HOST"
	if len(names) > 0 {
		name = names[0]
	}
	if strings.Contains(name, ".") {
		name = `'"` + name + `"'`
	}
	return name + ".config.networking.hostName"
}

// firstWord is the first name of an attribute path.
func firstWord(path string) string {
	if rest, ok := strings.CutPrefix(path, `"`); ok {
		word, _, _ := strings.Cut(rest, `"`)
		return word
	}
	word, _, _ := strings.Cut(path, ".")
	return word
}

// InShell gives a Tool whose processes run in the environment of the configuration's
// shell, as morph's --allow-build-shell runs nix-build there. The shell is one of this
// machine, so it is evaluated with this machine's system.
func (r *Reader) InShell(ctx context.Context, tool *nix.Tool) (*nix.Tool, error) {
	if !r.about.Shell {
		return tool, nil
	}
	out, err := r.eval(ctx, nix.Evaluation{Expr: r.call(source.Request{}) + ".buildShell", Scope: r.on()}, "", source.Shell)
	if err != nil {
		return nil, err
	}
	var drv drvJSON
	if err := json.Unmarshal(out, &drv); err != nil {
		return nil, fault.New("cannot read %s: %s", r.dialect.Word("buildShell"), err).Because(err)
	}
	return tool.InShell(ctx, drv.Drv)
}
