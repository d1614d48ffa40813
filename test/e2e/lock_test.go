package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"godwit/test/canary"
)

// TestLock: a person keeps a host from being changed, and another one tries.
func TestLock(t *testing.T) {
	const why = "disk is being replaced, OPS-412"
	spare := host(t, "spare")
	w := newWorld(t, spare)
	w.ownState("ana")
	net := w.fleetOf(service("not-locked"), map[string]string{"spare": amd64})
	w.run("deploy", net, "switch", "--accept-risk", "kernel-change,unknown-profile").exits(0)
	before := on(t, spare, "readlink -f /run/current-system")
	w.run("lock", net, "spare").exits(1).says("a lock says why")
	w.run("lock", net, "spare", "--message", why, "--dry-run").exits(0)
	w.run("unlock", net, "spare").exits(0).says("was not locked")
	w.run("lock", net, "spare", "--message", why).exits(0).says("locked: " + why)
	w.run("lock", net, "spare", "--message", why).exits(0).says("locked by ana")
	if got := on(t, spare, "stat -c '%U %a' /var/lib/godwit-lock.json"); got != "root 644" {
		t.Errorf("the lock is %s", got)
	}

	bo := func(args ...string) result { return w.runEnv([]string{"USER=bo"}, args...) }
	bo("lock", net, "spare", "--message", "mine").exits(3).says("already locked by ana", "--replace")
	bo("status", net, "--no-eval").exits(0).shows("locked by ana", why)
	bo("doctor", net, "spare").exits(0).shows("this machine", "✓ nix ", "✓ ssh ", "spare", "✓ login", "✓ root", "✓ systemd", "✓ clock", "free in /nix", "boot-loader", "locked by ana", "godwit unlock spare")
	bo("doctor", net, "--json").exits(0).shows(`"check": "lock"`, `"level": "warn"`)
	bo("deploy", net, "switch").exits(0) // it runs that already: nothing to keep it from
	w.fleetOf(service("locked-out"), map[string]string{"spare": amd64 + `deployment.secrets.a = { source = "key"; destination = "/var/keys/lock"; owner.user = "root"; owner.group = "root"; };`})
	w.file("key", canary.Value("sesame")+"\n")
	bo("plan", net).exits(3).outs("1 host blocked", "locked by ana", "OPS-412")
	for _, args := range [][]string{{"deploy", net, "switch"}, {"deploy", net, "boot"}, {"deploy", net, "switch", "--upload-secrets"}, {"rollback", net, "spare"}, {"upload-secrets", net}, {"gc", net, "spare"}} {
		bo(args...).exits(3).says("locked by ana on ", why, "godwit unlock spare", "--override-lock")
	}
	bo("deploy", net, "dry-activate").exits(0)
	if now := on(t, spare, "readlink -f /run/current-system; ls /var/keys/lock 2>/dev/null || true"); now != before {
		t.Errorf("a locked host was changed: %s", now)
	}

	trace := filepath.Join(w.dir, "trace.json")
	bo("deploy", net, "switch", "--override-lock", "--message", "cannot wait", "--trace", trace).exits(0).says("although the host is locked by ana")
	type span struct {
		Name, Ph string
		Dur      float64
	}
	var spans []span
	if data, err := os.ReadFile(trace); err != nil || json.Unmarshal(data, &spans) != nil {
		t.Errorf("the trace: %v\n%s", err, data)
	}
	for _, step := range []string{"evaluate", "connect", "build", "copy", "activate"} {
		if !slices.ContainsFunc(spans, func(s span) bool { return s.Ph == "X" && strings.HasPrefix(s.Name, step) && s.Dur > 0 }) {
			t.Errorf("the trace has no %s: %+v", step, spans)
		}
	}
	var record struct{ Meta map[string]string }
	if err := json.Unmarshal([]byte(on(t, spare, "tail -n 1 /var/lib/godwit/history.jsonl")), &record); err != nil {
		t.Fatal(err)
	}
	if m := record.Meta; !strings.HasPrefix(m["overrode"], "ana on ") || !strings.HasSuffix(m["overrode"], why) || m["message"] != "cannot wait" {
		t.Errorf("the host recorded %v", m)
	}
	if e := w.history("spare", "--local")[0]; !strings.HasSuffix(e.Overrode, why) || e.Message != "cannot wait" {
		t.Errorf("remembered here: %+v", e)
	}
	bo("unlock", net, "spare").exits(0).says("was locked by ana")
	w.run("rollback", net, "spare").exits(0)
	if now := on(t, spare, "readlink -f /run/current-system"); now != before {
		t.Errorf("unlocked and rolled back, it runs %s", now)
	}
}
