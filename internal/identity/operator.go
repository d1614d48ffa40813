package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"filippo.io/age/plugin"
	"golang.org/x/crypto/ssh"

	"godwit/internal/bounded"
	"godwit/internal/fault"
	"godwit/internal/redact"
	"godwit/internal/regular"
)

// Person is who sits before the terminal. Each method may fail because nobody does.
type Person interface {
	// Secret reads a line that is not shown.
	Secret(prompt string) (string, error)
	// Line reads a line.
	Line(prompt string) (string, error)
	// Say shows a line.
	Say(line string)
}

// Operator is who runs godwit: the private keys with which files are opened. It may be
// used from many goroutines, but opens one file at a time: a token, and a person, can be
// asked one thing only.
type Operator struct {
	mu     sync.Mutex
	own    []*held // in the order in which they are tried
	tried  []string
	person Person
}

// held is one private key.
type held struct {
	age.Identity
	from      string // the file
	recipient string // its public half; "" when that is not known without asking
	plugin    bool
	ssh       *sshKey
}

// Places are the files in which private keys are looked for when nobody names some:
// $GODWIT_IDENTITY, godwit's own, those of sops, and the usual ssh keys.
func Places() []string {
	if f := os.Getenv("GODWIT_IDENTITY"); f != "" {
		return filepath.SplitList(f)
	}
	var out []string
	if f, err := OwnFile(); err == nil {
		out = append(out, f)
	}
	if f := os.Getenv("SOPS_AGE_KEY_FILE"); f != "" {
		out = append(out, f)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return out
	}
	if d, err := os.UserConfigDir(); err == nil {
		out = append(out, filepath.Join(d, "sops", "age", "keys.txt"))
	}
	return append(out, filepath.Join(home, ".ssh", "id_ed25519"), filepath.Join(home, ".ssh", "id_rsa"))
}

// Load reads private keys: of the named files, all of which must be there, or of those of
// Places that are. Nothing is asked until a file needs it. person may be nil.
func Load(files []string, person Person) (*Operator, error) {
	o := &Operator{person: person}
	named := len(files) > 0
	if !named {
		files = Places()
	}
	for _, f := range files {
		if slices.Contains(o.tried, f) {
			continue
		}
		data, err := regular.Read(f, limit)
		if errors.Is(err, fs.ErrNotExist) && !named {
			continue
		}
		if err != nil {
			return nil, fault.New("cannot read the key %s: %s", f, fault.Reason(err)).Because(err)
		}
		if err := o.add(f, data); err != nil {
			if named {
				return nil, fault.New("%s: %w", f, err)
			}
			continue // somebody else's file, which nobody asked for
		}
		o.tried = append(o.tried, f)
	}
	return o, nil
}

// AddKey lets the operator open with further age keys, lines AGE-SECRET-KEY-…: those of a
// machine, once they were opened.
func (o *Operator) AddKey(lines, from string) error {
	in := &Operator{person: o.person}
	if err := in.add(from, []byte(lines)); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.own = slices.Insert(o.own, 0, in.own...)
	return nil
}

// Files are the files that keys came from.
func (o *Operator) Files() []string { return slices.Clone(o.tried) }

// Recipients are the public halves of the keys, where they are known without asking.
func (o *Operator) Recipients() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []string
	for _, h := range o.own {
		if h.recipient != "" && !slices.Contains(out, h.recipient) {
			out = append(out, h.recipient)
		}
	}
	return out
}

// Hardware tells whether one of the keys is a plugin's, which each file may need a touch
// of.
func (o *Operator) Hardware() bool {
	return slices.ContainsFunc(o.own, func(h *held) bool { return h.plugin })
}

// add reads one file of keys.
func (o *Operator) add(file string, data []byte) error {
	text := strings.TrimSpace(strings.TrimPrefix(string(data), "\ufeff"))
	switch {
	case strings.HasPrefix(text, armor.Header), strings.HasPrefix(text, "age-encryption.org/"):
		o.own = append(o.own, &held{Identity: &sealed{o: o, file: file, data: data}, from: file})
		return nil
	case strings.HasPrefix(text, "-----BEGIN"):
		return o.addSSH(file, data)
	}
	n := 0
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		h, err := o.parse(line)
		if err != nil {
			return fmt.Errorf("line %d: it is not an age private key: %w", i+1, hideKey(err))
		}
		h.from = file
		o.own = append(o.own, h)
		n++
	}
	if n == 0 {
		return fmt.Errorf("it contains no private key")
	}
	return nil
}

// hideKey keeps an error of a parser from quoting a private key.
func hideKey(err error) error {
	msg := err.Error()
	if i := strings.Index(strings.ToUpper(msg), "AGE-"); i >= 0 {
		return fmt.Errorf("%s…", msg[:i])
	}
	return errors.New("malformed")
}

// parse reads one line of a file of identities.
func (o *Operator) parse(line string) (*held, error) {
	switch {
	case strings.HasPrefix(line, "AGE-PLUGIN-"):
		t := &token{}
		id, err := plugin.NewIdentity(line, t.ui(o.ui()))
		if err != nil {
			return nil, err
		}
		t.Identity = id
		return &held{Identity: t, plugin: true}, nil
	case strings.HasPrefix(line, "AGE-SECRET-KEY-PQ-1"):
		id, err := age.ParseHybridIdentity(line)
		if err != nil {
			return nil, err
		}
		return &held{Identity: id, recipient: id.Recipient().String()}, nil
	}
	redact.Know([]byte(line))
	id, err := age.ParseX25519Identity(line)
	if err != nil {
		return nil, err
	}
	return &held{Identity: id, recipient: id.Recipient().String()}, nil
}

// ui lets a plugin ask the person.
func (o *Operator) ui() *plugin.ClientUI {
	if o.person == nil {
		return silent
	}
	return &plugin.ClientUI{
		DisplayMessage: func(name, message string) error {
			o.person.Say(name + ": " + message)
			return nil
		},
		RequestValue: func(name, prompt string, secret bool) (string, error) {
			if secret {
				return o.person.Secret(name + ": " + prompt)
			}
			return o.person.Line(name + ": " + prompt)
		},
		Confirm: func(name, prompt, yes, no string) (bool, error) {
			a, err := o.person.Line(fmt.Sprintf("%s: %s [%s/%s]", name, prompt, yes, no))
			return strings.EqualFold(strings.TrimSpace(a), yes), err
		},
		WaitTimer: func(name string) { o.person.Say("waiting for " + name + ": a token may want to be touched") },
	}
}

// token is the key of a plugin. It fails once in a run: whoever has mistyped a PIN is not
// asked for the next file, as a token may lock itself after a few wrong ones.
type token struct {
	age.Identity
	failed error
	unsaid error // why a question had no answer, which the protocol of plugins does not carry
}

// ui keeps what a question failed with.
func (t *token) ui(of *plugin.ClientUI) *plugin.ClientUI {
	ui := *of
	ui.RequestValue = func(name, prompt string, secret bool) (string, error) {
		s, err := of.RequestValue(name, prompt, secret)
		t.unsaid = err
		return s, err
	}
	ui.Confirm = func(name, prompt, yes, no string) (bool, error) {
		b, err := of.Confirm(name, prompt, yes, no)
		t.unsaid = err
		return b, err
	}
	return &ui
}

// Unwrap lets the plugin try.
func (t *token) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if t.failed != nil {
		return nil, t.failed
	}
	key, err := t.Identity.Unwrap(stanzas)
	if err != nil && !errors.Is(err, age.ErrIncorrectIdentity) {
		if t.unsaid != nil {
			err = fmt.Errorf("%w: %w", err, t.unsaid)
		}
		t.failed = err
	}
	return key, err
}

// secret asks for a passphrase.
func (o *Operator) secret(prompt string) ([]byte, error) {
	if o.person == nil {
		return nil, fmt.Errorf("there is no terminal to ask for a passphrase on")
	}
	s, err := o.person.Secret(prompt)
	return []byte(s), err
}

// sealed is a file of keys behind a passphrase (age -p), opened when it is needed and
// then kept.
type sealed struct {
	o    *Operator
	file string
	data []byte
	once sync.Once
	in   []*held
	err  error
}

// Unwrap opens the file, and tries what is in it.
func (s *sealed) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	s.once.Do(func() {
		pass, err := s.o.secret("passphrase of " + s.file)
		if err != nil {
			s.err = err
			return
		}
		id, err := age.NewScryptIdentity(string(pass))
		if err != nil {
			s.err = err
			return
		}
		plain, err := decrypt(bytes.NewReader(s.data), limit, id)
		if err != nil { // not wrapped: no match here is an end, and no reason to try the next key
			s.err = fmt.Errorf("%s: the passphrase is wrong, or it is not a file of keys: %s", s.file, err.Error())
			return
		}
		in := &Operator{person: s.o.person}
		s.err = in.add(s.file, plain)
		s.in = in.own
	})
	if s.err != nil {
		return nil, s.err
	}
	for _, h := range s.in {
		if key, err := h.Unwrap(stanzas); !errors.Is(err, age.ErrIncorrectIdentity) {
			return key, err
		}
	}
	return nil, age.ErrIncorrectIdentity
}

// sshKey is an ssh key, perhaps behind a passphrase that is asked for once.
type sshKey struct {
	o    *Operator
	file string
	pem  []byte
	pub  ssh.PublicKey
	once sync.Once
	key  any // of crypto
	err  error
	open bool
}

func (o *Operator) addSSH(file string, pem []byte) error {
	k := &sshKey{o: o, file: file, pem: pem}
	raw, err := ssh.ParseRawPrivateKey(pem)
	var missing *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &missing):
		k.pub = missing.PublicKey
		if k.pub == nil { // an old format, which does not say it
			data, err := regular.Read(file+".pub", limit)
			if err == nil {
				k.pub, _, _, _, err = ssh.ParseAuthorizedKey(data)
			}
			if err != nil {
				return fmt.Errorf("it has a passphrase and does not say its public half, and %s.pub cannot be read", file)
			}
		}
	case err != nil:
		return errors.New("it is not an ssh private key")
	default:
		s, err := ssh.NewSignerFromKey(raw)
		if err != nil {
			return errors.New("it is a kind of ssh key that age cannot use")
		}
		k.pub = s.PublicKey()
		k.once.Do(func() {})
		k.key, k.open = raw, true
	}
	if t := k.pub.Type(); t != ssh.KeyAlgoED25519 && t != ssh.KeyAlgoRSA {
		return fmt.Errorf("age opens files with ssh-ed25519 and ssh-rsa keys, not with %s", t)
	}
	o.own = append(o.own, &held{Identity: k, from: file, recipient: authorized(k.pub), ssh: k})
	return nil
}

// get is the private key; it asks for the passphrase when it must.
func (k *sshKey) get() (any, error) {
	k.once.Do(func() {
		pass, err := k.o.secret("passphrase of " + k.file)
		if err != nil {
			k.err = err
			return
		}
		k.key, err = ssh.ParseRawPrivateKeyWithPassphrase(k.pem, pass)
		clear(pass)
		if err != nil {
			k.err = fmt.Errorf("%s: the passphrase is wrong", k.file)
			return
		}
		k.open = true
	})
	return k.key, k.err
}

// Unwrap opens a file that was encrypted to the ssh key itself.
func (k *sshKey) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	r, err := agessh.ParseRecipient(string(ssh.MarshalAuthorizedKey(k.pub)))
	if err != nil {
		return nil, age.ErrIncorrectIdentity
	}
	probe, err := r.Wrap(make([]byte, 16)) // the stanza names the key by a tag
	if err != nil || !slices.ContainsFunc(stanzas, func(s *age.Stanza) bool {
		return s.Type == probe[0].Type && len(s.Args) > 0 && s.Args[0] == probe[0].Args[0]
	}) {
		return nil, age.ErrIncorrectIdentity
	}
	key, err := k.get()
	if err != nil {
		return nil, err
	}
	id, err := sshIdentity(key)
	if err != nil {
		return nil, err
	}
	return id.Unwrap(stanzas)
}

// converted is the key in its age form, which people make with ssh-to-age.
func (k *sshKey) converted() (age.Identity, error) {
	key, err := k.get()
	if err != nil {
		return nil, err
	}
	ed, ok := edKey(key)
	if !ok {
		return nil, age.ErrIncorrectIdentity
	}
	return sshSeedToAge(ed)
}

func edKey(key any) (ed25519.PrivateKey, bool) {
	switch k := key.(type) {
	case *ed25519.PrivateKey:
		return *k, true
	case ed25519.PrivateKey:
		return k, true
	}
	return nil, false
}

func sshIdentity(key any) (age.Identity, error) {
	if ed, ok := edKey(key); ok {
		return agessh.NewEd25519Identity(ed)
	}
	if k, ok := key.(*rsa.PrivateKey); ok {
		return agessh.NewRSAIdentity(k)
	}
	return nil, fmt.Errorf("a kind of ssh key that age cannot use")
}

// SSHIdentities are both ways in which an ssh private key without passphrase opens files:
// as itself (agenix), and in its age form (sops with ssh-to-age).
func SSHIdentities(pem []byte) ([]age.Identity, error) {
	raw, err := ssh.ParseRawPrivateKey(pem)
	if err != nil {
		return nil, errors.New("it is not an ssh private key")
	}
	id, err := sshIdentity(raw)
	if err != nil {
		return nil, err
	}
	out := []age.Identity{id}
	if ed, ok := edKey(raw); ok {
		c, err := sshSeedToAge(ed)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// MaxPlain bounds the plaintext of a file that Open opens, in bytes.
const MaxPlain = 64 << 20

// Open decrypts a file of age, armored or not. to are the recipients that the file is
// known to have, if somebody knows; what names the file in errors.
func (o *Operator) Open(what string, data []byte, to ...string) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var ids []age.Identity
	for _, h := range o.own {
		ids = append(ids, h)
	}
	for _, h := range o.own {
		if h.ssh == nil {
			continue
		}
		// A file for the age form names nobody. A passphrase is not asked for on a mere chance.
		form, err := SSHToAge(h.recipient)
		if err != nil || !h.ssh.open && !slices.Contains(to, form) {
			continue
		}
		if id, err := h.ssh.converted(); err == nil {
			ids = append(ids, id)
		} else if !errors.Is(err, age.ErrIncorrectIdentity) {
			return nil, fault.New("%s cannot be opened: %w", what, err)
		}
	}
	if len(ids) == 0 {
		return nil, o.none(fault.New("%s cannot be opened: there is no private key here", what))
	}
	plain, err := decrypt(bytes.NewReader(data), MaxPlain, ids...)
	redact.Know(plain)
	var no *age.NoIdentityMatchError
	if errors.As(err, &no) {
		kinds := slices.Clone(no.StanzaTypes)
		slices.Sort(kinds)
		f := fault.New("%s cannot be opened: none of the private keys here is one that it was encrypted to", what).Because(err).
			Detail("it was encrypted to "+fmt.Sprint(len(no.StanzaTypes))+" keys of the kinds "+strings.Join(slices.Compact(kinds), ", "),
				"keys were read from "+strings.Join(o.tried, ", "))
		return nil, o.none(f)
	}
	if err != nil {
		return nil, fault.New("%s cannot be opened: %w", what, err)
	}
	return plain, nil
}

// none adds what to do when no key fits.
func (o *Operator) none(f *fault.Error) *fault.Error {
	f.Hint("--identity FILE names an age or ssh private key")
	if os.Getenv("SSH_AUTH_SOCK") != "" {
		f.Detail("an ssh agent can sign and cannot decrypt: the file of the key itself is needed")
	}
	return f
}

// decrypt opens a file of age, armored or not, whose plaintext has at most most bytes.
func decrypt(r io.Reader, most int64, ids ...age.Identity) ([]byte, error) {
	d, err := age.Decrypt(Dearmor(r), ids...)
	if err != nil {
		return nil, err
	}
	return bounded.ReadAll(d, "its plaintext", most)
}

// Dearmor reads a file of age, whether it is armored or not.
func Dearmor(r io.Reader) io.Reader {
	head := make([]byte, len(armor.Header)+64)
	n, _ := io.ReadFull(r, head)
	all := io.MultiReader(bytes.NewReader(head[:n]), r)
	if bytes.HasPrefix(bytes.TrimLeft(head[:n], " \t\r\n"), []byte(armor.Header)) {
		return armor.NewReader(all)
	}
	return all
}

// Encrypt makes a binary file of age for recipients.
func Encrypt(plain []byte, to []string, person Person) ([]byte, error) {
	if len(to) == 0 {
		return nil, fmt.Errorf("there are no recipients to encrypt it for")
	}
	ui := (&Operator{person: person}).ui()
	var rs []age.Recipient
	for _, s := range to {
		r, err := ParseRecipient(s, ui)
		if err != nil {
			return nil, err
		}
		rs = append(rs, r)
	}
	var b bytes.Buffer
	w, err := age.Encrypt(&b, rs...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
