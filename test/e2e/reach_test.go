package e2e

import (
	"strings"
	"testing"
)

// TestReach: another address and another user for one run, and a person's own ssh.
func TestReach(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	net := w.fleetOf(`deployment.targetHost = "nowhere.invalid"; deployment.targetUser = "deploy";`, map[string]string{"spare": amd64})
	w.run("exec", net, "id", "-un").exits(3).says("nowhere.invalid")
	for user, flags := range map[string][]string{
		"deploy": {"--target", "spare"}, "root": {"--target", "spare=root@spare"}, "nobodyuser": {"--target", "spare=spare", "--user", "nobodyuser"},
	} {
		w.run(append(append([]string{"exec"}, flags...), net, "id", "-un")...).exits(0).outs(user)
		r := w.run(append(append([]string{"ssh"}, flags...), net, "spare", "id", "-un;", "exit", "7")...).exits(7)
		if strings.TrimSpace(r.stdout) != user {
			t.Errorf("ssh logs in as %q, want %s\n%s", r.stdout, user, r.stderr)
		}
	}
	w.run("exec", "--target", "web9=spare", net, "true").exits(1).says("there is no host 'web9'")
	w.run("ssh", "--dry-run", "--target", "spare", net, "spare", "true").exits(0).says("-- deploy@spare true")
	w.run("ssh", net, "web9").exits(1).says("web9")
}

// TestSudoers: the rule that is printed is one that sudo takes, and all that godwit needs.
func TestSudoers(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	rule := w.run("sudoers", "nobodyuser").exits(0).stdout
	on(t, spare, "cat >/etc/sudoers.d/godwit-test <<'EOF'\n"+rule+"EOF\nchmod 440 /etc/sudoers.d/godwit-test; visudo -c")
	t.Cleanup(func() { on(t, spare, "rm -f /etc/sudoers.d/godwit-test") })
	w.run("deploy", "--store-path", w.system(service("sudoers")), "--to", "nobodyuser@spare", "switch").exits(0).says("switched, confirmed")
	if r := spare.Run(t.Context(), "nobodyuser", "sudo -n id"); r.OK() {
		t.Errorf("the rule allows more than it says: %s", r.Stdout)
	}
	isSettled(t, spare)
	w.run("sudoers", "no body").exits(1)
}
