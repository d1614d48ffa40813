package action

import (
	"context"
	"slices"
	"strings"
	"sync"

	"godwit/internal/deploy"
	"godwit/internal/event"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/identity"
	"godwit/internal/identity/onmachine"
)

// HostKey is the public ssh host key of a host, as the host itself says it, and the
// address by which ssh's known_hosts knows it.
type HostKey struct{ Host, Address, Key string }

// HostKeys asks hosts for their ed25519 host keys. They are sorted by host.
func HostKeys(ctx context.Context, e *Env, r HostsRequest) (*Summary, []HostKey, error) {
	s := e.open()
	defer s.close()
	var mu sync.Mutex
	var keys []HostKey
	sum, err := s.onHosts(ctx, r, step{each: func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
		key, err := onmachine.Read(ctx, conn, h.Name)
		if err != nil {
			return deploy.Outcome{State: deploy.Failed, Err: err}
		}
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, HostKey{h.Name, onmachine.KnownAs(h.At), key})
		return deploy.Outcome{State: deploy.Ran, Detail: "told its host key"}
	}})
	slices.SortFunc(keys, func(a, b HostKey) int { return strings.Compare(a.Host, b.Host) })
	return sum, keys, err
}

// InstallKeys writes the private age key of each host to the host. keys gives them; it is
// called once the hosts are known.
func InstallKeys(ctx context.Context, e *Env, r HostsRequest, keys func(hosts []string) (map[string]string, error)) (*Summary, error) {
	s := e.open()
	defer s.close()
	var have map[string]string
	return s.onHosts(ctx, r, step{changes: true,
		before: func(hosts []fleet.Host) (err error) {
			var names []string
			for _, h := range hosts {
				names = append(names, h.Name)
			}
			have, err = keys(names)
			return err
		},
		each: func(ctx context.Context, h fleet.Host, conn host.Conn) deploy.Outcome {
			return s.wet(event.On(s.View, h.Name, event.StepSecrets), "write "+identity.KeyFile, func() deploy.Outcome {
				if err := onmachine.Install(ctx, conn, h.Name, have[h.Name]); err != nil {
					return deploy.Outcome{State: deploy.Failed, Err: err}
				}
				return deploy.Outcome{State: deploy.Uploaded, Detail: identity.KeyFile + " is there"}
			})
		}})
}
