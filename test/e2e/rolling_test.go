package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

const neverWell = `deployment.healthChecks.cmd = [ { description = "never"; cmd = [ "false" ]; period = 1; } ];`

// TestRolling deploys to hosts in batches, some of which fail.
func TestRolling(t *testing.T) {
	all := hosts(t, "db", "spare", "web") // in the order of the configuration
	web := all[2]
	w := newWorld(t, all...)
	// extra is for single hosts, settings for network.godwit.
	fleet := func(word, settings string, extra map[string]string) string {
		var b strings.Builder
		fmt.Fprintf(&b, "{\n  network.godwit = { %s };\n", settings)
		for _, h := range all {
			fmt.Fprintf(&b, "  %s = { ... }: { imports = [ ({ ... }: { %s deployment.targetUser = \"deploy\"; %s }) ({ ... }: { %s }) ]; };\n", h.Name, amd64, service(word), extra[h.Name])
		}
		return w.file("network.nix", b.String()+"}\n")
	}
	write := func(want ...string) {
		t.Helper()
		for i, h := range all {
			wrote(t, h, want[i])
		}
	}
	net := fleet("zero", "", nil)
	w.run("deploy", net, "switch").exits(0)
	deploy := func(args ...string) result {
		return w.run(append([]string{"deploy", net, "switch", "--timeout", "3"}, args...)...)
	}

	t.Run("canary fails", func(t *testing.T) {
		fleet("one", `batch = "1,rest";`, map[string]string{"db": neverWell})
		deploy().exits(3).says("2 batches: 1, 2 hosts", "not started: db failed")
		write("zero", "zero", "zero")
		// The command line wins.
		fleet("two", `batch = 1; onFailure = "stop";`, map[string]string{"db": neverWell})
		deploy("--batch", "1,rest", "--on-failure", "continue").exits(3).says("2 batches: 1, 2 hosts").saysNot("not started")
		write("zero", "two", "two")
	})
	t.Run("budget", func(t *testing.T) {
		fleet("three", `batch = "1"; maxFailures = "40%";`, map[string]string{"db": neverWell, "spare": neverWell})
		deploy().exits(3).says("not started: db, spare failed")
		write("zero", "two", "two")
	})
	t.Run("rollback", func(t *testing.T) {
		fleet("five", "", map[string]string{"web": neverWell})
		deploy("--batch", "1", "--on-failure", "rollback").exits(3).says("taken back, because web failed")
		write("zero", "two", "two")
	})
	t.Run("together", func(t *testing.T) {
		fleet("six", `together = true;`, map[string]string{"web": neverWell})
		deploy("--confirm-timeout", "40").exits(3).says("web failed, and these hosts are changed together or not at all")
		write("zero", "two", "two")
		fleet("six", `together = true;`, nil)
		deploy("--confirm-timeout", "40", "--parallel", "1").exits(0)
		write("six", "six", "six")
	})
	for _, h := range all {
		isSettled(t, h)
	}

	t.Run("unreachable", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
		defer cancel()
		if err := web.PowerCut(ctx); err != nil {
			t.Fatal(err)
		}
		fleet("eight", `unreachable = "skip";`, nil)
		deploy().exits(0).says("does not answer")
		p := w.start(ctx, nil, "deploy", net, "switch", "--unreachable", "wait", "--unreachable-timeout", "120")
		p.until("for the host to answer", time.Minute)
		if err := web.Boot(ctx); err != nil {
			t.Fatal(err)
		}
		p.wait().exits(0)
		write("eight", "eight", "eight")
		// One that hangs answers nothing either.
		if err := web.Freeze(ctx); err != nil {
			t.Fatal(err)
		}
		r := deploy("--unreachable", "fail")
		if err := web.Thaw(context.WithoutCancel(ctx)); err != nil {
			t.Fatal(err)
		}
		r.exits(3).says("web")
		isSettled(t, web)
	})
}
