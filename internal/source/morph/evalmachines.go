package morph

import (
	"context"
	"encoding/json"
	"fmt"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
)

// With MORPH_NIX_EVAL_MACHINES somebody brings an eval-machines.nix of their
// own, which may mean anything by a network. Then morph's two steps are taken
// with that file: `info.deployment' of all hosts first, and the systems of
// the selected ones from `nodes' afterwards (morph builds `machines', one
// derivation that links to the same systems).

// machines is the expression of the replacement, called as morph calls it.
func (n *Network) machines() string {
	return fmt.Sprintf(`(let f = import %s; in f ({ networkExpr = %s; } // (if (builtins.functionArgs f) ? argsFile then { argsFile = ""; } else { })))`,
		nix.QuotePath(n.opts.EvalMachines), nix.QuotePath(n.File))
}

// openWith reads metadata of all hosts with the replacement.
func (n *Network) openWith(ctx context.Context) error {
	args, err := n.tool.SystemOption(ctx, n.opts.Fallback)
	if err != nil {
		return err
	}
	out, err := n.tool.Eval(ctx, nix.Evaluation{
		Expr: n.machines() + ".info.deployment", Args: args,
		Scope: event.On(n.opts.Sink, "", event.StepEvaluate), Env: n.env("info.deployment", nil),
	})
	if err != nil {
		return err
	}
	var d struct {
		Hosts []json.RawMessage
		Meta  struct {
			Description string
			Ordering    struct{ Tags []string }
		}
	}
	if err := json.Unmarshal(out, &d); err != nil {
		return fault.New("cannot read what %s says of the hosts: %s", n.opts.EvalMachines, err).Because(err).
			Hint("unset MORPH_NIX_EVAL_MACHINES to use godwit's own evaluation")
	}
	n.Description, n.OrderingTags = d.Meta.Description, d.Meta.Ordering.Tags
	n.given = map[string]fleet.Host{}
	for _, raw := range d.Hosts {
		// morph nests the owner of a secret, and calls the release nixosRelease.
		var extra struct {
			NixosRelease string
			NixConfig    map[string]string
			Secrets      map[string]struct{ Owner struct{ User, Group string } }
		}
		h, _, _, err := n.decode(raw)
		if err == nil {
			err = json.Unmarshal(raw, &extra)
		}
		if err != nil {
			return fault.New("cannot read what %s says of a host: %s", n.opts.EvalMachines, err).Because(err)
		}
		h.Release = extra.NixosRelease
		for i, s := range h.Secrets {
			h.Secrets[i].User, h.Secrets[i].Group = extra.Secrets[s.Name].Owner.User, extra.Secrets[s.Name].Owner.Group
		}
		if n.NixConfig == nil {
			n.NixConfig = extra.NixConfig // morph takes the first host's
		}
		n.Names = append(n.Names, h.Name)
		n.given[h.Name] = h
	}
	return nil
}

// loadWith gives the named hosts, with systems when they are asked for.
func (n *Network) loadWith(ctx context.Context, names []string, r Request, res *Result) ([]fleet.Host, error) {
	var hosts []fleet.Host
	for _, name := range names {
		h := n.given[name]
		if err := settleTarget(&h); err != nil {
			res.Failed = append(res.Failed, HostError{name, err})
			continue
		}
		hosts = append(hosts, h)
	}
	hosts = fleet.Tagged(hosts, r.Selection.Tagged)
	if !r.Systems {
		return hosts, nil
	}
	names = names[:0:0]
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	targets := n.targets()
	found := map[string]hostJSON{}
	err := n.tool.EvalEach(ctx, nix.Each{
		Names: names,
		Expr: fmt.Sprintf(`let m = %s; targets = %s; out = d: { drv = d.drvPath; out = d.outPath; }; in name:
let node = m.nodes.${name}; toplevel = node.config.system.build.toplevel; in {
  platform = { system = node.pkgs.stdenv.hostPlatform.system or toplevel.system; from = "pkgs"; };
  toplevel = if targets == null then out toplevel else null;
  targets = if targets == null then { } else builtins.mapAttrs (_: f: out (f node)) targets;
}`, n.machines(), targets),
		Env: n.env("machines", names), System: n.system, Workers: n.opts.Workers, Sink: n.opts.Sink,
		Got: func(name string, value json.RawMessage) error {
			var j hostJSON
			if err := json.Unmarshal(value, &j); err != nil {
				return err
			}
			if err := j.check(); err != nil {
				return err
			}
			found[name] = j
			return nil
		},
		Failed: func(name string, err error) { res.Failed = append(res.Failed, HostError{name, err}) },
	})
	if err != nil {
		return nil, err
	}
	var out []fleet.Host
	for _, h := range hosts {
		j, ok := found[h.Name]
		if !ok {
			continue
		}
		h.System, h.SystemFrom = j.Platform.System, j.Platform.From
		if j.Toplevel != nil {
			h.DrvPath, h.OutPath = j.Toplevel.Drv, j.Toplevel.Out
		}
		if t := j.targets(); len(t) > 0 {
			res.Targets[h.Name] = t
		}
		out = append(out, h)
		if r.OnHost != nil && !r.Selection.Positional() {
			r.OnHost(h)
		}
	}
	return out, nil
}
