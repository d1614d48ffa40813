package vault

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"godwit/internal/fault"
	"godwit/internal/identity"
	"godwit/internal/redact"
	"godwit/internal/secrets/bundle"
)

// site is a repository with an operator alice and the machines web1 and web2.
type site struct {
	t     *testing.T
	dir   string
	state string
	alice *identity.Operator
	key   string // alice's file
}

func newSite(t *testing.T) *site {
	t.Helper()
	t.Cleanup(redact.Forget)
	s := &site{t: t, dir: filepath.Join(t.TempDir(), "secrets"), state: t.TempDir()}
	s.key = filepath.Join(t.TempDir(), "alice.txt")
	pub, err := identity.NewOwn(s.key, false)
	if err != nil {
		t.Fatal(err)
	}
	s.alice, err = identity.Load([]string{s.key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.write("recipients.toml", "version = 1\n[operators]\nalice = ['"+pub+"']\n[signers]\nalice = '"+s.alice.SigningKey()+"'\n[groups]\nweb = []\n")
	for _, m := range []string{"web1", "web2"} {
		s.tx(func(tx *Tx) error {
			k, err := identity.NewKeys(m, false)
			if err != nil {
				return err
			}
			return tx.Machine(k, nil)
		})
	}
	return s
}

func (s *site) write(name, text string) {
	s.t.Helper()
	at := filepath.Join(s.dir, name)
	_ = os.MkdirAll(filepath.Dir(at), 0o755)
	if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) open() *Vault {
	s.t.Helper()
	r, err := identity.Open(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	v, err := Open(r, Options{State: s.state, Recover: true})
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

// tx runs a transaction that must succeed.
func (s *site) tx(fn func(*Tx) error) {
	s.t.Helper()
	v := s.open()
	tx, err := v.Begin()
	if err != nil {
		s.t.Fatal(err)
	}
	defer tx.Close()
	if err := fn(tx); err != nil {
		s.t.Fatal(err)
	}
	if err := tx.Commit(s.alice); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) add(d Secret, plain string) {
	s.t.Helper()
	s.tx(func(tx *Tx) error { return errors.Join(tx.Declare(d), tx.Set(d, []byte(plain), nil)) })
}

func TestStore(t *testing.T) {
	s := newSite(t)
	s.add(Secret{Name: "wifi", For: []string{"web1"}, Mode: "0440", User: "git", Restart: []string{"nginx.service"}}, "hunter22")
	s.add(Secret{Name: "both", For: []string{"web1", "web2"}, Phase: "users", Path: "/etc/both"}, "for both")
	v := s.open()
	if v.Distrust != nil {
		t.Fatal(v.Distrust)
	}
	b, err := v.Bundle("web1")
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Entries) != 2 || b.Entries[1].Mode != 0o440 || b.Entries[1].User != "git" || b.Entries[0].Path() != "/etc/both" || b.ID() != mustBundle(t, s.open(), "web1").ID() {
		t.Errorf("%+v", b)
	}
	// The machine's own key opens what it gets, and only that.
	key, err := v.MachineKey("web1", s.alice)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "age.key")
	_ = os.WriteFile(file, []byte(key), 0o600)
	web1, err := identity.Load([]string{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := web1.Open("wifi", b.Entries[1].Age); err != nil || string(got) != "hunter22" {
		t.Errorf("%q %v", got, err)
	}
	b2 := mustBundle(t, v, "web2")
	if len(b2.Entries) != 1 || b2.Entries[0].Name != "both" {
		t.Errorf("%+v", b2)
	}
	wifi, _ := v.Secret("wifi")
	if got, err := v.Open(wifi, s.alice); err != nil || string(got) != "hunter22" {
		t.Errorf("%q %v", got, err)
	}
	if redact.String("the password is hunter22") != "the password is [secret]" {
		t.Error("a secret that was opened is not hidden")
	}
	if n, err := v.Bundle("nobody"); n != nil || err != nil {
		t.Error(n, err)
	}
	// Nothing in the repository has the plaintext.
	_ = filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		data, _ := os.ReadFile(path)
		if bytes.Contains(data, []byte("hunter22")) || bytes.Contains(data, []byte("AGE-SECRET-KEY")) {
			t.Errorf("%s has a secret in it", path)
		}
		return err
	})
}

func mustBundle(t *testing.T, v *Vault, m string) *bundle.Bundle {
	t.Helper()
	b, err := v.Bundle(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestReplaced: whatever is exchanged in the repository is noticed before it goes anywhere.
func TestReplaced(t *testing.T) {
	s := newSite(t)
	s.add(Secret{Name: "a", For: []string{"web1"}}, "value of a")
	s.add(Secret{Name: "b", For: []string{"web1"}}, "value of b")
	v := s.open()
	old, err := os.ReadFile(v.file("a.age"))
	if err != nil {
		t.Fatal(err)
	}
	s.add(Secret{Name: "a", For: []string{"web1"}}, "new value of a")
	good := map[string]string{}
	for _, f := range []string{"store/a.age", "index.json", "recipients.toml"} {
		data, err := os.ReadFile(filepath.Join(s.dir, f))
		if err != nil {
			t.Fatal(err)
		}
		good[f] = string(data)
	}
	malloryKey := filepath.Join(t.TempDir(), "mallory.txt")
	if _, err := identity.NewOwn(malloryKey, false); err != nil {
		t.Fatal(err)
	}
	mallory, _ := identity.Load([]string{malloryKey}, nil)
	forged, _ := identity.Encrypt([]byte("mallory's"), v.Recipients(v.Secrets[0]), nil)
	for name, c := range map[string]struct {
		change func()
		want   string
	}{
		"another's file": {func() { s.write("store/a.age", string(forged)) }, "is not the one that the index names"},
		"the old file":   {func() { s.write("store/a.age", string(old)) }, "is not the one that the index names"},
		"no signature":   {func() { s.write("index.json", strings.Replace(good["index.json"], `"signature"`, `"sig"`, 1)) }, "is not signed"},
		"a change of the index": {func() {
			s.write("index.json", strings.Replace(good["index.json"], sum([]byte(good["store/a.age"])), sum(forged), 1))
		}, "does not match"},
		"a merge": {func() { s.write("index.json", "<<<<<<< HEAD\n"+good["index.json"]) }, "could not merge"},
		"another signer": {func() {
			s.write("recipients.toml", strings.Replace(good["recipients.toml"], s.alice.SigningKey(), mallory.SigningKey(), 1))
			s.write("store/a.age", string(forged))
			r, err := identity.Open(s.dir)
			if err != nil {
				t.Fatal(err)
			}
			m, err := Open(r, Options{})
			if err != nil {
				t.Fatal(err)
			}
			tx, err := m.Begin()
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Close()
			tx.Trust(nil)
			if err := tx.Commit(mallory); err != nil {
				t.Fatal(err)
			}
		}, "has not seen"},
	} {
		t.Run(name, func(t *testing.T) {
			for f, text := range good {
				s.write(f, text)
			}
			c.change()
			r, err := identity.Open(s.dir)
			if err != nil {
				t.Fatal(err)
			}
			v, err := Open(r, Options{State: s.state})
			if err == nil {
				_, err = v.Bundle("web1")
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	for f, text := range good {
		s.write(f, text)
	}
	mustBundle(t, s.open(), "web1")
}

// TestSigned: ssh-keygen agrees to the signature, and godwit to one of ssh-keygen's.
func TestSigned(t *testing.T) {
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Fatal("OpenSSH is missing: apt-get install openssh-client")
	}
	s := newSite(t)
	_, file, err := loadIndex(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := compact(file.Index)
	dir := t.TempDir()
	put := func(name, data string) string {
		at := filepath.Join(dir, name)
		if err := os.WriteFile(at, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		return at
	}
	c := exec.Command("ssh-keygen", "-Y", "verify", "-f", put("signers", "alice "+s.alice.SigningKey()+"\n"), "-I", "alice", "-n", sigNamespace, "-s", put("sig", strings.Join(file.Signature, "\n")+"\n"))
	c.Stdin = bytes.NewReader(text)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("ssh-keygen: %s", out)
	}
	pub, key, err := identity.NewSSH("x")
	if err != nil {
		t.Fatal(err)
	}
	c = exec.Command("ssh-keygen", "-Y", "sign", "-f", put("key", string(key)), "-n", sigNamespace)
	c.Stdin = bytes.NewReader(text)
	sig, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := verify(text, string(sig)); err != nil || got != pub {
		t.Errorf("%q %v", got, err)
	}
	if _, err := verify(append(text, ' '), string(sig)); err == nil {
		t.Error("a signature of another text passes")
	}
}

// TestKilled: a run that is killed before any of its steps leaves the old state or the
// new one.
func TestKilled(t *testing.T) {
	killed := errors.New("killed")
	for at := 0; ; at++ {
		s := newSite(t)
		s.add(Secret{Name: "a", For: []string{"web1"}}, "value of a")
		s.add(Secret{Name: "b", For: []string{"web1"}}, "value of b")
		v := s.open()
		tx, err := v.Begin()
		if err != nil {
			t.Fatal(err)
		}
		n, last := 0, ""
		tx.step = func(what string) error {
			if n++; n > at {
				last = what
				return killed
			}
			return nil
		}
		for _, d := range v.Secrets {
			d.For = []string{"web1", "web2"}
			v.Secrets[slices.IndexFunc(v.Secrets, func(x Secret) bool { return x.Name == d.Name })] = d
			if err := errors.Join(tx.Declare(d), tx.Set(d, []byte("new value of "+d.Name), nil)); err != nil {
				t.Fatal(err)
			}
		}
		err = tx.Commit(s.alice)
		tx.Close()
		v = s.open()
		if v.Distrust != nil {
			t.Fatalf("killed before %s: %v", last, v.Distrust)
		}
		var got []string
		for _, d := range v.Secrets {
			plain, err := v.Open(d, s.alice)
			if err != nil {
				t.Fatalf("killed before %s: %v", last, err)
			}
			got = append(got, string(plain)+" "+strings.Join(d.For, "+"))
		}
		want := []string{"value of a web1", "value of b web1"}
		if last == "rename" || last == "" {
			want = []string{"new value of a web1+web2", "new value of b web1+web2"}
		}
		if !slices.Equal(got, want) {
			t.Errorf("killed before %q: %q", last, got)
		}
		left, _ := filepath.Glob(filepath.Join(s.dir, "*", "*"+fresh))
		if len(left) > 0 {
			t.Errorf("killed before %q: left %q", last, left)
		}
		if err == nil {
			if at < 4 {
				t.Errorf("only %d steps", at)
			}
			return
		}
	}
}

// TestRekey: who comes and who goes changes the files of exactly those secrets.
func TestRekey(t *testing.T) {
	s := newSite(t)
	s.add(Secret{Name: "a", For: []string{"web1"}}, "value of a")
	s.add(Secret{Name: "b", For: []string{"web2"}}, "value of b")
	bobKey := filepath.Join(t.TempDir(), "bob.txt")
	bobPub, err := identity.NewOwn(bobKey, false)
	if err != nil {
		t.Fatal(err)
	}
	bob, _ := identity.Load([]string{bobKey}, nil)
	rekey := func(who *identity.Operator) (int, []Change) {
		t.Helper()
		v := s.open()
		tx, err := v.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Close()
		n := 0
		for _, d := range v.Secrets {
			did, err := tx.Rekey(d, who, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			if did {
				n++
			}
		}
		for _, m := range v.Repo.Machines {
			did, err := tx.RekeyMachine(m.Name, who, nil)
			if err != nil {
				t.Fatal(err)
			}
			if did {
				n++
			}
		}
		if err := tx.Commit(who); err != nil {
			t.Fatal(err)
		}
		return n, tx.Changes
	}
	if n, _ := rekey(s.alice); n != 0 {
		t.Errorf("%d files were written, and nobody came", n)
	}
	rec, _ := os.ReadFile(filepath.Join(s.dir, "recipients.toml"))
	s.write("recipients.toml", strings.Replace(string(rec), "[signers]\n", "bob = ['"+bobPub+"']\n[signers]\nbob = '"+bob.SigningKey()+"'\n", 1))
	if n, c := rekey(s.alice); n != 4 || len(c) != 6 || !slices.Equal(c[0].Added, []string{bobPub}) || len(c[0].Removed) > 0 || c[0].Value {
		t.Errorf("%d, %+v", n, c)
	}
	// alice leaves: bob does it, with his own key, and a value is changed on the way.
	s.write("recipients.toml", "version = 1\n[operators]\nbob = ['"+bobPub+"']\n[signers]\nbob = '"+bob.SigningKey()+"'\n")
	if n, c := rekey(bob); n != 4 || !slices.Equal(c[0].Removed, s.alice.Recipients()) {
		t.Errorf("%d, %+v", n, c)
	}
	v := s.open()
	d, _ := v.Secret("a")
	if _, err := v.Open(d, s.alice); err == nil {
		t.Error("who left can still open what was written since")
	}
	if got, err := v.Open(d, bob); err != nil || string(got) != "value of a" {
		t.Errorf("%q %v", got, err)
	}
}

func TestGenerate(t *testing.T) {
	s := newSite(t)
	web := []string{"web1"}
	all := []Secret{
		{Name: "a-htpasswd", For: web, Generator: &Generator{Kind: "htpasswd", User: "admin", From: []string{"z-password"}}},
		{Name: "b-hash", For: web, Generator: &Generator{Kind: "password-hash", From: []string{"z-password"}}},
		{Name: "cmd", For: web, Generator: &Generator{Kind: "command", Command: []string{"cat"}, From: []string{"z-password"}}},
		{Name: "host", For: web, Generator: &Generator{Kind: "ssh"}},
		{Name: "token", For: web, Generator: &Generator{Kind: "random", Length: 40, Charset: "hex"}},
		{Name: "wg", For: web, Generator: &Generator{Kind: "wireguard"}},
		{Name: "z-password", For: web, Generator: &Generator{Kind: "random"}},
	}
	s.tx(func(tx *Tx) error {
		for _, d := range all {
			if err := tx.Declare(d); err != nil {
				return err
			}
		}
		return nil
	})
	generate := func(again bool, names ...string) []string {
		var made []string
		s.tx(func(tx *Tx) (err error) {
			made, err = tx.Generate(context.Background(), names, again, s.alice, nil)
			return err
		})
		return made
	}
	if made := generate(false); len(made) != len(all) {
		t.Errorf("%q", made)
	}
	if made := generate(false); len(made) != 0 {
		t.Errorf("%q again", made)
	}
	v := s.open()
	get := func(name string) string {
		t.Helper()
		d, err := v.Secret(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := v.Open(d, s.alice)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	pass := get("z-password")
	line := strings.TrimSpace(get("a-htpasswd"))
	if h, ok := strings.CutPrefix(line, "admin:$2y$"); !ok || bcrypt.CompareHashAndPassword([]byte("$2a$"+h), []byte(pass)) != nil {
		t.Errorf("%q for %q", line, pass)
	}
	if h, ok := strings.CutPrefix(get("b-hash"), "$2b$"); !ok || bcrypt.CompareHashAndPassword([]byte("$2a$"+h), []byte(pass)) != nil {
		t.Errorf("no hash of %q", pass)
	}
	if got := get("cmd"); got != `{"z-password":"`+pass+`"}` {
		t.Errorf("%q", got)
	}
	if got := get("token"); len(got) != 40 || strings.Trim(got, "0123456789abcdef") != "" {
		t.Errorf("%q", got)
	}
	pub, err := os.ReadFile(v.file("host.pub"))
	if err != nil || !strings.HasPrefix(string(pub), "ssh-ed25519 ") {
		t.Errorf("%q %v", pub, err)
	}
	if wg, err := os.ReadFile(v.file("wg.pub")); err != nil || len(wg) != 45 || len(get("wg")) != 45 {
		t.Errorf("%q %v", wg, err)
	}
	// A new password has new hashes.
	if made := generate(true, "z-password"); !slices.Equal(made, []string{"z-password", "a-htpasswd", "b-hash", "cmd"}) {
		t.Errorf("%q", made)
	}
	for _, bad := range []Generator{{Kind: "x"}, {Kind: "random", Length: -1}, {Kind: "random", Charset: "x"}, {Kind: "htpasswd", User: "a"}, {Kind: "htpasswd", User: "a:b", From: []string{"x"}},
		{Kind: "command"}, {Kind: "ssh", Command: []string{"x"}}, {Kind: "ssh", From: []string{"x"}}} {
		if bad.check() == nil {
			t.Errorf("%+v passes", bad)
		}
	}
}

// TestCycle: a secret that is made of itself is an error, and no endless work.
func TestCycle(t *testing.T) {
	s := newSite(t)
	s.tx(func(tx *Tx) error {
		return errors.Join(
			tx.Declare(Secret{Name: "a", Generator: &Generator{Kind: "command", Command: []string{"cat"}, From: []string{"b"}}}),
			tx.Declare(Secret{Name: "b", Generator: &Generator{Kind: "command", Command: []string{"cat"}, From: []string{"a"}}}))
	})
	if _, err := s.open().order([]string{"a"}); err == nil || !strings.Contains(err.Error(), "made of itself") {
		t.Error(err)
	}
}

// What an edit left that was killed goes with the next one.
func TestEditKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("a Mac has no file system in memory")
	}
	base, err := os.MkdirTemp("/dev/shm", "vault-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	t.Setenv("XDG_RUNTIME_DIR", base)
	dead := filepath.Join(base, "godwit-edit-1")
	if err := os.Mkdir(dead, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"wifi", ".godwit-lock"} {
		if err := os.WriteFile(filepath.Join(dead, name), []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e := Editor{Command: "true", Warn: func(string) {}, Run: (*exec.Cmd).Run}
	if got, err := e.Edit(t.Context(), "wifi", []byte("old")); err != nil || string(got) != "old" {
		t.Fatalf("%q %v", got, err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left, _ := filepath.Glob(base + "/*")
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("left %q", left)
		}
	}
}

func TestEdit(t *testing.T) {
	var seen string
	e := Editor{Command: "sh -c 'printf new >>\"$1\"; dirname \"$1\" >\"$2\"' sh", Warn: func(string) {}}
	dirFile := filepath.Join(t.TempDir(), "dir")
	e.Run = func(c *exec.Cmd) error {
		c.Args = append(c.Args, dirFile)
		return c.Run()
	}
	got, err := e.Edit(context.Background(), "wifi", []byte("old "))
	if err != nil || string(got) != "old new" {
		t.Fatalf("%q %v", got, err)
	}
	b, _ := os.ReadFile(dirFile)
	seen = strings.TrimSpace(string(b))
	if seen == "" {
		t.Fatal("the editor did not run")
	}
	if _, err := os.Lstat(seen); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", seen, err)
	}
	e.Command = "false"
	e.Run = func(c *exec.Cmd) error { return c.Run() }
	if _, err := e.Edit(context.Background(), "wifi", nil); err == nil || !strings.Contains(err.Error(), "the secret is unchanged") {
		t.Error(err)
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"index":{"version":1,"files":{}},"pending":{"store/a.age":""}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if x, _, err := parseIndex(data); (x == nil) == (err == nil) {
			t.Error(x, err)
		}
	})
}

func FuzzDeclaration(f *testing.F) {
	f.Add("for = ['web1']\nmode = '0440'\n[generator]\nkind = 'random'\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSecret("x.toml", "x", text)
		if err != nil {
			return
		}
		again, err := s.text()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseSecret("x.toml", "x", string(again)); err != nil {
			t.Errorf("%q becomes %q: %v", text, again, err)
		}
	})
}

func FuzzSignature(f *testing.F) {
	f.Add([]byte("-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n"))
	f.Fuzz(func(t *testing.T, sig []byte) {
		if _, err := verify([]byte("text"), string(sig)); err == nil {
			t.Error("a signature by nobody")
		}
	})
}

// TestHostKeys: keys of machines vouch for hosts when a known operator signed them, and not
// when somebody else wrote them.
func TestHostKeys(t *testing.T) {
	s := newSite(t)
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	m, ok := s.open().Repo.Machine("web1")
	if got := HostKeys(filepath.Dir(s.dir)); !ok || len(got) != 2 || got["web1"] != strings.Join(strings.Fields(m.SSHHost)[:2], " ") {
		t.Errorf("%v, want %s", got, m.SSHHost)
	}
	if got := HostKeys(t.TempDir()); got != nil {
		t.Errorf("no secrets: %v", got)
	}
	// Another key in the file of the machine is none that was signed.
	other, _, err := identity.NewSSH("x")
	if err != nil {
		t.Fatal(err)
	}
	was := HostKeys(s.dir)
	s.write("machines/web1/ssh_host_ed25519.pub", other+"\n")
	s.write("known_hosts", "* "+other+"\n")
	if got := HostKeys(s.dir); !maps.Equal(got, was) {
		t.Errorf("what nobody signed counts: %v", got)
	}
	text, err := os.ReadFile(filepath.Join(s.dir, indexFile))
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), was["web1"], strings.Join(strings.Fields(other)[:2], " "), 1)
	if changed == string(text) {
		t.Fatal("the index does not hold the key")
	}
	s.write(indexFile, changed)
	if got := HostKeys(s.dir); got != nil {
		t.Errorf("a changed index counts: %v", got)
	}
	// Nobody signs: nothing tells who wrote it.
	s.write(indexFile, string(text))
	recipients, err := os.ReadFile(filepath.Join(s.dir, "recipients.toml"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("recipients.toml", string(recipients[:strings.Index(string(recipients), "[signers]")]))
	if got := HostKeys(s.dir); got != nil {
		t.Errorf("an index that nobody signs counts: %v", got)
	}
}

// TestLinkOutOfRepository: a repository whose folder is a symbolic link cannot have godwit
// write elsewhere.
func TestLinkOutOfRepository(t *testing.T) {
	s := newSite(t)
	s.add(Secret{Name: "a", For: []string{"web1"}}, "value of a")
	v := s.open()
	outside := t.TempDir()
	store := filepath.Join(v.Repo.Dir, storeDir)
	if err := os.Rename(store, filepath.Join(outside, "store")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "store"), store); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(outside, "store/a.age"))
	if err != nil {
		t.Fatal(err)
	}
	v = s.open()
	tx, err := v.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	if err := tx.Set(Secret{Name: "a", For: []string{"web1"}}, []byte("new value of a"), nil); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(s.alice); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("it was written: %v", err)
	}
	after, err := os.ReadFile(filepath.Join(outside, "store/a.age"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("a file outside of the repository changed: %v", err)
	}
	if all, err := os.ReadDir(filepath.Join(outside, "store")); err != nil || len(all) != 2 {
		t.Errorf("outside there are %v, %v", all, err)
	}
}

// TestDeclarationNames: a setting that there is none of is told with the nearest.
func TestDeclarationNames(t *testing.T) {
	_, err := parseSecret("wifi.toml", "wifi", "for = [\"web1\"]\nmod = \"0440\"\n")
	if got := fault.Render(err); !strings.Contains(got, "wifi.toml:2: unknown setting mod") || !strings.Contains(got, "did you mean mode?") {
		t.Error(got)
	}
}
