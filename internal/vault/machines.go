package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"godwit/internal/fault"
	"godwit/internal/identity"
	"godwit/internal/regular"
	"godwit/internal/secrets/bundle"
)

// knownHosts is the file of ssh host keys of the repository's machines, in the form of
// ssh's known_hosts, for all operators.
const knownHosts = "known_hosts"

// Init makes the folder of secrets in a repository, with this operator alone. key is
// where a private key is made when there is none yet.
func (d *Desk) Init(name string, postQuantum bool) error {
	if !bundle.NamePattern.MatchString(name) {
		return fault.New("'%s' is not an operator name: letters, digits, '.', '_' and '-'", name)
	}
	file := filepath.Join(d.Dir, identity.RecipientsFile)
	if _, err := os.Lstat(file); err == nil {
		return fault.New("%s is there already", file).Hint("add an operator to it, then: godwit secrets rekey")
	}
	o, err := d.operator()
	if err != nil {
		return err
	}
	public, err := o.FirstAge(postQuantum)
	if err != nil {
		at, ferr := identity.OwnFile()
		if ferr != nil {
			return ferr
		}
		if d.DryRun {
			d.Show([]string{"+ " + at + ": a private key for you", "+ " + file})
			return nil
		}
		if public, err = identity.NewOwn(at, postQuantum); err != nil {
			return fault.New("cannot make a private key in %s: %s", at, fault.Reason(err)).Because(err).Hint("--identity FILE names one that is there")
		}
		d.Show([]string{"made your private key " + at + ": keep a copy of it in a safe place"})
		d.keys = nil
		if o, err = identity.Load([]string{at}, d.Person); err != nil {
			return err
		}
	}
	text := fmt.Sprintf(`# Who may open the secrets of this repository. After a change: godwit secrets rekey
version = 1
post-quantum = %t

# Operators are people; each has one or more public keys of age or ssh.
[operators]
%s = [%q]

# Whoever signs index.json, by an ssh public key. An operator's ssh keys sign as well.
[signers]
%s = %q

# Groups of machines, for which a secret can be: --for @web
[groups]
`, postQuantum, quoteKey(name), public, quoteKey(name), o.SigningKey())
	d.Show([]string{"+ " + file + ": the operator '" + name + "' with " + public})
	if d.DryRun {
		return nil
	}
	if err := os.MkdirAll(d.Dir, 0o755); err != nil {
		return fault.New("cannot make %s: %s", d.Dir, fault.Reason(err)).Because(err)
	}
	if err := put(file, []byte(text)); err != nil {
		return fault.New("cannot write %s: %s", file, fault.Reason(err)).Because(err)
	}
	return nil
}

// quoteKey is a key of TOML: names may have dots.
func quoteKey(name string) string {
	if strings.Contains(name, ".") {
		return fmt.Sprintf("%q", name)
	}
	return name
}

// NewMachine makes the identity of a machine that does not exist yet. names are what ssh
// calls it.
func (d *Desk) NewMachine(name string, names []string) error {
	v, err := d.Open()
	if err != nil {
		return err
	}
	if !bundle.NamePattern.MatchString(name) {
		return fault.New("'%s' is not a machine name: letters, digits, '.', '_' and '-'", name)
	}
	if _, ok := v.Repo.Machine(name); ok {
		return fault.New("the machine '%s' has keys already", name).Hint("godwit keys rotate %s makes new ones", name)
	}
	k, err := identity.NewKeys(name, v.Repo.PostQuantum)
	if err != nil {
		return err
	}
	return d.write(v, func(tx *Tx, _ *identity.Operator) error {
		if err := tx.Machine(k, d.Person); err != nil {
			return err
		}
		return tx.known(name, k.SSHHost, names)
	})
}

// Adopt notes the identity that a machine has already: its ssh host key.
func (d *Desk) Adopt(name, sshHost string, names []string) error {
	v, err := d.Open()
	if err != nil {
		return err
	}
	if !bundle.NamePattern.MatchString(name) {
		return fault.New("'%s' is not a machine name: letters, digits, '.', '_' and '-'", name)
	}
	sshHost = identity.Canonical(sshHost)
	if !strings.HasPrefix(sshHost, "ssh-ed25519 ") {
		return fault.New("the machine '%s': an ed25519 host key is needed, as in %s.pub", name, identity.SSHHostKeyFile)
	}
	if _, err := identity.ParseRecipient(sshHost, nil); err != nil {
		return fault.New("the machine '%s': %w", name, err)
	}
	if v.Repo.PostQuantum {
		return fault.New("the machine '%s' cannot keep its ssh key: the keys of this repository are post-quantum ones", name).Hint("godwit keys new %s", name)
	}
	m, had := v.Repo.Machine(name)
	if had && m.SSHHost == sshHost {
		d.Show([]string{"nothing to do: '" + name + "' has that key in " + v.Repo.MachineDir(name)})
		return nil
	}
	if had && m.Age != "" {
		return fault.New("the machine '%s' answers with another ssh host key than %s has", name, v.Repo.MachineDir(name)).
			Hint("if it was installed without its identity: godwit keys export %s DIR, and install it with that", name)
	}
	return d.write(v, func(tx *Tx, o *identity.Operator) error {
		if err := tx.Machine(&identity.Keys{Machine: identity.Machine{Name: name, SSHHost: sshHost}}, d.Person); err != nil {
			return err
		}
		return errors.Join(tx.known(name, sshHost, names), tx.follow(identity.Machine{Name: name, SSHHost: sshHost}, o, d.Person))
	})
}

// follow encrypts anew what a machine uses, for its new public keys.
func (t *Tx) follow(m identity.Machine, o *identity.Operator, p identity.Person) error {
	i := slices.IndexFunc(t.v.Repo.Machines, func(x identity.Machine) bool { return x.Name == m.Name })
	if i < 0 {
		return nil
	}
	t.v.Repo.Machines[i] = m
	var errs []error
	for _, s := range t.v.Secrets {
		if slices.Contains(t.v.Machines(s), m.Name) && t.v.has(s) {
			_, err := t.Rekey(s, o, false, p)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Rotate gives a machine a new age key, and with ssh a new ssh host key; its secrets are
// encrypted anew. The old age key is kept behind the new one, for what was encrypted to it,
// unless it is lost to somebody else.
func (d *Desk) Rotate(name string, ssh, lost bool) error {
	v, err := d.Open()
	if err != nil {
		return err
	}
	m, ok := v.Repo.Machine(name)
	if !ok {
		return fault.New("there is no machine '%s' in %s", name, filepath.Join(v.Repo.Dir, "machines")).Hint("godwit keys new %s", name)
	}
	k, err := identity.NewKeys(name, v.Repo.PostQuantum)
	if err != nil {
		return err
	}
	if !ssh {
		k.SSHHost, k.SSHKey = m.SSHHost, nil
	}
	return d.write(v, func(tx *Tx, o *identity.Operator) error {
		if m.Age != "" && !lost {
			old, err := v.MachineKey(name, o)
			if err != nil {
				return err
			}
			first, _, _ := strings.Cut(old, "\n") // one before it is enough
			k.AgeKey = append(k.AgeKey, first+"\n"...)
		}
		if err := tx.Machine(k, d.Person); err != nil {
			return err
		}
		if ssh {
			if err := tx.known(name, k.SSHHost, nil); err != nil {
				return err
			}
		}
		return tx.follow(k.Machine, o, d.Person)
	})
}

// known puts the line of a machine into the known_hosts of the repository. Without names it
// keeps those that are there.
func (t *Tx) known(name, key string, names []string) error {
	old, ok := t.files[knownHosts]
	if !ok {
		data, err := regular.Read(filepath.Join(t.v.Repo.Dir, knownHosts), limit)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fault.New("cannot read %s: %s", knownHosts, fault.Reason(err)).Because(err)
		}
		old = data
	}
	mark := "godwit:" + name
	var out bytes.Buffer
	for line := range strings.Lines(string(old)) {
		f := strings.Fields(line)
		if len(f) >= 4 && f[3] == mark {
			if len(names) == 0 {
				names = strings.Split(f[0], ",")
			}
			continue
		}
		out.WriteString(strings.TrimRight(line, "\n") + "\n")
	}
	if len(names) == 0 {
		names = []string{name}
	}
	for _, n := range names {
		if n == "" || strings.ContainsAny(n, " \t\n,|#") {
			return fault.New("'%s' is not a host name for ssh's known_hosts", n)
		}
	}
	fmt.Fprintf(&out, "%s %s %s\n", strings.Join(names, ","), key, mark)
	t.files[knownHosts] = out.Bytes()
	return nil
}

// KnownHosts is the file of the repository's ssh host keys, if there is one.
func KnownHosts(dir string) (string, bool) {
	at := filepath.Join(dir, knownHosts)
	return at, regular.Check(at) == nil
}

// Export writes the private halves of a machine's identity into a tree of files, as they
// go to the root of its file system (nixos-anywhere --extra-files). dir must be empty or
// not there yet.
func (d *Desk) Export(name, dir string, onDisk bool) error {
	v, err := d.Open()
	if err != nil {
		return err
	}
	if v.Distrust != nil {
		return v.Distrust
	}
	m, ok := v.Repo.Machine(name)
	if !ok {
		return fault.New("there is no machine '%s' in %s", name, filepath.Join(v.Repo.Dir, "machines")).Hint("godwit keys new %s", name)
	}
	if left, err := os.ReadDir(dir); err == nil && len(left) > 0 {
		return fault.New("%s is not empty", dir).Hint("name a folder that is not there yet")
	}
	if !onDisk && !inMemory(filepath.Dir(dir)) {
		return fault.New("%s is on a disk, where private keys leave traces", dir).
			Hint("name a folder below /dev/shm, or accept it with --on-disk")
	}
	o, err := d.operator()
	if err != nil {
		return err
	}
	key, err := v.MachineKey(name, o)
	if err != nil {
		return err
	}
	files := map[string][]byte{identity.KeyFile: []byte(key + "\n")}
	if pem, err := v.OpenMachineFile(name, "ssh_host_ed25519.age", o); err == nil {
		files[identity.SSHHostKeyFile] = pem
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d.Show([]string{"writing the private keys of '" + name + "' to " + dir})
	if d.DryRun {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fault.New("cannot make %s: %s", dir, fault.Reason(err)).Because(err)
	}
	for at, data := range files {
		full := filepath.Join(dir, at)
		mode := os.FileMode(0o755)
		if at == identity.KeyFile {
			mode = 0o700
		}
		if err := os.MkdirAll(filepath.Dir(full), mode); err != nil {
			return err
		}
		if err := os.WriteFile(full, data, 0o600); err != nil {
			return fault.New("cannot write %s: %s", full, fault.Reason(err)).Because(err)
		}
	}
	if _, ok := files[identity.SSHHostKeyFile]; ok {
		return os.WriteFile(filepath.Join(dir, identity.SSHHostKeyFile+".pub"), []byte(m.SSHHost+" root@"+name+"\n"), 0o644)
	}
	return nil
}

// Trust writes the ssh host keys of the repository's machines into a person's known_hosts.
func (d *Desk) Trust(file string) error {
	at, ok := KnownHosts(d.Dir)
	if !ok {
		return fault.New("%s has no %s", d.Dir, knownHosts).Hint("godwit keys new NAME writes it")
	}
	ours, err := regular.Read(at, limit)
	if err != nil {
		return fault.New("cannot read %s: %s", at, fault.Reason(err)).Because(err)
	}
	have, err := regular.Read(file, limit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.New("cannot read %s: %s", file, fault.Reason(err)).Because(err)
	}
	add, out := missing(string(ours), string(have))
	if len(add) == 0 {
		d.Show([]string{"nothing to do: " + file + " has them all"})
		return nil
	}
	d.Show(add)
	if d.DryRun {
		return nil
	}
	yes, err := d.Agree("Write them to " + file + "?")
	if err != nil {
		return err
	}
	if !yes {
		return errNo
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fault.New("cannot make %s: %s", filepath.Dir(file), fault.Reason(err)).Because(err)
	}
	if err := put(file+fresh, []byte(out)); err != nil {
		return fault.New("cannot write %s: %s", file, fault.Reason(err)).Because(err)
	}
	return os.Rename(file+fresh, file)
}

// missing are the lines of ours that have lacks, and have with them in the place of older
// lines of ours for the same machines.
func missing(ours, have string) (add []string, out string) {
	var b strings.Builder
	marks := map[string]bool{}
	for line := range strings.Lines(ours) {
		line = strings.TrimSpace(line)
		f := strings.Fields(line)
		if len(f) < 3 || strings.HasPrefix(line, "#") || slices.Contains(strings.Split(have, "\n"), line) {
			continue
		}
		add = append(add, "+ "+line)
		if len(f) > 3 {
			marks[f[3]] = true
		}
		b.WriteString(line + "\n")
	}
	var kept strings.Builder
	for line := range strings.Lines(have) {
		if f := strings.Fields(line); len(f) > 3 && marks[f[3]] && strings.HasPrefix(f[3], "godwit:") {
			add = append(add, "- "+strings.TrimSpace(line))
			continue
		}
		kept.WriteString(strings.TrimRight(line, "\n") + "\n")
	}
	return add, kept.String() + b.String()
}
