// Package convert writes godwit's own flake output for a fleet of another dialect:
// plain data about the hosts, and the expressions of what is deployed to them.
package convert

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"godwit/internal/fleet"
	"godwit/internal/source"
)

// Fleet is what is written down.
type Fleet struct {
	About source.About
	// Hosts are all hosts, with the derivations of their profiles.
	Hosts []fleet.Host
	// Expr is a Nix expression of what a profile is made of, with the flake as self;
	// "": the flake has it under the host's name.
	Expr func(h fleet.Host, p fleet.Profile) string
	// Secret is such an expression for the text of a secret.
	Secret func(h fleet.Host, s fleet.Secret) string
	// Let are definitions that these expressions need; it ends in a line break.
	Let string
}

// Text is a file that gives a function from { self } to the output.
func (f Fleet) Text() string {
	a := f.About
	top := set{}
	top.text("description", a.Description)
	top.words("orderingTags", a.OrderingTags)
	if len(a.NixConfig) > 0 {
		options := set{}
		for name, value := range a.NixConfig {
			options[name] = quote(value)
		}
		top["nixConfig"] = options
	}
	s := a.Settings
	top.text("batch", s.Batch)
	top.text("maxFailures", s.MaxFailures)
	top.text("onFailure", s.OnFailure)
	top.text("unreachable", s.Unreachable)
	top.words("acceptRisks", s.AcceptRisks)
	top.truth("together", s.Together)
	top.truth("restSecrets", s.RestSecrets)
	hosts := set{}
	for _, h := range f.Hosts {
		hosts[h.Name] = f.host(h)
	}
	top["hosts"] = hosts
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by 'godwit convert' from %s. In flake.nix:\n#   godwit = import ./godwit.nix { inherit self; };\n{ self }:\n", oneLine(a.At.String()))
	if f.Let != "" {
		b.WriteString("let\n" + f.Let + "in\n")
	}
	write(&b, top, "")
	b.WriteString("\n")
	return b.String()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func (f Fleet) host(h fleet.Host) set {
	out := set{}
	switch {
	case len(h.At.Also) > 0:
		out["address"] = words(append([]string{h.At.Host}, h.At.Also...))
	case h.At.Host != h.Name:
		out.text("address", h.At.Host)
	}
	out.truth("forwardAgent", h.At.ForwardAgent)
	out.text("user", h.At.User)
	out.number("port", h.At.Port)
	out.words("sshOptions", h.At.Options)
	out.words("become", h.At.Become)
	out.truth("local", h.At.Local)
	out.truth("askPassword", h.At.AskPassword)
	out.words("tags", h.Tags)
	out.truth("buildOnly", h.BuildOnly)
	out.text("buildOn", h.BuildOn)
	out.truth("substituteOnDestination", h.SubstituteOnDestination)
	if checks := f.checks(h.HealthChecks); len(checks) > 0 {
		out["healthChecks"] = checks
	}
	if checks := f.checks(h.PreDeployChecks); len(checks) > 0 {
		out["preDeployChecks"] = checks
	}
	g := h.Guard
	if g.NoAutoRollback {
		out["autoRollback"] = word("false")
	}
	if g.NoMagicRollback {
		out["magicRollback"] = word("false")
	}
	if h.KnownOnly {
		out["replaceUnknown"] = word("false")
	}
	out.number("confirmTimeout", int(g.ConfirmTimeout/time.Second))
	out.number("activationTimeout", int(g.ActivationTimeout/time.Second))
	secrets := set{}
	for _, s := range h.Secrets {
		secrets[s.Name] = f.secret(h, s)
	}
	if len(secrets) > 0 {
		out["secrets"] = secrets
	}
	f.profiles(h, out)
	return out
}

// profiles are the system, under its kind, and the others by name.
func (f Fleet) profiles(h fleet.Host, out set) {
	more, order := set{}, []string{}
	for _, p := range h.Profiles {
		order = append(order, p.Name)
		expr := f.Expr(h, p)
		if p.Name == fleet.SystemProfile && p.Link == "" && p.User == "" && (p.Kind == fleet.NixOS || p.Kind == fleet.Darwin) {
			if expr != "" {
				out[string(p.Kind)] = word(expr)
			}
			continue
		}
		one := set{string(p.Kind): word(expr)}
		if p.Kind != fleet.Home || p.User != p.Name {
			one.text("user", p.User)
		}
		one.text("link", p.Link)
		one.words("activate", p.Activate)
		more[p.Name] = one
	}
	if len(more) == 0 {
		return
	}
	out["profiles"] = more
	// Without a word it is the system, then the others by name.
	plain := slices.Sorted(slices.Values(order))
	slices.SortStableFunc(plain, func(a, b string) int {
		return rank(b == fleet.SystemProfile) - rank(a == fleet.SystemProfile)
	})
	if !slices.Equal(order, plain) {
		out["order"] = words(order)
	}
}

func rank(first bool) int {
	if first {
		return 1
	}
	return 0
}

// file is a path as the output says it: relative to the repository, where it is in it.
func (f Fleet) file(path string) string {
	if rel, err := filepath.Rel(f.About.At.Dir(), path); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
		return rel
	}
	return path
}

func (f Fleet) secret(h fleet.Host, s fleet.Secret) set {
	out := set{"destination": quote(s.Destination)}
	switch {
	case s.From.File != "":
		out["file"] = quote(f.file(s.From.File))
	case len(s.From.Command) > 0:
		out["command"] = words(s.From.Command)
	default: // it is not written down a second time
		out["text"] = word(f.Secret(h, s))
	}
	for _, x := range []struct{ key, value, usual string }{
		{"user", s.User, "root"}, {"group", s.Group, "root"}, {"permissions", s.Permissions, "0400"}, {"uploadAt", s.UploadAt, fleet.PreActivation},
	} {
		if x.value != x.usual {
			out.text(x.key, x.value)
		}
	}
	out.words("action", s.Action)
	if !s.MkDirs {
		out["mkDirs"] = word("false")
	}
	out.truth("lateOwner", s.LateOwner)
	return out
}

func (f Fleet) checks(c fleet.Checks) set {
	out := set{}
	add := func(kind, description string, period, timeout time.Duration, more set) {
		more.text("description", description)
		more["period"], more["timeout"] = word(fmt.Sprint(int(period/time.Second))), word(fmt.Sprint(int(timeout/time.Second)))
		list, _ := out[kind].(list)
		out[kind] = append(list, more)
	}
	for _, x := range c.Cmd {
		add("cmd", x.Description, x.Period, x.Timeout, set{"cmd": words(x.Cmd)})
	}
	for _, x := range c.HTTP {
		one := set{"path": quote(x.Path)}
		one.number("port", x.Port)
		one.text("host", x.Host)
		one.text("scheme", x.Scheme)
		one.truth("insecureSSL", x.InsecureSSL)
		if len(x.Headers) > 0 {
			headers := set{}
			for name, value := range x.Headers {
				headers[name] = quote(value)
			}
			one["headers"] = headers
		}
		add("http", x.Description, x.Period, x.Timeout, one)
	}
	for _, x := range c.TCP {
		one := set{}
		one.number("port", x.Port)
		one.text("host", x.Host)
		add("tcp", x.Description, x.Period, x.Timeout, one)
	}
	for _, x := range c.Unit {
		add("unit", x.Description, x.Period, x.Timeout, set{"unit": quote(x.Unit)})
	}
	for _, x := range c.FailedUnits {
		one := set{}
		one.words("ignore", x.Ignore)
		add("failedUnits", x.Description, x.Period, x.Timeout, one)
	}
	for _, x := range c.Local {
		add("local", x.Description, x.Period, x.Timeout, set{"cmd": words(x.Cmd)})
	}
	return out
}
