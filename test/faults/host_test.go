package faults

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/activate"
	"godwit/internal/event"
	"godwit/internal/ssh"
	"godwit/test/lab"
)

// machine is a lab host with the suite's systems in its store.
type machine struct {
	*lab.Host
	t       testing.TB
	systems map[string]string
	pool    *ssh.Pool
	r       *ssh.Host
}

// suites are those on which everything is played: one by default, all on request.
func suites() []string {
	if v := os.Getenv("GODWIT_FAULT_SUITES"); v == "all" {
		return lab.Suites
	} else if v != "" {
		return strings.Split(v, ",")
	}
	return []string{"trixie"}
}

// eachSuite runs fn for every suite that was asked for, one after another; when
// none was, for all that there are, at once and with less for those that are not
// in suites.
func eachSuite(t *testing.T, fn func(t *testing.T, suite string)) {
	list, asked := suites(), os.Getenv("GODWIT_FAULT_SUITES") != ""
	if !asked {
		list = lab.Suites
	}
	var wg sync.WaitGroup
	for _, suite := range list {
		wg.Go(func() { t.Run(suite, func(t *testing.T) { fn(t, suite) }) })
		if asked {
			wg.Wait()
		}
	}
	wg.Wait()
}

// perl tells hosts whose switch-to-configuration is as the older one. Most run the
// newer one; the oldest suite stands for the others, unless GODWIT_FAULT_SWITCH
// (perl or ng) decides for all.
func perl(suite string) bool {
	if v := os.Getenv("GODWIT_FAULT_SWITCH"); v != "" {
		return v == "perl"
	}
	return suite == "bookworm"
}

func newHost(t testing.TB, suite string, runArgs ...string) *machine {
	t.Helper()
	h := &machine{t: t, systems: map[string]string{}}
	h.Host = lab.New(t, lab.Spec{Suite: suite, RunArgs: runArgs})
	h.install(perl(suite))
	h.r = h.client(t, "deploy")
	return h
}

// client is godwit's own ssh to the host.
func (h *machine) client(t testing.TB, user string) *ssh.Host {
	t.Helper()
	return h.clientBy(t, user, "auto")
}

func (h *machine) clientBy(t testing.TB, user, elevate string) *ssh.Host {
	t.Helper()
	timeout := 15 * time.Second
	if h.pool == nil { // the deployer's own: its host will vanish
		timeout = 8 * time.Second
	}
	pool, err := ssh.NewPool(ssh.Options{
		Elevate: elevate, ConfigFile: "none", IdentityFile: h.Identity, ConnectTimeout: timeout,
		ExtraArgs: []string{"-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "UserKnownHostsFile=" + h.KnownHosts,
			"-o", "GlobalKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=yes", "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	if h.pool == nil {
		h.pool = pool
	}
	return pool.Host(ssh.Target{Name: h.Name, Host: "127.0.0.1", User: user, Port: h.Port})
}

func (h *machine) must(script string) string {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	r := h.Exec(ctx, script)
	if !r.OK() {
		h.t.Fatalf("on %s: %s\n%s", h.Name, script[:min(len(script), 200)], r)
	}
	return strings.TrimSpace(r.Stdout)
}

// reset brings the host back to system old, with no trace of earlier cases.
func (h *machine) reset(old string) {
	h.t.Helper()
	h.must(`while read -r _ d _; do case $d in /nix | /var | /etc | /boot | /root | /nix/var/nix/gcroots/auto) umount -l $d ;; esac; done </proc/mounts
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
systemctl stop 'godwit-*.timer' 'godwit-*.service' 2>/dev/null
mount -o remount,size=50% /run 2>/dev/null
systemctl stop 'fault-*' 2>/dev/null; rm -f /run/nixos/*-list
umount /run/godwit/secrets.d 2>/dev/null; rm -rf /etc/systemd/system.attached
rm -rf /run/godwit /var/lib/fault/* /var/lib/godwit /nix/var/nix/gcroots/auto/godwit-* /run/fault-* /run/filler /var/log/stc-runs /etc/systemd/system.control/*godwit* /etc/systemd/system.control/*/godwit*
set -- /nix/var/nix/profiles/system-*-link
[ "$# $(readlink -f /nix/var/nix/profiles/system)" = "1 ` + h.systems[old] + `" ] ||
	{ nix-env -p /nix/var/nix/profiles/system --set ` + h.systems[old] + ` && nix-env -p /nix/var/nix/profiles/system --delete-generations old 2>/dev/null; }
ln -sfn ` + h.systems[old] + ` /run/current-system; ` + h.systems[old] + `/bin/switch-to-configuration switch >/dev/null 2>&1
# The unit of an activation that failed starts the one that rolls back when it has ended, which is after its folder was
# seen to be done with; without the folder that one would be started again for ever.
systemctl stop 'godwit-*.timer' 'godwit-*.service' 2>/dev/null
systemctl reset-failed; rm -f /var/log/stc-runs; true`)
}

// three puts the custom profiles on the host, as they were before, and into req around
// its system: the last is to be "new", or "fails".
func (h *machine) three(req *activate.Request, last string) {
	h.t.Helper()
	var script strings.Builder
	req.Profiles = []activate.Change{{Name: "system", Kind: "nixos", New: req.NewSystem}}
	for _, name := range customProfiles {
		c := activate.Change{Name: name, Kind: "custom", New: h.systems[name+"-new"], Link: "/nix/var/nix/profiles/fault-" + name, Command: []string{"go"}}
		fmt.Fprintf(&script, "rm -f %s*; nix-env -p %s --set %s; echo %s-old >/var/tmp/fault-%s\n", c.Link, c.Link, h.systems[name+"-old"], name, name)
		if name == "before" {
			req.Profiles = append([]activate.Change{c}, req.Profiles...)
		} else {
			c.New = h.systems[name+"-"+last]
			req.Profiles = append(req.Profiles, c)
		}
	}
	h.must("export HOME=/root NIX_REMOTE=\n" + script.String())
}

// customAre says what the custom profiles are: "old", "new", or how they differ.
func (h *machine) customAre() string {
	h.t.Helper()
	out := h.must(`for p in before after; do l=/nix/var/nix/profiles/fault-$p; t=$(readlink -f $l); cat /var/tmp/fault-$p; echo ${t#*-fault-}; echo $(ls -d $l-*-link | wc -l); done`)
	switch strings.Join(strings.Fields(out), " ") {
	case "before-old before-old 1 after-old after-old 1":
		return "old"
	case "before-new before-new 2 after-new after-new 2":
		return "new"
	}
	return strings.Join(strings.Fields(out), " ")
}

// seen is the host from outside.
type seen struct {
	current, boot, profile, booted string
	generations                    int
}

func (h *machine) look() seen {
	h.t.Helper()
	out := strings.Split(h.must(`readlink -f /run/current-system; head -n1 /boot/loader/default; readlink -f /nix/var/nix/profiles/system
readlink -f /run/booted-system; ls -d /nix/var/nix/profiles/system-*-link | wc -l`), "\n")
	s := seen{current: out[0], boot: out[1], profile: out[2], booted: out[3]}
	if _, err := fmt.Sscan(out[4], &s.generations); err != nil {
		h.t.Fatalf("how many generations: %v in %q", err, out)
	}
	return s
}

// busy is how long what a host does by itself may take on a machine that others keep busy before a test gives up.
// Where the time matters, tests measure it (TestLost).
const busy = 90 * time.Second

// settled waits until nothing of a deployment is left and returns what stays.
func (h *machine) settled(wait time.Duration) []string {
	ctx, cancel := context.WithTimeout(context.Background(), wait+20*time.Second)
	defer cancel()
	end := time.Now().Add(wait)
	for { // systemd forgets a unit whose file is gone when it is next reloaded
		r := h.Exec(ctx, `
systemctl list-units --all --plain --no-legend --no-pager 'godwit*' | awk '$3 == "inactive" && $1 ~ /^godwit-(recover|secrets|secrets-users).service$/ {next} {print "unit " $1 " (" $3 ")"}'
for f in /nix/var/nix/gcroots/auto/godwit-*; do [ ! -L "$f" ] || { [ ! -e "$f" ] && at=$(readlink "$f") && [ ! -d "${at%/*}" ]; } || echo "gc root $f"; done # of a boot before: it holds nothing
[ ! -L /run/godwit/current ] || echo "lock"
[ ! -e /var/lib/godwit/pending ] || echo "note of an unfinished commit"
find /etc/systemd/system.control /var/lib/godwit/recover 2>/dev/null | grep godwit
find /run/godwit -name reserve -o -name 'spare-*' 2>/dev/null; ls -A /nix/var/nix/profiles | grep godwit; ls -A /nix/var/nix/gcroots/auto | grep '^\.'
for d in /run/godwit/*/; do case $d in */secrets/ | */secrets.d/) continue ;; esac; [ ! -d "$d" ] || [ -e "$d/final" ] || echo "unfinished $d"; done; true`)
		var left []string
		for line := range strings.Lines(r.Stdout) {
			left = append(left, strings.TrimSpace(line))
		}
		if !r.OK() {
			left = append(left, r.String())
		}
		if len(left) == 0 || time.Now().After(end) {
			return left
		}
		time.Sleep(150 * time.Millisecond)
	}
}

// invariant checks from outside that the host is exactly old or exactly new.
func (h *machine) invariant(t testing.TB, old, want string) {
	t.Helper()
	left := h.settled(busy)
	s := h.look()
	if s.current != want || s.boot != want || s.profile != want {
		t.Errorf("want all to be %s:\n current %s\n boot    %s\n profile %s", want, s.current, s.boot, s.profile)
	}
	if s.profile == old && s.generations != 1 {
		t.Errorf("%d generations are left, want 1", s.generations)
	}
	if len(left) > 0 {
		t.Errorf("left over: %s", strings.Join(left, "; "))
	}
}

// listener keeps a run's log.
type listener struct {
	t              testing.TB
	logs, warnings []string
}

func (l *listener) Emit(e event.Event) {
	if e.Kind == event.Log {
		l.logs = append(l.logs, e.Text)
	}
	if e.Kind == event.Warning {
		l.warnings = append(l.warnings, e.Text)
	}
	if testing.Verbose() && os.Getenv("GODWIT_FAULT_LOG") != "" {
		l.t.Logf("%s %s %s %s", e.Time.Format("05.000"), e.Kind, e.Text, e.Error)
	}
}

func (l *listener) count(line string) int {
	n := 0
	for _, s := range l.logs {
		if s == line {
			n++
		}
	}
	return n
}

// warned counts the warnings that say something.
func (l *listener) warned(words string) int {
	n := 0
	for _, s := range l.warnings {
		if strings.Contains(s, words) {
			n++
		}
	}
	return n
}

func (h *machine) request(name string) activate.Request {
	return activate.Request{
		Host: h.Name, NewSystem: h.systems[name], Action: activate.Switch,
		// Time enough on a busy machine; what waits for its end says soon.
		ActivateTimeout: 12 * time.Second, ConfirmTimeout: 30 * time.Second,
		Meta: map[string]string{"who": "o'test", "commit": "4f2a91c"},
	}
}
