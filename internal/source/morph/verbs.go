package morph

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
)

// Eval gives nodes.ATTRIBUTE as Nix writes it, or as JSON. The attribute is a
// path as nix-instantiate --attr takes it: names with dots are in double quotes.
func (n *Network) Eval(ctx context.Context, attribute string, asJSON bool) (string, error) {
	host := firstWord(attribute)
	if host == "" {
		return "", fault.New("name an attribute").Hint("it begins with the name of a host, such as %s", fault.Raw(example(n.Names)))
	}
	system := n.opts.Fallback
	for _, name := range n.Names {
		if name == host {
			system = n.system(name)
			host = ""
			break
		}
	}
	if host != "" {
		f := fault.New("there is no host `%s'", host)
		if near := fleet.Nearest(host, n.Names); near != "" {
			f.Msg += fmt.Sprintf(" (did you mean %s?)", near)
		}
		return "", f.Hint("an attribute begins with the name of a host, such as %s", fault.Raw(example(n.Names)))
	}
	if n.opts.EvalMachines == "" && strings.Trim(attribute, `". `) == firstWord(attribute) {
		// A node refers to itself in many ways: Nix would be at it for ever.
		return "", fault.New("a whole node has no end: name one of its attributes").Hint("for instance %s", fault.Raw(example([]string{firstWord(attribute)})))
	}
	args, err := n.tool.SystemOption(ctx, system)
	if err != nil {
		return "", err
	}
	expr := n.call()
	if n.opts.EvalMachines != "" {
		expr = n.machines()
	}
	out, err := n.tool.Eval(ctx, nix.Evaluation{
		Expr: expr, Args: append(args, "--attr", "nodes."+attribute), Text: !asJSON,
		Scope: event.On(n.opts.Sink, "", event.StepEvaluate), Env: n.env("nodes."+attribute, nil),
	})
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

// InBuildShell gives a Tool whose processes run in the environment of
// network.buildShell, as morph's --allow-build-shell runs nix-build there. The
// shell is one of this machine, so it is evaluated with this machine's system.
func (n *Network) InBuildShell(ctx context.Context, tool *nix.Tool) (*nix.Tool, error) {
	if !n.BuildShell {
		return tool, nil
	}
	out, err := n.tool.Eval(ctx, nix.Evaluation{
		Expr: n.call() + ".buildShell", Scope: event.On(n.opts.Sink, "", event.StepEvaluate),
		Env: n.env("info.buildShell", nil),
	})
	if err != nil {
		return nil, err
	}
	var drv drvJSON
	if err := json.Unmarshal(out, &drv); err != nil {
		return nil, fault.New("cannot read network.buildShell: %s", err).Because(err)
	}
	return tool.InShell(ctx, drv.Drv)
}

// SecretsText is morph's plain `list-secrets': hosts in their order, secrets by
// name (morph's own order is random).
func SecretsText(hosts []fleet.Host) string {
	var b strings.Builder
	for _, h := range hosts {
		fmt.Fprintf(&b, "Secrets for host %s:\n", h.Name)
		for _, s := range h.Secrets {
			fmt.Fprintf(&b, "%s:\n- `%s` -> `%s`, with:\n", s.Name, s.SourceGiven, s.Destination)
			fmt.Fprintf(&b, "\tPermissions: %s:%s, %s\n", s.User, s.Group, s.Permissions)
			fmt.Fprintf(&b, "\tCreate remote directories: %t\n", s.MkDirs)
			fmt.Fprintf(&b, "\tUpload at: %s\n", s.UploadAt)
			if len(s.Action) > 0 {
				fmt.Fprintf(&b, "\tAction: `%s`\n", strings.Join(s.Action, " "))
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// SecretsJSON is morph's `list-secrets --json': two spaces a level, keys as Go
// names them and sorted, sources absolute, `<>&' escaped, a line break at the end.
func SecretsJSON(hosts []fleet.Host) (string, error) {
	type owner struct{ Group, User string }
	type secret struct {
		Source, Destination string
		Owner               owner
		Permissions         string
		Action              []string
		MkDirs              bool
		UploadAt            string
	}
	all := map[string]map[string]secret{}
	for _, h := range hosts {
		all[h.Name] = map[string]secret{}
		for _, s := range h.Secrets {
			all[h.Name][s.Name] = secret{
				Source: s.Source, Destination: s.Destination, Owner: owner{s.Group, s.User},
				Permissions: s.Permissions, Action: append([]string{}, s.Action...), MkDirs: s.MkDirs, UploadAt: s.UploadAt,
			}
		}
	}
	b, err := json.MarshalIndent(all, "", "  ")
	return string(b) + "\n", err
}
