package builder

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/fleet"
)

// thisMachine provides the store that is here.
type thisMachine struct {
	can  Capability
	make func() Builder
	memo memo
}

func (p *thisMachine) builder() Builder {
	b, _ := p.memo.get("", func() (Builder, error) { return p.make(), nil })
	return b
}

func (p *thisMachine) Means(word string, _ fleet.Host) bool { return word == "local" }

func (p *thisMachine) Take(_ context.Context, q Question) (Offer, error) {
	if len(q.Foreign) == 0 {
		return Offer{Builder: p.builder(), Kind: KindLocal, Plain: true, Words: "local"}, nil
	}
	e := q.refused(fault.New("needs %s, %s, and 'local' was chosen (%s)", whats(q.Foreign), p.can.cannotWords(q.Foreign), q.From))
	if p.can.idle(q.Foreign) {
		e.Hint("%s", fault.Raw(letBuild))
	}
	return Offer{}, e.Hint("let godwit choose: --builder auto")
}

func (p *thisMachine) Offer(_ context.Context, q Question) (Offer, error) {
	o := Offer{Builder: p.builder(), Kind: KindLocal, Plain: true}
	switch {
	case len(q.Needs) == 0 && q.Fetch > 0:
		o.Words = "nothing to build, this machine fetches what is missing"
	case len(q.Needs) == 0:
		o.Words = "nothing to build"
	case len(q.Foreign) == 0:
		o.Words = fmt.Sprintf("this machine builds %s", whats(q.Needs))
	default:
		return Offer{}, nil
	}
	return o, nil
}

func (p *thisMachine) Why(_ context.Context, q Question) (w Why) {
	here := p.can.System
	if len(p.can.Extra) > 0 {
		here += ", " + strings.Join(p.can.Extra, ", ")
	}
	var features []string
	for _, n := range q.Foreign {
		if n.System == p.can.System || slices.Contains(p.can.Extra, n.System) {
			for _, f := range n.Features {
				if !slices.Contains(p.can.Features, f) && !slices.Contains(features, f) {
					features = append(features, f)
				}
			}
		}
	}
	if len(features) > 0 {
		here += ", without " + strings.Join(features, ", ")
	}
	if p.can.MaxJobs == 0 {
		here += ", and it builds nothing itself (max-jobs = 0)"
	}
	w.Rows = [][2]string{{"this machine", here}}
	if p.can.idle(q.Foreign) {
		w.Hints = []string{letBuild}
	}
	return w
}
