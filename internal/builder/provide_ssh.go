package builder

import (
	"context"
	"strings"

	"godwit/internal/fleet"
)

// sshStores provides stores behind ssh: those of the user's file by themselves, others
// by their address.
type sshStores struct {
	here   Capability
	stores []SSHStore
	make   func(uri string) (Builder, error)
	memo   memo
}

func (p *sshStores) builder(uri string) (Builder, error) {
	return p.memo.get(uri, func() (Builder, error) { return p.make(uri) })
}

func (p *sshStores) Means(word string, h fleet.Host) bool { return isURI(word) && word != h.Name }

func (p *sshStores) Take(_ context.Context, q Question) (Offer, error) {
	uri := q.Word
	if !strings.Contains(uri, "://") {
		uri = "ssh-ng://" + uri
	}
	b, err := p.builder(uri)
	if err != nil {
		return Offer{}, err
	}
	o := Offer{Builder: b, Kind: KindSSH, Words: uri}
	for _, s := range p.stores {
		if s.URI == uri && len(s.Systems) > 0 {
			o.Prepare = p.here.prepared(q.Needs, s.Can)
		}
	}
	if o.Prepare == nil {
		o.Prepare = p.here.preparedFor(q.Needs, q.Host.Platform.Name)
	}
	return o, nil
}

func (p *sshStores) Offer(_ context.Context, q Question) (Offer, error) {
	for _, s := range p.stores {
		if len(cannot(q.Foreign, s.Can)) > 0 {
			continue
		}
		b, err := p.builder(s.URI)
		return Offer{Builder: b, Kind: KindSSH, Prepare: drvsOf(cannot(q.Needs, s.Can)), Words: s.URI + ", named in the configuration file"}, err
	}
	return Offer{}, nil
}

// Why says nothing: whoever named stores knows what they build.
func (p *sshStores) Why(context.Context, Question) Why { return Why{} }
