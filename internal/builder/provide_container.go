package builder

import (
	"context"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// containers provides builders in the container engine of this machine.
type containers struct {
	here   Capability
	engine func(context.Context) EngineFacts
	make   func(system string) Builder
	memo   memo
	known  *EngineFacts
}

func (p *containers) facts(ctx context.Context) EngineFacts {
	if p.known == nil {
		f := p.engine(ctx)
		p.known = &f
	}
	return *p.known
}

func (p *containers) builder(system string) Builder {
	b, _ := p.memo.get(system, func() (Builder, error) { return p.make(system), nil })
	return b
}

func (p *containers) Means(word string, _ fleet.Host) bool { return word == "container" }

func (p *containers) Take(ctx context.Context, q Question) (Offer, error) {
	system := containerSystem(q.Needs, q.Host.Platform.Name)
	if system == "" {
		return Offer{}, q.refused(fault.New("needs %s, which no container builds", whats(q.Needs)).
			Hint("containers build aarch64-linux, x86_64-linux and i686-linux; let godwit choose: --builder auto"))
	}
	facts := p.facts(ctx)
	if !facts.Usable {
		return Offer{}, q.refused(withHints(fault.New("needs a container, and no container engine can be used").Detail(table(facts.Lines)...), facts.Hints))
	}
	return Offer{Builder: p.builder(system), Kind: KindContainer, Prepare: p.here.prepared(q.Needs, containerCan(system)), Words: containerWords(system, facts)}, nil
}

func (p *containers) Offer(ctx context.Context, q Question) (Offer, error) {
	system, facts := p.containable(ctx, q.Foreign)
	if system == "" {
		return Offer{}, nil
	}
	return Offer{Builder: p.builder(system), Kind: KindContainer, Prepare: drvsOf(cannot(q.Needs, containerCan(system))), Words: containerWords(system, facts)}, nil
}

func (p *containers) Why(ctx context.Context, q Question) (w Why) {
	some := false
	for _, n := range q.Foreign {
		if containerSystem([]Need{n}, "") != "" {
			some = true
		}
	}
	facts := p.facts(ctx)
	w.Hints = facts.Hints
	switch {
	case !facts.Usable:
		w.Rows = facts.Lines
		if some && len(facts.Hints) == 0 {
			w.Hints = []string{"install Docker or Podman"}
		}
	case !some:
		w.Rows = [][2]string{{facts.Name, "no container builds " + whats(q.Foreign)}}
	default:
		w.Rows = [][2]string{{facts.Name, "no single container builds " + whats(q.Foreign)}}
	}
	return w
}

// containable is the system of the one container that builds all of needs, if
// there is such and an engine for it.
func (p *containers) containable(ctx context.Context, needs []Need) (string, EngineFacts) {
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
	facts := p.facts(ctx)
	if !facts.Usable {
		return "", facts
	}
	return system, facts
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
