package builder

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/nix"
)

// Assignment is where one host is built.
type Assignment struct {
	Host    string
	Builder Builder
	Kind    Kind
	// Reason is one line for a person, such as "router needs aarch64-linux,
	// which this machine (aarch64-darwin) cannot build: container aarch64-linux
	// in Docker, native speed".
	Reason string
	// Plain says that this machine builds it and nobody would have expected
	// anything else.
	Plain bool
	Needs []Need
	// Prepare are derivations for Request.Prepare.
	Prepare []string
}

// Plan is who builds what.
type Plan struct {
	Missing     *nix.Missing
	Assignments []Assignment // in the order of the hosts
	// Failed are the hosts that nothing can build, with *fault.Error (exit code 5).
	Failed map[string]error
}

// Of is the assignment of a host, or nil.
func (p *Plan) Of(host string) *Assignment {
	for i := range p.Assignments {
		if p.Assignments[i].Host == host {
			return &p.Assignments[i]
		}
	}
	return nil
}

// Close closes all builders.
func (p *Plan) Close() {
	seen := map[Builder]bool{}
	for _, a := range p.Assignments {
		if a.Builder != nil && !seen[a.Builder] {
			seen[a.Builder] = true
			_ = a.Builder.Close()
		}
	}
}

// SSHStore is an ssh store that a person named, with what it builds.
type SSHStore struct {
	URI      string
	Systems  []string // empty: not known, asked for when it is used
	Features []string
}

// Can tells whether the store says that it builds n. One that names no
// features is taken to have those that Nix gives every Linux machine.
func (s SSHStore) Can(n Need) bool {
	if n.System != "builtin" && !slices.Contains(s.Systems, n.System) {
		return false
	}
	have := s.Features
	if have == nil {
		have = defaultFeatures
	}
	for _, f := range n.Features {
		if !slices.Contains(have, f) {
			return false
		}
	}
	return true
}

// defaultFeatures are the system-features that Nix has without configuration,
// kvm excepted.
var defaultFeatures = []string{"benchmark", "big-parallel", "nixos-test"}

// EngineFacts is what Choose wants to know of container engines.
type EngineFacts struct {
	Usable bool
	Name   string // "Docker", "Podman"
	Arch   string // of the engine: "x86_64" or "aarch64"
	// Lines are facts for a person when it is not usable: name, what is the matter.
	Lines [][2]string
	Hints []string
}

// chooser decides. Its fields are what the decision depends on, so that it can
// be tested without a machine.
type chooser struct {
	here     Capability
	machines []Machine
	problems []string // of the machines lines
	stores   []SSHStore
	wanted   string // command line
	standard string // user file
	probe    func(context.Context, Machine) error
	engine   func(context.Context) EngineFacts

	local      func() Builder
	configured func(uris []string) Builder
	container  func(system string) Builder
	ssh        func(uri string) (Builder, error)
	target     func(fleet.Host) (Builder, error)

	probed map[string]error
	facts  *EngineFacts
	made   map[string]Builder
	byName map[string]fleet.Host
}

// decide assigns a builder to h, which needs needs.
func (c *chooser) decide(ctx context.Context, h fleet.Host, needs []Need, fetch int) (Assignment, error) {
	a := Assignment{Host: h.Name, Needs: needs}
	want, from := c.wish(h)
	if want != "" {
		return c.wished(ctx, a, h, want, from)
	}
	if len(needs) == 0 {
		a.Builder, a.Kind, a.Plain = c.make("local", c.local), KindLocal, true
		a.Reason = "nothing to build"
		if fetch > 0 {
			a.Reason = "nothing to build, this machine fetches what is missing"
		}
		return a, nil
	}
	foreign := cannot(needs, c.here.Can)
	if len(foreign) == 0 {
		a.Builder, a.Kind, a.Plain = c.make("local", c.local), KindLocal, true
		a.Reason = fmt.Sprintf("this machine builds %s", whats(needs))
		return a, nil
	}
	why := fmt.Sprintf("%s needs %s, %s", h.Name, whats(foreign), c.here.cannotWords(foreign))

	for _, s := range c.stores {
		if len(cannot(foreign, s.Can)) > 0 {
			continue
		}
		b, err := c.makeErr(s.URI, func() (Builder, error) { return c.ssh(s.URI) })
		if err != nil {
			return a, err
		}
		a.Builder, a.Kind = b, KindSSH
		a.Prepare = drvsOf(cannot(needs, s.Can))
		a.Reason = why + ": " + s.URI + ", named in the configuration file"
		return a, nil
	}
	if uris := c.covering(ctx, foreign); len(uris) > 0 {
		a.Builder = c.make("configured "+strings.Join(uris, ","), func() Builder { return c.configured(uris) })
		a.Kind = KindConfigured
		a.Reason = why + ": " + strings.Join(uris, ", ") + ", a builder that Nix is configured with"
		return a, nil
	}
	if system, facts := c.containable(ctx, foreign); system != "" {
		a.Builder, a.Kind = c.make("container "+system, func() Builder { return c.container(system) }), KindContainer
		a.Prepare = drvsOf(cannot(needs, containerCan(system)))
		a.Reason = why + ": " + containerWords(system, facts)
		return a, nil
	}
	return a, c.nobody(ctx, h, foreign)
}

// wish is what was asked for h, strongest first, and who asked.
func (c *chooser) wish(h fleet.Host) (what, from string) {
	for _, w := range []struct{ what, from string }{
		{c.wanted, "asked for on the command line"},
		{h.BuildOn, "the host's own setting"},
		{c.standard, "the default of the configuration file"},
	} {
		if w.what == "auto" {
			return "", ""
		}
		if w.what != "" {
			return w.what, w.from
		}
	}
	return "", ""
}

// wished assigns what was asked for, after checking that it can do it as far as
// that is known beforehand.
func (c *chooser) wished(ctx context.Context, a Assignment, h fleet.Host, want, from string) (Assignment, error) {
	foreign := cannot(a.Needs, c.here.Can)
	asked := func(e *fault.Error) *fault.Error {
		return e.On(h.Name).Exit(ExitNoBuilder)
	}
	switch {
	case want == "local":
		a.Builder, a.Kind, a.Plain = c.make("local", c.local), KindLocal, len(foreign) == 0
		a.Reason = "local: " + from
		if len(foreign) > 0 {
			e := asked(fault.New("needs %s, %s, and `local' was chosen (%s)", whats(foreign), c.here.cannotWords(foreign), from))
			if c.here.idle(foreign) {
				e.Hint("%s", fault.Raw(letBuild))
			}
			return a, e.Hint("let godwit choose: --builder auto")
		}
	case want == "nix" || want == "configured":
		uris := c.covering(ctx, foreign)
		if len(foreign) > 0 && len(uris) == 0 {
			e := asked(fault.New("needs %s, and no builder that Nix is configured with does that", whats(foreign)))
			e.Detail(c.machineLines(foreign)...)
			return a, e.Hint("let godwit choose: --builder auto")
		}
		if len(uris) == 0 {
			a.Builder, a.Kind, a.Plain = c.make("local", c.local), KindLocal, true
		} else {
			a.Builder = c.make("configured "+strings.Join(uris, ","), func() Builder { return c.configured(uris) })
			a.Kind = KindConfigured
		}
		a.Reason = "builders that Nix is configured with: " + from
	case want == "container":
		system := containerSystem(a.Needs, h.System)
		if system == "" {
			return a, asked(fault.New("needs %s, which no container builds", whats(a.Needs)).
				Hint("containers build aarch64-linux, x86_64-linux and i686-linux; let godwit choose: --builder auto"))
		}
		facts := c.engineFacts(ctx)
		if !facts.Usable {
			return a, asked(withHints(fault.New("needs a container, and no container engine can be used").Detail(table(facts.Lines)...), facts.Hints))
		}
		a.Builder, a.Kind = c.make("container "+system, func() Builder { return c.container(system) }), KindContainer
		a.Prepare = c.prepare(a.Needs, containerCan(system))
		a.Reason = containerWords(system, facts) + ": " + from
	case want == "target" || want == h.Name:
		b, err := c.makeErr("target "+h.Name, func() (Builder, error) { return c.target(h) })
		if err != nil {
			return a, err
		}
		a.Builder, a.Kind = b, KindTarget
		a.Prepare = c.prepareForeign(a.Needs, h.System)
		a.Reason = "on " + h.Name + " itself: " + from
	case strings.Contains(want, "://") || strings.Contains(want, "@"):
		uri := want
		if !strings.Contains(uri, "://") {
			uri = "ssh-ng://" + uri
		}
		b, err := c.makeErr(uri, func() (Builder, error) { return c.ssh(uri) })
		if err != nil {
			return a, err
		}
		a.Builder, a.Kind = b, KindSSH
		for _, s := range c.stores {
			if s.URI == uri && len(s.Systems) > 0 {
				a.Prepare = c.prepare(a.Needs, s.Can)
			}
		}
		if a.Prepare == nil {
			a.Prepare = c.prepareForeign(a.Needs, h.System)
		}
		a.Reason = uri + ": " + from
	default:
		if other, ok := c.byName[want]; ok {
			b, err := c.makeErr("target "+want, func() (Builder, error) { return c.target(other) })
			if err != nil {
				return a, err
			}
			a.Builder, a.Kind = b, KindTarget
			a.Prepare = c.prepareForeign(a.Needs, other.System)
			a.Reason = "on " + want + ": " + from
			return a, nil
		}
		return a, fault.New("there is no builder %q (%s)", want, from).On(h.Name).
			Hint("use auto, local, nix, container, target, the name of a host, or a store such as ssh-ng://user@host")
	}
	return a, nil
}

// prepare names what can does not build and this machine does.
func (c *chooser) prepare(needs []Need, can func(Need) bool) []string {
	var out []Need
	for _, n := range cannot(needs, can) {
		if c.here.Can(n) {
			out = append(out, n)
		}
	}
	return drvsOf(out)
}

// prepareForeign is prepare for a builder of which only the system is known.
func (c *chooser) prepareForeign(needs []Need, system string) []string {
	if system == "" || system == c.here.System {
		return nil
	}
	there := func(n Need) bool {
		return n.System == system || n.System == "builtin" || sameFamily(n.System, system)
	}
	if len(cannot(needs, there)) == len(needs) {
		return nil // nothing would be left for the builder that was asked for
	}
	return c.prepare(needs, there)
}

// sameFamily tells that a machine of system normally runs programs of other.
func sameFamily(other, system string) bool {
	return system == "x86_64-linux" && other == "i686-linux" || system == "aarch64-linux" && other == "armv7l-linux" ||
		system == "aarch64-darwin" && other == "x86_64-darwin"
}

// covering finds configured builders that together do all of needs and answer.
func (c *chooser) covering(ctx context.Context, needs []Need) []string {
	var uris []string
	for _, n := range needs {
		found := false
		for _, m := range c.machines {
			if !m.Can(n) {
				continue
			}
			if c.answers(ctx, m) == nil {
				if !slices.Contains(uris, m.URI) {
					uris = append(uris, m.URI)
				}
				found = true
				break
			}
		}
		if !found {
			return nil
		}
	}
	return uris
}

// answers says hello to a configured builder, once.
func (c *chooser) answers(ctx context.Context, m Machine) error {
	if err, ok := c.probed[m.URI]; ok {
		return err
	}
	err := c.probe(ctx, m)
	if c.probed == nil {
		c.probed = map[string]error{}
	}
	c.probed[m.URI] = err
	return err
}

// containable is the system of the one container that builds all of needs, if
// there is such and an engine for it.
func (c *chooser) containable(ctx context.Context, needs []Need) (string, EngineFacts) {
	system := ""
	for _, n := range needs {
		if n.System == "builtin" {
			continue
		}
		s := containerSystem([]Need{n}, "")
		if s == "" || system != "" && s != system {
			return "", EngineFacts{}
		}
		system = s
	}
	if system == "" || len(cannot(needs, containerCan(system))) > 0 {
		return "", EngineFacts{}
	}
	facts := c.engineFacts(ctx)
	if !facts.Usable {
		return "", facts
	}
	return system, facts
}

func (c *chooser) engineFacts(ctx context.Context) EngineFacts {
	if c.facts == nil {
		f := c.engine(ctx)
		c.facts = &f
	}
	return *c.facts
}

// containerSystem is the system of the container for needs; fallback (the
// host's system) decides where the needs do not.
func containerSystem(needs []Need, fallback string) string {
	of := func(s string) string {
		switch s {
		case "aarch64-linux", "x86_64-linux":
			return s
		case "i686-linux":
			return "x86_64-linux"
		}
		return ""
	}
	if s := of(fallback); s != "" {
		for _, n := range needs {
			if of(n.System) == s {
				return s
			}
		}
	}
	for _, n := range needs {
		if s := of(n.System); s != "" {
			return s
		}
	}
	if len(cannot(needs, func(n Need) bool { return n.System == "builtin" })) == 0 {
		return of(fallback)
	}
	return ""
}

// containerCan is what a container of system builds.
func containerCan(system string) func(Need) bool {
	s := Capability{System: system, Features: defaultFeatures, MaxJobs: -1}
	if system == "x86_64-linux" {
		s.Extra = []string{"i686-linux"}
	}
	return s.Can
}

// containerWords is such as "container aarch64-linux in Docker, native speed".
func containerWords(system string, f EngineFacts) string {
	s := "container " + system + " in " + f.Name
	if f.Arch != "" && strings.HasPrefix(system, f.Arch+"-") {
		return s + ", native speed"
	}
	return s + ", emulated (slow)"
}

// nobody is the error when nothing can build.
func (c *chooser) nobody(ctx context.Context, h fleet.Host, needs []Need) error {
	what := whats(needs)
	e := fault.New("needs %s, and nothing here can build it", what).On(h.Name).Exit(ExitNoBuilder)
	here := c.here.System
	if len(c.here.Extra) > 0 {
		here += ", " + strings.Join(c.here.Extra, ", ")
	}
	var features []string
	for _, n := range needs {
		if n.System == c.here.System || slices.Contains(c.here.Extra, n.System) {
			for _, f := range n.Features {
				if !slices.Contains(c.here.Features, f) && !slices.Contains(features, f) {
					features = append(features, f)
				}
			}
		}
	}
	if len(features) > 0 {
		here += ", without " + strings.Join(features, ", ")
	}
	if c.here.MaxJobs == 0 {
		here += ", and it builds nothing itself (max-jobs = 0)"
	}
	lines := [][2]string{{"this machine", here}}
	for _, l := range c.machineLines(needs) {
		lines = append(lines, [2]string{"Nix builders", l})
	}
	containers := false
	for _, n := range needs {
		if s := containerSystem([]Need{n}, ""); s != "" {
			containers = true
		}
	}
	facts := c.engineFacts(ctx)
	switch {
	case !facts.Usable:
		lines = append(lines, facts.Lines...)
	case !containers:
		lines = append(lines, [2]string{facts.Name, "no container builds " + what})
	default:
		lines = append(lines, [2]string{facts.Name, "no one container builds " + what})
	}
	if h.System != "" && !h.BuildOnly && len(cannot(needs, func(n Need) bool {
		return Capability{System: h.System, Features: defaultFeatures, MaxJobs: -1}.Can(n)
	})) == 0 {
		lines = append(lines, [2]string{"hosts", h.Name + " itself could: --build-on target"})
	}
	e.Detail(table(lines)...)
	if c.here.idle(needs) {
		e.Hint("%s", fault.Raw(letBuild))
	}
	withHints(e, facts.Hints)
	if containers && !facts.Usable && len(facts.Hints) == 0 {
		e.Hint("install Docker or Podman")
	}
	return e.Hint("or name a machine that can: --builder ssh-ng://user@host")
}

// machineLines are facts about the configured builders for what is needed.
func (c *chooser) machineLines(needs []Need) []string {
	var out []string
	for _, m := range c.machines {
		err, tried := c.probed[m.URI]
		switch {
		case tried && err != nil:
			out = append(out, m.URI+" does not answer: "+err.Error())
		case len(cannot(needs, m.Can)) > 0:
			s := m.URI + " builds " + strings.Join(m.Systems, ", ")
			if len(m.Features) > 0 {
				s += " with " + strings.Join(m.Features, ", ")
			}
			out = append(out, s)
		}
	}
	if len(c.machines) == 0 {
		out = append(out, "none configured")
	}
	return append(out, c.problems...)
}

func (c *chooser) make(key string, f func() Builder) Builder {
	b, _ := c.makeErr(key, func() (Builder, error) { return f(), nil })
	return b
}

// makeErr makes each builder once, so that hosts share it.
func (c *chooser) makeErr(key string, f func() (Builder, error)) (Builder, error) {
	if b, ok := c.made[key]; ok {
		return b, nil
	}
	b, err := f()
	if err != nil {
		return nil, err
	}
	if c.made == nil {
		c.made = map[string]Builder{}
	}
	c.made[key] = b
	return b, nil
}

// cannot are the needs that can does not do.
func cannot(needs []Need, can func(Need) bool) []Need {
	var out []Need
	for _, n := range needs {
		if !can(n) {
			out = append(out, n)
		}
	}
	return out
}

func drvsOf(needs []Need) []string {
	var out []string
	for _, n := range needs {
		out = append(out, n.Drvs...)
	}
	return out
}

// whats joins what is needed: "aarch64-linux and x86_64-linux with kvm".
func whats(needs []Need) string {
	var out []string
	only := len(needs) > 0 && len(cannot(needs, func(n Need) bool { return n.System == "builtin" })) == 0
	for _, n := range needs {
		if n.System == "builtin" && !only {
			continue
		}
		// "aarch64-linux" goes without saying beside "aarch64-linux with big-parallel".
		if !slices.Contains(out, n.What()) {
			out = append(out, n.What())
		}
	}
	out = slices.DeleteFunc(out, func(s string) bool {
		return slices.ContainsFunc(out, func(o string) bool { return strings.HasPrefix(o, s+" with ") })
	})
	if len(out) > 1 {
		return strings.Join(out[:len(out)-1], ", ") + " and " + out[len(out)-1]
	}
	return strings.Join(out, "")
}

// table aligns pairs; a name is written once.
func table(rows [][2]string) []string {
	width := 12
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	var out []string
	last := ""
	for _, r := range rows {
		name := r[0]
		if name == last {
			name = ""
		}
		last = r[0]
		out = append(out, fmt.Sprintf("%-*s   %s", width, name, r[1]))
	}
	return out
}

func withHints(e *fault.Error, hints []string) *fault.Error {
	e.Hints = append(e.Hints, hints...)
	return e
}

// say emits where a host is built.
func say(sink event.Sink, a Assignment) {
	kind := event.Note
	if a.Plain {
		kind = event.Log
	}
	event.On(sink, a.Host, event.StepBuilder).Emit(event.Event{Kind: kind, Text: strings.TrimPrefix(a.Reason, a.Host+" "), Data: map[string]string{"builder": a.Builder.Name(), "kind": string(a.Kind)}})
}
