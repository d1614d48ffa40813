package builder

import (
	"context"

	"godwit/internal/fleet"
)

// targets provides the hosts themselves. None is taken without being asked for: a
// small machine that serves people is not for compiling.
type targets struct {
	here  Capability
	hosts map[string]fleet.Host
	make  func(fleet.Host) (Builder, error)
	memo  memo
}

func (p *targets) Means(word string, h fleet.Host) bool {
	_, other := p.hosts[word]
	return word == "target" || word == h.Name || other
}

func (p *targets) Take(_ context.Context, q Question) (Offer, error) {
	h, words := q.Host, "on "+q.Host.Name+" itself"
	if q.Word != "target" && q.Word != h.Name {
		h, words = p.hosts[q.Word], "on "+q.Word
	}
	b, err := p.memo.get(h.Name, func() (Builder, error) { return p.make(h) })
	if err != nil {
		return Offer{}, err
	}
	return Offer{Builder: b, Kind: KindTarget, Prepare: p.here.preparedFor(q.Needs, h.Platform.Name), Words: words}, nil
}

// Offer offers none.
func (p *targets) Offer(context.Context, Question) (Offer, error) { return Offer{}, nil }

func (p *targets) Why(_ context.Context, q Question) (w Why) {
	h := q.Host
	itself := Capability{System: h.Platform.Name, Features: defaultFeatures, MaxJobs: -1}
	if h.Platform.Name != "" && !h.BuildOnly && len(cannot(q.Foreign, itself.Can)) == 0 {
		w.Rows = [][2]string{{"hosts", h.Name + " itself could: --build-on target"}}
	}
	return w
}
