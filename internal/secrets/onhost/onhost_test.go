//go:build linux

package onhost

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"godwit/internal/identity"
	"godwit/internal/secrets/bundle"
)

// machine is a host of the tests: folders, users that are made by the test, and a
// systemd of which it is known what was asked.
type machine struct {
	*Host
	t     *testing.T
	dir   string
	id    *age.X25519Identity
	to    age.Recipient
	users map[string]int
	units map[string]int64 // that run, and since when
	asked []string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("what a host does with secrets is done by root: run these tests as root (in a container)")
	}
	dir := t.TempDir()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, dir: dir, id: id, to: id.Recipient(), users: map[string]int{"root": 0}, units: map[string]int64{}}
	for _, d := range []string{"run", "etc/systemd"} {
		if err := os.MkdirAll(dir+"/"+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.write("age.key", id.String()+"\n")
	m.Host = &Host{Run: dir + "/run/godwit", State: dir + "/state", Systemd: dir + "/etc/systemd", System: dir + "/system", Wait: 20 * time.Second,
		Memory: func(string) error { return nil },
		Number: func(_, name string) (int, bool) { n, ok := m.users[name]; return n, ok },
		Say:    func(format string, args ...any) { t.Logf(format, args...) },
		Systemctl: func(words ...string) (string, error) {
			switch unit := words[len(words)-1]; words[0] {
			case "daemon-reload":
			case "show":
				since, up := m.units[unit]
				return fmt.Sprintf("ActiveState=%s\nInactiveExitTimestampMonotonic=%d\n", map[bool]string{true: "active", false: "inactive"}[up], since), nil
			case "try-restart":
				m.asked = append(m.asked, unit)
				m.units[unit] = monotonic()
				if strings.HasPrefix(unit, "broken") {
					return "", errors.New("it does not start")
				}
			default:
				t.Errorf("systemctl %q", words)
			}
			return "", nil
		}}
	return m
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(m.dir+"/"+name, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// seal makes a release of entries whose Age is the plaintext still.
func (m *machine) seal(entries ...bundle.Entry) []byte {
	m.t.Helper()
	b := bundle.Bundle{Machine: "m", Recipient: m.id.Recipient().String(), KeyFile: m.dir + "/age.key"}
	for _, e := range entries {
		if e.Phase == "" {
			e.Phase = bundle.Services
		}
		if e.Mode == 0 {
			e.Mode = 0o400
		}
		var out bytes.Buffer
		w, err := age.Encrypt(&out, m.to)
		if err != nil {
			m.t.Fatal(err)
		}
		_, _ = w.Write(e.Age)
		if err := w.Close(); err != nil {
			m.t.Fatal(err)
		}
		e.Age = out.Bytes()
		b.Entries = append(b.Entries, e)
	}
	text, err := json.Marshal(b)
	if err != nil {
		m.t.Fatal(err)
	}
	return text
}

func (m *machine) receive(entries ...bundle.Entry) string {
	m.t.Helper()
	at, err := m.Receive(m.seal(entries...))
	if err != nil {
		m.t.Fatal(err)
	}
	return at
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) reads(at, want string) {
	m.t.Helper()
	if got, err := os.ReadFile(at); err != nil || string(got) != want {
		m.t.Errorf("%s: %q (%v), want %q", at, got, err, want)
	}
}

// is: a secret has a text, or "" is not there.
func (m *machine) is(name, want string) {
	m.t.Helper()
	got, err := os.ReadFile(m.link() + "/" + name)
	if err != nil && want != "" || string(got) != want {
		m.t.Errorf("%s: %q (%v), want %q", name, got, err, want)
	}
}

func (m *machine) generations() []string {
	all, _ := filepath.Glob(m.folder() + "/[0-9]*")
	return all
}

func (m *machine) refuses(err error, words ...string) {
	m.t.Helper()
	if err == nil {
		m.t.Errorf("no error, want one with %q", words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			m.t.Errorf("%q does not hold %q", err, w)
		}
	}
}

func entry(name, text string, restart ...string) bundle.Entry {
	return bundle.Entry{Name: name, Age: []byte(text), Restart: restart}
}

func TestDeliver(t *testing.T) {
	m := newMachine(t)
	m.users["app"] = 4711
	db := entry("db", "one", "db.service")
	db.User, db.Group, db.Mode = "app", "app", 0o440
	m.units = map[string]int64{"db.service": 1, "web.service": 1}
	first := m.receive(db, entry("web", "same", "web.service"))
	m.must(m.Deliver(first))
	m.is("db", "one")
	if m.running() != first {
		t.Errorf("%s runs, want %s", m.running(), first)
	}
	info, err := os.Stat(m.link() + "/db")
	m.must(err)
	if st := info.Sys().(*syscall.Stat_t); info.Mode().Perm() != 0o440 || st.Uid != 4711 || st.Gid != 4711 {
		t.Errorf("the secret is of %d:%d, with %o", st.Uid, st.Gid, info.Mode())
	}
	for at, want := range map[string]os.FileMode{m.State: 0o700, m.Run: 0o711, m.folder(): 0o751, m.generations()[0]: 0o751, first + "/bundle.json": 0o400} {
		if info, err := os.Stat(at); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has %v, want %o", at, info.Mode(), want)
		}
	}
	m.must(m.Restart())
	if len(m.asked) != 0 {
		t.Errorf("restarted %q when nothing was there before", m.asked)
	}

	db.Age = []byte("two")
	second := m.receive(db, entry("web", "same", "web.service"))
	m.must(m.Deliver(second))
	m.is("db", "two")
	if n := m.generations(); len(n) != 1 {
		t.Errorf("generations: %q", n)
	}
	m.must(m.Restart())
	m.must(m.Restart())
	if got := strings.Join(m.asked, " "); got != "db.service" {
		t.Errorf("restarted %q, want db.service alone, once", got)
	}

	// Back. Who started since has it already.
	m.must(m.Deliver(first))
	m.is("db", "one")
	m.units["db.service"] = monotonic() + 1
	m.must(m.Restart())
	if len(m.asked) != 1 {
		t.Errorf("restarted %q", m.asked)
	}

	m.must(m.Leave())
	m.is("db", "")
	if m.running() != "" || len(m.generations()) != 0 {
		t.Error("something is left")
	}
}

func TestRestartFails(t *testing.T) {
	m := newMachine(t)
	m.units = map[string]int64{"broken.service": 1}
	m.must(m.Deliver(m.receive(entry("a", "1", "broken.service"))))
	m.must(m.Deliver(m.receive(entry("a", "2", "broken.service"))))
	m.refuses(m.Restart(), "broken.service does not start with its new secret", "it does not start")
}

func TestUndecryptable(t *testing.T) {
	m, other := newMachine(t), newMachine(t)
	first := m.receive(entry("a", "1"))
	m.must(m.Deliver(first))
	before, _ := os.ReadDir(m.State)
	text := bytes.ReplaceAll(other.seal(entry("a", "theirs"), entry("b", "theirs")), []byte(other.dir), []byte(m.dir))
	_, err := m.Receive(text)
	m.refuses(err, "secret 'a' does not open with the key of this machine", "secret 'b' does not")
	if after, _ := os.ReadDir(m.State); len(after) != len(before) {
		t.Errorf("it left %v", after)
	}
	// Damaged on the disk.
	m.must(os.Chmod(first+"/bundle.json", 0o600))
	m.must(os.WriteFile(first+"/bundle.json", bytes.Replace(m.seal(entry("a", "2")), []byte(`"m"`), []byte(`"x"`), 1), 0o600))
	m.refuses(m.Deliver(first), "is not what it was")
	m.is("a", "1")
	// The key is gone.
	m.must(os.Remove(m.dir + "/age.key"))
	_, err = m.Receive(m.seal(entry("a", "3")))
	m.refuses(err, "the key of the machine cannot be read")
	m.is("a", "1")
	for _, no := range []string{"", "/etc", m.State + "/../x", first + "/.."} {
		m.refuses(m.Deliver(no), "is not a release")
	}
}

// TestMemory mounts for real: what is written is on no disk, and a second time it is the
// same file system.
func TestMemory(t *testing.T) {
	m := newMachine(t)
	m.Memory = memory
	t.Cleanup(func() { _ = unix.Unmount(m.folder(), 0) })
	m.must(m.Deliver(m.receive(entry("a", "1"))))
	m.must(m.Deliver(m.receive(entry("a", "2"))))
	m.is("a", "2")
	var st unix.Statfs_t
	m.must(unix.Statfs(m.folder(), &st))
	if st.Type != ramfs {
		t.Errorf("a file system of type %x", st.Type)
	}
	if st.Flags&unix.ST_NOEXEC == 0 || st.Flags&unix.ST_NOSUID == 0 {
		t.Errorf("flags %x", st.Flags)
	}
	m.must(unix.Unmount(m.folder(), 0))
	m.is("a", "")
}

// TestSSHKey: a machine without a key of its own opens both forms with its ssh host key.
func TestSSHKey(t *testing.T) {
	m := newMachine(t)
	pub, key, err := ed25519.GenerateKey(nil)
	m.must(err)
	block, err := ssh.MarshalPrivateKey(key, "")
	m.must(err)
	m.write("age.key", string(pem.EncodeToMemory(block)))
	line, err := ssh.NewPublicKey(pub)
	m.must(err)
	authorized := string(ssh.MarshalAuthorizedKey(line))
	form, err := identity.SSHToAge(authorized)
	m.must(err)
	for _, to := range []string{authorized, form} {
		m.to, err = identity.ParseRecipient(to, nil)
		m.must(err)
		m.must(m.Deliver(m.receive(entry("a", to))))
		m.is("a", to)
	}
}

func TestLateOwner(t *testing.T) {
	m := newMachine(t)
	e := entry("a", "1")
	e.User, e.Mode = "later", 0o444
	m.must(m.Deliver(m.receive(e)))
	info, err := os.Stat(m.link() + "/a")
	m.must(err)
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 || info.Mode().Perm() != 0o400 {
		t.Errorf("before its owner is there, it is of %d with %o", st.Uid, info.Mode())
	}
	m.refuses(m.Settle(), "secret 'a': the host has no owner later:root")
	m.must(m.Boot("")) // among an activation
	m.users["later"] = 4712
	m.must(m.Boot(""))
	info, err = os.Stat(m.link() + "/a")
	m.must(err)
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 4712 || info.Mode().Perm() != 0o444 {
		t.Errorf("it is of %d with %o", st.Uid, info.Mode())
	}
	m.must(m.Settle())
}

// TestHostile: what others than root can change on the way to a destination.
func TestHostile(t *testing.T) {
	m := newMachine(t)
	m.must(os.Chmod(filepath.Dir(m.dir), 0o755))
	m.must(os.MkdirAll(m.dir+"/target", 0o700))
	mallory := m.dir + "/mallory"
	m.must(os.Mkdir(mallory, 0o755))
	m.must(os.Chown(mallory, 4713, 4713))
	at := func(dest string) bundle.Entry {
		e := entry("a", "plain")
		e.Destination = dest
		return e
	}
	m.must(m.Deliver(m.receive(entry("old", "1"))))
	m.must(os.Symlink(m.dir+"/target", mallory+"/link"))
	m.must(os.Symlink(m.dir+"/target", m.dir+"/rootlink"))
	m.must(os.WriteFile(mallory+"/file", []byte("mine"), 0o600))
	for dest, words := range map[string]string{
		mallory + "/link/a":   "is not followed",
		mallory + "/file":     "godwit did not put there",
		mallory + "/file/a":   "not a directory",
		m.dir + "/rootlink":   "godwit did not put there",
		m.dir + "/target":     "godwit did not put there",
		mallory + "/link/../": "plain",
	} {
		text := m.seal(at(dest))
		release, err := m.Receive(text)
		if err == nil {
			err = m.Deliver(release)
		}
		m.refuses(err, words)
		m.is("old", "1")
		if n := len(m.generations()); n != 1 {
			t.Errorf("%s: %d generations", dest, n)
		}
	}
	if got, _ := os.ReadDir(m.dir + "/target"); len(got) != 0 {
		t.Errorf("in the target of their link: %v", got)
	}
	// By a link of root's, and into their own folder: it is but a link that is put there.
	m.must(m.Deliver(m.receive(at(m.dir + "/rootlink/made/a"))))
	if got, err := os.ReadFile(m.dir + "/target/made/a"); err != nil || string(got) != "plain" {
		t.Errorf("%q %v", got, err)
	}
	m.must(m.Deliver(m.receive(at(mallory + "/a"))))
	if to, _ := os.Readlink(mallory + "/a"); to != m.link()+"/a" {
		t.Errorf("%s", to)
	}
	if _, err := os.Lstat(m.dir + "/target/made/a"); err == nil {
		t.Error("the link of the release before is left")
	}
	// They put a link of their own in its place: it is theirs, and root writes nothing to it.
	m.must(os.Remove(mallory + "/a"))
	m.must(os.Symlink(m.dir+"/target/x", mallory+"/a"))
	m.refuses(m.Deliver(m.receive(at(mallory+"/a"), entry("b", "2"))), "godwit did not put there")
	if _, err := os.Lstat(m.dir + "/target/x"); err == nil {
		t.Error("root wrote by their link")
	}
}

// TestMemoryFails: what cannot be written changes nothing.
func TestMemoryFails(t *testing.T) {
	m := newMachine(t)
	m.must(m.Deliver(m.receive(entry("a", "1"))))
	m.Memory = func(string) error { return errors.New("no room") }
	m.refuses(m.Deliver(m.receive(entry("a", "2"))), "no room")
	m.is("a", "1")
}

func TestBootAndKeep(t *testing.T) {
	m := newMachine(t)
	for _, s := range []string{"sys1", "sys2"} {
		m.write(s, "")
	}
	keep := func(release, system string) {
		t.Helper()
		m.must(swap(filepath.Base(release), m.State+"/secrets-1-link"))
		m.must(swap("secrets-1-link", m.State+"/secrets"))
		m.must(m.Keep(release, []string{m.dir + "/" + system, ""}))
	}
	m.must(m.Boot("")) // nothing at all yet
	first := m.receive(entry("a", "1"))
	m.must(m.Boot(""))
	m.is("a", "") // received, not kept
	keep(first, "sys1")
	second := m.receive(entry("a", "2"))
	keep(second, "sys2")

	m.must(os.Symlink(m.dir+"/sys1", m.System))
	m.must(m.Boot(""))
	m.is("a", "1") // an older generation, out of the boot menu
	m.must(m.Leave())
	m.must(m.Boot(m.dir + "/unknown"))
	m.is("a", "2")

	// Nothing goes while a system needs it, nor while it is young.
	for _, gone := range []bool{false, true} {
		if gone {
			m.must(os.Remove(m.dir + "/sys1"))
			old := time.Now().Add(-2 * young)
			m.must(os.Chtimes(first, old, old))
		}
		m.must(m.Keep(second, []string{m.dir + "/sys2"}))
		if _, err := os.Stat(first); (err != nil) != gone {
			t.Errorf("its system is gone: %v; the release: %v", gone, err)
		}
	}
	if _, err := os.Stat(second); err != nil {
		t.Error(err)
	}

	// At a boot there is nothing to go back to: what opens is delivered.
	m.must(m.Leave())
	third := m.receive(entry("a", "3"))
	var b bundle.Bundle
	text, err := os.ReadFile(third + "/bundle.json")
	m.must(err)
	m.must(json.Unmarshal(text, &b))
	b.Entries = append(b.Entries, bundle.Entry{Name: "b", Mode: 0o400, Phase: bundle.Services, Age: []byte("damaged")})
	text, err = json.Marshal(b)
	m.must(err)
	m.must(os.Mkdir(m.State+"/"+b.ID(), 0o700))
	m.write("state/"+b.ID()+"/bundle.json", string(text))
	keep(m.State+"/"+b.ID(), "sys2")
	m.refuses(m.Boot(m.dir+"/sys2"), "secret 'b' does not open")
	m.is("a", "3")
}

// TestOnce: a system that is booted once, and not kept yet, has its own release, and no other
// system has; it is forgotten when something is kept.
func TestOnce(t *testing.T) {
	m := newMachine(t)
	for _, s := range []string{"sys1", "sys2"} {
		m.write(s, "")
	}
	old, tried := m.receive(entry("a", "1")), m.receive(entry("a", "2"))
	m.must(m.Keep(old, []string{m.dir + "/sys1", m.dir + "/sys2"})) // sys2 was kept once, too
	boots := func(system, want string) {
		t.Helper()
		m.must(m.Leave())
		m.must(m.Boot(m.dir + "/" + system))
		m.is("a", want)
	}
	m.must(m.run([]string{"once", tried, m.dir + "/sys2", ""}, nil, nil))
	boots("sys2", "2")
	boots("sys1", "1")
	past := time.Now().Add(-2 * young)
	m.must(os.Chtimes(tried, past, past))
	m.prune()
	boots("sys2", "2") // what is tried stays
	m.must(m.run([]string{"once"}, nil, nil))
	m.must(m.run([]string{"once"}, nil, nil))
	boots("sys2", "1")
	m.must(m.Once([]string{tried, m.dir + "/sys1"}))
	m.must(m.Keep(old, []string{m.dir + "/sys1"}))
	boots("sys1", "1")
	if err := m.run([]string{"once", tried}, nil, nil); !errors.Is(err, errUsage) {
		t.Error(err)
	}
	m.refuses(m.Once([]string{"/etc/passwd", m.dir + "/sys1"}), "is no release of secrets")
}

// TestFresh: what was encrypted for one deployment alone, and has the content that runs, is
// the ciphertext that is there.
func TestFresh(t *testing.T) {
	m := newMachine(t)
	one := entry("a", "1")
	one.Fresh = true
	first := m.receive(one, entry("b", "1"))
	m.must(m.Deliver(first))
	text, err := os.ReadFile(first + "/bundle.json")
	m.must(err)
	var was bundle.Bundle
	m.must(json.Unmarshal(text, &was))
	if was.Entries[0].Fresh {
		t.Error("the mark stays")
	}
	again := func(a, b bundle.Entry) string {
		t.Helper()
		b.Age = was.Entries[1].Age
		a.Fresh = true
		var sealed bundle.Bundle
		m.must(json.Unmarshal(m.seal(a), &sealed))
		sealed.Entries = append(sealed.Entries, b)
		text, err := json.Marshal(sealed)
		m.must(err)
		at, err := m.Receive(text)
		m.must(err)
		return at
	}
	if at := again(entry("a", "1"), was.Entries[1]); at != first {
		t.Errorf("%s, not %s", at, first)
	}
	if at := again(entry("a", "2"), was.Entries[1]); at == first {
		t.Error("another content is the same release")
	}
	other := entry("a", "1")
	other.Mode = 0o440
	if at := again(other, was.Entries[1]); at == first {
		t.Error("another mode is the same release")
	}
}

// TestReplace: a file that was pushed to a destination gives way to a release, comes back
// when that is taken back, and is gone when it is kept.
func TestReplace(t *testing.T) {
	m := newMachine(t)
	at := m.dir + "/keys/db"
	m.must(os.Mkdir(m.dir+"/keys", 0o755))
	e := entry("db", "1")
	e.Destination = at
	m.write("keys/db", "pushed")
	m.refuses(m.Deliver(m.receive(e)), "that godwit did not put there")
	e.Replace = true
	release := m.receive(e)
	m.must(m.Deliver(release))
	m.reads(at, "1")
	m.must(m.Deliver(release))
	m.must(m.Leave())
	m.reads(at, "pushed")
	m.must(m.Deliver(release))
	m.must(m.Keep(release, nil))
	m.must(m.Leave())
	if names, _ := filepath.Glob(m.dir + "/keys/*"); len(names) > 0 {
		t.Error(names)
	}
	m.must(os.MkdirAll(at, 0o755))
	m.refuses(m.Deliver(release), "that godwit did not put there")
}

// TestPowerCutInTrial: the boot after one takes back what was at destinations, however far
// the trial had come, and leaves those that the kept release has.
func TestPowerCutInTrial(t *testing.T) {
	m := newMachine(t)
	m.must(os.Mkdir(m.dir+"/keys", 0o755))
	at := func(name, text string) bundle.Entry {
		e := entry(name, text)
		e.Destination, e.Replace = m.dir+"/keys/"+name, true
		return e
	}
	cut := func() {
		t.Helper()
		m.must(os.RemoveAll(m.Run))
		m.must(m.Boot(""))
	}
	m.write("keys/a", "pushed")
	m.must(m.Deliver(m.receive(at("a", "1"))))
	m.reads(m.dir+"/keys/a", "1")
	cut()
	m.reads(m.dir+"/keys/a", "pushed")

	// In the middle of a place: the file is aside, and no link is there.
	m.must(m.trying(m.receive(at("a", "1"))))
	m.must(os.Rename(m.dir+"/keys/a", m.dir+"/keys/a"+pushed))
	cut()
	m.reads(m.dir+"/keys/a", "pushed")

	one := m.receive(at("a", "1"))
	m.must(m.Deliver(one))
	m.must(os.Symlink(one, m.State+"/secrets"))
	m.must(m.Keep(one, nil))
	if list := m.tried(); len(list) > 0 {
		t.Error(list)
	}
	m.must(m.Deliver(m.receive(at("a", "2"), at("b", "2"))))
	m.reads(m.dir+"/keys/b", "2")
	cut()
	m.reads(m.dir+"/keys/a", "1")
	if names, _ := filepath.Glob(m.dir + "/keys/*"); len(names) != 1 {
		t.Error(names)
	}
}

// TestMountedLater: a boot delivers early what it can, and gives back what a trial had put
// aside; the rest when its file system is there. What is missing then is an error.
func TestMountedLater(t *testing.T) {
	m := newMachine(t)
	e, f := entry("a", "1"), entry("c", "3")
	e.Destination, f.Destination, f.Replace = m.dir+"/data/a", m.dir+"/data/c", true
	m.must(os.Mkdir(m.dir+"/data", 0o755))
	one := m.receive(e, entry("b", "2"))
	m.must(m.Deliver(one))
	m.must(os.Symlink(one, m.State+"/secrets"))
	m.must(m.Keep(one, nil))
	m.write("data/c", "pushed")
	m.must(m.Deliver(m.receive(e, entry("b", "2"), f)))
	m.reads(m.dir+"/data/c", "3")
	m.must(os.RemoveAll(m.Run)) // the power fails
	unmount := func() { m.must(os.Rename(m.dir+"/data", m.dir+"/disk")) }
	mount := func() { m.must(os.RemoveAll(m.dir + "/data")); m.must(os.Rename(m.dir+"/disk", m.dir+"/data")) }
	boot := func(stage string) error { m.Stage = stage; defer func() { m.Stage = "" }(); return m.Boot("") }

	unmount()
	m.write("data", "in the way of a folder")
	m.must(boot(early))
	m.reads(m.Run+"/secrets/b", "2")
	m.refuses(boot(late), "secret 'a'")
	mount()
	m.must(boot(late))
	m.reads(m.dir+"/data/a", "1")
	m.reads(m.dir+"/data/c", "pushed")
	m.must(os.Remove(m.dir + "/data/a"))
	m.must(boot(late)) // an activation: nothing is made anew
	if _, err := os.Lstat(m.dir + "/data/a"); err == nil {
		t.Error("made anew")
	}

	// Where only the late unit can reach it.
	m.must(m.Deliver(m.receive(e, entry("b", "2"), f)))
	m.must(os.RemoveAll(m.Run))
	unmount()
	m.must(boot(early))
	mount()
	m.must(boot(late))
	m.reads(m.dir+"/data/c", "pushed")
	m.reads(m.dir+"/data/a", "1")
	if list := m.tried(); len(list) > 0 {
		t.Error(list)
	}
	// A unit of another version, which is alone.
	m.must(os.RemoveAll(m.Run))
	unmount()
	m.write("data", "in the way of a folder")
	m.refuses(m.Boot(""), "secret 'a'")
	m.reads(m.Run+"/secrets/b", "2")
}

// TestProgramAnew: a release that is there already gets the program that came with it now.
func TestProgramAnew(t *testing.T) {
	m := newMachine(t)
	text := m.seal(entry("a", "1"))
	at, err := m.Receive(text)
	m.must(err)
	m.must(os.Remove(at + "/" + Name))
	m.must(os.WriteFile(at+"/"+Name, []byte("an older one"), 0o500))
	_, err = m.Receive(text)
	m.must(err)
	if text, err := os.ReadFile(at + "/" + Name); err != nil || len(text) < 100 {
		t.Errorf("%q %v", text, err)
	}
}

// TestUnits: written once, and found by systemd's own rules.
func TestUnits(t *testing.T) {
	m := newMachine(t)
	first := m.receive(entry("a", "1"))
	m.must(m.Deliver(first))
	var all []string
	m.must(filepath.Walk(m.Systemd, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			all = append(all, strings.TrimPrefix(path, m.Systemd+"/system.attached/"))
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
		}
		return err
	}))
	slices.Sort(all)
	want := "godwit-secrets-users.service godwit-secrets.service sysinit-reactivation.target.wants/godwit-secrets.service sysinit.target.wants/godwit-secrets-users.service sysinit.target.wants/godwit-secrets.service"
	if got := strings.Join(all, " "); got != want {
		t.Errorf("%s", got)
	}
	if to := leadsTo(m.State + "/" + Name); to != first+"/"+Name {
		t.Errorf("the boot runs %s", to)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"machine":"m","keyFile":"/k","entries":[{"name":"a","mode":256,"phase":"users","age":"AA=="}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := decode(text, "")
		if err == nil {
			if err := b.Check(); err != nil {
				t.Error(err)
			}
		}
	})
}
