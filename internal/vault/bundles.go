package vault

import (
	"context"
	"strings"
	"sync"

	"godwit/internal/fleet"
	"godwit/internal/identity"
	"godwit/internal/paths"
	"godwit/internal/secrets/bundle"
)

// Resting gives what rests on a host: what the repository that dir lies in has for it, what
// its configuration declares, and what that would push otherwise; nil when there is nothing to
// think of. A host is looked at once: what a run looked at is what it brings. It may be called
// from several goroutines.
func Resting(dir string) func(context.Context, fleet.Host) (*bundle.Bundle, error) {
	own := Bundles(dir)
	var mu sync.Mutex
	known := map[string]func() (*bundle.Bundle, error){}
	return func(ctx context.Context, h fleet.Host) (*bundle.Bundle, error) {
		mu.Lock()
		of, ok := known[h.Name]
		if !ok {
			of = sync.OnceValues(func() (b *bundle.Bundle, err error) {
				if own != nil {
					b, err = own(h.Name)
				}
				if err == nil {
					b, err = With(b, h.Name, h.Main().Declared)
				}
				if err == nil {
					b, err = WithPushed(ctx, b, h)
				}
				return b, err
			})
			known[h.Name] = of
		}
		mu.Unlock()
		return of()
	}
}

// Bundles gives what rests on machines, out of the folder of secrets of the repository that
// dir lies in; nil where there is none. A machine that it does not know has nil; one that
// it knows and has no secrets (any more) has a bundle without entries. Files are read once:
// what a run looked at is what it brings. It may be called from several goroutines.
func Bundles(dir string) func(machine string) (*bundle.Bundle, error) {
	at, ok := identity.Find(dir)
	if dir == "" || !ok {
		return nil
	}
	open := sync.OnceValues(func() (*Vault, error) { return openAt(at) })
	type answer struct {
		bundle *bundle.Bundle
		err    error
	}
	var mu sync.Mutex
	known := map[string]answer{}
	return func(machine string) (*bundle.Bundle, error) {
		v, err := open()
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		if a, ok := known[machine]; ok {
			return a.bundle, a.err
		}
		b, err := v.Bundle(machine)
		if m, ok := v.Repo.Machine(machine); b == nil && err == nil && ok {
			b = &bundle.Bundle{Machine: machine, Recipient: m.RecipientString(), KeyFile: m.KeyFile()}
		}
		known[machine] = answer{b, err}
		return b, err
	}
}

// openAt opens a folder of secrets with what this machine remembers of it.
func openAt(dir string) (*Vault, error) {
	repo, err := identity.Open(dir)
	if err != nil {
		return nil, err
	}
	state, err := paths.State()
	if err != nil {
		state = "" // no home directory: nothing is remembered
	}
	return Open(repo, Options{State: state})
}

// HostKeys are the ssh host keys of machines, by their names, out of the folder of secrets of
// the repository that dir lies in: those that the index has, when it is signed by an
// operator whom this machine believes. In any other case there are none.
func HostKeys(dir string) map[string]string {
	at, ok := identity.Find(dir)
	if dir == "" || !ok {
		return nil
	}
	v, err := openAt(at)
	if err != nil || v.Distrust != nil || len(v.signers()) == 0 {
		return nil
	}
	keys := map[string]string{}
	for name, k := range v.Index.Machines {
		if w := strings.Fields(k.SSHHost); len(w) >= 2 {
			keys[name] = w[0] + " " + w[1]
		}
	}
	return keys
}
