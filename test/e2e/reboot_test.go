package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"godwit/test/lab"
)

// rebootBase brings a host to a known system before it is rebooted into others.
func rebootBase(t *testing.T, h *lab.Host, word string) (w *world, net string, set func(body string)) {
	t.Helper()
	w = newWorld(t, h)
	only := func(body string) map[string]string { return map[string]string{h.Name: amd64 + body} }
	net = w.fleetOf(service(word), only(""))
	w.run("deploy", net, "switch").exits(0)
	return w, net, func(body string) { w.fleetOf("", only(body)) }
}

// wrote is what the service of a host wrote.
func wrote(t *testing.T, h *lab.Host, want string) {
	t.Helper()
	if got := on(t, h, "cat /run/e2e"); got != want {
		t.Errorf("%s: the service wrote %q, not %q", h.Name, got, want)
	}
}

// noTrace checks that a reboot left nothing on a host.
func noTrace(t *testing.T, h *lab.Host) {
	t.Helper()
	isSettled(t, h)
	if left := on(t, h, "ls -d /etc/systemd/system.control /var/lib/godwit/pending /boot/loader/oneshot /run/godwit/current 2>/dev/null || true"); left != "" {
		t.Errorf("%s: left over:\n%s", h.Name, left)
	}
}

// rebootsOnce is a host with a system, and what looks whether it is back there.
func rebootsOnce(t *testing.T) (h *lab.Host, w *world, net string, set func(body string), boots func(result)) {
	t.Helper()
	h = host(t, "late")
	w, net, set = rebootBase(t, h, "before")
	old := on(t, h, "readlink -f /run/current-system")
	return h, w, net, set, func(result) {
		t.Helper()
		wrote(t, h, "before")
		if now := on(t, h, "readlink -f /run/current-system"); now != old {
			t.Errorf("runs %s, not %s", now, old)
		}
		noTrace(t, h)
	}
}

// TestRebootOnce boots new systems once that are not well, or whose deployer is not:
// all lead back, and none is the boot default before it was seen.
func TestRebootOnce(t *testing.T) {
	h, w, net, set, boots := rebootsOnce(t)
	old := on(t, h, "readlink -f /run/current-system")
	t.Run("check fails", func(t *testing.T) {
		set(service("sick") + `deployment.healthChecks.cmd = [ { description = "never"; cmd = [ "false" ]; period = 1; } ];`)
		boots(w.run("deploy", net, "boot", "--reboot", "--timeout", "4").exits(3).says("never", "rebooted into the system that ran before", "rolled"))
		if record := on(t, h, "tail -n 1 /var/lib/godwit/history.jsonl"); !strings.Contains(record, `"mode":"once"`) || !strings.Contains(record, `"result":"rolled-back 0"`) {
			t.Errorf("the record says %s", record)
		}
	})
	t.Run("unit fails", func(t *testing.T) {
		set(service("sick") + `systemd.services.broken = { wantedBy = [ "multi-user.target" ]; serviceConfig.Type = "oneshot"; script = "exit 1"; };`)
		boots(w.run("deploy", net, "switch", "--reboot").exits(3).says("broken.service"))
	})
	t.Run("silent", func(t *testing.T) {
		// sshd is gone, nobody can confirm: the host goes back by itself.
		set(service("silent") + `systemd.services.deaf = { wantedBy = [ "multi-user.target" ]; serviceConfig.Type = "oneshot"; script = "systemctl mask --runtime --now ssh.socket ssh.service"; };`)
		boots(w.run("deploy", net, "boot", "--reboot", "--confirm-timeout", "12", "--reboot-timeout", "120").exits(3).says("came back"))
	})
	t.Run("power cut", func(t *testing.T) {
		// Between the reboot and the confirmation, while a check still waits.
		set(service("cut") + `deployment.healthChecks.cmd = [ { description = "never"; cmd = [ "false" ]; period = 1; } ];`)
		p := w.start(t.Context(), nil, "deploy", net, "boot", "--reboot", "--timeout", "600")
		p.until("never: Failed", 2*time.Minute)
		wrote(t, h, "cut")
		if def := on(t, h, "cat /boot/loader/default"); def != old {
			t.Errorf("the boot default is %s before the confirmation", def)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if err := h.PowerCut(ctx); err != nil {
			t.Fatal(err)
		}
		if err := h.Boot(ctx); err != nil {
			t.Fatal(err)
		}
		boot, _ := h.BootID(ctx)
		p.wait().exits(3).says("it rebooted before it was confirmed; the host was rebooted into the system that ran before")
		settles(t, h)
		if now, _ := h.BootID(ctx); now != boot {
			t.Error("a host that had come back by itself was rebooted again")
		}
		boots(result{})
	})
	t.Run("deployer dies", func(t *testing.T) {
		const oneShots = "grep -c 'one-shot entry' /var/log/lab-boot.log"
		shots := on(t, h, oneShots)
		set(service("alone"))
		p := w.start(t.Context(), nil, "deploy", net, "switch", "--reboot", "--confirm-timeout", "15")
		p.until("Waiting for host to come online", 2*time.Minute)
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
			r := h.Exec(t.Context(), `[ "$(cat /run/e2e)" = before ] && ! ls -d /etc/systemd/system.control /var/lib/godwit/pending /run/godwit/current 2>/dev/null`)
			if r.OK() {
				break
			}
		}
		on(t, h, "rm -f /nix/var/nix/gcroots/godwit-pushed*") // the next push's to remove
		boots(result{})
		if again := on(t, h, oneShots); again == shots {
			t.Error("the new system was never booted")
		}
		answers(t, h)
	})
	w.run("deploy", net, "test", "--reboot").exits(3).says("contradict")
}

// TestRebootedOnce decides of a system that was booted once from elsewhere; one that is
// well becomes the boot default when it was seen.
func TestRebootedOnce(t *testing.T) {
	h, w, net, set, boots := rebootsOnce(t)
	// alone leaves the host in a system that was booted once, without its deployer.
	alone := func(word string) {
		t.Helper()
		set(service(word))
		p := w.start(t.Context(), nil, "deploy", net, "switch", "--reboot", "--confirm-timeout", "400")
		p.until("Waiting for host to come online", 2*time.Minute)
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		for end := time.Now().Add(90 * time.Second); ; time.Sleep(time.Second) {
			if h.Exec(t.Context(), `[ "$(cat /run/e2e)" = `+word+` ] && [ -L /run/godwit/current ]`).OK() && h.Run(t.Context(), lab.Deploy, "true").OK() {
				break
			} else if time.Now().After(end) {
				t.Fatal("the new system was never booted")
			}
		}
		w.run("status", net).exits(2).outs("the new system was booted once and waits for its confirmation").
			says("godwit confirm "+net+" "+h.Name, "godwit rollback --pending "+net+" "+h.Name).saysNot("cut off", "the profile names")
		w.run("rollback", net, h.Name).exits(3).says("a deployment is pending")
		w.run("confirm", net, h.Name, "--dry-run").exits(0).says("would confirm what is pending")
		wrote(t, h, word)
	}
	t.Run("taken back from elsewhere", func(t *testing.T) {
		alone("unwanted")
		boots(w.run("rollback", "--pending", net, h.Name).exits(0).says("went back"))
		if record := on(t, h, "tail -n 1 /var/lib/godwit/history.jsonl"); !strings.Contains(record, "asked for by") {
			t.Errorf("the record says %s", record)
		}
		w.run("confirm", net, h.Name).exits(3).says("no deployment is pending")
	})
	t.Run("confirmed from elsewhere", func(t *testing.T) {
		alone("wanted")
		w.run("confirm", net, h.Name).exits(0).says("confirmed")
		wrote(t, h, "wanted")
		noTrace(t, h)
		if def, now := on(t, h, "cat /boot/loader/default"), on(t, h, "readlink -f /run/current-system"); def != now {
			t.Errorf("runs %s and boots %s", now, def)
		}
		if record := on(t, h, "tail -n 1 /var/lib/godwit/history.jsonl"); !strings.Contains(record, `"result":"done 0"`) {
			t.Errorf("the record says %s", record)
		}
		w.run("status", net).exits(0)
	})
	t.Run("well", func(t *testing.T) {
		// A pushed secret in memory is gone with the boot, and the user that it is for comes with it.
		w.file("pushed", "pushed")
		set(service("well") + `deployment.healthChecks.unit = [ { unit = "e2e"; } ]; users.users.well = { isSystemUser = true; group = "well"; }; users.groups.well = { };
			deployment.secrets.pushed = { source = "pushed"; destination = "/run/e2e-pushed/key"; owner.user = "well"; };`)
		w.run("deploy", net, "switch", "--reboot", "--upload-secrets").exits(0).says("rebooted into the new system, confirmed, 1/1 checks")
		wrote(t, h, "well")
		if got := on(t, h, "cat /run/e2e-pushed/key; stat -c ' %U' /run/e2e-pushed/key"); got != "pushed well" {
			t.Errorf("the pushed secret is %q", got)
		}
		noTrace(t, h)
		if record := on(t, h, "tail -n 1 /var/lib/godwit/history.jsonl"); !strings.Contains(record, `"result":"done 0"`) {
			t.Errorf("the record says %s", record)
		}
		// Again: it runs and boots it, and is rebooted all the same.
		before, _ := h.BootID(t.Context())
		w.run("deploy", net, "boot", "--reboot").exits(0).says("already ran this system, rebooted")
		if after, _ := h.BootID(t.Context()); after == before {
			t.Error("it was not rebooted")
		}
		noTrace(t, h)
	})
	t.Run("no one-shot boots", func(t *testing.T) {
		// A loader that is none of those that can do it.
		on(t, h, "touch /boot/loader/loader.conf")
		defer on(t, h, "rm -f /boot/loader/loader.conf")
		good := on(t, h, "readlink -f /run/current-system")
		set(service("plain"))
		w.run("plan", net, "boot").exits(0)
		w.run("plan", net, "boot", "--reboot").exits(0).outs("no-oneshot: no boot loader was found that can boot an entry once")
		w.run("deploy", net, "boot", "--reboot").exits(4).says("no-oneshot", "no host was changed")
		w.run("deploy", net, "boot", "--reboot", "--accept-risk=no-oneshot").exits(0).says("no-oneshot", "rebooted into the new system")
		wrote(t, h, "plain")
		noTrace(t, h)
		set(service("sick") + `deployment.healthChecks.cmd = [ { description = "never"; cmd = [ "false" ]; period = 1; } ];`)
		w.run("deploy", net, "boot", "--reboot", "--accept-risk=no-oneshot", "--timeout", "3").exits(3).says("never", "rebooted into the system that ran before")
		wrote(t, h, "plain")
		noTrace(t, h)
		if good == on(t, h, "readlink -f /run/current-system") {
			t.Error("went back too far")
		}
	})
}

// settles waits until a host that came back has put everything back.
func settles(t *testing.T, h *lab.Host) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		if on(t, h, "ls -d /etc/systemd/system.control /var/lib/godwit/pending /run/godwit/current 2>/dev/null || true") == "" {
			return
		}
	}
}

// TestRebootBatches: a host that comes back unwell keeps the next batch from
// being rebooted.
func TestRebootBatches(t *testing.T) {
	own := hosts(t, "web", "spare")
	web, spare := own[0], own[1]
	w := newWorld(t, web, spare)
	fleet := func(word, spareExtra string) string {
		return w.fleetOf(service(word), map[string]string{"web": amd64, "spare": amd64 + spareExtra})
	}
	net := fleet("calm", "")
	w.run("deploy", net, "switch").exits(0)
	boot, _ := web.BootID(t.Context())

	fleet("rolling", `deployment.healthChecks.cmd = [ { description = "never"; cmd = [ "false" ]; period = 1; } ];`)
	w.run("deploy", net, "boot", "--reboot", "--batch", "1,rest", "--timeout", "3").exits(3).says("not started: spare failed")
	if now, _ := web.BootID(t.Context()); now != boot {
		t.Error("web was rebooted although the batch before it failed")
	}
	wrote(t, web, "calm")
	wrote(t, spare, "calm")

	fleet("rolling", "")
	r := w.run("deploy", net, "boot", "--reboot", "--batch", "1,rest", "--json").exits(0)
	wrote(t, web, "rolling")
	wrote(t, spare, "rolling")
	if at := func(host, what string) int { return eventAt(r.stdout, host, what) }; at("web", `"step":"reboot"`) < at("spare", `"kind":"result"`) {
		t.Errorf("web was rebooted before spare was done:\n%s", r.stdout)
	}
	isSettled(t, web)
	isSettled(t, spare)
}

// eventAt is the line of the first event of a host that has a text.
func eventAt(events, host, what string) int {
	n := 0
	for line := range strings.Lines(events) {
		if strings.Contains(line, fmt.Sprintf(`"host":%q`, host)) && strings.Contains(line, what) {
			return n
		}
		n++
	}
	return -1
}
