package vault

import (
	"bytes"
	"crypto/rand"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// Signatures have the form of ssh-keygen -Y sign (OpenSSH's PROTOCOL.sshsig), so that
// ssh-keygen -Y verify can check them without godwit.

const (
	sigMagic = "SSHSIG"
	sigBlock = "SSH SIGNATURE"
	// sigNamespace keeps a signature that was made for something else from standing here.
	sigNamespace = "godwit-secrets"
)

// sigBlob is a signature; its magic goes before it.
type sigBlob struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  string
	HashAlg   string
	Signature []byte
}

// sigSigned is what is signed; the magic goes before it.
type sigSigned struct {
	Namespace string
	Reserved  string
	HashAlg   string
	Hash      []byte
}

func signedBytes(text []byte) []byte {
	sum := sha512.Sum512(text)
	return append([]byte(sigMagic), ssh.Marshal(sigSigned{sigNamespace, "", "sha512", sum[:]})...)
}

// sign signs text.
func sign(s ssh.Signer, text []byte) (string, error) {
	var sig *ssh.Signature
	var err error
	if as, ok := s.(ssh.AlgorithmSigner); ok && s.PublicKey().Type() == ssh.KeyAlgoRSA {
		sig, err = as.SignWithAlgorithm(rand.Reader, signedBytes(text), ssh.KeyAlgoRSASHA512)
	} else {
		sig, err = s.Sign(rand.Reader, signedBytes(text))
	}
	if err != nil {
		return "", err
	}
	blob := append([]byte(sigMagic), ssh.Marshal(sigBlob{1, s.PublicKey().Marshal(), sigNamespace, "", "sha512", ssh.Marshal(sig)})...)
	return string(pem.EncodeToMemory(&pem.Block{Type: sigBlock, Bytes: blob})), nil
}

// verify checks a signature of text and gives the key that made it, in authorized-key
// form without a comment.
func verify(text []byte, armored string) (string, error) {
	bad := errors.New("it is not a signature of ssh-keygen -Y")
	block, _ := pem.Decode([]byte(armored))
	if block == nil || block.Type != sigBlock {
		return "", bad
	}
	rest, ok := bytes.CutPrefix(block.Bytes, []byte(sigMagic))
	if !ok {
		return "", bad
	}
	var b sigBlob
	if err := ssh.Unmarshal(rest, &b); err != nil || b.Version != 1 {
		return "", bad
	}
	if b.Namespace != sigNamespace || b.HashAlg != "sha512" {
		return "", fmt.Errorf("the signature was made for '%s' with %s", b.Namespace, b.HashAlg)
	}
	pub, err := ssh.ParsePublicKey(b.PublicKey)
	if err != nil {
		return "", bad
	}
	var sig ssh.Signature
	if err := ssh.Unmarshal(b.Signature, &sig); err != nil {
		return "", bad
	}
	if sig.Format == ssh.KeyAlgoRSA { // SHA-1
		return "", errors.New("the signature is made with SHA-1")
	}
	if err := pub.Verify(signedBytes(text), &sig); err != nil {
		return "", errors.New("the signature does not match the index")
	}
	return authorized(pub), nil
}

// authorized is a public key without a comment.
func authorized(pub ssh.PublicKey) string {
	return string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(pub)))
}
