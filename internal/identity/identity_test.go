package identity

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"

	"filippo.io/age"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"
)

// person answers with the same line, and counts how often it was asked.
type person struct {
	answer string
	asked  []string
}

func (p *person) Secret(prompt string) (string, error) {
	p.asked = append(p.asked, prompt)
	return p.answer, nil
}
func (p *person) Line(prompt string) (string, error) { return p.Secret(prompt) }
func (p *person) Say(string)                         {}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(f, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestSSHToAge: public keys and their age forms as ssh-to-age gave them to others, and both
// halves of one key.
func TestSSHToAge(t *testing.T) {
	for in, want := range map[string]string{
		"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICYvKXGcG4a19tTT0Rycbn+D0r/YlKltLJ9dY2gR/Fjx openpgp:0x47C9F3FF": "age18s8m9hvlrwvltgys4lafyyqe356ntc7e06t4kd2nccqm5amsaa2s878mju",
	} {
		if got, err := SSHToAge(in); err != nil || got != want {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
	seed := bytes.Repeat([]byte{7}, 32)
	key := ed25519.NewKeyFromSeed(seed)
	pub, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public, err := SSHToAge(string(ssh.MarshalAuthorizedKey(pub)))
	if err != nil {
		t.Fatal(err)
	}
	id, err := sshSeedToAge(key)
	if err != nil {
		t.Fatal(err)
	}
	if got := id.(*age.X25519Identity).Recipient().String(); got != public {
		t.Errorf("the halves do not fit: %s and %s", got, public)
	}
	for _, bad := range []string{"", "ssh-ed25519 AAAA", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7"} {
		if got, err := SSHToAge(bad); err == nil {
			t.Errorf("%q: %s", bad, got)
		}
	}
}

func TestParseRecipient(t *testing.T) {
	public, private, err := NewAge(false)
	if err != nil {
		t.Fatal(err)
	}
	pq, _, err := NewAge(true)
	if err != nil {
		t.Fatal(err)
	}
	sshPub, _, err := NewSSH("x")
	if err != nil {
		t.Fatal(err)
	}
	for _, ok := range []string{public, pq, sshPub, sshPub + " root@web1", " " + public + "\n", "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t"} {
		if _, err := ParseRecipient(ok, nil); err != nil {
			t.Errorf("%.20s: %v", ok, err)
		}
	}
	for _, bad := range []string{"", "x", private, public[:40], "ssh-dss AAAA"} {
		if _, err := ParseRecipient(bad, nil); err == nil || strings.Contains(err.Error(), private) {
			t.Errorf("%.20s: %v", bad, err)
		}
	}
}

// TestOpen: every sort of key opens what was encrypted to it; nobody is asked who need not
// be, and once only.
func TestOpen(t *testing.T) {
	public, private, _ := NewAge(false)
	sshPub, sshKey, _ := NewSSH("alice")
	_, locked, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(locked, "", []byte("open sesame"))
	if err != nil {
		t.Fatal(err)
	}
	lockedSSH, _ := ssh.NewPublicKey(locked.Public())
	lockedPub := string(ssh.MarshalAuthorizedKey(lockedSSH))
	var sealedFile bytes.Buffer
	scrypt, _ := age.NewScryptRecipient("open sesame")
	scrypt.SetWorkFactor(10)
	w, _ := age.Encrypt(&sealedFile, scrypt)
	_, _ = w.Write([]byte(private + "\n"))
	_ = w.Close()
	form := func(s string) string {
		a, err := SSHToAge(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	stranger, _, _ := NewAge(false)

	for _, c := range []struct {
		name string
		key  []byte
		to   string
		hint string
		asks int
		fail string
	}{
		{"age", []byte("# a comment\n" + private + "\n"), public, "", 0, ""},
		{"ssh", sshKey, sshPub, "", 0, ""},
		{"the age form of ssh", sshKey, form(sshPub), "", 0, ""},
		{"ssh with a passphrase", pem.EncodeToMemory(block), lockedPub, "", 1, ""},
		{"its age form, known to be meant", pem.EncodeToMemory(block), form(lockedPub), form(lockedPub), 1, ""},
		{"its age form, by chance", pem.EncodeToMemory(block), form(lockedPub), "", 0, "none of the private keys"},
		{"age behind a passphrase", sealedFile.Bytes(), public, "", 1, ""},
		{"somebody else's", []byte(private), stranger, "", 0, "none of the private keys"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &person{answer: "open sesame"}
			o, err := Load([]string{write(t, "key", c.key)}, p)
			if err != nil {
				t.Fatal(err)
			}
			data, err := Encrypt([]byte("plain"), []string{c.to}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				got, err := o.Open("x.age", data, c.hint)
				if c.fail != "" {
					if err == nil || !strings.Contains(err.Error(), c.fail) {
						t.Fatalf("%q, %v", got, err)
					}
					continue
				}
				if err != nil || string(got) != "plain" {
					t.Fatalf("%q, %v", got, err)
				}
			}
			if len(p.asked) != c.asks {
				t.Errorf("asked %q", p.asked)
			}
			var b bytes.Buffer
			a := armor.NewWriter(&b)
			_, _ = a.Write(data)
			_ = a.Close()
			if got, err := o.Open("x.age", b.Bytes(), c.hint); c.fail == "" && (err != nil || string(got) != "plain") {
				t.Errorf("armored: %q, %v", got, err)
			}
		})
	}
}

func TestWrongPassphrase(t *testing.T) {
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	block, _ := ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte("right"))
	pub, _ := ssh.NewPublicKey(key.Public())
	data, _ := Encrypt([]byte("plain"), []string{string(ssh.MarshalAuthorizedKey(pub))}, nil)
	o, err := Load([]string{write(t, "key", pem.EncodeToMemory(block))}, &person{answer: "wrong"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Open("x.age", data); err == nil || !strings.Contains(err.Error(), "the passphrase is wrong") {
		t.Error(err)
	}
	o, _ = Load([]string{write(t, "key", pem.EncodeToMemory(block))}, nil)
	if _, err := o.Open("x.age", data); err == nil || !strings.Contains(err.Error(), "no terminal to ask") {
		t.Error(err)
	}
}

// An error about a file of keys does not quote a key.
func TestNoKeyInErrors(t *testing.T) {
	_, private, _ := NewAge(false)
	for _, bad := range []string{private[:50], private + "x", "AGE-PLUGIN-" + private, "x" + private} {
		_, err := Load([]string{write(t, "key", []byte(bad))}, nil)
		if err == nil || strings.Contains(err.Error(), private[:30]) {
			t.Errorf("%v", err)
		}
	}
	if _, err := Load([]string{filepath.Join(t.TempDir(), "none")}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestRepo(t *testing.T) {
	alice, _, _ := NewAge(false)
	k, err := NewKeys("web1", false)
	if err != nil {
		t.Fatal(err)
	}
	top := t.TempDir()
	dir := filepath.Join(top, Folder)
	put := func(name, text string) {
		t.Helper()
		f := filepath.Join(dir, name)
		_ = os.MkdirAll(filepath.Dir(f), 0o755)
		if err := os.WriteFile(f, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sshPub, _, _ := NewSSH("")
	good := "version = 1\n[operators]\nalice = ['" + alice + "', '" + sshPub + " alice@laptop']\n[groups]\nweb = ['web1']\n"
	put(RecipientsFile, good)
	put("machines/web1/age.pub", k.Age+"\n")
	put("machines/web1/ssh_host_ed25519.pub", k.SSHHost+" root@web1\n")
	below := filepath.Join(top, "a", "b")
	_ = os.MkdirAll(below, 0o755)
	if at, ok := Find(below); !ok || at != dir {
		t.Errorf("%q %v", at, ok)
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, ok := r.Machine("web1")
	if !ok || m.Age != k.Age || m.SSHHost != k.SSHHost || m.RecipientString() != k.Age || m.KeyFile() != KeyFile || len(m.Recipients()) != 3 {
		t.Errorf("%+v", m)
	}
	if got, err := r.Names([]string{"@web", "web1"}); err != nil || !slices.Equal(got, []string{"web1"}) {
		t.Error(got, err)
	}
	if got := r.Who(Canonical(sshPub + " x")); got != "alice" || r.Who(m.Recipients()[2]) != "web1" || len(r.Signers["alice"]) != 1 {
		t.Error(got)
	}
	for text, want := range map[string]string{
		"version = 2":                          "version = 2",
		"":                                     "version = 0",
		"version = 1\nx = 1":                   "recipients.toml:2: unknown setting x",
		"version = 1\n[operators]\nalice = []": "has no key",
		"version = 1\n[operators]\nalice = ['age1x']":                                    "operator 'alice', key 1",
		"version = 1\npost-quantum = true\n[operators]\nalice = ['" + alice + "']":       "post-quantum",
		"version = 1\n[operators]\n'a b' = ['" + alice + "']":                            "other characters",
		"version = 1\n[signers]\nbob = '" + sshPub + "'":                                 "not an operator",
		"version = 1\n[groups]\nweb = ['nobody']":                                        "the machine 'nobody'",
		"version = 1\n[operators]\nalice = ['" + alice + "']\n[signers]\nalice = 'age1'": "not an ssh public key",
	} {
		put(RecipientsFile, text)
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	put(RecipientsFile, good)
	put("machines/web2/ssh_host_ed25519.pub", k.Age)
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "another kind of key") {
		t.Error(err)
	}
	put("machines/web2/ssh_host_ed25519.pub", sshPub)
	if r, err := Open(dir); err != nil || r.Machines[1].KeyFile() != SSHHostKeyFile || r.Machines[1].RecipientString() != sshPub {
		t.Error(err)
	}
}

func FuzzRecipients(f *testing.F) {
	f.Add("version = 1\n[operators]\nalice = ['age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj']\n")
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := parseRecipients("x", text); (r == nil) == (err == nil) {
			t.Error(r, err)
		}
	})
}

func FuzzKeyFile(f *testing.F) {
	_, key, _ := NewSSH("")
	f.Add(key)
	f.Add([]byte("# x\nAGE-SECRET-KEY-1XYZ\n"))
	f.Add([]byte("age-encryption.org/v1\n-> scrypt x 18\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		o := &Operator{}
		if err := o.add("key", data); err == nil && len(o.own) == 0 {
			t.Error("no key, and no error")
		}
		_, _ = o.Open("x", data)
	})
}
