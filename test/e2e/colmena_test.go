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
)

// hive writes a hive of the hosts web and db.
func (w *world) hive(body string) string {
	return w.file("hive.nix", strings.ReplaceAll(fmt.Sprintf(`{
  meta = { nixpkgs = import <nixpkgs> { system = "x86_64-linux"; }; allowApplyAll = false; };
  defaults = { name, ... }: { imports = [ ({ ... }: { %s }) ]; system.stateVersion = "24.05"; networking.hostName = name; deployment = { tags = [ "target" ]; targetUser = "deploy"; }; };
  web = { name, nodes, ... }: {
    users.users.testuser = { isSystemUser = true; group = "testgroup"; };
    users.groups.testgroup = { };
    environment.etc.peer.text = nodes.db.config.networking.hostName;
    deployment.keys = {
      text = { text = "MARK-a text"; };
      renamed = { name = "custom-name"; text = "MARK-under another name"; };
      command = { keyCommand = [ "hostname" ]; };
      file = { keyFile = ./a-key; destDir = "/var/lib/keys of e2e"; };
      early = { text = "MARK-early"; user = "testuser"; group = "testgroup"; permissions = "0640"; };
      late = { text = "MARK-late"; user = "testuser"; group = "testgroup"; uploadAt = "post-activation"; };
    };
  };
  db = { };
  nowhere = { deployment.targetHost = null; };
}`, body), "MARK-", canary.Mark))
}

// TestColmena deploys a hive with colmena's own words, and looks at its keys (the
// cases A and D of the reference).
func TestColmena(t *testing.T) {
	own := hosts(t, "web", "db")
	web, db := own[0], own[1]
	w := newWorld(t, web, db)
	on(t, web, "userdel testuser 2>/dev/null; groupdel testgroup 2>/dev/null; rm -rf '/var/lib/keys of e2e' /run/keys/*")
	t.Cleanup(func() { on(t, web, "rm -rf '/var/lib/keys of e2e'") })
	w.file("a-key", canary.Value("from a file"))
	w.hive(service("FIRST"))
	me, err := exec.Command("hostname").Output()
	if err != nil {
		t.Fatal(err)
	}
	accept := "--accept-risk=unknown-profile,wrong-host,ssh-change"

	w.run("apply", accept).exits(1).says("no host is selected", "--on")
	w.run("apply", "--on", "@target", accept, "--keep-result").exits(0).says("3 of 3 hosts")
	for name, want := range map[string]string{
		"/run/keys/text":            "600 root root " + canary.Value("a text"),
		"/run/keys/custom-name":     "600 root root " + canary.Value("under another name"),
		"/run/keys/command":         "600 root root " + strings.TrimSpace(string(me)),
		"/var/lib/keys of e2e/file": "600 root root " + canary.Value("from a file"),
		"/run/keys/early":           "640 testuser testgroup " + canary.Value("early"), // whom this activation has made
		"/run/keys/late":            "600 testuser testgroup " + canary.Value("late"),
		"/run/e2e":                  "644 root root FIRST",
		"/etc/peer":                 "444 root root db",
	} {
		if got := on(t, web, fmt.Sprintf("stat -Lc '%%a %%U %%G' '%[1]s' | tr '\\n' ' '; cat '%[1]s'", name)); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	// The key's unit is active while the file is there.
	unit := func(want string) {
		t.Helper()
		on(t, web, "for i in $(seq 100); do [ \"$(systemctl show -P ActiveState late-key.service)\" = "+want+" ] && exit 0; sleep 0.2; done; systemctl status late-key.service; exit 1")
	}
	unit("active")
	on(t, web, "mv /run/keys/late /run/keys/elsewhere")
	unit("activating")
	on(t, web, "mv /run/keys/elsewhere /run/keys/late")
	unit("active")
	isSettled(t, web)
	isSettled(t, db)

	// Unchanged keys are not written again, and their units stay as they are.
	was := on(t, web, "stat -c '%i %n' /run/keys/*; systemctl show -P InvocationID late-key.service")
	w.run("upload-keys", "--on", "web", "--skip-health-checks").exits(0).says("unchanged")
	if now := on(t, web, "stat -c '%i %n' /run/keys/*; systemctl show -P InvocationID late-key.service"); now != was {
		t.Errorf("unchanged keys were touched:\n%s\nbefore:\n%s", now, was)
	}
	// What fails on this machine changes no host.
	broken := strings.Replace(w.read("hive.nix"), `[ "hostname" ]`, `[ "sh" "-c" "echo hush; exit 3" ]`, 1)
	w.file("hive.nix", strings.ReplaceAll(broken, "FIRST", "BROKEN"))
	w.run("apply", "--on", "@target", accept).exits(1).says("its command sh failed: exit status 3").saysNot("hush")
	if got := on(t, web, "cat /run/keys/command /run/e2e"); got != strings.TrimSpace(string(me))+"\nFIRST" {
		t.Errorf("after a key that failed the host has %q", got)
	}
	nothingInClear(t, web) // no text of a key went into the store

	// Words are joined for the login shell of each host.
	r := w.run("exec", "--on", "@target", "--", "echo", "output", "from", "$(hostname)").exits(0)
	for _, h := range own {
		if want := "output from " + on(t, h, "hostname"); !strings.Contains(r.stdout+r.stderr, want) {
			t.Errorf("exec lacks %q:\n%s%s", want, r.stdout, r.stderr)
		}
	}

	// A host that does not answer fails alone.
	w.hive(service("SECOND"))
	on(t, db, "systemctl stop ssh.socket ssh.service")
	r = w.run("apply", "--on", "@target", accept, "--no-keys")
	on(t, db, "systemctl start ssh.service")
	r.exits(3)
	if a, b := on(t, web, "cat /run/e2e"), on(t, db, "cat /run/e2e"); a != "SECOND" || b != "FIRST" {
		t.Errorf("web has %s, db has %s", a, b)
	}

	// A saved plan holds no texts, and says so; applied, it takes them from the hive as
	// long as that is the same. The host is found at the second of two addresses.
	on(t, web, "rm -f /run/keys/text /run/keys/command")
	saved := filepath.Join(w.dir, "hive.plan")
	w.run("plan", "--on", "web", accept, "-o", saved).exits(0).says("it does not hold 5 secrets").outs("secrets: new")
	if canary.Has([]byte(w.read("hive.plan"))) {
		t.Error("the plan holds a text of a key")
	}
	w.run("deploy", saved, accept, "--target", "web=192.0.2.1.invalid,web").exits(0).says("5 secrets from the configuration", "connected at web")
	if got := on(t, web, "cat /run/keys/text /run/keys/command"); got != canary.Value("a text")+strings.TrimSpace(string(me)) {
		t.Errorf("after the saved plan the host has %q", got)
	}
	w.run("plan", "--on", "web", accept, "--upload-secrets=false", "-o", saved).exits(0).says("it uploads no secrets, of which its hosts have 6")
}

// read gives the text of a file of the world.
func (w *world) read(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// TestColmenaHere builds on the host that is deployed to, and deploys a machine from
// itself (the cases B and C).
func TestColmenaHere(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	hive := func(word, options string) string {
		return fmt.Sprintf(`{ meta.nixpkgs = import <nixpkgs> { system = "x86_64-linux"; };
  spare = { %s networking.hostName = "spare"; system.stateVersion = "24.05"; deployment = { keys.k.text = "%s key"; %s }; }; }`, service(word), word, options)
	}
	accept := "--accept-risk=unknown-profile,wrong-host,ssh-change"
	here := func() bool { // the host's system is in this machine's store
		path := on(t, spare, "readlink -f /run/current-system")
		return exec.Command("nix-store", "--check-validity", path).Run() == nil
	}
	// A system that no run before has left in this machine's store.
	word := fmt.Sprintf("built-there-%d", time.Now().UnixNano())
	w.file("hive.nix", hive(word, "buildOnTarget = true;"))
	w.run("apply", accept).exits(0)
	if got := on(t, spare, "cat /run/e2e /run/keys/k"); got != word+"\n"+word+" key" || here() {
		t.Errorf("the host has %q; its system is here: %t", got, here())
	}
	w.run("build", "--no-build-on-target").exits(0)
	if !here() {
		t.Error("what was built here is not the host's system, or not here")
	}

	// The host itself has the configuration, and no ssh could get anywhere.
	for from, to := range map[string]string{shared.godwit: "/usr/local/bin/godwit", repo(t, "test/nixos"): "/srv/nixos-of-e2e"} {
		if out, err := exec.Command("docker", "cp", from, spare.ContainerID+":"+to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	t.Cleanup(func() {
		on(t, spare, "rm -rf /usr/local/bin/godwit /srv/nixos-of-e2e /srv/hive-of-e2e /root/.local/state/godwit /home/*/.local/state/godwit")
	})
	there := func(user string, code int, words ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		r := spare.Run(ctx, user, "cd /srv/hive-of-e2e && PATH=$PATH:/usr/local/bin GODWIT_SSHOPTS='-o ProxyCommand=false' NIX_PATH=nixpkgs=/srv/nixos-of-e2e NIX_CONFIG='substituters =' godwit "+strings.Join(words, " "))
		if r.Exit != code {
			t.Errorf("%s: godwit %s: status %d\n%s%s", user, strings.Join(words, " "), r.Exit, r.Stdout, r.Stderr)
		}
		return r.Stdout + r.Stderr
	}
	put := func(text string) {
		t.Helper()
		on(t, spare, "mkdir -p /srv/hive-of-e2e && cat >/srv/hive-of-e2e/hive.nix <<'HIVE'\n"+text+"\nHIVE")
	}
	put(hive("not-allowed", ""))
	if said := there("root", 1, "apply-local", "--node", "spare"); !strings.Contains(said, "deployment.allowLocalDeployment = true") {
		t.Errorf("a host that is not to deploy itself: %s", said)
	}
	// Not even an address is needed.
	put(hive("from-itself", "allowLocalDeployment = true; targetHost = null;"))
	there("deploy", 0, "apply-local", "--sudo", "--node", "spare", accept)
	if got := on(t, spare, "cat /run/e2e /run/keys/k"); got != "from-itself\nfrom-itself key" {
		t.Errorf("the host has %q", got)
	}
	isSettled(t, spare)
}
