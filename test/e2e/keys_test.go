package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/test/canary"
	"godwit/test/lab"
)

const unknownProfile = "--accept-risk=unknown-profile,ssh-change"

// operator is the same world for another person: their keys, their memory.
func (w *world) operator(name string) *world {
	other := *w
	other.env = append(append([]string{}, w.env...), "XDG_CONFIG_HOME="+filepath.Join(w.dir, name, "config"), "XDG_STATE_HOME="+filepath.Join(w.dir, name, "state"))
	return &other
}

// takeSSHKeys lets a host show other ssh host keys.
const takeSSHKeys = "systemctl restart ssh.service && for i in $(seq 100); do ss -ltn | grep -q :22 && exit 0; sleep 0.1; done; exit 1"

// keepHostKeys brings a host's own ssh host keys back when the test ends.
func keepHostKeys(t *testing.T, h *lab.Host) {
	t.Helper()
	on(t, h, "rm -rf /root/own-keys && mkdir -m 700 /root/own-keys && cp -p /etc/ssh/ssh_host_* /root/own-keys")
	t.Cleanup(func() { ownHostKeys(t, h) })
}

// ownHostKeys are what keepHostKeys kept.
func ownHostKeys(t *testing.T, h *lab.Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if r := h.Exec(ctx, "cp -p /root/own-keys/* /etc/ssh/ && rm -rf /var/lib/godwit/identity && "+takeSSHKeys); !r.OK() {
		t.Errorf("the host does not get its keys back: %s", r)
	}
}

// install makes a host what an installation with --extra-files leaves: the tree of files that
// 'godwit keys export' writes, and nothing of godwit's before it.
func (w *world) install(h *lab.Host, by *world) {
	w.t.Helper()
	tree := filepath.Join("/dev/shm", filepath.Base(shared.dir)+"-"+h.Name)
	defer os.RemoveAll(tree)
	by.run("keys", "export", h.Name, tree).exits(0)
	pack := exec.Command("tar", "-C", tree, "-c", ".")
	files, err := pack.Output()
	if err != nil {
		w.t.Fatal(err)
	}
	w.wipe(h)
	unpack := exec.Command("docker", "exec", "-i", h.ContainerID, "tar", "-C", "/", "--no-overwrite-dir", "-x")
	unpack.Stdin = strings.NewReader(string(files))
	if out, err := unpack.CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	on(w.t, h, "chown -R root: /var/lib/godwit /etc/ssh; "+takeSSHKeys)
}

// wipe takes from a host what a new installation would not have.
func (w *world) wipe(h *lab.Host) {
	w.t.Helper()
	on(w.t, h, "rm -rf /var/lib/godwit /etc/systemd/system.attached /run/godwit/secrets; umount /run/godwit/secrets.d; rm -rf /run/godwit; systemctl daemon-reload")
}

// TestMachineIdentity is the life of a machine whose identity is older than it is, and of its
// two operators: the first contact without trust on first use, a secret opened with the age
// key, an installation anew, an operator who leaves, a key that is rotated, and the way back
// to a release of before that.
func TestMachineIdentity(t *testing.T) {
	h := host(t, "spare")
	w := newWorld(t, h)
	keepHostKeys(t, h)
	// Nobody's ssh knows the host.
	config := filepath.Join(w.dir, "ssh_config")
	text := strings.Replace(w.read("ssh_config"), "UserKnownHostsFile "+h.KnownHosts, "UserKnownHostsFile "+filepath.Join(w.dir, "no_known_hosts"), 1)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	alice, bob := w.operator("alice"), w.operator("bob")
	alice.run("keys", "init", "alice").exits(0)
	bob.run("keys", "init", "bob", "--secrets", filepath.Join(w.dir, "of-bob")).exits(0)
	// Bob's lines, as he sends them.
	recipients, line := w.read("secrets/recipients.toml"), ""
	for _, table := range []string{"[operators]", "[signers]"} {
		_, after, _ := strings.Cut(w.read("of-bob/recipients.toml"), table+"\n")
		line, _, _ = strings.Cut(after, "\n")
		recipients = strings.Replace(recipients, table+"\n", table+"\n"+line+"\n", 1)
	}
	onlyAlice := w.read("secrets/recipients.toml")
	w.file("secrets/recipients.toml", recipients)
	alice.run("keys", "new", h.Name, "--yes").exits(0).says("can be opened by alice, bob")
	alice.feed(canary.Value("one"), "secrets", "new", "token", "--for", h.Name, "--stdin", "--yes").exits(0)

	net := w.fleetOf(service("identity"), map[string]string{h.Name: amd64})
	deploy := func(by *world) result { return by.run("deploy", net, "switch", unknownProfile) }
	has := func(when, want string) {
		t.Helper()
		if got := on(t, h, "cat /run/godwit/secrets/token; stat -Lc ' %U %a' /run/godwit/secrets/token"); got != want+" root 400" {
			t.Errorf("%s: the token is %q", when, got)
		}
	}
	// The machine that answers is another one.
	deploy(alice).exits(3).says("host key", "the key on record is that of the repository's secrets")
	w.install(h, bob)
	deploy(alice).exits(0).says("the host can open its 1 secret")
	has("first", canary.Value("one"))
	if got := on(t, h, "stat -c '%U %a' /var/lib/godwit/identity/age.key /var/lib/godwit/identity"); got != "root 600\nroot 700" {
		t.Errorf("the key: %q", got)
	}

	// Installed anew: without its identity nobody takes it for the same; with it nothing in the
	// repository changes.
	was := tree(t, filepath.Join(w.dir, "secrets"))
	w.wipe(h)
	on(t, h, "rm /etc/ssh/ssh_host_ed25519_key* && ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key && "+takeSSHKeys)
	deploy(alice).exits(3).says("the key on record is that of the repository's secrets")
	w.install(h, alice)
	w.fleetOf(service("again"), map[string]string{h.Name: amd64})
	deploy(bob).exits(0) // another person, whose machine has never met it either
	has("installed anew", canary.Value("one"))
	if now := tree(t, filepath.Join(w.dir, "secrets")); now != was {
		t.Errorf("the repository changed from\n%s\nto\n%s", was, now)
	}
	isSettled(t, h)

	// Bob leaves. What he kept he can open; what is new he cannot.
	kept := w.file("kept.age", w.read("secrets/store/token.age"))
	w.file("secrets/recipients.toml", onlyAlice)
	bob.run("secrets", "rekey", "--yes").exits(1)
	alice.run("secrets", "rekey", "--yes").exits(0).says("~ secret 'token': same value, - ")
	alice.feed(canary.Value("two"), "secrets", "edit", "token", "--stdin", "--yes").exits(0)
	bob.reveal(canary.Value("one"), "secrets", "show", "--encrypted", kept)
	bob.run("secrets", "show", "token").exits(1).says("none of the private keys here is one that it was encrypted to")
	bob.run("keys", "export", h.Name, filepath.Join("/dev/shm", filepath.Base(shared.dir)+"-bob")).exits(1).says("none of the private keys here")
	bob.feed(canary.Value("three"), "secrets", "edit", "token", "--stdin", "--yes").exits(1)
	alice.run("keys", "check").exits(0)
	deploy(alice).exits(0)
	has("without bob", canary.Value("two"))

	// A new key for the machine: it has to be there before its secrets are.
	alice.run("keys", "rotate", h.Name, "--yes").exits(0).says("- the old key of " + h.Name)
	state := "find /var/lib/godwit /run/godwit/secrets/ -printf '%p %i %l\\n' | sort | cksum"
	before := on(t, h, state)
	deploy(alice).exits(3).says("the host cannot open its secrets", "secret 'token' does not open with the key of this machine")
	if now := on(t, h, state); now != before {
		t.Error("something changed on a host that has not got its new key yet")
	}
	alice.run("keys", "install", net, h.Name).exits(0)
	w.fleetOf(service("rotated"), map[string]string{h.Name: amd64})
	deploy(alice).exits(0)
	has("rotated", canary.Value("two"))
	// The release of the generation before was encrypted to the old key, which is behind the new one.
	alice.run("rollback", net, "--on", h.Name).exits(0)
	has("back", canary.Value("two"))
	isSettled(t, h)
	nothingInClear(t, h)
}

// TestAdopt: a machine that runs is taken as it is; its secrets are for its ssh host key, and
// for an age key as soon as it gets one.
func TestAdopt(t *testing.T) {
	h := host(t, "spare")
	w := newWorld(t, h)
	w.wipe(h)
	t.Cleanup(func() { on(t, h, "rm -rf /var/lib/godwit/identity") })
	w = w.operator("ana")
	w.run("keys", "init", "ana").exits(0)
	net := w.fleetOf(service("adopt"), map[string]string{h.Name: amd64})
	w.run("keys", "adopt", net, h.Name, "--yes").exits(0)
	if got := w.read("secrets/machines/" + h.Name + "/ssh_host_ed25519.pub"); strings.TrimSpace(got) != h.HostKey {
		t.Errorf("it adopted %q, the host's key is %q", got, h.HostKey)
	}
	w.feed(canary.Value("adopted"), "secrets", "new", "token", "--for", h.Name, "--stdin", "--yes").exits(0)
	deploy := func(word string) {
		t.Helper()
		w.fleetOf(service(word), map[string]string{h.Name: amd64})
		w.run("deploy", net, "switch", unknownProfile).exits(0)
		if got := on(t, h, "cat /run/godwit/secrets/token"); got != canary.Value("adopted") {
			t.Errorf("%s: the token is %q", word, got)
		}
	}
	deploy("adopt")
	w.run("keys", "adopt", net, h.Name, "--yes").exits(0).says("nothing to do")
	// It has no age key that could be brought there, until it is given one.
	w.run("keys", "install", net, h.Name).exits(1).says("it was adopted, and keeps its private key to itself", "hint: godwit keys rotate "+h.Name)
	w.run("keys", "rotate", h.Name, "--yes").exits(0)
	w.run("keys", "install", net, h.Name).exits(0)
	if got := on(t, h, "stat -c '%U %a' /var/lib/godwit/identity/age.key; head -c 15 /var/lib/godwit/identity/age.key"); got != "root 600\nAGE-SECRET-KEY-" {
		t.Errorf("the key: %q", got)
	}
	deploy("with a key")
	if got := on(t, h, "grep -ho '\"keyFile\":\"[^\"]*\"' /var/lib/godwit/secrets/secrets/bundle.json"); got != `"keyFile":"/var/lib/godwit/identity/age.key"` {
		t.Errorf("it is opened with %s", got)
	}
	isSettled(t, h)
	nothingInClear(t, h)
}

// tree is a folder in words: names and contents.
func tree(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "cd \"$0\" && find . -type f -exec cksum {} + | sort -k 3", dir).CombinedOutput()
	if err != nil {
		t.Fatal(fmt.Errorf("%w: %s", err, out))
	}
	return string(out)
}
