package cli

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"godwit/internal/builder"
	"godwit/internal/deploy"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host/local"
	"godwit/internal/nar"
	"godwit/internal/nix"
	"godwit/internal/settings"
	"godwit/internal/source"
	"godwit/internal/source/all"
	"godwit/internal/source/known"
	"godwit/internal/ssh"
	"godwit/internal/store"
	"godwit/internal/storepath"
)

// copyFlags are how closures travel.
type copyFlags struct {
	with     string
	compress string
	direct   string
	// noSubstitute overrides what the configuration says of every host.
	noSubstitute bool
}

func (o *copyFlags) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.with, "copy-with", "godwit", "what copies: godwit, or nix (nix copy: slower; the login user must be root or trusted by Nix there)")
	f.StringVar(&o.direct, "direct", "auto", "let an ssh builder that has a key for a host send to it by itself: auto, on (say where it cannot), or off")
	f.Lookup("direct").NoOptDefVal = "on"
	f.StringVar(&o.compress, "compress", "auto", "let ssh compress: on, off, auto (where much is to be copied over a link below 100 Mbit/s), or ssh (as ssh is configured)")
	f.BoolVar(&o.noSubstitute, "no-substitute", false, "let no host fetch what its own substituters have")
}

// settleCopy is settle with the user's file.
func (a *app) settleCopy(c *cobra.Command, o *copyFlags) error {
	file, err := a.settings()
	if err != nil {
		return err
	}
	return o.settle(c, file)
}

// settle takes what the command line leaves open from the user's file, table [copy].
func (o *copyFlags) settle(c *cobra.Command, file *settings.Settings) error {
	for _, x := range []struct {
		flag, setting string
		inFile        *string
		value         *string
		known         []string
	}{
		{"copy-with", "with", file.Copy.With, &o.with, []string{"godwit", "nix"}},
		{"compress", "compress", file.Copy.Compress, &o.compress, []string{"auto", "on", "off", "ssh"}},
		{"direct", "direct", file.Copy.Direct, &o.direct, []string{"auto", "on", "off"}},
	} {
		where := "--" + x.flag + "=" + *x.value
		if !c.Flags().Changed(x.flag) && x.inFile != nil {
			*x.value = *x.inFile
			where = fmt.Sprintf("%s: copy.%s = %q", file.File(), x.setting, *x.inFile)
		}
		if last := len(x.known) - 1; !slices.Contains(x.known, *x.value) {
			return fault.New("%s: there is %s and %s", where, strings.Join(x.known[:last], ", "), x.known[last])
		}
	}
	if o.with != "nix" {
		return nil
	}
	// What was asked for with a flag is refused. What the file says, or nobody
	// said, is for other runs.
	if o.direct == "on" {
		if c.Flags().Changed("direct") {
			return fault.New("--direct belongs to godwit's own way of copying").Hint("leave out --copy-with nix")
		}
		o.direct = "off"
	}
	if o.compress == "auto" {
		if c.Flags().Changed("compress") {
			return fault.New("--compress auto belongs to godwit's own way of copying").Hint("with --copy-with nix use --compress on, off or ssh")
		}
		o.compress = "ssh"
	}
	return nil
}

// openPools makes the connections of a run as o says.
func (s *session) openPools(o ssh.Options) error {
	compression := func(o ssh.Options, word string) ssh.Options {
		// Before the person's options, because ssh takes the first value.
		o.ExtraArgs = append([]string{"-o", "Compression=" + word}, o.ExtraArgs...)
		return o
	}
	open := func(o ssh.Options) (*ssh.Pool, error) {
		pool, err := ssh.NewPool(o)
		if err == nil {
			s.closers = append(s.closers, func() { _ = pool.Close() })
		}
		return pool, err
	}
	switch s.copying.compress {
	case "on":
		o = compression(o, "yes")
	case "off":
		o = compression(o, "no")
	case "auto":
		if ask := o.Password; ask != nil {
			var mu sync.Mutex
			var known bool
			var password string
			o.Password = func(ctx context.Context) (string, error) { // once for both
				mu.Lock()
				defer mu.Unlock()
				if known {
					return password, nil
				}
				p, err := ask(ctx)
				password, known = p, err == nil
				return p, err
			}
		}
		slow := compression(o, "yes")
		slow.Sink = nil
		var err error
		if s.slow, err = open(slow); err != nil {
			return err
		}
	}
	var err error
	if s.pool, err = open(o); err != nil {
		return err
	}
	conns := local.NewPool(local.Options{Elevate: o.Elevate, Password: o.Password, PasswordOnRequest: o.PasswordOnRequest, Greeting: o.Greeting}, s.here, elsewhere{s.pool, s.reached})
	s.conns = conns
	s.closers = append(s.closers, func() { _ = conns.Close() })
	return nil
}

// copyInto tells pushers how to copy.
func (s *session) copyInto(p *deploy.Pushers) {
	p.Slow = s.slow
	p.Direct, p.Builders = deploy.Direct(s.copying.direct), s.pool
	if s.copying.with == "nix" {
		p.Nix = &deploy.NixCopy{Tool: s.tool, Pool: s.pool, Sink: s.ui}
	}
}

// readyFlags are what is copied without a deployment file.
type readyFlags struct {
	paths      []string
	to         []string
	from       string
	substitute bool
}

func (o *readyFlags) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&o.paths, "store-path", nil, "take this store path (`PATH`, may be repeated) in place of a deployment file; nothing is evaluated or built")
	f.StringArrayVar(&o.to, "to", nil, "with --store-path: `[USER@]HOST[:PORT]` to copy to (may be repeated)")
	f.StringVar(&o.from, "from", "", "with --store-path: `STORE` that has it: local, ssh-ng://user@host, container, or a builder's name or system (default local)")
	f.BoolVar(&o.substitute, "substitute-on-destination", false, "with --store-path: the hosts fetch what their own caches have")
}

// given tells whether a run is without a deployment file.
func (o *readyFlags) given(c *cobra.Command) bool {
	for _, name := range []string{"store-path", "to", "from", "substitute-on-destination"} {
		if c.Flags().Changed(name) {
			return true
		}
	}
	return false
}

// settle sorts the arguments that are left: a shell makes several words of one
// value, so that --store-path and --to may be followed by more of their kind.
// action is whether one of the words says what to do.
func (o *readyFlags) settle(c *cobra.Command, args []string, action bool) (word string, err error) {
	for _, name := range []string{"on", "tagged", "every", "skip", "limit", "order-by-tags", "upload-secrets", "builder", "build-on", "keep-result", "build-arg"} {
		if f := c.Flag(name); f != nil && f.Changed {
			e := fault.New("--%s belongs to a deployment file, and --store-path takes none", name)
			if name == "builder" || name == "build-on" {
				e.Hint("to copy from a builder: --from %s", f.Value)
			}
			return "", e
		}
	}
	if action {
		if len(args) == 0 {
			return "", fault.New("say what to do: switch, boot, test or dry-activate").Hint("%s --store-path PATH --to HOST switch", fault.Raw(c.CommandPath()))
		}
		word, args = args[len(args)-1], args[:len(args)-1]
	}
	for _, a := range args {
		if strings.Contains(a, "/") {
			o.paths = append(o.paths, a)
		} else {
			o.to = append(o.to, a)
		}
	}
	switch {
	case len(o.paths) == 0:
		return "", fault.New("--to and --from need a --store-path").Hint("%s --store-path /nix/store/… --to HOST", fault.Raw(c.CommandPath()))
	case len(o.to) == 0:
		return "", fault.New("--store-path needs hosts: --to [USER@]HOST[:PORT]").Hint("%s --store-path %s --to HOST", fault.Raw(c.CommandPath()), o.paths[0])
	case action && len(o.paths) > 1:
		return "", fault.New("a deploy takes one --store-path, the system, not %d", len(o.paths)).Hint("godwit push takes several")
	}
	return word, nil
}

// parseTo reads [USER@]HOST[:PORT]; IPv6 addresses as they are, or in brackets
// before a port. The host is called as it was written, without the user.
func parseTo(s string) (fleet.Host, error) {
	u, err := fleet.ParseDestination(s)
	if err != nil || strings.Contains(s, "?") {
		return fleet.Host{}, fault.New("--to %q is not [USER@]HOST[:PORT]", s).Hint("an IPv6 address before a port goes into brackets: --to [2001:db8::1]:2222")
	}
	h := fleet.Host{Name: u.Host, At: fleet.Address{Host: u.Host, User: u.User, Port: u.Port}}
	if u.Port != 0 {
		h.Name = net.JoinHostPort(u.Host, strconv.Itoa(u.Port))
	}
	return h, nil
}

// resolve makes a store path of what was typed; a link such as `result' will do.
func resolve(typed string) (string, error) {
	p := strings.TrimRight(typed, "/")
	if storepath.Check(p) == nil {
		return p, nil
	}
	if real, err := filepath.EvalSymlinks(p); err == nil {
		if real, err = filepath.Abs(real); err == nil {
			p = real
		}
		if storepath.Check(p) == nil {
			return p, nil
		}
	}
	e := fault.New("%s is not a store path", typed)
	for up := filepath.Dir(p); len(up) > 1; up = filepath.Dir(up) {
		if storepath.Check(up) == nil {
			return "", e.Hint("whole store paths are copied: --store-path %s", up)
		}
	}
	return "", e.Hint("a store path is such as /nix/store/0c5b…-nixos-system-web, or a link to one (result)")
}

// open takes the hosts and what they get from the command line. Nothing is evaluated or
// built.
func (o *readyFlags) open(ctx context.Context, s *session, d *deploy.Options) error {
	var roots []string
	var profiles []fleet.Profile
	for _, typed := range o.paths {
		path, err := resolve(typed)
		if err != nil {
			return err
		}
		if !slices.Contains(roots, path) {
			roots = append(roots, path)
			profiles = append(profiles, fleet.System("", path))
		}
	}
	var hosts []fleet.Host
	var names []string
	for _, to := range o.to {
		h, err := parseTo(to)
		if err != nil {
			return err
		}
		if slices.Contains(names, h.Name) {
			return fault.New("--to names %s twice", h.Name)
		}
		h.SubstituteOnDestination, h.Profiles = o.substitute, profiles
		hosts, names = append(hosts, h), append(names, h.Name)
	}
	s.ui.Announce(names)
	if s.copying.with == "nix" {
		if err := s.findNix(ctx); err != nil {
			return err
		}
	}
	settings, err := s.app.builderSettings()
	if err != nil {
		return err
	}
	src, closeFrom, err := builder.From(ctx, o.from, func() (*nix.Tool, error) { err := s.findNix(ctx); return s.tool, err }, s.pool, settings)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() { _ = closeFrom() })
	if err := checkReady(ctx, src, roots, d.Goal == deploy.GoalActivate); err != nil {
		return err
	}
	s.ready = src
	s.at = &all.Found{At: source.Location{Dialect: "store path", File: roots[0]}}
	s.source = known.New(source.About{At: s.at.At}, hosts, fmt.Sprintf("From %s to %s:\n\t%s\n\n", src.Name, strings.Join(names, ", "), strings.Join(roots, "\n\t")))
	return nil
}

// checkReady finds out whether the paths are there, and whether the one that is
// to be activated is a system.
func checkReady(ctx context.Context, src store.Endpoint, roots []string, system bool) error {
	infos, err := store.PathInfos(ctx, src, roots)
	if err != nil {
		return err
	}
	for _, r := range roots {
		i := slices.IndexFunc(infos, func(i *store.Info) bool { return i.Path == r })
		if i < 0 {
			return fault.New("%s is not in %s", r, src.Name).
				Hint("name the store that has it: --from ssh-ng://user@builder, or --from container")
		}
		if !system {
			continue
		}
		not := func() error {
			e := fault.New("%s is not a NixOS system: it has no bin/switch-to-configuration", r)
			if strings.HasSuffix(r, ".drv") {
				e.Hint("it is a derivation: `nix-store --realise %s` builds it and prints the path", r)
			}
			return e.Hint("a system is what config.system.build.toplevel builds; godwit push copies any path")
		}
		if infos[i].NarSize > 16<<20 { // a system holds links and a few scripts
			return not()
		}
		nars, err := store.Read(ctx, src, []*store.Info{infos[i]})
		if err != nil {
			return err
		}
		tree, err := nar.ReadTree(bytes.NewReader(nars[0]), 64<<20)
		if err != nil {
			return fault.New("%s: %s: %w", src.Name, r, err)
		}
		if _, ok := tree["bin/switch-to-configuration"]; !ok {
			return not()
		}
	}
	return nil
}
