package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"godwit/internal/identity"
	"godwit/internal/vault"
	"godwit/test/canary"
	"godwit/test/lab"
)

// resting is a repository of secrets beside a network.
type resting struct {
	t        *testing.T
	dir      string
	operator *identity.Operator
}

// newResting makes one with an operator, and a host that was adopted: it opens its
// secrets with the ssh host key that it has.
func newResting(w *world, h *lab.Host) *resting {
	w.t.Helper()
	r := &resting{t: w.t, dir: filepath.Join(w.dir, "secrets")}
	key := filepath.Join(w.t.TempDir(), "operator.txt")
	pub, err := identity.NewOwn(key, false)
	if err != nil {
		w.t.Fatal(err)
	}
	if r.operator, err = identity.Load([]string{key}, nil); err != nil {
		w.t.Fatal(err)
	}
	w.file("secrets/recipients.toml", "version = 1\n[operators]\nalice = ['"+pub+"']\n")
	w.file("secrets/machines/"+h.Name+"/ssh_host_ed25519.pub", h.HostKey+"\n")
	return r
}

// set writes a secret.
func (r *resting) set(s vault.Secret, plain string) {
	r.t.Helper()
	repo, err := identity.Open(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	v, err := vault.Open(repo, vault.Options{State: r.t.TempDir(), Recover: true})
	if err != nil {
		r.t.Fatal(err)
	}
	tx, err := v.Begin()
	if err != nil {
		r.t.Fatal(err)
	}
	defer tx.Close()
	if err := errors.Join(tx.Declare(s), tx.Set(s, []byte(plain), nil), tx.Commit(r.operator)); err != nil {
		r.t.Fatal(err)
	}
}

// TestRestingSecrets is a life with secrets that rest on their host as ciphertext: used by
// a user that the same deployment makes, before its service starts; changed; taken back
// with what failed; there after a power cut without anybody; refused when the host
// cannot open them; and nowhere in clear.
func TestRestingSecrets(t *testing.T) {
	h := host(t, "spare")
	w := newWorld(t, h)
	r := newResting(w, h)
	token := vault.Secret{Name: "token", For: []string{h.Name}, User: "app", Group: "app", Mode: "0440", Restart: []string{"reader.service"}}
	conf := vault.Secret{Name: "conf", For: []string{h.Name}, Path: "/etc/app/conf", Restart: []string{"other.service"}}
	r.set(token, canary.Mark+"1")
	r.set(conf, canary.Mark+"conf")

	// The reader is the user's whom this deployment makes; what it does not find at once, it does not look for again.
	system := func(word string) string {
		return `users.users.app = { isSystemUser = true; group = "app"; }; users.groups.app = { };
		systemd.services.reader = { wantedBy = [ "multi-user.target" ]; serviceConfig.User = "app"; serviceConfig.RuntimeDirectory = "reader";
			script = "wc -c </run/godwit/secrets/token >/run/reader/saw || exit 1; while :; do sleep 60; done"; };
		systemd.services.other = { wantedBy = [ "multi-user.target" ]; script = "wc -c </etc/app/conf >/run/other-saw || exit 1; while :; do sleep 60; done"; };
		environment.etc.word.text = "` + word + `";
		systemd.services.bad = { enable = "` + word + `" == "bad"; wantedBy = [ "multi-user.target" ]; serviceConfig.Type = "oneshot"; script = "exit 1"; };
		deployment.healthChecks.cmd = [ { description = "both run"; cmd = [ "systemctl" "is-active" "reader" "other" ]; timeout = 20; } ];`
	}
	deploy := func(word string, args ...string) result {
		t.Helper()
		net := w.fleetOf(system(word), map[string]string{h.Name: amd64})
		return w.run(append([]string{"deploy", net, "switch", "--accept-risk=unknown-profile"}, args...)...)
	}
	has := func(when, text string) {
		t.Helper()
		if got := on(t, h, "cat /run/godwit/secrets/token; stat -Lc ' %U %G %a' /run/godwit/secrets/token"); got != text+" app app 440" {
			t.Errorf("%s: the token is %q", when, got)
		}
	}
	sum := func() string { return on(t, h, "cat /run/reader/saw") }

	deploy("one").exits(0).says("the host can open its 2 secrets")
	has("first", canary.Mark+"1")
	if got := on(t, h, "cat /etc/app/conf; stat -Lc ' %U %a' /etc/app/conf; readlink /etc/app/conf; stat -f -c %T /run/godwit/secrets/"); got != canary.Mark+"conf root 400\n/run/godwit/secrets/conf\nramfs" {
		t.Errorf("conf: %q", got)
	}
	if got := on(t, h, "systemctl show -p NRestarts --value reader; cat /run/reader/saw"); got != fmt.Sprintf("0\n%d", len(canary.Mark)+1) {
		t.Errorf("the reader: %q", got)
	}
	isSettled(t, h)
	deploy("one").exits(0).says("already runs this system")

	// A secret changes: who uses it is restarted, and nobody else.
	on(t, h, "systemctl show -p InvocationID other >/run/was")
	before := sum()
	r.set(token, canary.Mark+"22")
	deploy("one").exits(0)
	has("changed", canary.Mark+"22")
	if now := on(t, h, "systemctl show -p InvocationID other | cmp - /run/was && echo same"); now != "same" {
		t.Error("a service whose secret is the same was restarted")
	}
	if sum() == before {
		t.Error("the service whose secret changed was not restarted")
	}
	isSettled(t, h)

	// What fails is taken back, with the secret that was before.
	before = sum()
	r.set(token, canary.Mark+"333")
	deploy("bad").exits(3).says("bad.service failed")
	has("rolled back", canary.Mark+"22")
	if sum() != before {
		t.Error("the service has the secret of the deployment that failed")
	}
	isSettled(t, h)

	// An earlier generation comes with its secrets, and the next one with its own.
	r.set(token, canary.Mark+"55555")
	deploy("other").exits(0)
	has("another system", canary.Mark+"55555")
	w.run("rollback", "network.nix", "--on", h.Name).exits(0)
	has("an earlier generation", canary.Mark+"22")
	isSettled(t, h)
	r.set(token, canary.Mark+"22")

	// Without anybody: the power fails.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := errors.Join(h.PowerCut(ctx), h.Boot(ctx)); err != nil {
		t.Fatal(err)
	}
	has("after the power cut", canary.Mark+"22")
	if got := on(t, h, "systemctl is-active reader other; systemctl show -p NRestarts --value reader"); got != "active\nactive\n0" {
		t.Errorf("after the power cut: %q", got)
	}

	// Encrypted for another key than the host has: nothing changes there.
	state := "find /var/lib/godwit /run/godwit/secrets/ /etc/app -printf '%p %i %l\\n' | sort | cksum"
	was := on(t, h, state)
	other, err := identity.NewKeys(h.Name, false)
	if err != nil {
		t.Fatal(err)
	}
	right, _ := os.ReadFile(filepath.Join(r.dir, "machines", h.Name, "ssh_host_ed25519.pub"))
	w.file("secrets/machines/"+h.Name+"/ssh_host_ed25519.pub", other.SSHHost+"\n")
	r.set(token, canary.Mark+"4444")
	r.set(conf, canary.Mark+"conf")
	deploy("two").exits(3).says("the host cannot open its secrets", "secret 'token' does not open with the key of this machine")
	if now := on(t, h, state); now != was {
		t.Error("something changed on a host that cannot open a secret")
	}
	has("refused", canary.Mark+"22")
	w.file("secrets/machines/"+h.Name+"/ssh_host_ed25519.pub", string(right))
	r.set(token, canary.Mark+"22")
	r.set(conf, canary.Mark+"conf")

	// A file that nobody wrote with godwit: the index does not match.
	at := filepath.Join(r.dir, "store", "token.age")
	text, _ := os.ReadFile(at)
	w.file("secrets/store/token.age", string(text[:len(text)-1])+"x")
	deploy("two").exits(1).says("error: spare: secret 'token': ", "is not the one that the index names").saysNot("building")
	if now := on(t, h, state); now != was {
		t.Error("something changed for a secret that was replaced")
	}
	w.file("secrets/store/token.age", string(text))
	deploy("two").exits(0)

	// With the module its units are the configuration's own.
	net := w.fleetOf(system("three")+"imports = [ "+repo(t, "internal/secrets/onhost/module.nix")+" ];", map[string]string{h.Name: amd64})
	w.run("deploy", net, "switch").exits(0)
	on(t, h, "rm -r /etc/systemd/system.attached")
	if err := errors.Join(h.PowerCut(ctx), h.Boot(ctx)); err != nil {
		t.Fatal(err)
	}
	has("with the module, after a power cut", canary.Mark+"22")
	if got := on(t, h, "systemctl show -p FragmentPath --value godwit-secrets godwit-secrets-users; systemctl is-active reader"); got != "/etc/systemd/system/godwit-secrets.service\n\n/etc/systemd/system/godwit-secrets-users.service\nactive" {
		t.Errorf("with the module: %q", got)
	}
	isSettled(t, h)

	// Nowhere in clear, but in memory; nor here: in godwit's memory, its history, the repository.
	nothingInClear(t, h)
	found, err := canary.Files(time.Time{}, []string{shared.dir, w.dir}, nil)
	if err != nil || len(found) > 0 {
		t.Errorf("this machine has a secret in clear: %q %v", found, err)
	}
}

// TestRestingSecretsReboot: with --reboot, secrets that rest on the host are those of the
// system that boots, and are kept and taken back with it.
func TestRestingSecretsReboot(t *testing.T) {
	h := host(t, "late")
	w := newWorld(t, h)
	r := newResting(w, h)
	set := func(text string) {
		t.Helper()
		r.set(vault.Secret{Name: "token", For: []string{h.Name}, Restart: []string{"e2e.service"}}, canary.Value(text))
	}
	deploy := func(body string, args ...string) result {
		t.Helper()
		net := w.fleetOf(body, map[string]string{h.Name: amd64})
		return w.run(append([]string{"deploy", net, "switch", "--accept-risk=unknown-profile"}, args...)...)
	}
	has := func(when, text, system string) {
		t.Helper()
		if got := on(t, h, "cat /run/godwit/secrets/token; ls /var/lib/godwit/secrets/once /var/lib/godwit/beside 2>/dev/null; true"); got != canary.Value(text) {
			t.Errorf("%s: the token is %q, want %q", when, got, canary.Value(text))
		}
		wrote(t, h, system)
		noTrace(t, h)
	}
	const sick = `deployment.healthChecks.cmd = [ { description = "never"; cmd = [ "false" ]; period = 1; } ];`
	boot := func() string {
		id, err := h.BootID(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return id
	}

	// The first release of the host comes with a system that is not kept.
	deploy(service("none")).exits(0)
	set("one")
	deploy(service("sick")+sick, "--reboot", "--timeout", "4").exits(3).says("never", "rebooted into the system that ran before")
	if got := on(t, h, "ls -A /run/godwit/secrets /etc/systemd/system.attached /var/lib/godwit/secrets/secrets /var/lib/godwit/beside 2>/dev/null; cat /run/e2e"); got != "none" {
		t.Errorf("left of a first release: %q", got)
	}

	deploy(service("one")).exits(0)
	has("switched", "one", "one")
	set("two")
	was := boot()
	deploy(service("sick")+sick, "--reboot", "--timeout", "4").exits(3).says("never", "rebooted into the system that ran before")
	if boot() == was {
		t.Error("it was not rebooted")
	}
	has("not kept", "one", "one")
	if record := on(t, h, "tail -n 1 /var/lib/godwit/history.jsonl"); !strings.Contains(record, `"reason":"checks failed: `) || !strings.Contains(record, `"profiles":[{"name":"secrets"`) {
		t.Errorf("the record says %s", record)
	}

	// In the boot that is to be judged the new secret is there; nobody confirms it.
	p := w.start(t.Context(), nil, "deploy", w.fleetOf(service("cut")+sick, map[string]string{h.Name: amd64}), "switch", "--reboot", "--timeout", "600")
	p.until("never: Failed", 2*time.Minute)
	if got := on(t, h, "cat /run/godwit/secrets/token /run/e2e"); got != canary.Value("two")+"cut" {
		t.Errorf("in the boot of the new system: %q", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	if err := errors.Join(h.PowerCut(ctx), h.Boot(ctx)); err != nil {
		t.Fatal(err)
	}
	p.wait().exits(3).says("it rebooted before it was confirmed")
	settles(t, h)
	has("the power fails", "one", "one")

	deploy(service("two"), "--reboot").exits(0).says("rebooted into the new system, confirmed")
	has("kept", "two", "two")
	if err := errors.Join(h.PowerCut(ctx), h.Boot(ctx)); err != nil {
		t.Fatal(err)
	}
	has("kept, and the power fails", "two", "two")

	// The same system with another secret.
	set("three")
	was = boot()
	deploy(service("two"), "--reboot").exits(0).says("already ran this system, rebooted")
	if boot() == was {
		t.Error("it was not rebooted")
	}
	has("the same system", "three", "two")
	w.run("rollback", "network.nix", "--on", h.Name).exits(0)
	has("what was before", "two", "two")

	// A loader that cannot boot once: kept first, and sent back.
	on(t, h, "touch /boot/loader/loader.conf")
	defer on(t, h, "rm -f /boot/loader/loader.conf")
	set("four")
	deploy(service("sick")+`deployment.healthChecks.cmd = [ { description = "only before a boot"; cmd = [ "sh" "-c" "[ $(cat /run/e2e) = two ] || [ $(cat /proc/sys/kernel/random/boot_id) = `+boot()+` ]" ]; period = 1; } ];`,
		"--reboot", "--accept-risk=no-oneshot", "--timeout", "3").exits(3).says("rebooted into the system that ran before")
	has("sent back", "two", "two")
}

// TestDeclaredSecrets: what the configuration of a host declares by godwit's module rests on
// it, and so does what it would push, on request: with the user that the same deployment
// makes, as a credential, for the boot loader, after a power cut, and back with a rollback.
func TestDeclaredSecrets(t *testing.T) {
	h := host(t, "late")
	w := newWorld(t, h)
	r := newResting(w, h)
	on(t, h, "mkdir -p /var/pushed && echo before >/var/pushed/key")
	r.set(vault.Secret{Name: "token", For: []string{h.Name}}, canary.Value("token-1"))
	to, err := identity.ParseRecipient(h.HostKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	sealed := func(text string) {
		t.Helper()
		var out bytes.Buffer
		a, err := age.Encrypt(&out, to)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = a.Write([]byte(canary.Value(text)))
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		w.file("wifi.age", out.String())
	}
	sealed("wifi-1")
	w.file("pushed", canary.Value("pushed-1"))
	reader := func(name, file string) string {
		return `systemd.services.` + name + ` = { wantedBy = [ "multi-user.target" ]; script = "cat ` + file + ` >/run/` + name + `-saw || exit 1; while :; do sleep 60; done"; };`
	}
	deploy := func(word string) result {
		t.Helper()
		net := w.fleetOf(service(word)+`imports = [ `+repo(t, "internal/secrets/onhost/module.nix")+` ];
			users.users.decl = { isSystemUser = true; group = "decl"; }; users.groups.decl = { };
			godwit.secrets.token = { owner = "decl"; group = "decl"; mode = "0440"; credentialOf = [ "own" ]; };
			godwit.secrets.wifi = { file = ./wifi.age; path = "/etc/wifi/key"; restartUnits = [ "wifi.service" ]; };
			boot.initrd.secrets."/key" = "/run/godwit/secrets/token";
			godwit.restSecrets = true;
			deployment.secrets.pushed = { source = "pushed"; destination = "/var/pushed/key"; action = [ "systemctl" "restart" "push" ]; };`+
			reader("own", "$CREDENTIALS_DIRECTORY/token")+reader("wifi", "/etc/wifi/key")+reader("push", "/var/pushed/key"), map[string]string{h.Name: amd64})
		return w.run("deploy", net, "switch", "--upload-secrets", "--accept-risk=unknown-profile")
	}
	has := func(when, want string) {
		t.Helper()
		want = canary.Mark + strings.ReplaceAll(want, " ", " "+canary.Mark)
		if got := on(t, h, "for f in /run/godwit/secrets/token /etc/wifi/key /var/pushed/key /run/own-saw /run/wifi-saw /run/push-saw; do cat $f; echo -n ' '; done; stat -Lc '%U:%G %a' /run/godwit/secrets/token"); got != want+" "+want+" decl:decl 440" {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
		if got := on(t, h, "ls -A /var/pushed; readlink /var/pushed/key; cat /boot/loader/initrd-secrets/key"); got != "key\n/run/godwit/secrets/pushed\n"+strings.Fields(want)[0] {
			t.Errorf("%s: %q", when, got)
		}
		isSettled(t, h)
	}
	// As a machine has it, and a container has not: systemd mounts credentials for the services to see.
	shared := func() { on(t, h, "mount --make-rshared /; ! systemctl is-enabled -q own || systemctl restart own") }
	shared()
	deploy("one").exits(0).says("the host can open its 3 secrets")
	has("first", "token-1 wifi-1 pushed-1")
	deploy("one").exits(0).says("already runs this system")
	if out := w.run("plan", "network.nix").exits(0).stdout; strings.Contains(out, "pushed") {
		t.Errorf("the plan of what is there says\n%s", out)
	}

	// Each changes alone: its unit restarts, and no other.
	for _, c := range []struct{ change, want string }{
		{"pushed", "token-1 wifi-1 pushed-2"}, {"wifi", "token-1 wifi-2 pushed-2"}, {"token", "token-2 wifi-2 pushed-2"},
	} {
		switch c.change {
		case "pushed":
			w.file("pushed", canary.Value("pushed-2"))
			w.run("plan", "network.nix").exits(0).outs("pushed")
		case "wifi":
			sealed("wifi-2")
		case "token":
			r.set(vault.Secret{Name: "token", For: []string{h.Name}}, canary.Value("token-2"))
		}
		was := on(t, h, "systemctl show -p InvocationID --value own wifi push | grep .")
		word := map[bool]string{true: "two", false: "one"}[c.change == "token"]
		deploy(word).exits(0)
		has(c.change, c.want)
		now := on(t, h, "systemctl show -p InvocationID --value own wifi push | grep .")
		a, b, restarted := strings.Fields(was), strings.Fields(now), ""
		for i, name := range []string{"token", "wifi", "pushed"} {
			if len(a) != 3 || len(b) != 3 || a[i] != b[i] {
				restarted += name
			}
		}
		if restarted != c.change {
			t.Errorf("%s changed, and the units of %s restarted", c.change, restarted)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := errors.Join(h.PowerCut(ctx), h.Boot(ctx)); err != nil {
		t.Fatal(err)
	}
	shared()
	has("after a power cut", "token-2 wifi-2 pushed-2")
	w.run("rollback", "network.nix", "--on", h.Name).exits(0)
	has("rolled back", "token-1 wifi-2 pushed-2")
}
