package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"godwit/internal/ssh/sshtest"
	"godwit/test/hostile"
	"godwit/test/leftover"
)

// What a run against hosts that do not behave may take.
const (
	// quick are the limits of ssh in these tests: 2 s for TCP, three times that for a login.
	quick = "GODWIT_SSHOPTS=-o ConnectTimeout=2"
	// bad is how long a host may hold a run up: a login, the way to root, a script's
	// minute or two, and a loaded machine.
	bad = 170 * time.Second
	// fat is the most memory of godwit itself, in KiB: some 36 MiB, and what a busy machine leaves to be collected. One
	// that kept what it reads of one endless host would have more (hostile.flood).
	fat = 100 << 10
)

// addHosts puts hosts of a hostile server into the world's ssh_config.
func (w *world) addHosts(s *hostile.Server, names ...string) {
	w.t.Helper()
	w.addConfig(s.Port, s.IdentityFile, s.KnownHosts, names...)
}

func (w *world) addConfig(port int, identity, known string, names ...string) {
	w.t.Helper()
	f, err := os.OpenFile(filepath.Join(w.dir, "ssh_config"), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintf(f, "Host %s\n  HostName 127.0.0.1\n  Port %d\n  IdentityFile %s\n  UserKnownHostsFile %s\n", strings.Join(names, " "), port, identity, known)
	fmt.Fprintf(f, "  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n  IdentitiesOnly yes\n  IdentityAgent none\n\n")
}

// measured is a run with the most memory that godwit had, in KiB.
type measured struct {
	result
	rss int
}

var peak = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// measure waits for a run, and kills it after limit.
func (p *process) measure(limit time.Duration) measured {
	p.w.t.Helper()
	var m measured
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)); err == nil {
				if f := peak.FindSubmatch(b); f != nil {
					n, _ := strconv.Atoi(string(f[1]))
					m.rss = max(m.rss, n)
				}
			}
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	late := time.AfterFunc(limit, func() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) })
	m.result = p.wait()
	late.Stop()
	close(stop)
	<-stopped
	if m.took >= limit {
		p.w.t.Errorf("godwit %s did not end within %s:\n%s", strings.Join(p.args, " "), limit, m.stderr)
	}
	if m.rss > fat {
		p.w.t.Errorf("godwit %s took %d MiB of memory", strings.Join(p.args, " "), m.rss>>10)
	}
	return m
}

// hostVerbsOf are the verbs that talk to hosts.
func hostVerbsOf(net string) [][]string {
	return [][]string{
		{"exec", "--timeout", "20", net, "echo", "hello"}, {"status", net}, {"check-health", net, "--timeout", "20"}, {"upload-secrets", net}, {"push", net}, {"plan", net},
		{"deploy", net, "switch", "--yes"}, {"deploy", net, "boot", "--reboot", "--yes"}, {"gc", net}, {"confirm", net, "--on", "*"}, {"rollback", net, "--on", "*"},
		{"history", net}, {"diff", net, "odd"},
	}
}

// TestHostileVerbs runs every verb against a host that is silent, or does not stop
// talking, at the login or in a command: each run ends, names the host and what it did,
// takes little memory, and leaves no process.
func TestHostileVerbs(t *testing.T) {
	needLab(t)
	t.Parallel()
	for _, kind := range []string{"silent after the login", "closed outputs after the login", "endless greeting lines", "silent under sudo",
		"silent in a command", "endless lines in a command", "endless line on stderr of a command"} {
		w := newWorld(t)
		w.addHosts(hostile.Start(t, hostile.Named(kind).Alone), "odd")
		if err := os.WriteFile(filepath.Join(w.dir, "secret"), []byte("s"), 0o600); err != nil {
			t.Fatal(err)
		}
		net := w.fleetOf(amd64+`deployment.healthChecks.cmd = [ { cmd = [ "true" ]; description = "c"; timeout = 5; } ];
			deployment.secrets.s = { source = "`+w.dir+`/secret"; destination = "/run/s"; };`, map[string]string{"odd": ""})
		w.run("build", net).exits(0) // needs no host
		for _, args := range hostVerbsOf(net) {
			if kind != "silent in a command" && kind != "endless lines in a command" && args[0] != "exec" && args[0] != "status" && args[0] != "deploy" {
				continue
			}
			t.Run(kind+"/"+strings.Join(append([]string{args[0]}, args[2:]...), " "), func(t *testing.T) {
				turn(t)
				w := w.as(t)
				m := w.start(context.Background(), []string{quick}, args...).measure(bad)
				t.Logf("%.1f s, %d MiB: %s", m.took.Seconds(), m.rss>>10, lastLineOf(m.stderr))
				if m.code == 0 || !strings.Contains(m.stderr+m.stdout, "odd") {
					t.Errorf("exit code %d:\n%s\n%s", m.code, m.stdout, m.stderr)
				}
			})
		}
		t.Cleanup(func() { leftover.None(t, filepath.Join(w.dir, "ssh_config")) })
	}
}

func lastLineOf(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for _, l := range lines {
		if strings.HasPrefix(l, "error: ") {
			return l
		}
	}
	return lines[len(lines)-1]
}

// TestHostileKinds runs a command on hosts of all kinds at once, and on one that is as
// it should be: all end in their time, the good one among the first.
func TestHostileKinds(t *testing.T) {
	turn(t)
	w := newWorld(t)
	good := sshtest.Start(t)
	w.addConfig(good.Port, good.IdentityFile, good.KnownHosts, "good")
	fleet := map[string]string{"good": `deployment.targetUser = "` + good.User + `";`}
	for i, k := range hostile.Kinds {
		name := fmt.Sprintf("k%02d", i)
		w.addHosts(hostile.Start(t, k.Alone), name)
		fleet[name] = ""
	}
	net := w.fleetOf(amd64, fleet)
	for _, args := range [][]string{{"exec", "--parallel", "4", "--timeout", "10", net, "echo hello; id -u"}, {"status", net, "--no-eval"}} {
		p := w.start(context.Background(), []string{quick}, args...)
		if args[0] == "exec" {
			p.until("| hello", 60*time.Second)
			t.Logf("the good host answered after %.1f s", time.Since(p.began).Seconds())
		}
		m := p.measure(bad)
		t.Logf("%s: %.1f s, %d MiB", args[0], m.took.Seconds(), m.rss>>10)
		said := m.stderr + m.stdout // hundreds of megabytes of what has no end
		for name := range fleet {
			if !strings.Contains(said, name) {
				t.Errorf("%s: nothing of %s", args[0], name)
			}
		}
	}
	leftover.None(t, filepath.Join(w.dir, "ssh_config"))
}

// TestInterruptedAtHostile presses Ctrl-C while hosts are silent at every stage: the run
// ends within 10 s. A run that is killed leaves no ssh either.
func TestInterruptedAtHostile(t *testing.T) {
	needLab(t)
	t.Parallel()
	w := newWorld(t)
	fleet := map[string]string{}
	for i, k := range hostile.Kinds {
		if strings.Contains(k.Name, "silent") || strings.Contains(k.Name, "closed") || strings.HasPrefix(k.Name, "no answer") {
			name := fmt.Sprintf("k%02d", i)
			w.addHosts(hostile.Start(t, k.Alone), name)
			fleet[name] = ""
		}
	}
	net := w.fleetOf(amd64, fleet)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		for _, args := range [][]string{{"exec", "--parallel", "100", net, "sudo true"}, {"status", net, "--no-eval"}, {"push", net}} {
			p := w.start(context.Background(), nil, args...)
			time.Sleep(12 * time.Second) // all connections are under way, or silent
			sent := time.Now()
			if sig == syscall.SIGKILL {
				_ = p.cmd.Process.Kill()
				p.cmd.Wait()
			} else {
				_ = p.cmd.Process.Signal(sig)
				m := p.measure(time.Minute)
				if took := time.Since(sent); took > 10*time.Second {
					t.Errorf("%s: a Ctrl-C took %s:\n%s", args[0], took, m.stderr)
				} else {
					t.Logf("%s: a Ctrl-C took %.1f s", args[0], took.Seconds())
				}
			}
			leftover.None(t, filepath.Join(w.dir, "ssh_config"))
		}
	}
}

// TestBlackHolesInFront has many hosts that do not answer in front of good ones, which
// are not held up by that.
func TestBlackHolesInFront(t *testing.T) {
	turn(t)
	w := newWorld(t)
	good := sshtest.Start(t)
	hole := hostile.Start(t, hostile.Named("silent after TCP").Alone)
	fleet := map[string]string{}
	for i := range 20 {
		name := fmt.Sprintf("a-hole%02d", i)
		w.addHosts(hole, name)
		fleet[name] = ""
	}
	for i := range 10 {
		name := fmt.Sprintf("good%d", i)
		w.addConfig(good.Port, good.IdentityFile, good.KnownHosts, name)
		fleet[name] = `deployment.targetUser = "` + good.User + `";`
	}
	net := w.fleetOf(amd64, fleet)
	alone := w.run("exec", "--on", "good*", net, "echo hello").exits(0)
	p := w.start(context.Background(), nil, "exec", "--parallel", "4", net, "echo hello")
	for end := time.Now().Add(time.Minute); strings.Count(p.stderr.String()+p.stdout.String(), "| hello") < 10 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	first := time.Since(p.began)
	m := p.measure(bad)
	t.Logf("10 good hosts: %.1f s alone, %.1f s behind 20 black holes; all: %.1f s, %d MiB", alone.took.Seconds(), first.Seconds(), m.took.Seconds(), m.rss>>10)
	if first > 2*alone.took+8*time.Second || m.took > 2*alone.took+22*time.Second {
		t.Errorf("too long")
	}
}

// TestSilentInDeploy has a host fall silent in each part of a deploy: the run ends, the
// host beside it is changed, and the silent one is as it was or as it should be.
func TestSilentInDeploy(t *testing.T) {
	both := hosts(t, "mute", "calm")
	late, spare := both[0], both[1]
	behind := func(ctx context.Context, user, line string) *exec.Cmd {
		return exec.CommandContext(ctx, "ssh", append(late.SSHArgs(user), "--", line)...)
	}
	var mu sync.Mutex
	silent := ""
	s := hostile.Start(t, hostile.Host{Behind: behind, Command: func(c *hostile.Command) {
		mu.Lock()
		word := silent
		mu.Unlock()
		if !c.IsLogin() && word != "" && c.Is(word) {
			c.Begin()
			c.Silent()
			return
		}
		c.Good()
	}})
	w := newWorld(t, spare)
	w.addHosts(s, late.Name)
	for i, part := range []struct{ name, word string }{
		{"the beginning of the copy", "godwit-copying"}, {"the preflight", "no-switch"},
	} {
		net := w.fleetOf(amd64, map[string]string{late.Name: service(fmt.Sprint("late", i)), spare.Name: service(fmt.Sprint("spare", i))})
		mu.Lock()
		silent = part.word
		mu.Unlock()
		m := w.start(context.Background(), []string{"GODWIT_SSHOPTS=-o ConnectTimeout=7"}, "deploy", net, "switch", "--yes").measure(2*time.Minute + bad) // the preflight's own limit
		t.Logf("%s: %.1f s, %d MiB: %s", part.name, m.took.Seconds(), m.rss>>10, lastLineOf(m.stderr))
		if got := on(t, spare, "cat /run/e2e"); got != fmt.Sprint("spare", i) {
			t.Errorf("%s: the good host was not changed (%s):\n%s", part.name, got, m.stderr)
		}
	}
	leftover.None(t, filepath.Join(w.dir, "ssh_config"))
}
