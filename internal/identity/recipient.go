// Package identity knows who may open secrets: machines, which have a key of their own,
// and operators, the people who write secrets. Both stand in the folder 'secrets' of a
// repository:
//
//	secrets/recipients.toml                          operators, groups of machines (Repo)
//	secrets/machines/NAME/age.pub                    the machine's age recipient
//	secrets/machines/NAME/age.key.age                its private half, for the operators
//	secrets/machines/NAME/ssh_host_ed25519.pub       its ssh host key
//	secrets/machines/NAME/ssh_host_ed25519.age       the private half of that, for the operators
//
// On the machine itself the private half of the age key rests in KeyFile; a machine that
// was adopted has none, and opens its secrets with its ssh host key.
package identity

import (
	"crypto/ed25519"
	"crypto/sha512"
	"fmt"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/plugin"
	"filippo.io/age/tag"
	"filippo.io/edwards25519"
	"golang.org/x/crypto/ssh"
)

// KeyFile is where the private half of a machine's age key rests on the machine: a file
// of root's with mode 0600. SSHHostKeyFile is the key of a machine that has no other.
const (
	KeyFile        = "/var/lib/godwit/identity/age.key"
	SSHHostKeyFile = "/etc/ssh/ssh_host_ed25519_key"
)

// ParseRecipient reads a public key to which age encrypts: age1… (also the post-quantum
// age1pq1… and the age1tag1… of hardware), age1NAME1… of a plugin, ssh-ed25519 and
// ssh-rsa. ui may be nil; a plugin that wants to ask something then fails.
func ParseRecipient(s string, ui *plugin.ClientUI) (age.Recipient, error) {
	s = strings.TrimSpace(s)
	switch {
	case strings.HasPrefix(s, "ssh-"):
		return agessh.ParseRecipient(s)
	case strings.HasPrefix(s, "age1pq1"):
		return age.ParseHybridRecipient(s)
	case strings.HasPrefix(s, "age1tag1"), strings.HasPrefix(s, "age1tagpq1"):
		return tag.ParseRecipient(s)
	case strings.HasPrefix(s, "age1") && strings.Count(s, "1") > 1 && !x25519(s):
		if ui == nil {
			ui = silent
		}
		return plugin.NewRecipient(s, ui)
	case strings.HasPrefix(s, "AGE-"):
		return nil, fmt.Errorf("it is a private key, not a public one")
	}
	return age.ParseX25519Recipient(s)
}

func x25519(s string) bool {
	_, err := age.ParseX25519Recipient(s)
	return err == nil
}

// silent answers no plugin.
var silent = &plugin.ClientUI{
	DisplayMessage: func(string, string) error { return nil },
	RequestValue:   func(string, string, bool) (string, error) { return "", fmt.Errorf("no terminal to ask") },
	Confirm:        func(string, string, string, string) (bool, error) { return false, fmt.Errorf("no terminal to ask") },
}

// Canonical is a recipient as it is compared and recorded: without the comment of an
// ssh key, without blanks around it.
func Canonical(s string) string {
	f := strings.Fields(s)
	if len(f) > 2 && strings.HasPrefix(f[0], "ssh-") {
		f = f[:2]
	}
	return strings.Join(f, " ")
}

// PostQuantum tells whether a recipient is one that age cannot mix with classic ones.
func PostQuantum(recipient string) bool {
	return strings.HasPrefix(recipient, "age1pq1") || strings.HasPrefix(recipient, "age1tagpq1")
}

// SSHToAge is the age recipient that people make of an ssh-ed25519 public key in
// authorized-key form (ssh-to-age does it, for sops). A file for it is not one for the ssh
// key itself: whoever holds the ssh key must try both (SSHIdentities).
func SSHToAge(authorized string) (string, error) {
	pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(authorized))
	if err != nil {
		return "", err
	}
	c, ok := pub.(ssh.CryptoPublicKey)
	if !ok {
		return "", fmt.Errorf("%s keys have no form as an age key", pub.Type())
	}
	key, ok := c.CryptoPublicKey().(ed25519.PublicKey)
	if !ok {
		return "", fmt.Errorf("%s keys have no form as an age key", pub.Type())
	}
	point, err := new(edwards25519.Point).SetBytes(key)
	if err != nil {
		return "", fmt.Errorf("it is not a point of the curve")
	}
	return bech32("age", point.BytesMontgomery()), nil
}

// sshSeedToAge is the private counterpart of SSHToAge.
func sshSeedToAge(key ed25519.PrivateKey) (age.Identity, error) {
	sum := sha512.Sum512(key.Seed())
	return age.ParseX25519Identity(strings.ToUpper(bech32("age-secret-key-", sum[:32])))
}

// bech32 encodes data as age writes its keys (BIP 173, without the limit on length).
func bech32(hrp string, data []byte) string {
	const charset = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	var five []byte
	acc, bits := uint32(0), 0
	for _, b := range data {
		acc, bits = acc<<8|uint32(b), bits+8
		for bits >= 5 {
			bits -= 5
			five = append(five, byte(acc>>bits&31))
		}
	}
	if bits > 0 {
		five = append(five, byte(acc<<(5-bits)&31))
	}
	var all []byte
	for i := range len(hrp) {
		all = append(all, hrp[i]>>5)
	}
	all = append(all, 0)
	for i := range len(hrp) {
		all = append(all, hrp[i]&31)
	}
	all = append(append(all, five...), 0, 0, 0, 0, 0, 0)
	chk := uint32(1)
	for _, v := range all {
		top := chk >> 25
		chk = chk&0x1ffffff<<5 ^ uint32(v)
		for i, g := range []uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				chk ^= g
			}
		}
	}
	chk ^= 1
	var b strings.Builder
	b.WriteString(hrp + "1")
	for _, v := range five {
		b.WriteByte(charset[v])
	}
	for i := range 6 {
		b.WriteByte(charset[chk>>(5*(5-i))&31])
	}
	return b.String()
}
