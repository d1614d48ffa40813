package vault

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/identity"
	"godwit/internal/regular"
)

// OpenMachineFile decrypts a private half of a machine's identity, after the index agreed
// to it: "age.key.age" or "ssh_host_ed25519.age".
func (v *Vault) OpenMachineFile(name, file string, o *identity.Operator) ([]byte, error) {
	at := "machines/" + name + "/" + file
	full := filepath.Join(v.Repo.Dir, at)
	data, err := regular.Read(full, limit)
	if errors.Is(err, fs.ErrNotExist) {
		f := fault.New("the machine '%s' has no %s in this repository: it was adopted, and keeps its private key to itself", name, file).Because(err)
		if file == "age.key.age" {
			f.Hint("godwit keys rotate %s gives it an age key", name)
		}
		return nil, f
	}
	if err != nil {
		return nil, fault.New("cannot read %s: %s", full, fault.Reason(err)).Because(err)
	}
	w, ok := v.Index.Files[at]
	if !ok || w.SHA256 != sum(data) {
		return nil, fault.New("%s is not the one that the index names: somebody replaced it", full).
			Hint("git log -- %s tells who", full)
	}
	if plain, ok := v.opened[w.SHA256]; ok { // the operator's key may be in a token, which asks each time
		return plain, nil
	}
	plain, err := o.Open(full, data, w.Recipients...)
	if err == nil {
		if v.opened == nil {
			v.opened = map[string][]byte{}
		}
		v.opened[w.SHA256] = plain
	}
	return plain, err
}

// MachineKey are the private age keys of a machine, lines AGE-SECRET-KEY-…: the one of
// age.pub first, then the one before it, for what was encrypted to that.
func (v *Vault) MachineKey(name string, o *identity.Operator) (string, error) {
	data, err := v.OpenMachineFile(name, "age.key.age", o)
	return strings.TrimSpace(string(data)), err
}
