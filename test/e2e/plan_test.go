package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/test/canary"
	"godwit/test/lab"
)

// outs checks that each text is on stdout.
func (r result) outs(texts ...string) result {
	r.t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.stdout, text) {
			r.t.Errorf("godwit %s: stdout lacks %q:\n%s\n%s", strings.Join(r.args, " "), text, r.stdout, r.stderr)
		}
	}
	return r
}

// planJSON is what tests read of a plan.
type planJSON struct {
	Schema, Hash string
	Version      int
	Hosts        []struct {
		Name, Status, Running, System, Error string
		Units                                *struct {
			Restart, Start, Stop []string
			Estimated            bool
		}
		Copy    *struct{ Paths, Bytes int64 }
		Closure *struct{ Changes []struct{ Name string } }
		Free    map[string]int64
		Last    *struct{ User, Action, Result string }
		Risks   []struct{ Name, Accepted string }
		Secrets []struct {
			Name, State string
			Differs     []string
		}
	}
}

func (r result) plan() planJSON {
	r.t.Helper()
	var p planJSON
	if err := json.Unmarshal([]byte(r.stdout), &p); err != nil {
		r.t.Fatalf("not a plan: %v\n%s\n%s", err, r.stdout, r.stderr)
	}
	return p
}

// terminal runs godwit on a pseudo-terminal of its own. For each pair of texts
// the second is typed when the first has been shown.
func (w *world) terminal(dialog [][2]string, args ...string) (screen string, code int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, shared.godwit, args...)
	cmd.Dir = w.dir
	cmd.Env = append(append(os.Environ(), w.env...), "CI=", "TERM=xterm", "USER=ana")
	screen, err := lab.Terminal(ctx, cmd, dialog)
	if err != nil {
		w.t.Fatalf("%v:\n%s", err, screen)
	}
	if canary.Has([]byte(screen)) {
		w.t.Errorf("godwit %s shows a secret:\n%s", strings.Join(args, " "), screen)
	}
	return screen, cmd.ProcessState.ExitCode()
}

// kernel chooses one of the small NixOS's kernels.
func kernel(name string) string { return "boot.kernelPackages = pkgs." + name + ";" }

// TestPlan is a plan of everything at once: a host that changes, one that does
// not, one that does not answer, one that cannot be built.
func TestPlan(t *testing.T) {
	own := hosts(t, "web", "db")
	web, db := own[0], own[1]
	w := newWorld(t, web, db)
	hosts := map[string]string{"web": amd64 + service("plan-one"), "db": amd64 + service("same")}
	net := w.fleetOf("", hosts)
	w.runEnv([]string{"USER=ana"}, "deploy", net, "switch", "--accept-risk", "kernel-change,unknown-profile").exits(0)
	before := on(t, web, "readlink /run/current-system; ls /nix/store | wc -l")

	hosts["web"] = amd64 + service("plan-two")
	hosts["gone"] = amd64 + `deployment.targetHost = "127.0.0.1"; deployment.targetPort = 9;`
	hosts["broken"] = amd64 + `environment.systemPackages = [ pkgs.lab-fails ];`
	w.fleetOf("", hosts)
	if r := w.run("plan", net, "--dry-run").exits(0).says("dry run: would build ", "-nixos-system-web-").saysNot("building"); r.stdout != "" {
		t.Errorf("a dry run wrote a plan:\n%s", r.stdout)
	}
	r := w.run("plan", net).exits(3)
	r.outs("Plan: 1 host changes, 1 unchanged, 1 unreachable, 1 failed",
		"already runs this system", "by its unit files: restart e2e", "to copy", "configuration only").saysNot("\x1b[")
	if !regexp.MustCompile(`(?m)^  gone +✗ .*refuses`).MatchString(r.stdout) {
		t.Errorf("gone:\n%s", r.stdout)
	}
	p := w.run("plan", net, "--json").exits(3).plan()
	if p.Schema != "godwit-plan" || p.Version != 3 || p.Hash == "" || len(p.Hosts) != 4 {
		t.Fatalf("%+v", p)
	}
	for _, h := range p.Hosts {
		switch h.Name {
		case "web":
			if h.Status != "change" || h.Units == nil || !h.Units.Estimated || !slices.Contains(h.Units.Restart, "e2e.service") ||
				h.Copy == nil || h.Copy.Paths == 0 || h.Copy.Bytes == 0 || h.Free["/nix"] == 0 || h.Closure == nil || len(h.Risks) > 0 ||
				h.Last == nil || h.Last.User != "ana" || h.Last.Action != "switch" {
				t.Errorf("web: %+v", h)
			}
		case "db":
			if h.Status != "unchanged" {
				t.Errorf("db: %+v", h)
			}
		case "gone":
			if h.Status != "unreachable" {
				t.Errorf("gone: %+v", h)
			}
		case "broken":
			if h.Status != "failed" {
				t.Errorf("broken: %+v", h)
			}
		}
	}
	if after := on(t, web, "readlink /run/current-system; ls /nix/store | wc -l"); after != before {
		t.Errorf("planning changed the host: %s -> %s", before, after)
	}

	// For scripts and pull requests.
	w.run("plan", net, "--detailed-exitcode").exits(3)
	w.run("plan", net, "--on", "db", "--detailed-exitcode").exits(0)
	w.run("plan", net, "--on", "web,db", "--detailed-exitcode", "--markdown").exits(2).
		outs("<!-- godwit plan -->\n### Plan: 1 host changes, 1 unchanged\n", "| <code>web</code> | changes | <code>configuration only</code>", "<details><summary><code>web</code></summary>")

	// Copied, the new system itself says what it would do.
	p = w.run("plan", net, "--on", "web", "--copy", "--json").exits(0).plan()
	if h := p.Hosts[0]; h.Units == nil || h.Units.Estimated || !slices.Equal(h.Units.Restart, []string{"e2e.service"}) || h.Copy == nil || h.Copy.Paths != 0 {
		t.Errorf("with --copy: %+v", h)
	}
	w.run("plan", net, "--on", "web", "--verbose").exits(0).outs("would run", "restart e2e.service", "by ana@", "free")
}

// TestSavedPlan saves a plan, applies it, and refuses it when the world has moved.
func TestSavedPlan(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	net := w.fleetOf(service("saved-one"), map[string]string{"spare": amd64})
	w.run("deploy", net, "switch", "--accept-risk", "kernel-change,unknown-profile").exits(0)

	w.fleetOf(service("saved-two"), map[string]string{"spare": amd64})
	file := filepath.Join(w.dir, "today.plan")
	w.run("plan", net, "-o", file).exits(0).outs("1 host changes").says("godwit deploy " + file)
	var p planJSON
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}

	// The configuration moves.
	w.file("other.nix", "{ }")
	w.run("deploy", file).exits(4).says("the configuration has changed", "hint:")
	if err := os.Remove(filepath.Join(w.dir, "other.nix")); err != nil {
		t.Fatal(err)
	}
	w.run("deploy", file, "--on", "spare").exits(1).says("--on belongs to godwit plan")
	w.run("deploy", file, "switch").exits(1)

	// A changed file is no plan.
	for _, c := range [][2]string{
		{`"action": "switch"`, `"action": "boot"`}, {`"drv": "/nix/store/`, `"drv": "/nix/store/../../etc/`},
		{`"created": "2`, `"created": "1`}, {`/network.nix"`, `/other.nix"`},
	} {
		if !strings.Contains(string(data), c[0]) {
			t.Errorf("no %s in the plan", c[0])
		}
		w.file("forged.plan", strings.ReplaceAll(string(data), c[0], c[1]))
		w.run("deploy", filepath.Join(w.dir, "forged.plan")).exits(1).says("was changed after it was made", "hint: godwit plan -o ")
	}

	w.run("deploy", file).exits(0)
	if now := on(t, spare, "readlink -f /run/current-system"); now != p.Hosts[0].System {
		t.Errorf("runs %s, planned was %s", now, p.Hosts[0].System)
	}
	if got := on(t, spare, "cat /run/e2e"); got != "saved-two" {
		t.Errorf("the service wrote %q", got)
	}
	if rec := on(t, spare, "tail -n 1 /var/lib/godwit/history.jsonl"); !strings.Contains(rec, p.Hash) {
		t.Errorf("the record on the host does not name the plan %s: %s", p.Hash, rec)
	}
	isSettled(t, spare)

	// Once more: nothing is left to do.
	w.run("deploy", file).exits(0).says("already runs this system")

	// The host has moved: it runs something else than was planned.
	on(t, spare, p.Hosts[0].Running+"/bin/switch-to-configuration test >/dev/null 2>&1")
	w.run("deploy", file).exits(4).says("has changed since the plan was made", "would boot", "no host was changed")
	on(t, spare, p.Hosts[0].System+"/bin/switch-to-configuration test >/dev/null 2>&1")
	isSettled(t, spare)
}

// TestRisk: a kernel change stops a run that nobody watches, until it is accepted.
func TestRisk(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	only := func(extra string) map[string]string { return map[string]string{"spare": amd64 + extra} }
	net := w.fleetOf(service("risk-one"), only(kernel("linuxPackages")))
	w.run("deploy", net, "switch", "--accept-risk", "kernel-change,unknown-profile").exits(0)
	base := on(t, spare, "readlink /run/current-system")
	t.Cleanup(func() { // the next test does not ask for another kernel
		w.fleetOf(service("risk-none"), only(""))
		w.run("deploy", net, "switch", "--accept-risk", "kernel-change,unknown-profile,ssh-change,dirty-tree").exits(0)
	})

	w.fleetOf(service("risk-two"), only(kernel("linuxPackages_latest")))
	w.run("deploy", net, "switch").exits(4).says("kernel-change", "linux 6.12.55 → 6.17.5", "--accept-risk=kernel-change", "no host was changed").
		saysNot("not-started")
	w.run("deploy", net, "switch", "--yes").exits(4)
	w.run("deploy", net, "switch", "--accept-risk", "kernel-chnge").exits(1).says("did you mean kernel-change?")
	if now := on(t, spare, "readlink /run/current-system"); now != base {
		t.Errorf("a refused plan changed the host to %s", now)
	}
	isSettled(t, spare)
	// test does not change what boots.
	w.run("plan", net, "test").exits(0)
	w.run("deploy", net, "switch", "--accept-risk=kernel-change").exits(0)
	isSettled(t, spare)

	// sshd's settings.
	ssh := `services.openssh.enable = true; services.openssh.settings.MaxSessions = `
	w.fleetOf(service("risk-two"), only(kernel("linuxPackages_latest")+ssh+`40;`))
	w.run("deploy", net, "switch").exits(0) // godwit had not set any before
	w.fleetOf(service("risk-two"), only(kernel("linuxPackages_latest")+ssh+`41;`))
	w.run("deploy", net, "switch").exits(4).says("ssh-change: sshd's configuration changes")
	// A setting of the person's own accepts, too.
	config := filepath.Join(w.dir, "config/godwit/config.toml")
	w.file("config/godwit/config.toml", "[deploy]\naccept-risk = [\"ssh-change\"]\n")
	w.runEnv([]string{"XDG_CONFIG_HOME=" + filepath.Dir(filepath.Dir(config))}, "deploy", net, "switch").exits(0)
	isSettled(t, spare)

	// Somebody else switches.
	on(t, spare, base+"/bin/switch-to-configuration test >/dev/null 2>&1")
	w.fleetOf(service("risk-three"), only(kernel("linuxPackages_latest")+ssh+`41;`))
	w.run("deploy", net, "switch").exits(4).says("unknown-profile")
	w.run("deploy", net, "switch", "--accept-risk", "unknown-profile", "--accept-risk", "ssh-change,kernel-change").exits(0)
	isSettled(t, spare)

	// Changes that are not committed.
	for _, args := range [][]string{{"init", "-q"}, {"add", "network.nix"}, {"-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one"}} {
		cmd := exec.Command("git", append([]string{"-C", w.dir}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %s", args, out)
		}
	}
	w.fleetOf(service("risk-four"), only(kernel("linuxPackages_latest")+ssh+`41;`))
	w.run("deploy", net, "switch").exits(4).says("dirty-tree")
	w.run("deploy", net, "switch", "--accept-risk=dirty-tree").exits(0)
	if rec := on(t, spare, "tail -n 1 /var/lib/godwit/history.jsonl"); !strings.Contains(rec, `"tree":"dirty"`) || !strings.Contains(rec, `"commit":"`) {
		t.Errorf("the record lacks the commit: %s", rec)
	}
}

// TestQuestion asks on a terminal.
func TestQuestion(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	net := w.fleetOf(service("ask-one"), map[string]string{"spare": amd64})
	w.run("deploy", net, "switch", "--accept-risk", "kernel-change,unknown-profile,ssh-change").exits(0)
	w.fleetOf(service("ask-two"), map[string]string{"spare": amd64})

	wrote := func(want string) {
		t.Helper()
		if got := on(t, spare, "cat /run/e2e"); got != want {
			t.Errorf("the service wrote %q, not %q", got, want)
		}
	}
	ask := "Deploy to spare? [y/N/d for details] "
	screen, code := w.terminal([][2]string{{ask, "n\r"}}, "deploy", net, "switch")
	if code != 4 || !strings.Contains(screen, "restart e2e") || !strings.Contains(screen, "the answer was no") {
		t.Errorf("no: exit %d\n%s", code, screen)
	}
	// The end of input is no answer.
	if screen, code = w.terminal([][2]string{{ask, "\x04"}}, "deploy", net, "switch"); code != 4 {
		t.Errorf("Ctrl-D: exit %d\n%s", code, screen)
	}
	wrote("ask-one")
	screen, code = w.terminal([][2]string{{ask, "d\r"}, {"would run", ""}, {ask, "y\r"}}, "deploy", net, "switch")
	if code != 0 {
		t.Errorf("yes: exit %d\n%s", code, screen)
	}
	wrote("ask-two")
	// All of it runs already: there is nothing to ask.
	if screen, code = w.terminal(nil, "deploy", net, "switch"); code != 0 || strings.Contains(screen, "[y/N") {
		t.Errorf("unchanged: exit %d\n%s", code, screen)
	}
	w.fleetOf(service("ask-three"), map[string]string{"spare": amd64})
	if screen, code = w.terminal(nil, "deploy", net, "dry-activate"); code != 0 || strings.Contains(screen, "[y/N") {
		t.Errorf("dry-activate: exit %d\n%s", code, screen)
	}
	// Whether to keep it: no, and no answer, take it back. Yes is the confirmation.
	keep := "spare runs the new system. Keep it? [y/N/a for all, no answer in "
	screen, code = w.terminal([][2]string{{keep, "n\r"}}, "deploy", net, "switch", "--yes", "--ask-keep")
	if code != 3 || !strings.Contains(screen, "the answer was not to keep it") {
		t.Errorf("not kept: exit %d\n%s", code, screen)
	}
	wrote("ask-two")
	screen, code = w.terminal([][2]string{{keep, ""}}, "deploy", net, "switch", "--yes", "--ask-keep", "--confirm-timeout", "8")
	if code != 3 || !strings.Contains(screen, "there was no answer in time whether to keep it") {
		t.Errorf("no answer: exit %d\n%s", code, screen)
	}
	wrote("ask-two")
	screen, code = w.terminal([][2]string{{keep, "y\r"}}, "deploy", net, "switch", "--yes", "--ask-keep")
	if code != 0 {
		t.Errorf("kept: exit %d\n%s", code, screen)
	}
	wrote("ask-three")
	// With --reboot it is asked when the host is back; no answer, or a no, reboots it into what ran before.
	w.fleetOf(service("ask-reboot"), map[string]string{"spare": amd64})
	boot := func() string { t.Helper(); return on(t, spare, "cat /proc/sys/kernel/random/boot_id") }
	was := boot()
	screen, code = w.terminal([][2]string{{keep, "n\r"}}, "deploy", net, "switch", "--yes", "--ask-keep", "--reboot")
	if code != 3 || !strings.Contains(screen, "the answer was not to keep it") || boot() == was {
		t.Errorf("not kept after a reboot: exit %d\n%s", code, screen)
	}
	wrote("ask-three")
	screen, code = w.terminal([][2]string{{keep, "y\r"}}, "deploy", net, "boot", "--yes", "--ask-keep", "--reboot")
	if code != 0 {
		t.Errorf("kept after a reboot: exit %d\n%s", code, screen)
	}
	wrote("ask-reboot")
	isSettled(t, spare)
	w.fleetOf(service("ask-four"), map[string]string{"spare": amd64})
	if screen, code = w.terminal(nil, "deploy", net, "switch", "--yes"); code != 0 || !strings.Contains(screen, "Plan: 1 host changes") || strings.Contains(screen, "[y/N") {
		t.Errorf("--yes: exit %d\n%s", code, screen)
	}
	wrote("ask-four")
	// A risk is named in the question.
	w.fleetOf(service("ask-four"), map[string]string{"spare": amd64 + kernel("linuxPackages_latest")})
	screen, code = w.terminal([][2]string{{"Deploy to spare, accepting kernel-change? [y/N", "\r"}}, "deploy", net, "switch")
	if code != 4 {
		t.Errorf("risk: exit %d\n%s", code, screen)
	}
	// Ctrl-C at the question changes nothing.
	if screen, code = w.terminal([][2]string{{"[y/N", "\x03"}}, "deploy", net, "switch"); code != 130 {
		t.Errorf("Ctrl-C: exit %d\n%s", code, screen)
	}
	isSettled(t, spare)
	if !strings.Contains(screen, "kernel-change") {
		t.Errorf("the risk is not shown:\n%s", screen)
	}
}

// TestPlanSecrets: a plan tells what becomes of each secret, and nothing of what is in it.
func TestPlanSecrets(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	on(t, spare, "rm -rf /var/plan-keys")
	secret := func(name, mode string) string {
		return fmt.Sprintf(`deployment.secrets.%s = { source = "keys/%s"; destination = "/var/plan-keys/%s"; permissions = "%s"; };`, name, name, name, mode)
	}
	body := amd64 + service("plan-secrets")
	net := w.fleetOf("", map[string]string{"spare": body})
	w.run("deploy", net, "switch", "--accept-risk", "kernel-change,unknown-profile,ssh-change").exits(0)
	if p := w.run("plan", net, "--upload-secrets", "--json").exits(0).plan(); p.Hosts[0].Status != "unchanged" || p.Hosts[0].Secrets != nil {
		t.Errorf("without secrets: %+v", p.Hosts[0])
	}

	contents := map[string]string{"kept": canary.Value("kept"), "text": canary.Value("text"), "open": canary.Value("open")}
	for name, content := range contents {
		w.file("keys/"+name, content)
	}
	w.fleetOf("", map[string]string{"spare": body + secret("kept", "0400") + secret("text", "0400") + secret("open", "0400")})
	if p := w.run("plan", net, "--json").exits(0).plan(); p.Hosts[0].Status != "unchanged" || p.Hosts[0].Secrets != nil {
		t.Errorf("not to be uploaded: %+v", p.Hosts[0])
	}
	before := on(t, spare, "ls -A /run/godwit /var/lib/godwit; ls -d /var/plan-keys 2>/dev/null; true")
	w.run("plan", net, "--upload-secrets").exits(0).outs("1 host changes", "already runs this system", "secrets: new kept, open, text")
	if after := on(t, spare, "ls -A /run/godwit /var/lib/godwit; ls -d /var/plan-keys 2>/dev/null; true"); after != before {
		t.Errorf("planning left %q, before it was %q", after, before)
	}
	w.run("upload-secrets", net).exits(0)
	w.run("plan", net, "--upload-secrets").exits(0).outs("1 host unchanged").saysNot("secrets:")

	// One is changed, one gets another mode, one is new.
	was := contents["text"]
	contents["text"], contents["more"] = canary.Value("text2"), canary.Value("more")
	w.file("keys/text", contents["text"])
	w.file("keys/more", contents["more"])
	w.fleetOf("", map[string]string{"spare": body + secret("kept", "0400") + secret("text", "0400") + secret("open", "0440") + secret("more", "0400")})
	w.run("plan", net, "--upload-secrets").exits(0).outs("secrets: new more · changed open (mode), text")
	w.run("plan", net, "--upload-secrets", "--verbose").exits(0).outs("kept to /var/plan-keys/kept (unchanged)", "text to /var/plan-keys/text (changed: content)",
		"open to /var/plan-keys/open (changed: mode)", "more to /var/plan-keys/more (new)")
	file := filepath.Join(w.dir, "secrets.plan")
	r := w.run("plan", net, "--upload-secrets", "--json", "-o", file).exits(0)
	h := r.plan().Hosts[0]
	got := ""
	for _, s := range h.Secrets {
		got += s.Name + "=" + s.State + strings.Join(append([]string{""}, s.Differs...), ",") + " "
	}
	if h.Status != "change" || len(h.Risks) > 0 || got != "kept=unchanged more=new open=changed,mode text=changed,content " {
		t.Errorf("%+v", h)
	}
	saved, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range contents {
		sum := sha256.Sum256([]byte(content))
		for _, bad := range []string{content, hex.EncodeToString(sum[:])} {
			if strings.Contains(string(saved)+r.stdout+r.stderr, bad) {
				t.Errorf("the plan tells %q", bad)
			}
		}
	}

	// What was to stay as it is has changed since.
	w.file("keys/kept", canary.Value("kept2"))
	w.run("deploy", file).exits(4).says("its secret kept was to stay as it is", "no host was changed")
	w.file("keys/kept", contents["kept"])
	// On a terminal the question is about these secrets, too.
	if screen, code := w.terminal([][2]string{{"secrets: new more", ""}, {"Deploy to spare? [y/N", "n\r"}}, "deploy", net, "switch", "--upload-secrets"); code != 4 {
		t.Errorf("no: exit %d\n%s", code, screen)
	}
	if got := on(t, spare, "cat /var/plan-keys/text; ls /var/plan-keys"); got != was+"kept\nopen\ntext" {
		t.Errorf("the answer was no, and the host has %q", got)
	}
	w.run("deploy", file).exits(0)
	if got := on(t, spare, "cat /var/plan-keys/text /var/plan-keys/more; stat -c %a /var/plan-keys/open"); got != contents["text"]+contents["more"]+"440" {
		t.Errorf("the host has %q", got)
	}
	w.run("deploy", file).exits(0).says("already runs this system") // once more
	isSettled(t, spare)
}
