package e2e

import (
	"strings"
	"testing"
	"time"

	"godwit/test/lab"
)

// TestAsleep closes the lid of the deployer's laptop for a minute while checks go on,
// stops only its ssh, and kills it: the host is back within a minute of the loss, or
// confirmed, and the screen says which.
func TestAsleep(t *testing.T) {
	needLab(t)
	t.Parallel()
	for _, c := range []struct {
		name     string
		back     bool
		deployer func(p *process)
	}{
		{"lid closed for a minute", true, func(p *process) {
			pid := p.cmd.Process.Pid
			lab.Sleep(append([]int{pid}, lab.SSHOf(pid, "")...), time.Minute)
		}},
		{"ssh stopped for a minute", false, func(p *process) { lab.Sleep(lab.SSHOf(p.cmd.Process.Pid, ""), time.Minute) }},
		{"killed", true, func(p *process) { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := host(t, "lid")
			w := newWorld(t, h)
			fleet := func(word, check string) string {
				return w.fleetOf(service(word)+check, map[string]string{h.Name: amd64})
			}
			usual := w.run("deploy", fleet("start", ""), "switch").exits(0).took
			// The silence that a host bears, and its way back, which takes its time on a busy machine.
			limit := max(time.Minute, 45*time.Second+3*usual)
			slow := `deployment.healthChecks.local = [ { description = "slow"; cmd = [ "sleep" "20" ]; timeout = 60; } ];`
			old := on(t, h, "readlink -f /run/current-system")
			p := w.start(t.Context(), nil, "deploy", fleet(strings.Fields(c.name)[0], slow), "switch", "--json")
			p.until(`"step":"check","kind":"started"`, 2*time.Minute)
			begin := time.Now()
			gone := make(chan time.Duration, 1)
			go func() {
				for c.back && time.Since(begin) < max(2*time.Minute, limit) && on(t, h, "readlink -f /run/current-system; ls -d /run/godwit/current 2>/dev/null || true") != old {
					time.Sleep(500 * time.Millisecond)
				}
				gone <- time.Since(begin)
			}()
			c.deployer(p)
			if c.name != "killed" {
				r := p.wait()
				if c.back {
					if r.exits(3); !strings.Contains(r.stdout+r.stderr, "did not hear from godwit for 45s") {
						t.Errorf("it does not say why:\n%s\n%s", r.stdout, r.stderr)
					}
				} else {
					r.exits(0)
				}
			}
			if c.back {
				if took := <-gone; took > limit {
					t.Errorf("back on the old system after %s", took)
				} else {
					t.Logf("back on the old system after %s", took)
				}
			}
			if now := on(t, h, "readlink -f /run/current-system"); (now == old) != c.back {
				t.Errorf("the host runs %s, before it was %s", now, old)
			}
			isSettled(t, h)
		})
	}
}
