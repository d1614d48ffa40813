package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"godwit/internal/fault"
	"godwit/internal/identity"
	"godwit/internal/ui/text"
)

// Desk is a person at work on the secrets of a repository: what the verbs of the command
// line do, without flags.
type Desk struct {
	// Dir is the folder of secrets, State the one for what this machine remembers.
	Dir, State string
	// Keys loads the operator's private keys; it is called when they are needed.
	Keys   func() (*identity.Operator, error)
	Person identity.Person
	// Show shows what is about to be written, Agree asks; a dry run shows alone.
	Show   func(lines []string)
	Agree  func(question string) (bool, error)
	DryRun bool
	Editor Editor

	keys *identity.Operator
}

// Open opens the store, and finishes what a killed run left.
func (d *Desk) Open() (*Vault, error) {
	r, err := identity.Open(d.Dir)
	if err != nil {
		return nil, err
	}
	return Open(r, Options{State: d.State, Recover: true})
}

// operator are the private keys.
func (d *Desk) operator() (*identity.Operator, error) {
	if d.keys != nil {
		return d.keys, nil
	}
	o, err := d.Keys()
	d.keys = o
	return o, err
}

// errNo is a person's no.
var errNo = fault.New("nothing was written: you said no")

// write runs a transaction: fn fills it, the person sees what it changes and agrees.
func (d *Desk) write(v *Vault, fn func(*Tx, *identity.Operator) error) error {
	if v.Distrust != nil {
		return v.Distrust
	}
	return d.writeAnyway(v, fn)
}

func (d *Desk) writeAnyway(v *Vault, fn func(*Tx, *identity.Operator) error) error {
	o, err := d.operator()
	if err != nil {
		return err
	}
	tx, err := v.Begin()
	if err != nil {
		return err
	}
	defer tx.Close()
	if err := fn(tx, o); err != nil {
		return err
	}
	if tx.Empty() {
		d.Show([]string{"nothing to do"})
		return nil
	}
	for _, err := range tx.left {
		d.Show([]string{"! " + err.Error() + ": unchanged"})
	}
	d.Show(tx.describe())
	if d.DryRun {
		return nil
	}
	yes, err := d.Agree("Write " + text.Count(len(tx.files)+1, "file") + " to " + v.Repo.Dir + "?")
	if err != nil {
		return err
	}
	if !yes {
		return errNo
	}
	if err := tx.Commit(o); err != nil {
		return err
	}
	return errors.Join(tx.left...)
}

// describe says per file who can open it, and what changes of that.
func (t *Tx) describe() []string {
	who := func(list []string) string {
		var names []string
		for _, k := range list {
			n := t.who(k)
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
		slices.Sort(names)
		return strings.Join(names, ", ")
	}
	var out []string
	named := map[string]bool{}
	for _, c := range t.Changes {
		named[c.File] = true
		w := t.index.Files[c.File]
		switch {
		case c.Gone:
			out = append(out, "- "+c.Name+": removed")
		case c.New:
			out = append(out, "+ "+c.Name+": new, can be opened by "+who(w.Recipients))
		default:
			what := "same value"
			if c.Value {
				what = "new value"
			}
			line := "~ " + c.Name + ": " + what
			if len(c.Added) > 0 {
				line += ", + " + who(c.Added)
			}
			if len(c.Removed) > 0 {
				line += ", - " + who(c.Removed)
			}
			if len(c.Added)+len(c.Removed) == 0 {
				line += ", can be opened by " + who(w.Recipients) + " as before"
			}
			out = append(out, line)
		}
		for _, k := range c.Added { // a name alone could be anybody's
			if line := "    " + t.who(k) + " is " + text.Cut(k, 80, "…"); !c.Gone && !named[line] {
				named[line] = true
				out = append(out, line)
			}
		}
	}
	for _, f := range slices.Sorted(mapKeys(t.files)) {
		if !named[f] && strings.HasSuffix(f, ".toml") && t.files[f] != nil {
			out = append(out, "~ declaration of '"+strings.TrimSuffix(strings.TrimPrefix(f, storeDir+"/"), ".toml")+"'")
		}
	}
	return out
}

// who is whose a public key is: of today, or of the index.
func (t *Tx) who(key string) string {
	name := t.v.Repo.Who(key)
	if name != key && !strings.HasSuffix(name, "…") {
		return name
	}
	for m, k := range t.v.Index.Machines {
		if key == k.Age || key == k.SSHHost {
			return "the old key of " + m
		}
	}
	return name
}

// New declares a secret and gives it a value: plain, that of its generator, or what a
// person types into an editor when plain is nil.
func (d *Desk) New(ctx context.Context, s Secret, plain []byte) error {
	v, err := d.Open()
	if err != nil {
		return err
	}
	if _, err := v.Secret(s.Name); err == nil {
		return fault.New("there is a secret '%s' already", s.Name).Hint("godwit secrets edit %s changes its value", s.Name)
	}
	if len(s.For) == 0 {
		return fault.New("secret '%s' is for no machine", s.Name).Hint("--for MACHINE, or --for @GROUP")
	}
	if _, err := s.Entry(); err != nil {
		return fault.New("secret '%s': %w", s.Name, err)
	}
	return d.write(v, func(tx *Tx, o *identity.Operator) error {
		if err := tx.Declare(s); err != nil {
			return err
		}
		if s.Generator != nil {
			v.Secrets = append(v.Secrets, s)
			_, err := tx.Generate(ctx, []string{s.Name}, false, o, d.Person)
			return err
		}
		if plain == nil {
			if plain, err = d.Editor.Edit(ctx, s.Name, nil); err != nil {
				return err
			}
		}
		if len(plain) == 0 {
			return fault.New("secret '%s' is empty: nothing was written", s.Name)
		}
		return tx.Set(s, plain, d.Person)
	})
}

// Edit gives a secret a new value: plain, or what a person makes of the old one.
func (d *Desk) Edit(ctx context.Context, name string, plain []byte) error {
	v, err := d.Open()
	if err != nil {
		return err
	}
	s, err := v.Secret(name)
	if err != nil {
		return err
	}
	return d.write(v, func(tx *Tx, o *identity.Operator) error {
		if plain == nil {
			var old []byte
			if v.has(s) {
				if old, err = v.Open(s, o); err != nil {
					return err
				}
			}
			if plain, err = d.Editor.Edit(ctx, name, old); err != nil {
				return err
			}
			if string(plain) == string(old) && v.has(s) {
				return nil
			}
		}
		if len(plain) == 0 {
			return fault.New("secret '%s' would be empty: it stays unchanged", name)
		}
		return tx.Set(s, plain, d.Person)
	})
}

// Reveal decrypts a secret.
func (d *Desk) Reveal(name string) ([]byte, error) {
	v, err := d.Open()
	if err != nil {
		return nil, err
	}
	s, err := v.Secret(name)
	if err != nil {
		return nil, err
	}
	if v.Distrust != nil {
		return nil, v.Distrust
	}
	o, err := d.operator()
	if err != nil {
		return nil, err
	}
	return v.Open(s, o)
}

// Remove takes a secret away.
func (d *Desk) Remove(names []string) error {
	v, err := d.Open()
	if err != nil {
		return err
	}
	return d.write(v, func(tx *Tx, _ *identity.Operator) error {
		for _, n := range names {
			s, err := v.Secret(n)
			if err != nil {
				return err
			}
			tx.Remove(s)
		}
		return nil
	})
}

// Rekey encrypts what its recipients changed of anew; all encrypts everything anew. trust
// takes files as they are first, which the index does not know.
func (d *Desk) Rekey(names []string, all, trust bool) error {
	v, err := d.Open()
	if err != nil {
		return err
	}
	for _, n := range names {
		if _, err := v.Secret(n); err != nil {
			return err
		}
	}
	fn := func(tx *Tx, o *identity.Operator) error {
		if trust {
			tx.Trust(names)
			v.Index = tx.index
		}
		var errs []error
		for _, s := range v.Secrets {
			if len(names) > 0 && !slices.Contains(names, s.Name) || !v.has(s) {
				continue
			}
			if _, err := tx.Rekey(s, o, all, d.Person); err != nil {
				errs = append(errs, err)
			}
		}
		if len(names) == 0 {
			for _, m := range v.Repo.Machines {
				if _, err := tx.RekeyMachine(m.Name, o, d.Person); err != nil {
					errs = append(errs, err)
				}
			}
		}
		return joinRekey(errs, tx)
	}
	if trust {
		return d.writeAnyway(v, fn)
	}
	return d.write(v, fn)
}

// joinRekey lets what can be encrypted anew be written though another file cannot be
// opened: the errors are shown, and are the error when there is nothing else.
func joinRekey(errs []error, tx *Tx) error {
	if len(errs) == 0 {
		return nil
	}
	if tx.Empty() {
		return errors.Join(errs...)
	}
	tx.left = errs
	return nil
}

// Grant lets machines, or @GROUPs, have a secret; Revoke no longer.
func (d *Desk) Grant(name string, add, drop []string) error {
	v, err := d.Open()
	if err != nil {
		return err
	}
	s, err := v.Secret(name)
	if err != nil {
		return err
	}
	for _, m := range drop {
		if !slices.Contains(s.For, m) {
			return fault.New("secret '%s' is not for '%s': it is for %s", name, m, strings.Join(s.For, ", "))
		}
	}
	s.For = slices.DeleteFunc(slices.Clone(s.For), func(m string) bool { return slices.Contains(drop, m) })
	for _, m := range add {
		if !slices.Contains(s.For, m) {
			s.For = append(s.For, m)
		}
	}
	err = d.write(v, func(tx *Tx, o *identity.Operator) error {
		if err := tx.Declare(s); err != nil {
			return err
		}
		if !v.has(s) {
			return nil
		}
		_, err := tx.Rekey(s, o, false, d.Person)
		return err
	})
	if err == nil && len(drop) > 0 && !d.DryRun && v.has(s) {
		d.Show([]string{"who could open '" + name + "' until now may have kept a copy: give it a new value where that matters"})
	}
	return err
}

// Generate makes values with generators.
func (d *Desk) Generate(ctx context.Context, names []string, again bool) error {
	v, err := d.Open()
	if err != nil {
		return err
	}
	return d.write(v, func(tx *Tx, o *identity.Operator) error {
		_, err := tx.Generate(ctx, names, again, o, d.Person)
		return err
	})
}

// Row is a secret in the table of all.
type Row struct {
	Name     string    `json:"name"`
	Note     string    `json:"note,omitempty"`
	For      []string  `json:"for"`      // as declared
	Machines []string  `json:"machines"` // that get it
	Path     string    `json:"path"`
	Owner    string    `json:"owner"`
	Mode     string    `json:"mode"`
	Phase    string    `json:"phase"`
	Openers  []string  `json:"openers"` // names of those who can open it now
	Set      time.Time `json:"set,omitzero"`
	Problems []string  `json:"problems,omitempty"`
}

// Rows are all secrets, with what is wrong with each.
func (v *Vault) Rows() []Row {
	out := []Row{}
	for _, s := range v.Secrets {
		e, err := s.Entry()
		r := Row{Name: s.Name, Note: s.Note, For: s.For, Machines: v.Machines(s), Path: e.Path(), Owner: "root:root", Mode: fmt.Sprintf("%04o", e.Mode), Phase: string(e.Phase)}
		if e.User != "" || e.Group != "" {
			r.Owner = orRoot(e.User) + ":" + orRoot(e.Group)
		}
		if err != nil {
			r.Problems = append(r.Problems, err.Error())
		}
		if len(r.Machines) == 0 {
			r.Problems = append(r.Problems, "no machine gets it")
		}
		_, w, err := v.cipher(s)
		r.Set = w.Value
		for _, k := range w.Recipients {
			if n := v.Repo.Who(k); !slices.Contains(r.Openers, n) {
				r.Openers = append(r.Openers, n)
			}
		}
		slices.Sort(r.Openers)
		if err != nil {
			r.Problems = append(r.Problems, short(s.Name, err))
		} else if p := v.drift(w, v.Recipients(s)); p != "" {
			r.Problems = append(r.Problems, p)
		}
		out = append(out, r)
	}
	return out
}

func orRoot(s string) string {
	if s == "" {
		return "root"
	}
	return s
}

// short is an error without the name that stands before it in a table.
func short(name string, err error) string {
	return strings.TrimPrefix(err.Error(), "secret '"+name+"': ")
}

// drift says how the recipients of a file differ from those that it should have.
func (v *Vault) drift(w Written, want []string) string {
	var parts []string
	t := Tx{v: v, index: v.Index}
	for _, k := range without(want, w.Recipients) {
		parts = append(parts, "+"+t.who(k))
	}
	for _, k := range without(w.Recipients, want) {
		parts = append(parts, "-"+t.who(k))
	}
	if len(parts) == 0 {
		return ""
	}
	return "not encrypted again since its readers changed: " + strings.Join(parts, " ")
}

// Problems are all that is wrong with the store; deep decrypts everything, with the
// operator's keys and with each machine's.
func (v *Vault) Problems(o *identity.Operator, deep bool) []error {
	var errs []error
	if v.Distrust != nil {
		errs = append(errs, v.Distrust)
	}
	for _, r := range v.Rows() {
		for _, p := range r.Problems {
			f := fault.New("secret '%s': %s", r.Name, strings.TrimPrefix(p, "secret '"+r.Name+"' "))
			if strings.HasPrefix(p, "not encrypted again") {
				f.Hint("godwit secrets rekey %s", r.Name)
			}
			errs = append(errs, f)
		}
	}
	for _, m := range v.Repo.Machines {
		k, ok := v.Index.Machines[m.Name]
		if !ok {
			errs = append(errs, fault.New("machine '%s': its keys are in no index: somebody put them there", m.Name).
				Hint("compare them with the machine's; godwit secrets rekey takes them as they are"))
		} else if k.Age != m.Age || k.SSHHost != m.SSHHost {
			errs = append(errs, fault.New("machine '%s': its public keys are not those that the index has", m.Name).
				Hint("compare them with the machine's; godwit secrets rekey takes them as they are"))
		}
		if _, err := v.Bundle(m.Name); err != nil && v.Distrust == nil && len(errs) == 0 {
			errs = append(errs, err)
		}
	}
	if deep && v.Distrust == nil {
		errs = append(errs, v.openAll(o)...)
	}
	return errs
}

// openAll decrypts every secret as the operator, and as each machine whose key the
// operator can open.
func (v *Vault) openAll(o *identity.Operator) []error {
	var errs []error
	for _, s := range v.Secrets {
		if _, err := v.Open(s, o); err != nil && v.has(s) {
			errs = append(errs, err)
		}
	}
	for _, m := range v.Repo.Machines {
		if m.Age == "" {
			continue
		}
		key, err := v.MachineKey(m.Name, o)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		machine := &identity.Operator{}
		if err := machine.AddKey(key, "the key of '"+m.Name+"'"); err != nil {
			errs = append(errs, err)
			continue
		}
		b, err := v.Bundle(m.Name)
		if err != nil || b == nil {
			continue // Rows said it
		}
		for _, e := range b.Entries {
			if _, err := machine.Open("secret '"+e.Name+"'", e.Age, b.Recipient); err != nil {
				errs = append(errs, on(m.Name, err))
			}
		}
	}
	return errs
}

// Check looks for all that is wrong, and gives the number of secrets. signers believes the
// signers as they are.
func (d *Desk) Check(deep, signers bool) (int, error) {
	v, err := d.Open()
	if err != nil {
		return 0, err
	}
	if signers {
		if err := v.TrustSigners(); err != nil {
			return 0, err
		}
	}
	var o *identity.Operator
	if deep {
		if o, err = d.operator(); err != nil {
			return 0, err
		}
	}
	return len(v.Secrets), errors.Join(v.Problems(o, deep)...)
}

// MachineKeys are the private age keys of machines, by their names.
func (d *Desk) MachineKeys(names []string) (map[string]string, error) {
	v, err := d.Open()
	if err != nil {
		return nil, err
	}
	if v.Distrust != nil {
		return nil, v.Distrust
	}
	o, err := d.operator()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	var errs []error
	for _, n := range names {
		key, err := v.MachineKey(n, o)
		if err != nil {
			errs = append(errs, on(n, err))
			continue
		}
		out[n] = key + "\n"
	}
	return out, errors.Join(errs...)
}
