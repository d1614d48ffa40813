package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/test/canary"
)

// TestKilled kills godwit itself in every stage of a deploy, and runs it again:
// before the host is changed that is all there is to do, after that the host
// goes back by itself first, and once it is confirmed nothing is left to do.
func TestKilled(t *testing.T) {
	h := host(t, "calm")
	w := newWorld(t, h)
	w.file("k", canary.Value("killed")+"\n")
	// Its temporary folders, and the one for sockets, whose path is to be short.
	runtime, err := os.MkdirTemp("/tmp", "kill")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(runtime) })
	temporary := t.TempDir()
	w.env = append(w.env, "XDG_RUNTIME_DIR="+runtime, "TMPDIR="+temporary)
	killed := 0
	only := func(word string) string {
		return w.fleetOf(service(word)+`
			environment.systemPackages = [ (derivation { name = "slow-`+word+`"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "/bin/sleep 0.3; /bin/mkdir $out" ]; }) ];
			system.activationScripts.slow = "echo now sleeping; sleep 0.5";
			deployment.secrets.k = { source = "k"; destination = "/var/k"; action = [ "sleep" "0.3" ]; };
			deployment.preDeployChecks.local = [ { description = "before"; cmd = [ "sleep" "0.3" ]; } ];
			deployment.healthChecks.local = [ { description = "after"; cmd = [ "sleep" "0.3" ]; } ];
		`, map[string]string{h.Name: amd64})
	}
	net := only("start")
	w.run("deploy", net, "switch").exits(0)
	word := "start"
	for _, c := range []struct {
		name, when string // an event
		changing   bool   // the host may be on its way to the new system
	}{
		{"build", `"step":"build","kind":"started"`, false},
		{"copy", `"step":"copy","kind":"started"`, false},
		{"plan", `"step":"plan","kind":"waiting"`, false},
		{"secrets", `"step":"secrets","kind":"started"`, false},
		{"pre-check", `"step":"pre-check","kind":"started"`, false},
		{"arming", `"step":"activate","kind":"started"`, true},
		{"activation", `now sleeping`, true},
		{"check", `"step":"check","kind":"started"`, true},
		{"confirmation", `"step":"check","kind":"done"`, true},
		{"end", `"step":"activate","kind":"done"`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w.as(t)
			net := only(c.name)
			// The host is to go back soon after the kill, and not before it on a busy machine.
			confirm := "3"
			if strings.Contains(c.when, `"step":"check"`) || c.name == "end" {
				confirm = "12"
			}
			args := []string{"deploy", net, "switch", "--upload-secrets", "--confirm-timeout", confirm, "--json"}
			old := on(t, h, "readlink -f /run/current-system")
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			// Whatever was being written when it was killed was new.
			w.file("k", c.name)
			p := w.start(ctx, nil, args...)
			p.until(c.when, time.Minute)
			_ = p.cmd.Process.Kill()
			if _ = p.cmd.Wait(); p.cmd.ProcessState.Exited() {
				t.Fatalf("godwit had ended before it was killed: %s\n%s", p.cmd.ProcessState, p.stdout.String())
			}
			for _, dir := range []string{runtime, temporary} {
				left, _ := filepath.Glob(filepath.Join(dir, "godwit-*"))
				killed += len(left)
			}
			if c.changing {
				// From outside: exactly old or exactly new, with nobody's help.
				for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
					if on(t, h, `systemctl list-units --all --plain --no-legend 'godwit-*'; ls -d /run/godwit/current 2>/dev/null || true`) == "" {
						break
					}
				}
				if left := on(t, h, "find /nix/var/nix/gcroots -name 'godwit*'"); left != "" && c.name != "arming" { // that may be too early
					t.Errorf("the roots that are left: %s", left)
				}
			}
			now := strings.Fields(on(t, h, "readlink -f /run/current-system /nix/var/nix/profiles/system; cat /boot/loader/default"))
			wrote := on(t, h, "cat /run/e2e")
			if len(now) != 3 || now[0] != now[1] || now[0] != now[2] || now[0] == old != (wrote == word) || wrote != word && wrote != c.name {
				t.Errorf("runs, profile, boots: %q; before: %s; the service wrote %q", now, old, wrote)
			}
			if !c.changing && now[0] != old {
				t.Errorf("killed before the host was to be changed, and it runs %s", now[0])
			}
			if c.name == "end" && now[0] == old {
				t.Error("it was confirmed, and the host went back")
			}
			// With more time than the run that was to be missed: the machine may be busy.
			w.run(append(slices.Clone(args), "--confirm-timeout", "60")...).exits(0)
			if got := on(t, h, "cat /run/e2e /var/k"); got != c.name+"\n"+c.name {
				t.Errorf("after another run the host has %q", got)
			}
			isSettled(t, h)
			word = c.name
			for _, dir := range []string{runtime, temporary} {
				if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
					t.Errorf("of the killed run there is still %v", left)
				}
			}
		})
	}
	// A root that nobody took away, for what the host runs already.
	on(t, h, "ln -s $(readlink -f /run/current-system) /nix/var/nix/gcroots/godwit-pushed")
	w.run("deploy", net, "switch").exits(0)
	isSettled(t, h)
	if killed == 0 {
		t.Error("no killed run left anything, so that nothing was swept")
	}
}
