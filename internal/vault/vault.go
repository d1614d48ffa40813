// Package vault is godwit's own store of secrets in a repository: one encrypted file per
// secret, a declaration beside it that says which machines get it and where it goes, and
// an index that says what was written last, signed by an operator.
//
//	secrets/store/NAME.toml     for whom, where, whose, how it is made (Secret)
//	secrets/store/NAME.age      the value, for the operators and the machines that use it
//	secrets/store/NAME.pub      the public half of a generated pair of keys, in clear
//	secrets/index.json          what every file is, and the recipients that it has (Index)
//
// Who may open a secret follows from recipients.toml (internal/identity) and the
// declaration. Nothing here decrypts for a deployment: a machine gets the file as it is.
package vault

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"godwit/internal/fault"
	"godwit/internal/identity"
	"godwit/internal/regular"
	"godwit/internal/secrets/bundle"
	"godwit/internal/settings"
)

const (
	storeDir  = "store"
	indexFile = "index.json"
	// limit is what no file but a secret reaches, maxSecret what no secret does, in bytes.
	limit     = 4 << 20
	maxSecret = identity.MaxPlain + 1<<20
)

// Secret is the declaration of a secret: store/NAME.toml.
type Secret struct {
	Name string `toml:"-"`
	// Note says what it is, for people.
	Note string `toml:"note,omitempty"`
	// For are names of machines, and @GROUPs of recipients.toml.
	For []string `toml:"for"`
	// Path is where the machine has it; empty: /run/godwit/secrets/NAME.
	Path  string `toml:"path,omitempty"`
	User  string `toml:"user,omitempty"`
	Group string `toml:"group,omitempty"`
	// Mode is octal, "0400" when empty; Phase is "services" when empty.
	Mode    string   `toml:"mode,omitempty"`
	Phase   string   `toml:"phase,omitempty"`
	Restart []string `toml:"restart,omitempty"`
	// Generator makes the value; nil: a person gives it.
	Generator *Generator `toml:"generator,omitempty"`
}

// Entry is the secret as it travels, without the ciphertext.
func (s Secret) Entry() (bundle.Entry, error) {
	mode, err := strconv.ParseUint(cmp.Or(s.Mode, "0400"), 8, 32)
	if err != nil {
		return bundle.Entry{}, fmt.Errorf("the mode '%s' is not an octal number such as 0400", s.Mode)
	}
	e := bundle.Entry{Name: s.Name, Destination: s.Path, User: s.User, Group: s.Group, Mode: uint32(mode),
		Phase: bundle.Phase(cmp.Or(s.Phase, string(bundle.Services))), Restart: s.Restart}
	return e, e.Check()
}

// Vault is the store of a repository, as it was when it was opened.
type Vault struct {
	Repo *identity.Repo
	// Secrets are sorted by name.
	Secrets []Secret
	Index   *Index
	// Distrust says why the index is not to be believed; nil: it is.
	Distrust error
	// state is the folder for what this machine remembers of signers; "" is none.
	state string
	// opened are private halves of machines, by the sum of the file that they were opened from.
	opened map[string][]byte
}

// Options are for Open.
type Options struct {
	// State is a folder in which this machine remembers who signed (paths.State).
	State string
	// Recover finishes, or takes back, what a killed run had begun to write.
	Recover bool
}

// Open reads the store of a repository. Without a store there are no secrets.
func Open(repo *identity.Repo, o Options) (*Vault, error) {
	v := &Vault{Repo: repo, state: o.State}
	if o.Recover {
		if err := recoverWrites(repo.Dir); err != nil {
			return nil, err
		}
	}
	all, err := os.ReadDir(filepath.Join(repo.Dir, storeDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New("cannot read the secrets: %w", err)
	}
	for _, e := range all {
		name, ok := strings.CutSuffix(e.Name(), ".toml")
		if !ok || strings.HasPrefix(name, ".") {
			continue
		}
		s, err := v.read(name)
		if err != nil {
			return nil, err
		}
		v.Secrets = append(v.Secrets, s)
	}
	v.Index, err = readIndex(repo.Dir)
	if err != nil {
		return nil, err
	}
	v.Distrust = v.trust()
	return v, nil
}

// read reads one declaration.
func (v *Vault) read(name string) (Secret, error) {
	file := v.file(name + ".toml")
	data, err := regular.Read(file, limit)
	if err != nil {
		return Secret{}, fault.New("cannot read %s: %s", file, fault.Reason(err)).Because(err)
	}
	s, err := parseSecret(file, name, string(data))
	if err != nil {
		return s, err
	}
	if _, err := v.Repo.Names(s.For); err != nil {
		return s, fault.New("%s: %w", file, err).Hint("godwit keys new NAME makes the keys of a machine")
	}
	return s, nil
}

// parseSecret reads the text of a declaration, which errors call file.
func parseSecret(file, name, text string) (Secret, error) {
	s := Secret{Name: name}
	if err := settings.Decode(file, text, &s); err != nil {
		return s, err
	}
	_, err := s.Entry()
	if err == nil && s.Generator != nil {
		err = s.Generator.check()
	}
	if err != nil {
		return s, fault.New("%s: %w", file, err)
	}
	return s, nil
}

// text is the declaration as it is written.
func (s Secret) text() ([]byte, error) {
	var b bytes.Buffer
	e := toml.NewEncoder(&b)
	e.SetIndentTables(false)
	if err := e.Encode(s); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// file is the path of a file of the store.
func (v *Vault) file(name string) string { return filepath.Join(v.Repo.Dir, storeDir, name) }

// Secret is the secret of that name.
func (v *Vault) Secret(name string) (Secret, error) {
	i := slices.IndexFunc(v.Secrets, func(s Secret) bool { return s.Name == name })
	if i < 0 {
		f := fault.New("there is no secret '%s' in %s", name, filepath.Join(v.Repo.Dir, storeDir))
		return Secret{}, f.Hint("godwit secrets lists them; godwit secrets new %s makes it", name)
	}
	return v.Secrets[i], nil
}

// Machines are the names of the machines that use a secret, sorted.
func (v *Vault) Machines(s Secret) []string {
	names, _ := v.Repo.Names(s.For) // read looked at them
	return names
}

// Recipients are the public keys to which a secret is to be encrypted: those of all
// operators and of the machines that use it; sorted.
func (v *Vault) Recipients(s Secret) []string {
	out := v.Repo.OperatorKeys()
	for _, name := range v.Machines(s) {
		if m, ok := v.Repo.Machine(name); ok {
			out = append(out, m.RecipientString())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// cipher reads the file of a secret; it is there and is the one that the index names, or
// there is an error.
func (v *Vault) cipher(s Secret) ([]byte, Written, error) {
	data, err := regular.Read(v.file(s.Name+".age"), maxSecret)
	if errors.Is(err, fs.ErrNotExist) {
		f := fault.New("secret '%s' has no value yet", s.Name)
		if s.Generator != nil {
			return nil, Written{}, f.Hint("godwit secrets generate %s", s.Name)
		}
		return nil, Written{}, f.Hint("godwit secrets edit %s", s.Name)
	}
	if err != nil {
		return nil, Written{}, fault.New("secret '%s': cannot read %s: %s", s.Name, v.file(s.Name+".age"), fault.Reason(err)).Because(err)
	}
	w, ok := v.Index.Files[storeDir+"/"+s.Name+".age"]
	if !ok || w.SHA256 != sum(data) {
		why := "is not the one that the index names: somebody replaced it, or it comes from another branch"
		if !ok {
			why = "is in no index: somebody put it there"
		}
		return nil, w, fault.New("secret '%s': %s %s", s.Name, v.file(s.Name+".age"), why).
			Hint("git log -- %s tells who; godwit secrets rekey --trust-files %s takes it as it is", v.file(s.Name+".age"), s.Name)
	}
	return data, w, nil
}

// Open decrypts a secret.
func (v *Vault) Open(s Secret, o *identity.Operator) ([]byte, error) {
	data, w, err := v.cipher(s)
	if err != nil {
		return nil, err
	}
	v.unlock(o, w)
	return o.Open("secret '"+s.Name+"'", data, w.Recipients...)
}

// unlock opens the key of a machine that can open a file, when the operator's own is in a
// token: the next secrets of that machine then need no further touch.
func (v *Vault) unlock(o *identity.Operator, w Written) {
	if !o.Hardware() {
		return
	}
	have := o.Recipients()
	var of identity.Machine
	for _, m := range v.Repo.Machines {
		if m.Age == "" || !slices.Contains(w.Recipients, m.Age) {
			continue
		}
		if slices.Contains(have, m.Age) {
			return
		}
		of = m
	}
	if of.Name != "" {
		if key, err := v.MachineKey(of.Name, o); err == nil { // else the file itself says why it cannot be opened
			_ = o.AddKey(key, "the key of "+of.Name)
		}
	}
}

// Bundle makes what a machine gets: its secrets, as they lie in the repository. It is nil
// for a machine that has none. Nothing is decrypted. What is not as the index has it, or
// was not encrypted for the machine yet, is an error.
func (v *Vault) Bundle(machine string) (*bundle.Bundle, error) {
	var mine []Secret
	for _, s := range v.Secrets {
		if slices.Contains(v.Machines(s), machine) {
			mine = append(mine, s)
		}
	}
	if len(mine) == 0 {
		return nil, nil
	}
	if v.Distrust != nil {
		return nil, v.Distrust
	}
	m, _ := v.Repo.Machine(machine)
	b := &bundle.Bundle{Machine: machine, Recipient: m.RecipientString(), KeyFile: m.KeyFile()}
	var errs []error
	for _, s := range mine {
		data, w, err := v.cipher(s)
		if err == nil && !slices.Contains(w.Recipients, b.Recipient) {
			err = fault.New("secret '%s' was not encrypted for the machine '%s' yet", s.Name, machine).Hint("godwit secrets rekey %s", s.Name)
		}
		if err != nil {
			errs = append(errs, on(machine, err))
			continue
		}
		e, err := s.Entry()
		if err != nil {
			errs = append(errs, on(machine, err))
			continue
		}
		e.Age = data
		b.Entries = append(b.Entries, e)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if err := b.Check(); err != nil {
		return nil, fault.New("%w", err).On(machine)
	}
	return b, nil
}

// on names the host of an error.
func on(host string, err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		return f.On(host)
	}
	return fault.New("%w", err).On(host)
}

// now is the time that is written down; a variable for tests.
var now = func() time.Time { return time.Now().UTC().Truncate(time.Second) }
