package e2e

import (
	"testing"

	"godwit/test/canary"
	"godwit/test/lab"
)

// TestNoTmp: root needs no folder of a host in which others can write, whatever it does
// there. They are read-only for all of them meanwhile.
func TestNoTmp(t *testing.T) {
	turn(t)
	h := lab.New(t, lab.Spec{Name: "notmp", Suite: "trixie"})
	w := newWorld(t, h)
	w.file("k", canary.Value("tmp")+"\n")
	version := func(n, more string) string {
		return w.fleetOf(`environment.etc.version.text = "`+n+`"; deployment.secrets.k = { source = "k"; destination = "/var/keys/k"; };`+more, map[string]string{h.Name: amd64})
	}
	on(t, h, "for d in /tmp /var/tmp /dev/shm; do mount -t tmpfs -o ro,mode=1777 none $d; done; ! touch /tmp/x 2>/dev/null")
	// Nor does it work in a folder that somebody else has put in its way.
	on(t, h, "install -d -o nobodyuser /run/godwit")
	w.run("deploy", version("1", ""), "switch").exits(3).says("users other than root can write to /run/godwit; nothing was changed", "hint: on the host, as root: ls -ld /run/godwit")
	w.run("gc", version("1", "")).exits(3).says("users other than root can")
	on(t, h, "rm -r /run/godwit")
	w.run("deploy", version("1", ""), "switch", "--upload-secrets").exits(0)
	// After a power cut during a copy, and with a system that fails its check.
	on(t, h, "echo another-boot 0 >/nix/var/nix/godwit-copying")
	w.file("k", canary.Value("another")+"\n")
	w.run("deploy", version("2", ""), "switch", "--upload-secrets").exits(0)
	w.run("deploy", version("3", `deployment.healthChecks.cmd = [ { description = "no"; cmd = [ "false" ]; timeout = 1; } ];`), "switch", "--timeout", "3").exits(3).says("rolled back")
	net := version("2", "")
	w.run("plan", net, "switch", "--upload-secrets").exits(0)
	w.run("status", net).exits(0)
	w.run("rollback", net, h.Name).exits(0)
	w.run("gc", net, "--keep", "1").exits(0)
	w.run("exec", net, "true").exits(0)
	isSettled(t, h)
	w.run("deploy", net, "boot", "--reboot").exits(0)
	isSettled(t, h)
}
