package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"godwit/test/lab"
)

// entry is what history --json says.
type entry struct {
	Run, Host, Deployment, User, Deployer, File, Commit, Tree, Action, Old, New, Outcome, Reason, From, Message, Overrode string
	Seconds                                                                                                               float64
}

func (w *world) history(args ...string) []entry {
	w.t.Helper()
	var list []entry
	w.run(append([]string{"history", "--json"}, args...)...).exits(0).json(&list)
	return list
}

// json reads stdout.
func (r result) json(v any) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(r.stdout), v); err != nil {
		r.t.Fatalf("godwit %s: stdout is no JSON: %v\n%s\n%s", strings.Join(r.args, " "), err, r.stdout, r.stderr)
	}
}

// shows checks that each text is on stdout.
func (r result) shows(texts ...string) result {
	r.t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.stdout, text) {
			r.t.Errorf("godwit %s: stdout lacks %q:\n%s\nstderr:\n%s", strings.Join(r.args, " "), text, r.stdout, r.stderr)
		}
	}
	return r
}

// ownState gives the world a memory and a user of its own.
func (w *world) ownState(user string) {
	w.env = append(w.env, "XDG_STATE_HOME="+filepath.Join(w.dir, ".state-"+user), "USER="+user)
}

// git runs git in the world's directory.
func (w *world) git(args ...string) string {
	w.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", w.dir, "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (w *world) repository() {
	w.file(".gitignore", "ssh_config\n.state-*\n")
	w.git("init", "-q")
}

func (w *world) commit(message string) string {
	w.git("add", "-A")
	w.git("commit", "-q", "-m", message)
	return w.git("rev-parse", "HEAD")
}

// fresh makes a host that runs what it was booted with, so that no reboot is due.
func fresh(t *testing.T, hosts ...*lab.Host) {
	t.Helper()
	for _, h := range hosts {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		if err := h.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		on(t, h, "systemctl reset-failed")
	}
}

// TestHistoryAndStatus is the memory of a fleet as one person sees it.
func TestHistoryAndStatus(t *testing.T) {
	own := hosts(t, "web", "db")
	web, db := own[0], own[1]
	w := newWorld(t, web, db)
	w.ownState("ana")
	w.repository()
	hosts := map[string]string{"web": amd64, "db": amd64}
	w.run("history").exits(0).says("this machine knows of no deployment")

	net := w.fleetOf(service("memory-one"), hosts)
	first := w.commit("one")
	const why = "what's new: <one> & \"two\", Łódź"
	w.run("deploy", net, "switch", "--message", why).exits(0)
	fresh(t, web, db)
	w.run("status", net).exits(0).shows("✓ as in repository", "ana", first[:7], "(clean)")

	local := w.history()
	if len(local) != 2 {
		t.Fatalf("history: %+v", local)
	}
	current := on(t, web, "readlink -f /run/current-system")
	record := on(t, web, "tail -n 1 /var/lib/godwit/history.jsonl")
	for _, e := range local {
		if e.User != "ana" || e.Commit != first || e.Tree != "clean" || e.Action != "switch" || e.Outcome != "changed" || e.From != "deployer" || e.Deployment == "" || e.Seconds <= 0 || e.File != net || e.Message != why {
			t.Errorf("%+v", e)
		}
		if e.Host == "web" && (e.New != current || !strings.Contains(record, e.Deployment) || !strings.Contains(record, first)) {
			t.Errorf("%+v; the host runs %s and recorded %s", e, current, record)
		}
	}
	if whole := w.history(net, "web"); len(whole) == 0 || whole[0].From != "both" || whole[0].Host != "web" || whole[0].Outcome != "changed" {
		t.Errorf("merged with the host: %+v", whole)
	}
	w.run("history", "--id", local[0].Deployment).exits(0).shows(local[0].Deployment, "setting up /etc...", why)
	other := w.env
	w.ownState("bo") // who deployed nothing: the host itself tells why
	if told := w.history(net, "web"); len(told) == 0 || told[0].From != "host" || told[0].Message != why {
		t.Errorf("what the host says of itself: %+v", told)
	}
	w.env = other

	// The repository moves on.
	w.fleetOf(service("memory-two")+`environment.systemPackages = [ pkgs.hello ];`, hosts)
	w.run("status", net).exits(2).shows("uncommitted changes", "(dirty)")
	w.commit("two")
	w.run("status", net).exits(2).shows("⚠ 1 commit behind")
	w.run("status", net, "--no-eval").exits(0).shows("✓ healthy")
	w.run("status", "web", "--no-eval").exits(0).says("using " + net).shows("web")

	// What would change, and what did.
	w.run("diff", net, "web").exits(0).shows("hello 2.12.1 added", "unit-e2e.service")
	if now := on(t, web, "readlink -f /run/current-system"); now != current {
		t.Errorf("diff changed the system to %s", now)
	}
	w.run("deploy", net, "switch", "--on", "web").exits(0)
	var d struct {
		From, To struct{ System string }
		Changes  []struct{ Name, Kind string }
	}
	generation := strings.TrimSuffix(strings.TrimPrefix(on(t, web, "readlink /nix/var/nix/profiles/system"), "system-"), "-link")
	w.run("diff", net, "web", "booted", generation, "--json").exits(0).json(&d)
	found := false
	for _, c := range d.Changes {
		found = found || c.Name == "hello" && c.Kind == "added"
	}
	if d.From.System != current || d.To.System != on(t, web, "readlink -f /run/current-system") || !found {
		t.Errorf("diff: %+v", d)
	}
	w.run("diff", net, "web", "running", generation).exits(0).shows("no difference")
	w.run("diff", net, "web", "99999").exits(1).says("no generation 99999", "generation "+generation)
	w.run("diff", net, "web", "runing").exits(1).says("did you mean running?")

	// What is wrong with hosts.
	on(t, db, "systemd-run --quiet --unit=e2e-broken false; sleep 0.5; systemctl is-failed e2e-broken")
	w.run("status", net, "db", "--no-eval").exits(2).shows("failed: e2e-broken.service")
	on(t, db, "systemctl reset-failed")

	// One host does not answer, one cannot be evaluated: the others are shown.
	w.fleetOf(service("memory-two"), map[string]string{
		"web": amd64, "db": amd64 + `environment.etc.x.text = throw "of db";`,
		"ghost": amd64 + `deployment.targetHost = "127.0.0.1"; deployment.targetPort = 1;`,
	})
	var s struct {
		OK    bool
		Hosts []struct {
			Host, Wanted string
			OK, Answers  bool
			Running      *struct{ Path string }
			Problems     []struct{ Kind string }
		}
	}
	w.run("status", net, "--json").exits(2).json(&s)
	if len(s.Hosts) != 3 || s.OK {
		t.Fatalf("status: %+v", s)
	}
	for _, h := range s.Hosts {
		kinds := ""
		for _, p := range h.Problems {
			kinds += p.Kind + " "
		}
		switch h.Host {
		case "ghost":
			if h.Answers || h.Running != nil || kinds != "unreachable " {
				t.Errorf("%+v", h)
			}
		case "db":
			if !h.Answers || h.Running == nil || h.Wanted != "" || !strings.Contains(kinds, "evaluation") {
				t.Errorf("%+v", h)
			}
		case "web":
			if !h.Answers || !strings.Contains(kinds, "drift") {
				t.Errorf("%+v", h)
			}
		}
	}
	w.run("status", net).exits(2).shows("✗ ").says("of db")
	w.run("history", net, "--on", "ghost", "--on", "web").exits(3).shows("web").says("ghost")

	// A host that went back tells why.
	w.fleetOf(service("memory-bad")+`system.activationScripts.broken = "exit 7";`, map[string]string{"web": amd64})
	w.commit("bad")
	w.run("deploy", net, "switch").exits(3)
	if e := w.history(net)[0]; e.Outcome != "rolled-back" || e.Reason == "" {
		t.Errorf("%+v", e)
	}
	w.run("status", net).exits(2).shows("rolled back")
}

// TestLastSeen: of a host that does not answer godwit says when it last did.
func TestLastSeen(t *testing.T) {
	web := host(t, "web")
	w := newWorld(t, web)
	w.ownState("ana")
	net := w.fleetOf(service("seen"), map[string]string{"web": amd64})
	w.run("deploy", net, "switch", "--accept-risk", "kernel-change,unknown-profile,ssh-change").exits(0)
	w.fleetOf(service("unseen"), map[string]string{"web": amd64 + `deployment.targetHost = "127.0.0.1"; deployment.targetPort = 1;`})
	w.run("status", net).exits(2).shows("(last deployed ", " by ana)")
	w.run("plan", net).exits(3).shows("1 host unreachable", "last deployed just now by ana@", ": switch")
	w.run("deploy", net, "switch").exits(3).says("last deployed ", " by ana")
	var p struct {
		Hosts []struct{ Last struct{ User, Result string } }
	}
	w.run("plan", net, "--json").exits(3).json(&p)
	if p.Hosts[0].Last.User != "ana" || p.Hosts[0].Last.Result != "changed" {
		t.Errorf("%+v", p)
	}
}

// TestHistoryBroken damages the database: nothing but a warning comes of it.
func TestHistoryBroken(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	w.ownState("ana")
	dir := filepath.Join(w.dir, ".state-ana", "godwit")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w.file(".state-ana/godwit/history.sqlite", strings.Repeat("this is no database\n", 500))
	net := w.fleetOf(service("broken-memory"), map[string]string{"spare": amd64})
	w.run("deploy", net, "switch").exits(0).says("is damaged", "mv ")
	isSettled(t, spare)
	w.run("history").exits(1).says("is damaged", "hint: mv ")
	w.run("history", net, "--json").exits(0).shows(on(t, spare, "readlink -f /run/current-system"))
	w.run("status", net, "--no-eval").shows("spare")
}

// dies starts a deploy and kills it when the new system waits for its checks.
func (w *world) dies(net string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	p := w.start(ctx, nil, "deploy", net, "switch")
	p.until("goes back in", 2*time.Minute)
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		w.t.Fatal(err)
	}
	_ = p.cmd.Wait()
}

// TestPendingFromElsewhere ends deployments whose laptop died, from another one.
func TestPendingFromElsewhere(t *testing.T) {
	spare := host(t, "spare")
	ana, bo := newWorld(t, spare), newWorld(t, spare)
	ana.ownState("ana")
	bo.ownState("bo")
	only := map[string]string{"spare": amd64}
	// From the deployer: one on the host would go on when the deployer is killed.
	slow := `deployment.healthChecks.tcp = [ { description = "slow"; host = "127.0.0.1"; port = 9; } ];`
	net, other := ana.fleetOf(service("calm"), only), bo.fleetOf("", only)
	ana.run("deploy", net, "switch").exits(0)
	old := on(t, spare, "readlink -f /run/current-system")

	bo.run("confirm", other, "spare").exits(3).says("no deployment is pending")
	bo.run("rollback", "--pending", other, "spare").exits(3).says("no deployment is pending")
	bo.run("confirm", other).exits(1).says("which hosts")

	ana.fleetOf(service("goes-back")+slow, only)
	ana.dies(net)
	var s struct {
		Hosts []struct {
			Pending *struct{ ID, Phase, By, Old string }
			Hints   []string
		}
	}
	bo.run("status", other, "--no-eval", "--json").exits(2).json(&s)
	if p := s.Hosts[0].Pending; p == nil || p.Phase != "activated" || p.By != "ana" || p.Old != old {
		t.Fatalf("pending: %+v", p)
	}
	bo.run("status", other, "--no-eval").exits(2).shows("waits for its confirmation by ana").
		says("godwit confirm "+other+" spare", "godwit rollback --pending "+other+" spare")
	bo.run("gc", other, "--keep", "1").exits(3).says("a deployment is pending")
	bo.run("rollback", other, "spare").exits(3).says("a deployment is pending", "--pending")
	bo.run("rollback", "--pending", other, "spare").exits(0).says("went back")
	if now := on(t, spare, "readlink -f /run/current-system; cat /run/e2e"); now != old+"\ncalm" {
		t.Errorf("after the rollback: %s", now)
	}
	isSettled(t, spare)

	ana.fleetOf(service("stays")+slow, only)
	ana.dies(net)
	bo.run("confirm", other, "spare").exits(0).says("confirmed")
	if now := on(t, spare, "cat /run/e2e"); now != "stays" {
		t.Errorf("after the confirmation the service says %q", now)
	}
	isSettled(t, spare)

	// Ana's laptop does not know how it ended until it asks.
	if e := ana.history()[0]; e.Outcome != "unknown" {
		t.Errorf("%+v", e)
	}
	list := ana.history(net)
	if list[0].Outcome != "changed" || list[0].From != "both" || list[1].Outcome != "rolled-back" || !strings.Contains(list[1].Reason, "bo") {
		t.Errorf("%+v", list[:2])
	}
	if e := ana.history()[0]; e.Outcome != "changed" {
		t.Errorf("what the host told was not kept: %+v", e)
	}
	if e := bo.history()[0]; e.User != "ana" || e.From != "host" {
		t.Errorf("bo remembers %+v", e)
	}
}

// TestRollbackVerb goes back to earlier generations, and never further than it should.
func TestRollbackVerb(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	w.ownState("ana")
	only := map[string]string{"spare": amd64}
	var net string
	systems := map[string]string{}
	generation := func() string { return on(t, spare, "readlink /nix/var/nix/profiles/system | tr -dc 0-9") }
	first := ""
	for _, word := range []string{"one", "two", "three"} {
		net = w.fleetOf(service("back-"+word), only)
		w.run("deploy", net, "switch").exits(0)
		systems[word] = on(t, spare, "readlink -f /run/current-system")
		if first == "" {
			first = generation()
		}
	}
	runs := func(word string) {
		t.Helper()
		if now := on(t, spare, "readlink -f /run/current-system; cat /run/e2e"); now != systems[word]+"\nback-"+word {
			t.Errorf("runs %s, want %s", now, word)
		}
		isSettled(t, spare)
	}
	w.run("rollback", net, "spare", "--dry-run").exits(0).says("would activate generation")
	runs("three")
	w.run("rollback", net).exits(1).says("which hosts")
	w.run("rollback", net, "spare", "--to", "99999").exits(3).says("no generation 99999", "(runs)")
	w.run("rollback", net, "spare").exits(0).says("confirmed")
	runs("two")
	w.run("rollback", "spare", "--to", first).exits(0)
	runs("one")
	w.run("rollback", "spare", first).exits(0).says("already")

	// A deploy that only boots, and one that only tests, are undone, too.
	w.fleetOf(service("back-four"), only)
	w.run("deploy", net, "boot").exits(0)
	w.run("status", net, "--no-eval").exits(2).shows("boots another system next time")
	w.run("rollback", net, "spare").exits(0)
	runs("one")
	w.run("deploy", net, "test").exits(0)
	w.run("status", net, "--no-eval").exits(2).shows("boots another system next time")
	w.run("rollback", net, "spare").exits(0)
	runs("one")
	if e := w.history(net)[0]; e.Action != "rollback" || e.Outcome != "changed" || e.New != systems["one"] {
		t.Errorf("%+v", e)
	}

	// An old system that does not come up: the host stays on what runs.
	w.fleetOf(service("back-bad")+`system.activationScripts.broken = "[ ! -e /run/e2e-break ] || exit 7";`, only)
	w.run("deploy", net, "switch").exits(0)
	w.fleetOf(service("back-five"), only)
	w.run("deploy", net, "switch").exits(0)
	systems["five"] = on(t, spare, "readlink -f /run/current-system")
	on(t, spare, "touch /run/e2e-break")
	w.run("rollback", net, "spare").exits(3).says("rolled back", "activation")
	on(t, spare, "rm /run/e2e-break")
	runs("five")
}

// TestGC deletes what is old and nothing else.
func TestGC(t *testing.T) {
	spare := host(t, "spare")
	w := newWorld(t, spare)
	w.ownState("ana")
	only := map[string]string{"spare": amd64}
	var net string
	var systems []string
	for _, word := range []string{"a", "b", "c", "d"} {
		net = w.fleetOf(service("gc-"+word), only)
		w.run("deploy", net, "switch").exits(0)
		systems = append(systems, on(t, spare, "readlink -f /run/current-system"))
	}
	before := on(t, spare, "ls -d /nix/var/nix/profiles/system-*-link")
	w.run("gc", net, "--keep", "1", "--dry-run").exits(0).says("would delete generation")
	w.run("gc", net, "--keep", "0").exits(1).says("--keep must be 1 or more")
	w.run("gc", net, "--older-than", "soon").exits(1).says("30d, 2w or 12h")
	w.run("gc", net, "--keep", "1", "--older-than", "30d").exits(0)
	if now := on(t, spare, "ls -d /nix/var/nix/profiles/system-*-link"); now != before {
		t.Errorf("before:\n%s\nnow:\n%s", before, now)
	}
	r := w.run("gc", net, "--keep", "1").exits(0).says("deleted", "freed")
	if len(r.stderr) > 5000 {
		t.Errorf("the output has %d bytes", len(r.stderr))
	}
	for i, s := range systems {
		exists := on(t, spare, "[ -e "+s+" ] && echo yes || echo no") == "yes"
		if exists != (i >= 2) {
			t.Errorf("system %d of 4: exists is %v", i+1, exists)
		}
	}
	// Every entry of the boot menu can be booted, and so can what was booted last.
	on(t, spare, `for e in /boot/loader/entries/*; do [ -x "$(cat "$e")/bin/switch-to-configuration" ] || { echo "$e" is gone >&2; exit 1; }; done; [ -x /run/booted-system/bin/switch-to-configuration ]`)
	isSettled(t, spare)
	w.run("gc", net, "--keep", "1").exits(0).says("unchanged")
	w.run("rollback", net, "spare").exits(0)
	if now := on(t, spare, "readlink -f /run/current-system"); now != systems[2] {
		t.Errorf("after the rollback: %s", now)
	}
	fresh(t, spare)
	isSettled(t, spare)
	w.run("status", net, "--no-eval").exits(0).shows("✓ healthy")
}
