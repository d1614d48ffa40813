package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"godwit/test/canary"
	"godwit/test/lab"
)

// fleetOf writes a network with the named hosts; body is added to every host,
// extra to single ones.
func (w *world) fleetOf(body string, hosts map[string]string) string {
	var b strings.Builder
	b.WriteString("{\n")
	for name, extra := range hosts {
		fmt.Fprintf(&b, "  %s = { pkgs, lib, config, ... }: { imports = [ { system.stateVersion = \"24.05\"; deployment.targetUser = lib.mkDefault \"deploy\"; }\n  ({ ... }: { %s })\n  ({ ... }: { %s }) ]; };\n", name, body, extra)
	}
	b.WriteString("}\n")
	return w.file("network.nix", b.String())
}

const (
	amd64 = `nixpkgs.hostPlatform = "x86_64-linux";`
	arm64 = `nixpkgs.hostPlatform = "aarch64-linux";`
)

// service is a unit whose text changes with word.
func service(word string) string {
	return fmt.Sprintf(`systemd.services.e2e = { wantedBy = [ "multi-user.target" ]; restartTriggers = [ "%s" ]; script = "echo %s > /run/e2e; while :; do sleep 60; done"; };`, word, word)
}

// emulated gives a host that is emulated, on a machine with other things to do, time for its logins.
const emulated = "GODWIT_SSHOPTS=-o ConnectTimeout=60"

var storePath = regexp.MustCompile(`^/nix/store/[0-9a-z]{32}-\S+$`)

// TestStory is the reason for godwit: a network with an x86_64 host and a
// Raspberry Pi, on a machine that cannot build for the Pi.
func TestStory(t *testing.T) {
	own := hosts(t, "www", "pi")
	www, pi := own[0], own[1]
	w := newWorld(t, www, pi)
	w.env = append(w.env, emulated)
	fleet := map[string]string{"www": amd64, "pi": arm64}
	image := builderImage(t)
	net := w.fleetOf(service("one")+`deployment.healthChecks.cmd = [ { description = "service runs"; cmd = [ "systemctl" "is-active" "e2e" ]; } ];`, fleet)

	r := w.run("build", net, "--image-file", image).exits(0)
	r.says("Selected 2/2 hosts (name filter:-0, limits:-0):\n\t  0: pi (secrets: 0, health checks: 1, tags: )\n\t  1: www (secrets: 0, health checks: 1, tags: )\n",
		"nix result path: \n", "aarch64-linux").
		saysNot("is required to build")
	path := strings.TrimSpace(r.stdout)
	if !storePath.MatchString(path) || strings.Count(r.stdout, "\n") != 1 {
		t.Errorf("stdout must be the result path alone, got %q", r.stdout)
	}

	w.run("deploy", net, "switch", "--image-file", image).exits(0).says("www", "pi")
	for _, h := range []*lab.Host{www, pi} {
		if got := on(t, h, "cat /run/e2e"); got != "one" {
			t.Errorf("%s: the service wrote %q", h.Name, got)
		}
		isSettled(t, h)
	}
	if got := on(t, pi, "cat /run/current-system/built-on"); !strings.Contains(got, "aarch64") {
		t.Errorf("the Pi's system was built on %q", got)
	}

	// Nothing changed: nothing is done, and that is said.
	w.run("deploy", net, "switch", "--image-file", image).exits(0).says("already runs this system")

	// A line changes: the service is restarted.
	w.fleetOf(service("two"), fleet)
	w.run("deploy", net, "switch", "--image-file", image).exits(0)
	if got := on(t, pi, "cat /run/e2e"); got != "two" {
		t.Errorf("after the change the service on the Pi wrote %q", got)
	}

	r = w.run("exec", net, "uname", "-m").exits(0)
	for _, want := range []string{"x86_64", "aarch64"} {
		if !strings.Contains(r.stdout+r.stderr, want) {
			t.Errorf("exec uname -m shows no %s:\n%s%s", want, r.stdout, r.stderr)
		}
	}
}

// isSettled checks from outside that a host is wholly on one system and that nothing of godwit's is left.
func isSettled(t *testing.T, h *lab.Host) {
	t.Helper()
	ctx := t.Context()
	current, err := h.CurrentSystem(ctx)
	if err != nil {
		t.Fatal(err)
	}
	boot, err := h.BootDefault(ctx)
	if err != nil {
		t.Fatal(err)
	}
	profile, err := h.Profile(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if current != boot || current != profile {
		t.Errorf("%s: runs %s, boots %s, profile %s", h.Name, current, boot, profile)
	}
	left, err := h.GodwitLeftovers(ctx)
	// What told the end may be at its last line.
	for end := time.Now().Add(time.Minute); err == nil && len(left) > 0 && time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		left, err = h.GodwitLeftovers(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("%s: left over: %s\n%s", h.Name, strings.Join(left, ", "), on(t, h, "systemctl --no-pager status 'godwit*' 2>&1 || :"))
	}
}

// TestMac lets Nix believe that it runs on a Mac: the two errors of the story
// must not reach the person, and the Pi must be built for all the same. Its
// configuration says its platform in each of the ways there are, or not at all:
// that one, of which the host itself is asked, is deployed.
func TestMac(t *testing.T) {
	pi := host(t, "pi")
	image := builderImage(t)
	for _, c := range []struct{ name, platform string }{
		{"hostPlatform", arm64},
		{"localSystem", `nixpkgs.localSystem.system = "aarch64-linux";`},
		{"nothing", ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, pi)
			w.env = append(w.env, emulated)
			net := w.fleetOf(service("mac-"+c.name), map[string]string{"pi": c.platform})
			mac := []string{"--option", "system", "aarch64-darwin", "--option", "extra-platforms", "", "--image-file", image}
			verb := []string{"build", net}
			if c.name == "nothing" {
				verb = []string{"deploy", net, "switch"}
			}
			r := w.run(append(verb, mac...)...).exits(0)
			r.saysNot("is required to build", "isLinux", "Neither nixpkgs.hostPlatform")
			if c.name != "nothing" {
				return // what is said makes no other host of it
			}
			r.says("nixpkgs.hostPlatform")
			if got := on(t, pi, "cat /run/e2e"); got != "mac-"+c.name {
				t.Errorf("the service wrote %q", got)
			}
			isSettled(t, pi)
		})
	}
}

// TestPlatformOfLiveHost: a host whose configuration does not say a platform is
// what it says itself, and what the deployer stands for where it does not answer.
func TestPlatformOfLiveHost(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	// A system that nobody has built yet.
	net := w.fleetOf(service(w.dir), map[string]string{"spare": "", "gone": `deployment.targetHost = "127.0.0.1"; deployment.targetPort = 1;`})
	w.run("build", net, "--dry-run", "--option", "system", "aarch64-darwin", "--option", "extra-platforms", "").exits(0).
		says("spare | the configuration names no platform; the host is x86_64-linux (set nixpkgs.hostPlatform = \"x86_64-linux\")",
			"gone | warning: the configuration names no platform and the host does not answer: godwit assumes aarch64-linux",
			"spare | needs x86_64-linux, which this machine (aarch64-darwin) cannot build",
			"gone | needs aarch64-linux, which this machine (aarch64-darwin) cannot build")
}

// TestDeployers deploys with every Nix that Debian has, to hosts with two of
// them, and builds for a third one through a container builder. That one is
// emulated, and deployed by the newest; TestStory does it with the oldest.
func TestDeployers(t *testing.T) {
	own := hosts(t, "www", "sql", "pi")
	image := builderImage(t)
	newest := lab.Suites[len(lab.Suites)-1]
	for _, suite := range lab.Suites {
		t.Run(suite, func(t *testing.T) {
			w := newWorld(t, own...)
			w.env = append(w.env, emulated)
			w.in = lab.NewDeployer(t, suite, w.dir, shared.dir, repo(t, "test/nixos"), filepath.Dir(image))
			net := w.fleetOf(service("from-"+suite), map[string]string{"www": amd64, "sql": amd64, "pi": arm64})
			to, names := own, "*"
			if suite != newest {
				to, names = own[:2], "{www,sql}"
				built := strings.TrimSpace(w.run("build", net, "--on", "pi", "--image-file", image).exits(0).says("aarch64-linux").saysNot("is required to build").stdout)
				// The system stays where it was built, until a host wants it.
				if got, err := w.in.Command(t.Context(), w.dir, nil, "readlink", built+"/pi").CombinedOutput(); err != nil || !storePath.MatchString(strings.TrimSpace(string(got))) {
					t.Errorf("the Pi's system is %q: %v", got, err)
				}
			}
			w.run("deploy", net, "switch", "--on", names, "--image-file", image).exits(0).saysNot("is required to build")
			for _, h := range to {
				if got := on(t, h, "cat /run/e2e"); got != "from-"+suite {
					t.Errorf("%s: the service wrote %q", h.Name, got)
				}
				isSettled(t, h)
			}
		})
	}
}

// TestActions are the four switch actions.
func TestActions(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	only := map[string]string{"spare": amd64}
	net := w.fleetOf(service("base"), only)
	w.run("deploy", net, "switch").exits(0)
	base := on(t, spare, "readlink /run/current-system")

	w.fleetOf(service("dry"), only)
	w.run("deploy", net, "dry-activate").exits(0).says("would stop the following units: e2e.service")
	if now := on(t, spare, "readlink /run/current-system"); now != base {
		t.Errorf("dry-activate changed the running system to %s", now)
	}
	isSettled(t, spare)

	w.run("deploy", net, "switch", "--dry-run").exits(0)
	if now := on(t, spare, "readlink /run/current-system"); now != base {
		t.Errorf("--dry-run changed the running system to %s", now)
	}

	w.fleetOf(service("test"), only)
	w.run("deploy", net, "test").exits(0)
	if now, boot := on(t, spare, "readlink /run/current-system"), on(t, spare, "cat /boot/loader/default"); now == base || boot != base {
		t.Errorf("after test: runs %s, boots %s, before %s", now, boot, base)
	}
	w.fleetOf(service("boot"), only)
	running := on(t, spare, "readlink /run/current-system")
	w.run("deploy", net, "boot").exits(0)
	if now, boot := on(t, spare, "readlink /run/current-system"), on(t, spare, "cat /boot/loader/default"); now != running || boot == base {
		t.Errorf("after boot: runs %s, boots %s", now, boot)
	}
	w.run("deploy", net, "boot", "--reboot").exits(0)
	if got := on(t, spare, "cat /run/e2e"); got != "boot" {
		t.Errorf("after the reboot the service wrote %q", got)
	}
	isSettled(t, spare)
}

// TestElevation deploys as every kind of user.
func TestElevation(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	password := w.file("password.sh", "#!/bin/sh\necho '"+lab.Password+"'\n")
	if err := os.Chmod(password, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user string
		args []string
	}{
		{lab.Root, nil},
		{lab.Deploy, nil},
		{lab.DoasUser, nil},
		{lab.PasswordUser, []string{"--passcmd", password}},
	} {
		t.Run(c.user, func(t *testing.T) {
			net := w.fleetOf(service("as-"+c.user), map[string]string{"spare": amd64 + fmt.Sprintf(`deployment.targetUser = "%s";`, c.user)})
			w.run(append([]string{"deploy", net, "switch"}, c.args...)...).exits(0).saysNot(lab.Password)
			if got := on(t, spare, "cat /run/e2e"); got != "as-"+c.user {
				t.Errorf("the service wrote %q", got)
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		net := w.fleetOf(service("as-nobody"), map[string]string{"spare": amd64 + fmt.Sprintf(`deployment.targetUser = "%s";`, lab.Nobody)})
		w.run("deploy", net, "switch").exits(3).says("spare", "hint:")
	})
	t.Run("a password command with quotes", func(t *testing.T) {
		net := w.fleetOf(service("quoted"), map[string]string{"spare": amd64 + fmt.Sprintf(`deployment.targetUser = "%s";`, lab.PasswordUser)})
		w.run("deploy", net, "switch", "--passcmd", `printf "no end`).exits(3).says("--passcmd: ")
		w.run("deploy", net, "switch", "--passcmd", `printf '%s %s' "`+strings.ReplaceAll(lab.Password, " ", `" "`)+`"`).exits(0)
	})
	// A password would not help there: say what would.
	t.Run("requiretty", func(t *testing.T) {
		on(t, spare, "echo 'Defaults requiretty' >/etc/sudoers.d/zz-tty; chmod 440 /etc/sudoers.d/zz-tty")
		defer on(t, spare, "rm /etc/sudoers.d/zz-tty")
		net := w.fleetOf(service("tty"), map[string]string{"spare": amd64 + fmt.Sprintf(`deployment.targetUser = "%s";`, lab.Deploy)})
		w.run("deploy", net, "switch").exits(3).says("cannot become root with sudo", "requiretty").saysNot("password")
	})
	isSettled(t, spare)
}

// TestRollback breaks the new system; the host must run what it ran before.
func TestRollback(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	net := w.fleetOf(service("good"), map[string]string{"spare": amd64})
	w.run("deploy", net, "switch").exits(0)
	for _, c := range []struct{ name, body, says string }{
		{"activation script fails", `system.activationScripts.broken = "exit 7";`, "activation"},
		{"unit fails", `systemd.services.broken = { wantedBy = [ "multi-user.target" ]; serviceConfig.Type = "oneshot"; script = "exit 1"; };`, "deploy@spare journalctl -b -u broken.service"},
		{"health check fails", `deployment.healthChecks.cmd = [ { description = "never"; cmd = [ "false" ]; period = 1; } ];`, "never"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.fleetOf(service("bad")+c.body, map[string]string{"spare": amd64})
			w.run("deploy", net, "switch", "--timeout", "4").exits(3).says("rolled back", c.says)
			if got := on(t, spare, "cat /run/e2e"); got != "good" {
				t.Errorf("the service wrote %q", got)
			}
			isSettled(t, spare)
		})
	}
}

// TestSecrets uploads, changes and leaves alone.
func TestSecrets(t *testing.T) {
	own := hosts(t, "web", "spare")
	web, spare := own[0], own[1]
	w := newWorld(t, web, spare)
	temporary := t.TempDir()
	w.env = append(w.env, "TMPDIR="+temporary)
	first, second := canary.Value("first"), canary.Value("second")
	w.file("keys/a", first+"\n")
	body := amd64 + `deployment.secrets.a = { source = "keys/a"; destination = "/var/keys/sub/a"; owner.user = "deploy"; owner.group = "deploy"; permissions = "0440"; action = [ "sudo" "touch" "/run/secret-action" ]; };`
	net := w.fleetOf("", map[string]string{"web": body, "spare": body})

	w.run("upload-secrets", net).exits(0).says(fmt.Sprintf("a (%d bytes)", len(first)+1))
	for _, h := range []*lab.Host{web, spare} {
		if got := on(t, h, "cat /var/keys/sub/a; stat -c '%U:%G %a' /var/keys/sub/a; ls -A /var/keys/sub | wc -l; test -e /run/secret-action && echo acted"); got != first+"\ndeploy:deploy 440\n1\nacted" {
			t.Errorf("%s has %q", h.Name, got)
		}
	}
	r := w.run("list-secrets", net, "--json").exits(0)
	var list map[string]map[string]struct {
		Source, Destination, Permissions, UploadAt string
		Owner                                      struct{ User, Group string }
		Action                                     []string
		MkDirs                                     bool
	}
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil {
		t.Fatalf("list-secrets --json: %v\n%s", err, r.stdout)
	}
	if a := list["web"]["a"]; a.Destination != "/var/keys/sub/a" || a.Owner.User != "deploy" || a.Source != filepath.Join(w.dir, "keys/a") {
		t.Errorf("list-secrets says %+v", a)
	}
	w.run("list-secrets", net).exits(0).says("Selected 2/2 hosts (name filter:-0, limits:-0):\n\t  0: spare (secrets: 1, health checks: 0, tags: )\n")

	w.file("keys/a", second+"\n")
	w.run("deploy", net, "switch", "--upload-secrets").exits(0)
	if got := on(t, web, "cat /var/keys/sub/a"); got != second {
		t.Errorf("after the change the secret is %q", got)
	}
	left, err := os.ReadDir(temporary)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("a file %s is left in the temporary directory", e.Name())
	}
}

// TestExec runs commands everywhere and tells the truth about them.
func TestExec(t *testing.T) {
	own := hosts(t, "web", "db")
	web, db := own[0], own[1]
	w := newWorld(t, web, db)
	net := w.fleetOf("", map[string]string{"web": amd64, "db": amd64})
	w.run("exec", net, "sudo", "id", "-u").exits(0)
	w.run("exec", net, "test $(hostname) = nobody").exits(3)
	w.run("exec", "--on", "web", net, "echo", "--on", "x").exits(0).says("--on x")
}

// TestHealth runs checks alone.
func TestHealth(t *testing.T) {
	own := hosts(t, "web", "db")
	web, db := own[0], own[1]
	w := newWorld(t, web, db)
	good := `deployment.healthChecks.cmd = [ { description = "true"; cmd = [ "true" ]; } ];`
	net := w.fleetOf("", map[string]string{"web": amd64 + good, "db": amd64 + good})
	w.run("check-health", net).exits(0)
	// morph exits with the last host's result; db comes before web.
	w.fleetOf("", map[string]string{"web": amd64 + good, "db": amd64 + `deployment.healthChecks.cmd = [ { description = "false"; cmd = [ "false" ]; period = 1; } ];`})
	w.run("check-health", net, "--timeout", "2").exits(3).says("db")
}
