package vault

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"filippo.io/age"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/identity"
	"godwit/internal/secrets"
	"godwit/internal/secrets/bundle"
)

// WithPushed is what rests on a machine with the secrets of its configuration that are not
// to be pushed (fleet.Secret.Rest): each is read here, and encrypted for the machine. b may
// be nil, and is not changed.
func WithPushed(ctx context.Context, b *bundle.Bundle, h fleet.Host) (*bundle.Bundle, error) {
	if !slices.ContainsFunc(h.Secrets, func(s fleet.Secret) bool { return s.Rest }) {
		return b, nil
	}
	if b == nil || b.Recipient == "" {
		return nil, fault.New("its secrets are to rest on it (restSecrets), and the repository has no identity of it to encrypt them for").On(h.Name).
			Hint("godwit keys adopt %s", h.Name)
	}
	to, err := identity.ParseRecipient(b.Recipient, nil)
	if err != nil {
		return nil, fault.New("the key of the machine: %w", err).On(h.Name)
	}
	all := *b
	all.Entries = slices.Clone(b.Entries)
	for _, s := range h.Secrets {
		if !s.Rest {
			continue
		}
		units, _ := s.Restarts()
		e, err := Secret{Name: s.Name, Path: s.Destination, User: plainOwner(s.User), Group: plainOwner(s.Group), Mode: s.Permissions, Restart: units}.Entry()
		if err != nil {
			return nil, fault.New("secret '%s': %w", s.Name, err).On(h.Name)
		}
		if slices.ContainsFunc(b.Entries, func(o bundle.Entry) bool { return o.Name == s.Name }) {
			return nil, fault.New("secret '%s' is both in %s and in the repository", s.Name, s.Option("destination")).On(h.Name).Hint("give one of them another name")
		}
		plain, err := secrets.Plaintext(ctx, h.Name, s)
		if err != nil {
			return nil, err
		}
		var out bytes.Buffer
		w, err := age.Encrypt(&out, to)
		if err == nil {
			_, err = w.Write(plain)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: secret '%s': %w", h.Name, s.Name, err)
		}
		e.Age, e.Fresh, e.Replace = out.Bytes(), true, true
		all.Entries = append(all.Entries, e)
	}
	slices.SortFunc(all.Entries, func(a, b bundle.Entry) int { return strings.Compare(a.Name, b.Name) })
	if err := all.Check(); err != nil {
		return nil, fault.New("%w", err).On(h.Name)
	}
	return &all, nil
}
