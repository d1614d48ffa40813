package deploy

import (
	"context"
	"fmt"
	"slices"

	"godwit/internal/activate"
	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/secrets/bundle"
	"godwit/internal/secrets/ship"
)

// secretsProfile is the name of the profile that a release of secrets is. It comes first
// among those of its host: what follows finds its secrets.
const secretsProfile = "secrets"

// secretsOf are the secrets that are to rest on a host; nil when there are none to think of.
func (r *Run) secretsOf(ctx context.Context, h fleet.Host) (*bundle.Bundle, error) {
	if r.Secrets == nil || r.Goal != GoalActivate || h.BuildOnly {
		return nil, nil
	}
	return r.Secrets(ctx, h)
}

// shipSecrets brings the secrets of a host to it, as ciphertext that takes no effect, and
// gives the host with the profile that they are. Hosts without such secrets stay as they are.
func (r *Run) shipSecrets(ctx context.Context, h fleet.Host, conn host.Conn, b *bundle.Bundle) (fleet.Host, error) {
	if b == nil {
		return h, nil
	}
	sc := event.On(r.Sink, h.Name, event.StepSecrets)
	at := ""
	err := r.wet(sc, fmt.Sprintf("bring %d secrets to the host", len(b.Entries)), func() error {
		sc.Start("")
		var err error
		at, err = ship.Ship(ctx, conn, h.Name, b)
		said := fmt.Sprintf("the host can open its %d secrets", len(b.Entries))
		if len(b.Entries) == 0 {
			said = "none"
		}
		sc.End(said, err)
		return err
	})
	if err != nil || at == "" {
		return h, err
	}
	h.Profiles = slices.Insert(slices.Clone(h.Profiles), 0, fleet.Profile{Name: secretsProfile, Kind: fleet.Secrets, Path: at})
	return h, nil
}

// withSecrets is the host of a job with the profile of secrets that its activation had.
func (o Outcome) withSecrets(h fleet.Host) fleet.Host {
	has := func(p activate.Changed) bool { return p.Name == secretsProfile && p.Old != "" }
	if i := slices.IndexFunc(o.Activation.Profiles, has); i >= 0 {
		h.Profiles = slices.Insert(slices.Clone(h.Profiles), 0, fleet.Profile{Name: secretsProfile, Kind: fleet.Secrets, Path: o.Activation.Profiles[i].Old})
	}
	return h
}
