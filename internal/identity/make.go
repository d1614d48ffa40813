package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"godwit/internal/paths"
)

// OwnFile is where godwit keeps the private key that it made for an operator:
// identity.txt beside config.toml.
func OwnFile() (string, error) {
	c, err := paths.Config()
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(c), "identity.txt"), nil
}

// Keys are both halves of a machine's identity. The private ones are written nowhere
// but encrypted.
type Keys struct {
	Machine
	AgeKey []byte // a line AGE-SECRET-KEY-…
	SSHKey []byte // an OpenSSH private key
}

// NewAge makes an age key: its public and its private half, without line breaks.
func NewAge(postQuantum bool) (public, private string, err error) {
	if postQuantum {
		id, err := age.GenerateHybridIdentity()
		if err != nil {
			return "", "", err
		}
		return id.Recipient().String(), id.String(), nil
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", "", err
	}
	return id.Recipient().String(), id.String(), nil
}

// NewSSH makes an ed25519 ssh key: authorized-key form without a comment, and the private
// key as OpenSSH writes it.
func NewSSH(comment string) (public string, private []byte, err error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return "", nil, err
	}
	p, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", nil, err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(p))), pem.EncodeToMemory(block), nil
}

// NewKeys makes the identity of a machine.
func NewKeys(name string, postQuantum bool) (*Keys, error) {
	k := &Keys{Machine: Machine{Name: name}}
	public, private, err := NewAge(postQuantum)
	if err != nil {
		return nil, err
	}
	k.Age, k.AgeKey = public, []byte(private+"\n")
	k.SSHHost, k.SSHKey, err = NewSSH("root@" + name)
	return k, err
}

// NewOwn makes the private key of an operator in file, which must not be there yet, and
// gives its public half.
func NewOwn(file string, postQuantum bool) (string, error) {
	public, private, err := NewAge(postQuantum)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString("# the private key of an operator of godwit; whoever has it can open the secrets\n# public key: " + public + "\n" + private + "\n")
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return public, err
}
