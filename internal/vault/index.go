package vault

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"godwit/internal/fault"
	"godwit/internal/identity"
	"godwit/internal/paths"
	"godwit/internal/regular"
)

// Index says what was written last: which file has which content and recipients. age
// itself tells nobody who encrypted a file, so whoever can write to the repository could
// put a secret of their own in the place of another.
type Index struct {
	Version int `json:"version"`
	// Files are encrypted files by their path below the folder of secrets.
	Files map[string]Written `json:"files"`
	// Machines are the public keys of machines, so that one that was exchanged is noticed.
	Machines map[string]Known `json:"machines"`
}

// Written is one encrypted file.
type Written struct {
	SHA256     string    `json:"sha256"`     // of the ciphertext, in hexadecimal
	Recipients []string  `json:"recipients"` // sorted
	Value      time.Time `json:"value"`      // when its plaintext was set
	By         string    `json:"by,omitempty"`
}

// Known are the public keys of a machine.
type Known struct {
	Age     string `json:"age,omitempty"`
	SSHHost string `json:"sshHost,omitempty"`
}

// indexJSON is index.json. Signature is over the compact JSON of Index. Pending are files
// that are being renamed into place: path to hash, "" for one that goes.
type indexJSON struct {
	Index     json.RawMessage   `json:"index"`
	Signature []string          `json:"signature,omitempty"` // its lines
	Pending   map[string]string `json:"pending,omitempty"`
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

func newIndex() *Index {
	return &Index{Version: 1, Files: map[string]Written{}, Machines: map[string]Known{}}
}

// clone is a copy that can be changed.
func (x *Index) clone() *Index {
	return &Index{Version: x.Version, Files: maps.Clone(x.Files), Machines: maps.Clone(x.Machines)}
}

// parseIndex reads the text of index.json.
func parseIndex(data []byte) (*Index, *indexJSON, error) {
	var file indexJSON
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, nil, fmt.Errorf("it is not JSON as godwit writes it: %w", err)
	}
	x := newIndex()
	if err := json.Unmarshal(file.Index, x); err != nil {
		return nil, nil, fmt.Errorf("it is not JSON as godwit writes it: %w", err)
	}
	if x.Version != 1 {
		return nil, nil, fmt.Errorf("its version is %d, and this godwit reads 1", x.Version)
	}
	if x.Files == nil {
		x.Files = map[string]Written{}
	}
	if x.Machines == nil {
		x.Machines = map[string]Known{}
	}
	for p := range file.Pending {
		if !filepath.IsLocal(p) {
			return nil, nil, fmt.Errorf("it names the file '%s', which is outside of its folder", p)
		}
	}
	return x, &file, nil
}

func loadIndex(dir string) (*Index, *indexJSON, error) {
	at := filepath.Join(dir, indexFile)
	data, err := regular.Read(at, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return newIndex(), &indexJSON{}, nil
	}
	if err != nil {
		return nil, nil, fault.New("cannot read %s: %s", at, fault.Reason(err)).Because(err)
	}
	x, file, err := parseIndex(data)
	if err != nil {
		f := fault.New("%s: %w", at, err)
		if bytes.Contains(data, []byte("<<<<<<<")) {
			f.Msg = at + ": git could not merge it"
			f.Hint("take one side (git checkout --ours %s), then: godwit secrets rekey --trust-files", at)
		}
		return nil, nil, f
	}
	return x, file, nil
}

func readIndex(dir string) (*Index, error) {
	x, _, err := loadIndex(dir)
	return x, err
}

// compact is the text that is signed.
func compact(index json.RawMessage) ([]byte, error) {
	var b bytes.Buffer
	err := json.Compact(&b, index)
	return b.Bytes(), err
}

// trust says why the index is not to be believed: it has no signature of an operator
// though operators sign, or of one whom this machine does not know yet.
func (v *Vault) trust() error {
	_, file, err := loadIndex(v.Repo.Dir)
	if err != nil {
		return err
	}
	signers := v.signers()
	if len(signers) == 0 || len(file.Index) == 0 {
		return nil
	}
	at := filepath.Join(v.Repo.Dir, indexFile)
	text, err := compact(file.Index)
	if err != nil {
		return err
	}
	if len(file.Signature) == 0 {
		return fault.New("%s is not signed, though the operators of this repository sign it", at).
			Hint("git log -- %s tells who wrote it; godwit secrets rekey --trust-files signs it as it is", at)
	}
	key, err := verify(text, strings.Join(file.Signature, "\n"))
	if err == nil && !slices.Contains(signers, key) {
		err = errors.New("it is signed by a key that belongs to no operator")
	}
	if err != nil {
		return fault.New("%s: %w", at, err).
			Hint("git log -- %s tells who wrote it; godwit secrets rekey --trust-files signs it as it is", at)
	}
	return v.remember(signers, key)
}

// signers are all keys that may sign.
func (v *Vault) signers() []string {
	var out []string
	for _, keys := range v.Repo.Signers {
		out = append(out, keys...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// signersFile is what this machine remembers: the signers of each folder of secrets.
const signersFile = "signers.json"

// remember compares who may sign with what this machine has seen of this repository.
// recipients.toml is no more protected than the secrets, so a new signer is believed only
// when one who was known already signed.
func (v *Vault) remember(signers []string, key string) error {
	if v.state == "" {
		return nil
	}
	dir, err := filepath.Abs(v.Repo.Dir)
	if err != nil {
		return err
	}
	at := filepath.Join(v.state, signersFile)
	known := map[string][]string{}
	if data, err := regular.Read(at, limit); err == nil {
		if json.Unmarshal(data, &known) != nil {
			known = map[string][]string{}
		}
	}
	before, seen := known[dir]
	switch {
	case seen && slices.Equal(before, signers):
		return nil
	case seen && !slices.Contains(before, key):
		return fault.New("the index of %s is signed by a key that this machine has not seen there: %s", dir, key).
			Detail("everybody who can write to the repository can name a new signer in " + identity.RecipientsFile + "; ask its owner").
			Hint("godwit secrets check --trust-signers trusts the current signers")
	}
	return v.believe(signers)
}

// believe remembers who may sign.
func (v *Vault) believe(signers []string) error {
	if v.state == "" || len(signers) == 0 {
		return nil
	}
	dir, err := filepath.Abs(v.Repo.Dir)
	if err != nil {
		return err
	}
	at := filepath.Join(v.state, signersFile)
	known := map[string][]string{}
	if data, err := regular.Read(at, limit); err == nil {
		_ = json.Unmarshal(data, &known) // a file that is none is written anew
	}
	known[dir] = signers
	data, err := json.MarshalIndent(known, "", "  ")
	if err != nil {
		return err
	}
	return paths.Write(at, append(data, '\n'))
}

// TrustSigners trusts the current signers.
func (v *Vault) TrustSigners() error {
	if err := v.believe(v.signers()); err != nil {
		return err
	}
	v.Distrust = v.trust()
	return v.Distrust
}

// recoverWrites finishes the renames of a run that was killed when its index was written
// already, and takes away what one left that had not come so far.
func recoverWrites(dir string) error {
	_, file, err := loadIndex(dir)
	if err != nil {
		return err
	}
	if len(file.Pending) > 0 {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return err
		}
		defer root.Close()
		if err := finish(root, file); err != nil {
			return err
		}
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.HasSuffix(path, fresh) {
			return os.Remove(path)
		}
		return err
	})
}
