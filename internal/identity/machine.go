package identity

import (
	"fmt"

	"filippo.io/age"
)

// Machine is who a machine is: its public halves. One of Age and SSHHost is set at least.
type Machine struct {
	Name string
	// Age is the recipient of its age key, age1… (or age1pq1…); empty for a machine that
	// was adopted and keeps the identity that it has.
	Age string
	// SSHHost is its ssh host key in authorized-key form, without a comment.
	SSHHost string
}

// Recipient is the public key to which secrets of the machine are encrypted: its age
// key, or its ssh host key when it has none.
func (m Machine) Recipient() (age.Recipient, error) {
	r := m.RecipientString()
	if r == "" {
		return nil, fmt.Errorf("the machine '%s' has no key", m.Name)
	}
	return ParseRecipient(r, nil)
}

// RecipientString is Recipient as text.
func (m Machine) RecipientString() string {
	if m.Age != "" {
		return Canonical(m.Age)
	}
	return Canonical(m.SSHHost)
}

// Recipients are all public keys to which a file may be encrypted so that the machine
// can open it: the age key, the ssh host key (as agenix encrypts), and the age form of
// that (as sops does with ssh-to-age). The first is Recipient.
func (m Machine) Recipients() []string {
	var out []string
	if m.Age != "" {
		out = append(out, Canonical(m.Age))
	}
	if m.SSHHost != "" {
		out = append(out, Canonical(m.SSHHost))
		if a, err := SSHToAge(m.SSHHost); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// KeyFile is the file on the machine that opens what Recipient closes.
func (m Machine) KeyFile() string {
	if m.Age != "" {
		return KeyFile
	}
	return SSHHostKeyFile
}
