package e2e

import (
	"strings"
	"testing"
)

// TestBootDefault: a host that runs the system, and whose profile names it, but
// that would boot another one, is not unchanged: deploy puts the boot default
// right and touches nothing else, also where only root may read it.
func TestBootDefault(t *testing.T) {
	h := host(t, "late")
	w := newWorld(t, h)
	other := on(t, h, "cat /boot/loader/default")
	net := w.fleetOf(service("boots")+`deployment.healthChecks.cmd = [ { description = "runs"; cmd = [ "systemctl" "is-active" "e2e" ]; } ];`, map[string]string{"late": amd64})
	w.run("deploy", net, "switch", "--accept-risk=unknown-profile").exits(0)
	system := on(t, h, "readlink -f /run/current-system")
	if system == other {
		t.Fatal("the host has no other system to boot")
	}
	defer on(t, h, "chmod 755 /boot")
	for _, mode := range []string{"755 /boot; chmod 644 /boot/loader/default", "755 /boot; chmod 600 /boot/loader/default", "700 /boot"} {
		on(t, h, "echo "+other+" >/boot/loader/default; chmod "+mode+"; systemctl show -p InvocationID e2e >/run/was")
		if out := w.run("status", net).exits(2).stdout; !strings.Contains(out, "boots another system next time") {
			t.Errorf("status:\n%s", out)
		}
		if out := w.run("plan", net).exits(0).stdout; !strings.Contains(strings.Join(strings.Fields(out), " "), "next time, not what it runs: that is corrected") {
			t.Errorf("plan:\n%s", out)
		}
		w.run("deploy", net, "test").exits(0).says("already runs this system")
		w.run("deploy", net, "switch").exits(0).says("that is corrected", "boots it again, 1/1 checks")
		if got := on(t, h, "cat /boot/loader/default"); got != system {
			t.Errorf("mode %s: boots %s, not %s", mode, got, system)
		}
		if now := on(t, h, "systemctl show -p InvocationID e2e | cmp - /run/was && echo same"); now != "same" {
			t.Error("the service was restarted")
		}
		w.run("deploy", net, "switch").exits(0).says("already runs this system").saysNot("corrected")
		on(t, h, "echo "+other+" >/boot/loader/default")
		w.run("deploy", net, "boot").exits(0).says("boots the new system")
		if got := on(t, h, "cat /boot/loader/default"); got != system {
			t.Errorf("mode %s, boot: boots %s, not %s", mode, got, system)
		}
	}
	isSettled(t, h)
}
