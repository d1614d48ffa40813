package e2e

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestLocal runs godwit on the host that it deploys to, without ssh: as root, and as a
// user who becomes root with sudo. The guard is the same.
func TestLocal(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	good, bad := w.system(service("local-good")), w.system(service("local-bad")+`system.activationScripts.broken = "exit 7";`)
	w.run("push", "--store-path", good, bad, "--to", "root@spare").exits(0)
	if out, err := exec.Command("docker", "cp", shared.godwit, spare.ContainerID+":/usr/local/bin/godwit").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		on(t, spare, "rm -rf /usr/local/bin/godwit /root/.local/state/godwit /home/*/.local/state/godwit")
	})
	there := func(user string, code int, words ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		// No ssh could get anywhere.
		r := spare.Run(ctx, user, "PATH=$PATH:/usr/local/bin GODWIT_SSHOPTS='-o ProxyCommand=false' godwit "+strings.Join(words, " "))
		if r.Exit != code {
			t.Errorf("%s: godwit %s: status %d\n%s%s", user, strings.Join(words, " "), r.Exit, r.Stdout, r.Stderr)
		}
		return r.Stdout + r.Stderr
	}
	for _, user := range []string{"root", "deploy"} {
		said := there(user, 0, "deploy", "--store-path", good, "--to", "here", "--local=here", "switch")
		if want := map[string]string{"root": "switched, confirmed", "deploy": "already runs this system"}[user]; !strings.Contains(said, want) {
			t.Errorf("%s: no %q in\n%s", user, want, said)
		}
		if now := on(t, spare, "readlink -f /run/current-system; cat /run/e2e"); now != good+"\nlocal-good" {
			t.Errorf("%s: the host runs %q", user, now)
		}
		said = there(user, 3, "deploy", "--store-path", bad, "--to", "here", "--local=here", "switch")
		if !strings.Contains(said, "activation") || strings.Contains(said, "ssh --") {
			t.Errorf("%s: it says\n%s", user, said)
		}
		if now := on(t, spare, "readlink -f /run/current-system; cat /run/e2e"); now != good+"\nlocal-good" {
			t.Errorf("%s: after the way back the host runs %q", user, now)
		}
		isSettled(t, spare)
	}
	if said := there("root", 1, "deploy", "--store-path", good, "--to", "here", "--local=here", "boot", "--reboot"); !strings.Contains(said, "cannot see it come back") {
		t.Errorf("a reboot of its own machine: %s", said)
	}
	if said := there("nobodyuser", 3, "deploy", "--store-path", bad, "--to", "here", "--local=here", "switch"); !strings.Contains(said, "sudo needs a password for nobodyuser") {
		t.Errorf("nobody: %s", said)
	}
}
