package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTwins: two hosts of the configuration that are one machine are not both
// changed: not when ssh says so, and not when only the machine itself does.
func TestTwins(t *testing.T) {
	h := host(t, "spare")
	w := newWorld(t, h)
	w.run("deploy", w.fleetOf(service("before"), map[string]string{"spare": amd64}), "switch", "--accept-risk=unknown-profile").exits(0)
	was := on(t, h, "wc -l </var/lib/godwit/history.jsonl; readlink /run/current-system")
	untouched := func(r result) result {
		t.Helper()
		if now := on(t, h, "wc -l </var/lib/godwit/history.jsonl; readlink /run/current-system"); now != was {
			t.Errorf("the host was touched:\n%s", now)
		}
		return r
	}
	// "odd" is the same machine by way of itself: no comparison of addresses finds that.
	config := filepath.Join(w.dir, "ssh_config")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), "Host spare\n", "Host spare one two odd\n", 1))
	text = append([]byte(fmt.Sprintf("Host odd\n  HostName 127.0.0.1\n  Port 22\n  ProxyJump spare\n  HostKeyAlias [127.0.0.1]:%d\n\n", h.Port)), text...)
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	net := w.fleetOf(service("twins"), map[string]string{"one": amd64, "two": amd64, "odd": amd64 + `deployment.tags = [ "odd" ];`})

	both := []string{"--on", "{one,two}"}
	untouched(w.run(append([]string{"deploy", net, "switch"}, both...)...).exits(4)).
		says("one and two have the same address", "one  it has the address of two: 127.0.0.1 port ", "--accept-risk=same-address", "--on")
	untouched(w.run(append([]string{"rollback", net, "--to", "1"}, both...)...).exits(1)).says("have the same address")
	untouched(w.run(append([]string{"upload-secrets", net}, both...)...).exits(1)).says("have the same address")
	plan := w.run(append([]string{"plan", net, "--json"}, both...)...).exits(3)
	for _, want := range []string{`"name": "same-address"`, "it is the same machine as"} {
		if !strings.Contains(plan.stdout, want) {
			t.Errorf("the plan does not say %q:\n%s", want, plan.stdout)
		}
	}
	// Accepted, in case that ssh was wrong: but the machine knows better.
	for _, parallel := range []string{"1", "4"} {
		untouched(w.run(append([]string{"deploy", net, "switch", "--accept-risk=same-address,wrong-host,unknown-profile", "--parallel", parallel}, both...)...).exits(3)).
			says("one: it is the same machine as two", "two: it is the same machine as one")
		untouched(w.run("deploy", net, "switch", "--on", "{one,odd}", "--accept-risk=wrong-host,unknown-profile", "--parallel", parallel).exits(3)).
			says("odd: it is the same machine as one", "one: it is the same machine as odd")
	}
	// One at a time is what --on is for.
	w.run("deploy", net, "switch", "--on", "odd", "--accept-risk=wrong-host,unknown-profile").exits(0)
	wrote(t, h, "twins")
	isSettled(t, h)
}
