package identity

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"godwit/internal/fault"
)

// derived is the signing key that belongs to an age key, so that an operator who has no
// ssh key needs no further file.
func derived(ageKey string) (ssh.Signer, error) {
	seed, err := hkdf.Key(sha256.New, []byte(ageKey), nil, "godwit: signatures of the index of secrets", ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed))
}

// agentPatience bounds the wait for the socket of an agent.
const agentPatience = 5 * time.Second

// authorized is a public key in authorized-key form without a comment.
func authorized(pub ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub)))
}

// SigningKey is the public half of the key by which the operator signs without an ssh key:
// it is derived from the first age key here. Empty when there is none.
func (o *Operator) SigningKey() string {
	for _, h := range o.own {
		if s, err := h.signer(); err == nil && s != nil {
			return authorized(s.PublicKey())
		}
	}
	return ""
}

// signer is the derived key of an age key; nil of others.
func (h *held) signer() (ssh.Signer, error) {
	switch id := h.Identity.(type) {
	case *age.X25519Identity:
		return derived(id.String())
	case *age.HybridIdentity:
		return derived(id.String())
	}
	return nil, nil
}

// Signer gives a key that can sign in the name of one of signers, ssh public keys: derived
// from an age key, out of a file of ssh (whose passphrase may be asked for), or held by
// the ssh agent. Close it.
func (o *Operator) Signer(signers []string) (*Signer, error) {
	for _, h := range o.own {
		s, err := h.signer()
		if err == nil && s != nil && slices.Contains(signers, authorized(s.PublicKey())) {
			return &Signer{Signer: s}, nil
		}
	}
	if s := agentSigner(signers); s != nil {
		return s, nil
	}
	for _, h := range o.own {
		if h.ssh == nil || !slices.Contains(signers, Canonical(h.recipient)) {
			continue
		}
		key, err := h.ssh.get()
		if err != nil {
			return nil, err
		}
		s, err := ssh.NewSignerFromKey(key)
		return &Signer{Signer: s}, err
	}
	return nil, fault.New("none of the keys here, and none in the ssh agent, is one that signs the index of this repository").
		Hint("--identity FILE names the private key of an operator; an operator's signing key stands in the table of signers of %s", RecipientsFile)
}

// Signer signs; it may hold a connection to the ssh agent.
type Signer struct {
	ssh.Signer
	conn net.Conn
}

// SignWithAlgorithm makes a Signer an ssh.AlgorithmSigner, as its key is: what an RSA key
// signs without one is signed with SHA-1, which nobody accepts any more.
func (s *Signer) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	as, ok := s.Signer.(ssh.AlgorithmSigner)
	if !ok {
		return nil, fmt.Errorf("the key cannot sign with %s", algorithm)
	}
	return as.SignWithAlgorithm(rand, data, algorithm)
}

// Close ends the connection to the agent, if there is one.
func (s *Signer) Close() {
	if s.conn != nil {
		s.conn.Close()
	}
}

// agentSigner is one of signers that the ssh agent has, or nil.
func agentSigner(signers []string) *Signer {
	at := os.Getenv("SSH_AUTH_SOCK")
	if at == "" {
		return nil
	}
	conn, err := (&net.Dialer{Timeout: agentPatience}).Dial("unix", at)
	if err != nil {
		return nil
	}
	all, err := agent.NewClient(conn).Signers()
	if err == nil {
		for _, s := range all {
			if slices.Contains(signers, authorized(s.PublicKey())) {
				return &Signer{Signer: s, conn: conn}
			}
		}
	}
	conn.Close()
	return nil
}

// FirstAge is the public half of the first age key here, for a repository that names no
// operator yet.
func (o *Operator) FirstAge(postQuantum bool) (string, error) {
	for _, r := range o.Recipients() {
		if strings.HasPrefix(r, "age1") && PostQuantum(r) == postQuantum {
			return r, nil
		}
	}
	return "", fmt.Errorf("there is no age key here")
}
