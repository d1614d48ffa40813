package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"godwit/internal/fault"
	"godwit/internal/regular"
	"godwit/internal/secrets/bundle"
	"godwit/internal/settings"
)

// Folder is the name of the folder of secrets in a repository.
const Folder = "secrets"

// File names below that folder.
const (
	RecipientsFile = "recipients.toml"
	machinesDir    = "machines"
	ageFile        = "age.pub"
	ageKeyFile     = "age.key.age"
	sshFile        = "ssh_host_ed25519.pub"
	sshKeyFile     = "ssh_host_ed25519.age"
)

// limit is what no file of identities reaches, in bytes.
const limit = 1 << 20

// Named is an operator and the public keys by which they open files.
type Named struct {
	Name string
	Keys []string
}

// Repo is who may open secrets of a repository, as its folder says.
type Repo struct {
	// Dir is the folder of secrets.
	Dir string
	// PostQuantum says that all keys are post-quantum ones: age mixes them with no others.
	PostQuantum bool
	// Operators are sorted by name.
	Operators []Named
	// Groups are machines by the name of their group.
	Groups map[string][]string
	// Signers are ssh public keys, by the operator whose word they are: of the table of
	// signers, and the ssh keys among an operator's keys.
	Signers map[string][]string
	// Machines are sorted by name.
	Machines []Machine
}

// Find looks for a folder of secrets in dir and the directories above it.
func Find(dir string) (string, bool) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", false
	}
	for {
		at := filepath.Join(dir, Folder)
		if regular.Check(filepath.Join(at, RecipientsFile)) == nil {
			return at, true
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", false
		}
		dir = up
	}
}

// recipientsTOML is recipients.toml.
type recipientsTOML struct {
	Version     int                 `toml:"version"`
	PostQuantum bool                `toml:"post-quantum"`
	Operators   map[string][]string `toml:"operators"`
	Groups      map[string][]string `toml:"groups"`
	Signers     map[string]string   `toml:"signers"`
}

// Open reads the folder of secrets dir.
func Open(dir string) (*Repo, error) {
	file := filepath.Join(dir, RecipientsFile)
	data, err := regular.Read(file, limit)
	if err != nil {
		return nil, fault.New("cannot read %s: %s", file, fault.Reason(err)).Because(err)
	}
	r, err := parseRecipients(file, string(data))
	if err != nil {
		return nil, err
	}
	r.Dir = dir
	if err := r.readMachines(); err != nil {
		return nil, err
	}
	for name, members := range r.Groups {
		for _, m := range members {
			if _, ok := r.Machine(m); !ok {
				return nil, fault.New("%s: the group '%s' names the machine '%s', which has no folder in %s", file, name, m, filepath.Join(dir, machinesDir)).
					Hint("godwit keys new %s", m)
			}
		}
	}
	return r, nil
}

// parseRecipients reads the text of recipients.toml, which errors call file.
func parseRecipients(file, text string) (*Repo, error) {
	var in recipientsTOML
	if err := settings.Decode(file, text, &in); err != nil {
		return nil, err
	}
	r, err := in.repo()
	if err != nil {
		return nil, fault.New("%s: %w", file, err)
	}
	return r, nil
}

func (in recipientsTOML) repo() (*Repo, error) {
	if in.Version != 1 {
		return nil, fmt.Errorf("version = %d is not one that this godwit reads (it reads 1)", in.Version)
	}
	r := &Repo{PostQuantum: in.PostQuantum, Groups: in.Groups, Signers: map[string][]string{}}
	for name, keys := range in.Operators {
		if !bundle.NamePattern.MatchString(name) {
			return nil, fmt.Errorf("operators: '%s' has other characters than letters, digits, '.', '_' and '-'", name)
		}
		if len(keys) == 0 {
			return nil, fmt.Errorf("the operator '%s' has no key", name)
		}
		for i, k := range keys {
			if _, err := ParseRecipient(k, nil); err != nil {
				return nil, fmt.Errorf("operator '%s', key %d: %w", name, i+1, err)
			}
			if PostQuantum(k) != r.PostQuantum {
				return nil, fmt.Errorf("operator '%s', key %d: post-quantum = %t, and age mixes post-quantum keys with no others", name, i+1, r.PostQuantum)
			}
			keys[i] = Canonical(k)
			if strings.HasPrefix(k, "ssh-") {
				r.Signers[name] = append(r.Signers[name], keys[i])
			}
		}
		r.Operators = append(r.Operators, Named{name, keys})
	}
	slices.SortFunc(r.Operators, func(a, b Named) int { return strings.Compare(a.Name, b.Name) })
	for name, key := range in.Signers {
		if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(key)); err != nil {
			return nil, fmt.Errorf("signer '%s': it is not an ssh public key", name)
		}
		if _, ok := in.Operators[name]; !ok {
			return nil, fmt.Errorf("signer '%s' is not an operator", name)
		}
		r.Signers[name] = append(r.Signers[name], Canonical(key))
	}
	for name := range in.Groups {
		if !bundle.NamePattern.MatchString(name) {
			return nil, fmt.Errorf("groups: '%s' has other characters than letters, digits, '.', '_' and '-'", name)
		}
	}
	return r, nil
}

// readMachines reads the folders of machines.
func (r *Repo) readMachines() error {
	all, err := os.ReadDir(filepath.Join(r.Dir, machinesDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.New("cannot read the machines: %w", err)
	}
	for _, e := range all {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		m, err := r.readMachine(e.Name())
		if err != nil {
			return err
		}
		r.Machines = append(r.Machines, m)
	}
	return nil
}

func (r *Repo) readMachine(name string) (Machine, error) {
	m := Machine{Name: name}
	dir := r.MachineDir(name)
	if !bundle.NamePattern.MatchString(name) {
		return m, fault.New("%s: '%s' has other characters than letters, digits, '.', '_' and '-'", dir, name)
	}
	for file, to := range map[string]*string{ageFile: &m.Age, sshFile: &m.SSHHost} {
		data, err := regular.Read(filepath.Join(dir, file), limit)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return m, fault.New("cannot read %s: %s", filepath.Join(dir, file), fault.Reason(err)).Because(err)
		}
		*to = Canonical(string(data))
		if strings.HasPrefix(*to, "ssh-") != (file == sshFile) {
			return m, fault.New("%s contains another kind of key", filepath.Join(dir, file))
		}
		if _, err := ParseRecipient(*to, nil); err != nil {
			return m, fault.New("%s: %w", filepath.Join(dir, file), err)
		}
	}
	switch {
	case m.Age == "" && m.SSHHost == "":
		return m, fault.New("the machine '%s' has no key: %s contains neither %s nor %s", name, dir, ageFile, sshFile)
	case PostQuantum(m.RecipientString()) != r.PostQuantum:
		return m, fault.New("the machine '%s': %s says post-quantum = %t, and age mixes post-quantum keys with no others", name, RecipientsFile, r.PostQuantum).
			Hint("godwit keys rotate %s", name)
	}
	return m, nil
}

// MachineDir is the folder of a machine.
func (r *Repo) MachineDir(name string) string { return filepath.Join(r.Dir, machinesDir, name) }

// Machine is the machine of that name.
func (r *Repo) Machine(name string) (Machine, bool) {
	i := slices.IndexFunc(r.Machines, func(m Machine) bool { return m.Name == name })
	if i < 0 {
		return Machine{}, false
	}
	return r.Machines[i], true
}

// OperatorKeys are the public keys of all operators.
func (r *Repo) OperatorKeys() []string {
	var out []string
	for _, o := range r.Operators {
		out = append(out, o.Keys...)
	}
	return out
}

// Names expands names of machines and @GROUPs; the result is sorted.
func (r *Repo) Names(list []string) ([]string, error) {
	var out []string
	for _, name := range list {
		if g, ok := strings.CutPrefix(name, "@"); ok {
			members, ok := r.Groups[g]
			if !ok {
				return nil, fmt.Errorf("there is no group '%s' in %s", g, RecipientsFile)
			}
			out = append(out, members...)
			continue
		}
		if _, ok := r.Machine(name); !ok {
			return nil, fmt.Errorf("there is no machine '%s' in %s", name, filepath.Join(r.Dir, machinesDir))
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// Who says in words whose public key one is: "alice", "web1", or the key itself.
func (r *Repo) Who(recipient string) string {
	for _, o := range r.Operators {
		if slices.Contains(o.Keys, recipient) {
			return o.Name
		}
	}
	for _, m := range r.Machines {
		if slices.Contains(m.Recipients(), recipient) {
			return m.Name
		}
	}
	if len(recipient) > 40 {
		return recipient[:24] + "…"
	}
	return recipient
}
