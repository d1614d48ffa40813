package builder

import (
	"context"
	"slices"
	"strings"

	"godwit/internal/builder/machines"
	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// configuredInNix provides the builders that Nix of this machine is configured with.
type configuredInNix struct {
	machines []machines.Machine
	problems []string // of their lines
	probe    func(context.Context, machines.Machine) error
	make     func(uris []string) Builder
	local    *thisMachine // builds when there is nothing for them
	memo     memo
	probed   map[string]error
}

func (p *configuredInNix) builder(uris []string) Builder {
	b, _ := p.memo.get(strings.Join(uris, ","), func() (Builder, error) { return p.make(uris), nil })
	return b
}

func (p *configuredInNix) Means(word string, _ fleet.Host) bool {
	return word == "nix" || word == "configured"
}

func (p *configuredInNix) Take(ctx context.Context, q Question) (Offer, error) {
	o := Offer{Builder: p.local.builder(), Kind: KindLocal, Plain: true, Words: "builders that Nix is configured with"}
	if len(q.Foreign) == 0 {
		return o, nil
	}
	uris := p.covering(ctx, q.Foreign)
	if len(uris) == 0 {
		e := q.refused(fault.New("needs %s, and no builder that Nix is configured with does that", whats(q.Foreign)))
		e.Detail(p.lines(q.Foreign)...)
		return Offer{}, e.Hint("let godwit choose: --builder auto")
	}
	o.Builder, o.Kind, o.Plain = p.builder(uris), KindConfigured, false
	return o, nil
}

func (p *configuredInNix) Offer(ctx context.Context, q Question) (Offer, error) {
	uris := p.covering(ctx, q.Foreign)
	if len(uris) == 0 {
		return Offer{}, nil
	}
	return Offer{Builder: p.builder(uris), Kind: KindConfigured, Words: strings.Join(uris, ", ") + ", a builder that Nix is configured with"}, nil
}

func (p *configuredInNix) Why(_ context.Context, q Question) (w Why) {
	for _, l := range p.lines(q.Foreign) {
		w.Rows = append(w.Rows, [2]string{"Nix builders", l})
	}
	return w
}

// covering finds builders that together do all of needs and answer.
func (p *configuredInNix) covering(ctx context.Context, needs []Need) []string {
	var uris []string
	for _, n := range needs {
		found := false
		for _, m := range p.machines {
			if !m.Can(n.System, n.Features) {
				continue
			}
			if p.answers(ctx, m) == nil {
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

// answers says hello to a builder, once.
func (p *configuredInNix) answers(ctx context.Context, m machines.Machine) error {
	if err, ok := p.probed[m.URI]; ok {
		return err
	}
	err := p.probe(ctx, m)
	if p.probed == nil {
		p.probed = map[string]error{}
	}
	p.probed[m.URI] = err
	return err
}

// lines are facts about the builders for what is needed.
func (p *configuredInNix) lines(needs []Need) []string {
	var out []string
	for _, m := range p.machines {
		err, tried := p.probed[m.URI]
		switch {
		case tried && err != nil:
			out = append(out, m.URI+" does not answer: "+err.Error())
		case len(cannot(needs, func(n Need) bool { return m.Can(n.System, n.Features) })) > 0:
			s := m.URI + " builds " + strings.Join(m.Systems, ", ")
			if len(m.Features) > 0 {
				s += " with " + strings.Join(m.Features, ", ")
			}
			out = append(out, s)
		}
	}
	if len(p.machines) == 0 {
		out = append(out, "none configured")
	}
	return append(out, p.problems...)
}
