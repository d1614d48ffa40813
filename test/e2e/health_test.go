package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHealthKinds runs each kind of check of godwit's own before and after a
// deploy, when it passes and when it fails: then the host runs what it ran.
func TestHealthKinds(t *testing.T) {
	h := host(t, "late")
	w := newWorld(t, h)
	only := func(body string) map[string]string { return map[string]string{"late": amd64 + body} }
	network := w.fleetOf(service("healthy"), only(""))
	w.run("deploy", network, "switch").exits(0)

	// A port of this machine that is open, and one that is not.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	open := l.Addr().(*net.TCPAddr).Port
	ask := w.file("ask.sh", "#!/bin/sh\n"+`echo "$GODWIT_HOST $GODWIT_TARGET $GODWIT_USER $GODWIT_TAGS ${GODWIT_SYSTEM##*/} $*" >>asked; [ "$1" = yes ] || { echo because; exit 7; }`+"\n")
	if err := os.Chmod(ask, 0o755); err != nil {
		t.Fatal(err)
	}
	fails := `systemd.services.odd = { wantedBy = [ "multi-user.target" ]; serviceConfig.Type = "oneshot"; script = "exit 1"; };`

	kinds := map[string]string{
		"tcp":         fmt.Sprintf(`[ { description = "door"; host = "127.0.0.1"; port = %d; } ]`, open),
		"unit":        `[ { unit = "e2e"; } { unit = "ssh.service"; description = "sshd"; period = 1; } ]`,
		"failedUnits": `[ { ignore = [ "something*" ]; } ]`,
		"local":       `[ { description = "asks"; cmd = [ "./ask.sh" "yes" ]; } ]`,
	}
	all := ""
	for kind, list := range kinds {
		all += fmt.Sprintf("deployment.healthChecks.%s = %s; deployment.preDeployChecks.%s = %s;\n", kind, list, kind, list)
	}
	all += `deployment.tags = [ "canary" ];`
	w.fleetOf(service("checked")+all, only(""))
	w.run("hosts", network).exits(0)
	r := w.run("deploy", network, "switch").exits(0)
	// morph's line counts morph's checks; the table counts all.
	r.says("late (secrets: 0, health checks: 0, tags: canary)", "5/5 checks", "door: OK", "e2e: OK", "no newly failed units: OK", "asks: OK")
	wrote(t, h, "checked")
	asked, _ := os.ReadFile(filepath.Join(w.dir, "asked"))
	lines := strings.Split(strings.TrimSpace(string(asked)), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "late late deploy canary ") || !strings.Contains(lines[0], "-nixos-system-") || !strings.HasSuffix(lines[0], " yes") {
		t.Errorf("the local command was asked with %q", lines)
	}

	for _, c := range []struct{ kind, list, more, says string }{
		{"tcp", `[ { description = "shut"; host = "127.0.0.1"; port = 1; period = 1; } ]`, "", "connection refused"},
		{"unit", `[ { unit = "nothing-like-it"; period = 1; } ]`, "", "the host has no nothing-like-it"},
		{"unit", `[ { unit = "odd"; period = 1; } ]`, `systemd.services.odd = { script = "exit 0"; };`, "odd: Failed (it is inactive (dead))"},
		{"local", `[ { description = "asks"; cmd = [ "./ask.sh" "no" ]; period = 1; } ]`, "", "exit status 7, output: because"},
	} {
		t.Run(c.kind+" fails", func(t *testing.T) {
			w.fleetOf(service("sick")+c.more+fmt.Sprintf("deployment.healthChecks.%s = %s;", c.kind, c.list), only(""))
			w.run("deploy", network, "switch", "--timeout", "3").exits(3).says(c.says, "rolled back")
			wrote(t, h, "checked")
		})
	}
	isSettled(t, h)

	// What can never succeed is refused before anything is built or touched.
	t.Run("cannot work", func(t *testing.T) {
		was := on(t, h, "wc -l </var/lib/godwit/history.jsonl")
		cases := []struct{ kind, list, says string }{
			{"cmd", `[ { description = "c"; } ]`, "it has no command"},
			{"http", `[ { description = "p"; port = 0; } ]`, "port 0 is not between"},
			{"http", `[ { description = "p"; port = 80; scheme = "htps"; } ]`, `the scheme "htps"`},
			{"http", `[ { description = "p"; port = 80; headers."x y" = "z"; } ]`, "name of a header"},
			{"tcp", `[ { description = "t"; port = 70000; } ]`, "port 70000 is not between"},
			{"unit", `[ { unit = "my app.service"; } ]`, "not the name of a unit"},
			{"local", `[ { description = "l"; cmd = [ "./not-there.sh" ]; } ]`, "./not-there.sh: no such file"},
		}
		for when, verbs := range map[string][][]string{
			"healthChecks":    {{"deploy", network, "switch"}, {"plan", network}, {"check-health", network}, {"upload-secrets", network}},
			"preDeployChecks": {{"deploy", network, "switch"}},
		} {
			fleet := only("")
			for i, c := range cases {
				fleet[fmt.Sprint("never", i)] = amd64 + fmt.Sprintf(`deployment.targetHost = "late"; deployment.%s.%s = %s;`, when, c.kind, c.list)
			}
			w.fleetOf(service("never"), fleet)
			for _, verb := range verbs {
				r := w.run(verb...).exits(1).says("can never succeed")
				for i, c := range cases {
					r.says(fmt.Sprintf("never%d: the check", i), when+"."+c.kind, c.says)
				}
			}
		}
		if now := on(t, h, "wc -l </var/lib/godwit/history.jsonl"); now != was {
			t.Error("the host was touched")
		}
		wrote(t, h, "checked")
	})

	// A check of a port of this machine without a host of its own goes where ssh
	// goes: to the address of an alias, and without the user.
	t.Run("where ssh goes", func(t *testing.T) {
		w.file("to.sh", "#!/bin/sh\n"+`echo "$GODWIT_TARGET $GODWIT_USER $GODWIT_PORT $GODWIT_ADDRESS" >to`+"\n")
		if err := os.Chmod(filepath.Join(w.dir, "to.sh"), 0o755); err != nil {
			t.Fatal(err)
		}
		for i, c := range []struct{ target, env string }{
			{`deployment.targetHost = "late";`, "late deploy  127.0.0.1"},
			{`deployment.targetUser = ""; deployment.targetHost = "deploy@late";`, "late deploy  127.0.0.1"},
			{fmt.Sprintf(`deployment.targetHost = "ssh://late:%d";`, h.Port), fmt.Sprintf("late deploy %d 127.0.0.1", h.Port)},
		} {
			word := fmt.Sprint("ssh", i)
			w.fleetOf(service(word)+c.target+fmt.Sprintf(`deployment.healthChecks = { tcp = [ { description = "own"; port = %d; } ]; local = [ { description = "to"; cmd = [ "./to.sh" ]; } ]; };`, open), only(""))
			w.run("deploy", network, "switch", "--timeout", "5").exits(0).says("own: OK")
			wrote(t, h, word)
			if got, _ := os.ReadFile(filepath.Join(w.dir, "to")); string(got) != c.env+"\n" {
				t.Errorf("%s: the local command got %q, want %q", c.target, got, c.env)
			}
		}
		w.fleetOf(service("ssh9")+`deployment.targetHost = "root@late";`, only(""))
		w.run("deploy", network, "switch").exits(3).says(`targetHost = "root@late" and targetUser = "deploy" name two users`)
		w.fleetOf(service("checked"), only(""))
		w.run("deploy", network, "switch").exits(0)
	})

	t.Run("before", func(t *testing.T) {
		was := on(t, h, "cat /var/lib/godwit/history.jsonl | wc -l")
		w.fleetOf(service("sick")+`deployment.preDeployChecks.unit = [ { unit = "nothing-like-it"; period = 1; } ];`, only(""))
		w.run("deploy", network, "switch", "--timeout", "2").exits(3).says("pre-deploy checks", "the host has no nothing-like-it")
		if now := on(t, h, "cat /var/lib/godwit/history.jsonl | wc -l"); now != was {
			t.Error("the host was touched although a check before failed")
		}
	})

	// A unit that failed before does not matter in a deploy, and does without one.
	t.Run("failed units", func(t *testing.T) {
		on(t, h, "systemd-run --quiet --unit=was-bad -p RemainAfterExit=no false; sleep 0.3; systemctl is-failed was-bad")
		defer on(t, h, "systemctl reset-failed was-bad || true")
		check := `deployment.healthChecks.failedUnits = [ { period = 1; } ];`
		w.fleetOf(service("healthy")+check, only(""))
		w.run("check-health", network, "--timeout", "2").exits(3).says("failed: was-bad.service")
		w.run("deploy", network, "switch", "--no-guard", "--timeout", "3").exits(0)
		wrote(t, h, "healthy")
		w.fleetOf(service("healthy")+fails+check, only(""))
		w.run("deploy", network, "switch", "--timeout", "3").exits(3).says("odd.service")
		wrote(t, h, "healthy")
	})
	// A reload that fails leaves no failed unit behind, and takes the host back all the
	// same; it can be accepted by the name that it was given, also beside a unit.
	t.Run("failed reload", func(t *testing.T) {
		half := func(word, ignore string) string {
			return service(word) + ignore + fmt.Sprintf(`environment.etc.half.text = %q; systemd.services.half = { wantedBy = [ "multi-user.target" ]; reloadIfChanged = true;
				serviceConfig = { ExecStart = "/bin/sleep infinity"; ExecReload = "/bin/grep -q one /etc/half"; }; environment.WORD = %[1]q; };`, word)
		}
		w.fleetOf(half("half one", ""), only(""))
		w.run("deploy", network, "switch").exits(0)
		w.fleetOf(half("half two", ""), only(""))
		w.run("deploy", network, "switch").exits(3).says("activated, but reload of half.service failed (exit 4)", "--accept-failed 'reload of half.service'")
		wrote(t, h, "half one")
		w.run("deploy", network, "switch", "--accept-failed", "stop of half").exits(3).says("reload of half.service")
		wrote(t, h, "half one")
		w.run("deploy", network, "switch", "--accept-failed", "a;b").exits(1).says("neither the name of a unit nor a pattern")
		w.run("deploy", network, "switch", "--accept-failed", "reload of half").exits(0).says("reload of half.service failed, which does not take the host back: accepted")
		wrote(t, h, "half two")
		w.fleetOf(half("half one", ""), only(""))
		w.run("deploy", network, "switch").exits(0)
		w.fleetOf(half("half three", `deployment.healthChecks.failedUnits = [ { period = 1; ignore = [ "reload of ha*" ]; } ];`), only(""))
		w.run("deploy", network, "switch", "--timeout", "5").exits(0)
		wrote(t, h, "half three")
	})
	// What is ignored does not matter to the guard either: by name, by pattern, for
	// one host and for the fleet, where --skip-health-checks is said, and when the
	// system is booted once.
	t.Run("ignored units", func(t *testing.T) {
		defer on(t, h, "systemctl reset-failed")
		ignores := func(list string) string {
			return fmt.Sprintf(`deployment.healthChecks.failedUnits = [ { period = 1; ignore = [ %s ]; } ];`, list)
		}
		for i, c := range []struct{ list, fleet, flag string }{
			{`"odd"`, "", ""},
			{`"o?[a-d].service"`, "", "--skip-health-checks"},
			{``, `[ { ignore = [ "od*" ]; on = "la*"; } ]`, ""},
		} {
			word := fmt.Sprint("ignored", i)
			more := fmt.Sprintf("environment.etc.ignored.text = %q;", word) + fails
			text := "{ "
			if c.fleet != "" {
				text += "network.godwit.healthChecks.failedUnits = " + c.fleet + ";"
			}
			text += fmt.Sprintf(`late = { ... }: { %s deployment.targetUser = "deploy"; %s }; }`, amd64, service(word)+more+ignores(c.list))
			args := []string{"deploy", w.file("ignored.nix", text), "switch", "--timeout", "5"}
			if c.flag != "" {
				args = append(args, c.flag)
			}
			w.run(args...).exits(0)
			wrote(t, h, word)
			if state := on(t, h, "systemctl is-failed odd.service || true"); state != "failed" {
				t.Errorf("odd is %s: this proves nothing", state)
			}
			w.fleetOf(service("healthy"), only(""))
			w.run("deploy", network, "switch").exits(0)
			on(t, h, "systemctl reset-failed")
		}
		w.fleetOf(service("twice")+fails+ignores(`"odd"`), only(""))
		w.run("deploy", network, "boot", "--reboot").exits(0)
		wrote(t, h, "twice")
		w.fleetOf(service("not ignored")+fails+ignores(`"even"`), only(""))
		on(t, h, "systemctl reset-failed")
		w.run("deploy", network, "switch", "--timeout", "3").exits(3).says("odd.service")
		wrote(t, h, "twice")
	})
	isSettled(t, h)

	// The same for all hosts, where morph does not look.
	t.Run("fleet", func(t *testing.T) {
		text := func(extra string) string {
			return fmt.Sprintf(`{ network.godwit = { %s };
			  late = { ... }: { %s deployment.targetUser = "deploy"; %s }; }`, extra, amd64, service("healthy"))
		}
		network := w.file("fleet.nix", text(fmt.Sprintf(`healthChecks = { tcp = [ { port = %d; host = "127.0.0.1"; } ]; unit = [ { unit = "e2e"; on = "la*"; } ]; };`, open)))
		w.run("check-health", network).exits(0).says(fmt.Sprintf("port %d: OK", open), "e2e: OK")
		w.file("fleet.nix", text(`healthChecks.unit = [ { unit = "e2e"; on = "laet"; } ];`))
		w.run("check-health", network).exits(1).says(`no host matches on = "laet" (did you mean late?)`)
		w.file("fleet.nix", text(`healthChecks.units = [ ];`))
		w.run("check-health", network).exits(1).says("healthChecks: there are no units checks", "did you mean unit?")
		w.file("fleet.nix", text(`bacth = "1";`))
		w.run("check-health", network).exits(1).says("network.godwit", "there is no bacth", "did you mean batch?")
		w.file("fleet.nix", text(`batch = "1,some";`))
		w.run("deploy", network, "switch").exits(1).says("network.godwit", `batch: "some"`)
	})
}
