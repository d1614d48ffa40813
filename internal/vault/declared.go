package vault

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"godwit/internal/bounded"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/identity"
	"godwit/internal/regular"
	"godwit/internal/secrets/bundle"
)

// With is what rests on a machine with what its configuration declares. What that says of
// a secret of the repository is added to it, and wins; one with a file of its own is in no
// repository. b may be nil, and is not changed.
func With(b *bundle.Bundle, machine string, declared []fleet.Declared) (*bundle.Bundle, error) {
	if len(declared) == 0 {
		return b, nil
	}
	all := bundle.Bundle{Machine: machine, KeyFile: identity.SSHHostKeyFile}
	if b != nil {
		all = *b
		all.Entries = slices.Clone(b.Entries)
	}
	for _, d := range declared {
		all.KeyFile = cmp.Or(d.KeyFile, all.KeyFile)
		s := Secret{Name: d.Name, Path: d.Path, User: plainOwner(d.Owner), Group: plainOwner(d.Group), Mode: d.Mode, Phase: d.Phase, Restart: d.Restart}
		e, err := s.Entry()
		if err != nil {
			return nil, fault.New("godwit.secrets.%s: %w", d.Name, err).On(machine)
		}
		if e.Destination == bundle.Folder+"/"+e.Name {
			e.Destination = ""
		}
		i := slices.IndexFunc(all.Entries, func(o bundle.Entry) bool { return o.Name == d.Name })
		if i >= 0 {
			e.Age = all.Entries[i].Age
			for _, u := range all.Entries[i].Restart {
				if !slices.Contains(e.Restart, u) {
					e.Restart = append(slices.Clip(e.Restart), u)
				}
			}
			all.Entries = slices.Delete(all.Entries, i, i+1)
		}
		switch {
		case d.File != "":
			if e.Age, err = ciphertext(d.File); err != nil {
				return nil, fault.New("godwit.secrets.%s: %w", d.Name, err).On(machine)
			}
		case i < 0:
			return nil, fault.New("godwit.secrets.%s has no file, and the repository has no secret '%s' for this machine", d.Name, d.Name).On(machine).
				Hint("godwit secrets new %s --for %s; or, if it is there already: godwit secrets grant %s %s", d.Name, machine, d.Name, machine)
		}
		all.Entries = append(all.Entries, e)
	}
	slices.SortFunc(all.Entries, func(a, b bundle.Entry) int { return strings.Compare(a.Name, b.Name) })
	if err := all.Check(); err != nil {
		return nil, fault.New("%w", err).On(machine)
	}
	return &all, nil
}

func plainOwner(name string) string {
	if name == "root" {
		return ""
	}
	return name
}

// ciphertext reads a file of age, as a release holds it.
func ciphertext(file string) ([]byte, error) {
	data, err := regular.Read(file, maxSecret)
	if err != nil {
		return nil, fault.New("cannot read %s: %s", file, fault.Reason(err)).Because(err)
	}
	plain, err := bounded.ReadAll(identity.Dearmor(bytes.NewReader(data)), file, maxSecret)
	if err != nil || !bytes.HasPrefix(plain, []byte("age-encryption.org/")) {
		return nil, fault.New("%s is not a file of age", file).Because(err)
	}
	return plain, nil
}
