// Package bundle says what the secrets of one machine are when they travel: ciphertext
// that the machine itself opens, and where each goes. What makes a bundle (internal/vault)
// and what brings it to a host share these values, and nothing else.
package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Phase says what a secret must be there for.
type Phase string

// Phases, in the order of a boot. Users is before users are made (passwords), Services
// before services start, Initrd in the initial ram disk.
const (
	Initrd   Phase = "initrd"
	Users    Phase = "users"
	Services Phase = "services"
)

// Phases are all phases.
var Phases = []Phase{Initrd, Users, Services}

// Entry is one secret of a machine.
type Entry struct {
	Name string `json:"name"`
	// Destination is the absolute path of the plaintext on the machine; empty is
	// /run/godwit/secrets/NAME.
	Destination string `json:"destination,omitempty"`
	// User and Group are names of the machine; empty is root.
	User  string `json:"user,omitempty"`
	Group string `json:"group,omitempty"`
	// Mode has permission bits only.
	Mode uint32 `json:"mode"`
	// Phase is never empty.
	Phase Phase `json:"phase"`
	// Restart are units that are restarted when the plaintext has changed.
	Restart []string `json:"restart,omitempty"`
	// Age is the ciphertext: a binary age file that the machine's key opens (others may
	// open it, too). It is the same bytes as long as nobody writes the secret anew.
	Age []byte `json:"age"`
	// Fresh says that it was encrypted for this deployment alone: a host that has the same
	// content keeps the ciphertext that it has, and its release has no such mark.
	Fresh bool `json:"fresh,omitempty"`
	// Replace says that the destination may have a file that was pushed there; it comes back
	// when the release is taken back.
	Replace bool `json:"replace,omitempty"`
}

// Bundle is all secrets of one machine, sorted by name.
type Bundle struct {
	Machine string `json:"machine"`
	// Recipient is the public key of the machine that opens all entries: age1… or
	// ssh-ed25519 ….
	Recipient string `json:"recipient"`
	// KeyFile is the file on the machine that holds the private half.
	KeyFile string  `json:"keyFile"`
	Entries []Entry `json:"entries"`
}

// ID names the content: what has the same secrets at the same places has the same ID.
func (b *Bundle) ID() string {
	text, err := json.Marshal(b)
	if err != nil {
		panic(err) // plain values
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// Of gives the entries of a phase.
func (b *Bundle) Of(p Phase) []Entry {
	var out []Entry
	for _, e := range b.Entries {
		if e.Phase == p {
			out = append(out, e)
		}
	}
	return out
}

// NamePattern is what names of secrets and of machines look like.
var NamePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$`)

var (
	ownerPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\$?$`)
	unitPattern  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9:_.\\@-]{0,250}\.(service|socket|timer|target|path|mount)$`)
)

// Check says what is wrong with an entry, in words that go after its name.
func (e Entry) Check() error {
	switch d := e.Destination; {
	case !NamePattern.MatchString(e.Name):
		return fmt.Errorf("the name '%s' has other characters than letters, digits, '.', '_' and '-', or is too long", e.Name)
	case d != "" && (!path.IsAbs(d) || path.Clean(d) != d || d == "/"):
		return fmt.Errorf("the destination '%s' is not a plain absolute path of a file", d)
	case strings.ContainsFunc(d, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("the destination '%s' holds a control character", d)
	case d == "/nix/store" || strings.HasPrefix(d, "/nix/store/"):
		return fmt.Errorf("the destination '%s' is in the Nix store, which everybody can read", d)
	case e.User != "" && !ownerPattern.MatchString(e.User):
		return fmt.Errorf("'%s' is not the name of a user", e.User)
	case e.Group != "" && !ownerPattern.MatchString(e.Group):
		return fmt.Errorf("'%s' is not the name of a group", e.Group)
	case e.Mode&^0o777 != 0:
		return fmt.Errorf("the mode %04o is not one of permissions alone", e.Mode)
	case !slices.Contains(Phases, e.Phase):
		return fmt.Errorf("the phase '%s' is not one of initrd, users, services", e.Phase)
	}
	for _, u := range e.Restart {
		if !unitPattern.MatchString(u) {
			return fmt.Errorf("'%s' is not the name of a unit such as nginx.service", u)
		}
	}
	return nil
}

// Check says what is wrong with a bundle: an entry, or two of one name or destination.
func (b *Bundle) Check() error {
	at := map[string]string{}
	for i, e := range b.Entries {
		if err := e.Check(); err != nil {
			return fmt.Errorf("secret '%s': %w", e.Name, err)
		}
		if i > 0 && b.Entries[i-1].Name >= e.Name {
			return fmt.Errorf("secret '%s' is listed twice, or out of order", e.Name)
		}
		d := e.Path()
		if other, ok := at[d]; ok {
			return fmt.Errorf("secrets '%s' and '%s' have the same destination %s", other, e.Name, d)
		}
		at[d] = e.Name
	}
	return nil
}

// Folder is where secrets without a destination are on a machine.
const Folder = "/run/godwit/secrets"

// Path is the destination, or where the secret is without one.
func (e Entry) Path() string {
	if e.Destination != "" {
		return e.Destination
	}
	return Folder + "/" + e.Name
}
