package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"godwit/internal/fault"
	"godwit/internal/identity"
)

// fresh ends the names of files that are written and not yet in place.
const fresh = ".godwit-new"

// Change is what a transaction does to one encrypted file.
type Change struct {
	File string // below the folder of secrets
	Name string // in words: "secret 'wifi'", "age key of 'web1'"
	// Added and Removed are recipients, of those that could open it so far.
	Added, Removed []string
	New            bool // there was none
	Value          bool // its plaintext changes
	Gone           bool
}

// Tx is a transaction: files that are written all, or not at all. A run that is killed
// leaves the old state or the new one, as soon as the next command looked (Open with
// Recover).
type Tx struct {
	v       *Vault
	index   *Index
	files   map[string][]byte // nil: the file goes
	Changes []Change
	lock    *os.File
	left    []error // of files that are not written

	step func(string) error // for tests: called before each step that writes
}

// Begin begins a transaction; nobody else writes until it ends. Close it.
func (v *Vault) Begin() (*Tx, error) {
	// The folder itself is locked: a file for it would stay in the repository.
	f, err := os.Open(v.Repo.Dir)
	if err != nil {
		return nil, fault.New("cannot open %s: %s", v.Repo.Dir, fault.Reason(err)).Because(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fault.New("another godwit writes to %s", v.Repo.Dir).Because(err)
	}
	x, _, err := loadIndex(v.Repo.Dir)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Tx{v: v, index: x.clone(), files: map[string][]byte{}, lock: f, step: func(string) error { return nil }}, nil
}

// Close lets others write.
func (t *Tx) Close() { t.lock.Close() }

// encrypted notes a file with its recipients.
func (t *Tx) encrypted(file, name string, plain []byte, to []string, value bool, p identity.Person) error {
	data, err := identity.Encrypt(plain, to, p)
	if err != nil {
		return fault.New("%s cannot be encrypted: %w", name, err)
	}
	old, had := t.index.Files[file]
	w := Written{SHA256: sum(data), Recipients: slices.Sorted(slices.Values(to)), Value: old.Value}
	if value || !had {
		w.Value = now()
	}
	t.files[file] = data
	t.index.Files[file] = w
	t.Changes = append(t.Changes, Change{File: file, Name: name, New: !had, Value: value,
		Added: without(w.Recipients, old.Recipients), Removed: without(old.Recipients, w.Recipients)})
	return nil
}

// without is what list has and other has not.
func without(list, other []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(other, s) {
			out = append(out, s)
		}
	}
	return out
}

// Declare writes the declaration of a secret.
func (t *Tx) Declare(s Secret) error {
	text, err := s.text()
	if err != nil {
		return err
	}
	if _, err := parseSecret("secret '"+s.Name+"'", s.Name, string(text)); err != nil {
		return err
	}
	if _, err := t.v.Repo.Names(s.For); err != nil {
		return fault.New("secret '%s': %w", s.Name, err).Hint("godwit keys new NAME makes the keys of a machine")
	}
	t.files[storeDir+"/"+s.Name+".toml"] = text
	return nil
}

// Set gives a secret a value.
func (t *Tx) Set(s Secret, plain []byte, p identity.Person) error {
	return t.encrypted(storeDir+"/"+s.Name+".age", "secret '"+s.Name+"'", plain, t.v.Recipients(s), true, p)
}

// Public writes the public half of a secret, in clear.
func (t *Tx) Public(s Secret, text []byte) { t.files[storeDir+"/"+s.Name+".pub"] = text }

// Rekey encrypts a secret anew, if its recipients are not those that it should have, or
// always does when all is set. It tells whether it did.
func (t *Tx) Rekey(s Secret, o *identity.Operator, all bool, p identity.Person) (bool, error) {
	w := t.index.Files[storeDir+"/"+s.Name+".age"]
	want := t.v.Recipients(s)
	if !all && slices.Equal(w.Recipients, want) {
		return false, nil
	}
	plain, err := t.v.Open(s, o)
	if err != nil {
		return false, err
	}
	return true, t.encrypted(storeDir+"/"+s.Name+".age", "secret '"+s.Name+"'", plain, want, false, p)
}

// Remove takes a secret away.
func (t *Tx) Remove(s Secret) {
	for _, end := range []string{".toml", ".age", ".pub"} {
		file := storeDir + "/" + s.Name + end
		if _, err := os.Lstat(filepath.Join(t.v.Repo.Dir, file)); err == nil {
			t.files[file] = nil
		}
	}
	old := t.index.Files[storeDir+"/"+s.Name+".age"]
	delete(t.index.Files, storeDir+"/"+s.Name+".age")
	t.Changes = append(t.Changes, Change{File: storeDir + "/" + s.Name + ".age", Name: "secret '" + s.Name + "'", Gone: true, Removed: old.Recipients})
}

// Machine writes the identity of a machine: both halves, or the public ones alone of a
// machine that keeps the private ones to itself.
func (t *Tx) Machine(k *identity.Keys, p identity.Person) error {
	dir := "machines/" + k.Name + "/"
	for _, part := range []struct {
		public, file, sealed, what string
		private                    []byte
	}{
		{k.Age, "age.pub", "age.key.age", "age key of '" + k.Name + "'", k.AgeKey},
		{k.SSHHost, "ssh_host_ed25519.pub", "ssh_host_ed25519.age", "ssh host key of '" + k.Name + "'", k.SSHKey},
	} {
		if part.public == "" {
			continue
		}
		t.files[dir+part.file] = []byte(part.public + "\n")
		if part.private == nil {
			continue
		}
		if err := t.encrypted(dir+part.sealed, part.what, part.private, t.v.Repo.OperatorKeys(), true, p); err != nil {
			return err
		}
	}
	old := t.index.Machines[k.Name]
	known := Known{Age: k.Age, SSHHost: k.SSHHost}
	if known.Age == "" {
		known.Age = old.Age
	}
	if known.SSHHost == "" {
		known.SSHHost = old.SSHHost
	}
	t.index.Machines[k.Name] = known
	return nil
}

// RekeyMachine encrypts the private halves of a machine anew for the operators.
func (t *Tx) RekeyMachine(name string, o *identity.Operator, p identity.Person) (bool, error) {
	did := false
	want := slices.Sorted(slices.Values(t.v.Repo.OperatorKeys()))
	for file, what := range map[string]string{"age.key.age": "age key of '" + name + "'", "ssh_host_ed25519.age": "ssh host key of '" + name + "'"} {
		at := "machines/" + name + "/" + file
		w, ok := t.index.Files[at]
		if !ok || slices.Equal(w.Recipients, want) {
			continue
		}
		plain, err := t.v.OpenMachineFile(name, file, o)
		if errors.Is(err, fs.ErrNotExist) { // a person removed what nobody could open any more
			delete(t.index.Files, at)
			t.Changes = append(t.Changes, Change{File: at, Name: what, Gone: true, Removed: w.Recipients})
			did = true
			continue
		}
		if err != nil {
			return did, err
		}
		if err := t.encrypted(at, what, plain, want, false, p); err != nil {
			return did, err
		}
		did = true
	}
	return did, nil
}

// Trust takes files as they are, though the index says otherwise: those of the named
// secrets, or all. Their recipients are believed to be what they should be.
func (t *Tx) Trust(names []string) {
	for _, s := range t.v.Secrets {
		if len(names) > 0 && !slices.Contains(names, s.Name) {
			continue
		}
		data, err := os.ReadFile(t.v.file(s.Name + ".age"))
		if err != nil {
			continue
		}
		at := storeDir + "/" + s.Name + ".age"
		w, ok := t.index.Files[at]
		if ok && w.SHA256 == sum(data) {
			continue
		}
		t.index.Files[at] = Written{SHA256: sum(data), Recipients: t.v.Recipients(s), Value: now()}
		t.Changes = append(t.Changes, Change{File: at, Name: "secret '" + s.Name + "'", Value: true, New: !ok})
	}
}

// Empty tells whether there is nothing to write.
func (t *Tx) Empty() bool { return len(t.files) == 0 && len(t.Changes) == 0 }

// Commit writes. The order makes it all or nothing: first every file under another name,
// then the index with the list of them, then they are renamed.
func (t *Tx) Commit(o *identity.Operator) error {
	for _, m := range t.v.Repo.Machines { // the public keys of today
		if _, ok := t.files["machines/"+m.Name+"/age.pub"]; !ok {
			t.index.Machines[m.Name] = Known{Age: m.Age, SSHHost: m.SSHHost}
		}
	}
	text, err := json.Marshal(t.index)
	if err != nil {
		return err
	}
	file := &indexJSON{Index: text, Pending: map[string]string{}}
	if signers := t.v.signers(); len(signers) > 0 {
		s, err := o.Signer(signers)
		if err != nil {
			return err
		}
		defer s.Close()
		sig, err := sign(s, text)
		if err != nil {
			return fault.New("the index cannot be signed: %w", err)
		}
		file.Signature = strings.Split(strings.TrimSpace(sig), "\n")
	}
	// The folder is somebody else's repository, perhaps: no link in it leads a write out of it.
	root, err := os.OpenRoot(t.v.Repo.Dir)
	if err != nil {
		return cannot(err)
	}
	defer root.Close()
	for _, name := range slices.Sorted(mapKeys(t.files)) {
		data := t.files[name]
		if data == nil {
			file.Pending[name] = ""
			continue
		}
		if err := errors.Join(t.step("write "+name), root.MkdirAll(path.Dir(name), 0o755)); err != nil {
			return cannot(err)
		}
		if err := putIn(root, name+fresh, data); err != nil {
			return cannot(err)
		}
		file.Pending[name] = sum(data)
	}
	if err := t.step("index"); err != nil {
		return err
	}
	if err := writeIndex(root, file); err != nil {
		return cannot(err)
	}
	if err := t.step("rename"); err != nil {
		return err
	}
	if err := finish(root, file); err != nil {
		return err
	}
	t.v.Index = t.index
	// Who signed here saw who may sign.
	return t.v.believe(t.v.signers())
}

func cannot(err error) error {
	return fault.New("nothing was changed: %w", err)
}

func mapKeys(m map[string][]byte) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// finish renames what is pending, and writes an index that has nothing pending any more.
func finish(root *os.Root, file *indexJSON) error {
	for name, want := range file.Pending {
		at := filepath.Join(root.Name(), name)
		if want == "" {
			if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fault.New("cannot remove %s: %s", at, fault.Reason(err)).Because(err)
			}
			continue
		}
		data, err := root.ReadFile(name + fresh)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is in place already
		}
		if err != nil || sum(data) != want {
			return fault.New("%s is not what was written", at+fresh).Hint("rm %s, and write it again", at+fresh)
		}
		if err := root.Rename(name+fresh, name); err != nil {
			return fault.New("cannot rename %s: %s", at+fresh, fault.Reason(err)).Because(err)
		}
		if err := syncDir(root, path.Dir(name)); err != nil {
			return fmt.Errorf("cannot sync %s: %w", filepath.Dir(at), err)
		}
	}
	file.Pending = nil
	return writeIndex(root, file)
}

// writeIndex writes index.json in one step, in lines that git can show.
func writeIndex(root *os.Root, file *indexJSON) error {
	text, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return err
	}
	if err := putIn(root, indexFile+fresh, append(text, '\n')); err != nil {
		return err
	}
	if err := root.Rename(indexFile+fresh, indexFile); err != nil {
		return err
	}
	return syncDir(root, ".")
}

const newFile = os.O_WRONLY | os.O_CREATE | os.O_TRUNC | unix.O_NOFOLLOW

// putIn writes a file of a folder and waits for the disk.
func putIn(root *os.Root, name string, data []byte) error {
	f, err := root.OpenFile(name, newFile, 0o644)
	if err != nil {
		return err
	}
	return fill(f, data)
}

// put writes a file and waits for the disk.
func put(at string, data []byte) error {
	f, err := os.OpenFile(at, newFile, 0o644)
	if err != nil {
		return err
	}
	return fill(f, data)
}

func fill(f *os.File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
