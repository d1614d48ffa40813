// Package realboot deploys with godwit to a machine with a kernel and a disk
// of its own: Debian's kernel under qemu in software, the lab's root, its boot
// loader, and systems of the small NixOS. Its reset button is pressed and its
// power is cut. It takes minutes, so it runs only when asked for:
//
//	GODWIT_REALBOOT=1 go test -v -count=1 -timeout 60m ./test/realboot
package realboot

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"godwit/test/lab"
)

const name = "realboot"

// copyMark is on the machine while godwit copies to it (internal/deploy).
const copyMark = "/nix/var/nix/godwit-copying"

// story is the machine and what deploys to it.
type story struct {
	*machine
	godwit string
	env    []string
	one    string // the system that was confirmed last
	many   int    // further files of the configuration
}

func TestRealBoot(t *testing.T) {
	if os.Getenv("GODWIT_REALBOOT") != "1" || testing.Short() {
		t.Skip("takes minutes; run it with: GODWIT_REALBOOT=1 go test -v -count=1 -timeout 60m ./test/realboot")
	}
	s := &story{machine: newMachine(t)}
	s.prepare()
	began := time.Now()
	s.powerOn()
	s.booted(began)
	s.one = s.must("readlink -f /run/current-system")
	for _, part := range []struct {
		name string
		run  func()
	}{
		{"power cut after the confirmation", s.cutAfterConfirmation},
		{"reset in mid-switch", s.resetInMidSwitch},
		{"the same system again", s.again},
		{"power cut before the confirmation", s.cutBeforeConfirmation},
		{"clock step during the wait", s.clockStep},
		{"boot --reboot", s.bootAndReboot},
		{"power cut during a copy", s.cutDuringCopy},
	} {
		ok := t.Run(part.name, func(t *testing.T) {
			outer := s.t
			s.t = t
			defer func() { s.t = outer }()
			began := time.Now()
			part.run()
			t.Logf("%6.1fs in all", time.Since(began).Seconds())
		})
		if !ok {
			t.Logf("the console's end:\n%s", s.console(0, 1500))
		}
	}
}

// cutAfterConfirmation: what godwit calls confirmed outlives a power cut in
// the next moment.
func (s *story) cutAfterConfirmation() {
	r := s.deploy("one", "").wait()
	s.powerCut()
	s.exits(r, 0)
	s.t.Logf("%6.1fs until confirmed; the power goes", r.took.Seconds())
	s.fsck()
	began := time.Now()
	s.powerOn()
	s.booted(began)
	now := s.settled()
	if now == s.one {
		s.t.Errorf("godwit said that the new system is confirmed; after a power cut the machine runs and boots the old one, %s", now)
	} else if got := s.must("cat /run/real"); got != "one" {
		s.t.Errorf("the service of the new system wrote %q", got)
	}
	s.one = now
}

// resetInMidSwitch: the activation hangs with /etc half changed.
func (s *story) resetInMidSwitch() {
	s.must("sync; touch /run/slow")
	from := s.mark()
	p := s.deploy("two", "")
	s.waitConsole(from, "IN-MID-SWITCH", p)
	s.t.Logf("%6.1fs until in mid-switch; reset", time.Since(p.began).Seconds())
	if now := s.must("readlink -f /run/current-system; readlink -f /etc/static; systemctl is-active godwit-apply-\\*.service | head -n 1"); !strings.HasSuffix(now, "active") {
		s.t.Errorf("no activation is running: %s", now)
	}
	began := time.Now()
	s.reset()
	r := p.wait()
	s.t.Logf("%6.1fs after the reset godwit says:\n%s", time.Since(began).Seconds(), r.out)
	s.booted(began)
	if r.code != 3 || !strings.Contains(r.out, "rebooted before the new system was confirmed") {
		s.t.Errorf("exit code %d, want 3 and words about the reboot", r.code)
	}
	s.runsOld()
	if got := s.must("cat /run/real"); got != "one" {
		s.t.Errorf("the service of the old system wrote %q", got)
	}
}

// again: what a reset left of a system in the store is not taken for it.
func (s *story) again() {
	r := s.exits(s.deploy("two", "").wait(), 0)
	s.t.Logf("%6.1fs until confirmed", r.took.Seconds())
	s.runsNew("two")
}

// cutBeforeConfirmation: the health check still runs.
func (s *story) cutBeforeConfirmation() {
	s.must("sync")
	from := s.mark()
	p := s.deploy("three", "echo IN-THE-CHECK >/dev/console; sleep 200")
	s.waitConsole(from, "IN-THE-CHECK", p)
	if now := s.must("readlink -f /run/current-system; cat /run/real"); strings.HasPrefix(now, s.one) || !strings.HasSuffix(now, "three") {
		s.t.Errorf("in the check the machine runs %s", now)
	}
	s.t.Logf("%6.1fs until activated; the power goes for 10 s", time.Since(p.began).Seconds())
	s.powerCut()
	s.fsck()
	time.Sleep(10 * time.Second)
	began := time.Now()
	s.powerOn()
	r := p.wait()
	s.t.Logf("%6.1fs after power is back godwit says:\n%s", time.Since(began).Seconds(), r.out)
	s.booted(began)
	if r.code != 3 || !strings.Contains(r.out, "rebooted before the new system was confirmed") {
		s.t.Errorf("exit code %d, want 3 and words about the reboot", r.code)
	}
	s.runsOld()
}

// clockStep: an hour ahead while the timers run; nothing fires early.
func (s *story) clockStep() {
	before := s.must("date +%s")
	r := s.exits(s.deploy("four", "date -s '+1 hour'; sleep 15").wait(), 0)
	s.t.Logf("%6.1fs until confirmed, clock %s -> %s", r.took.Seconds(), before, s.must("date +%s"))
	s.runsNew("four")
}

// bootAndReboot: once into the new system, which is then kept.
func (s *story) bootAndReboot() {
	p := s.start("deploy", s.network("five", ""), "boot", "--reboot")
	r := s.exits(p.wait(), 0)
	s.t.Logf("%6.1fs until godwit is content:\n%s", r.took.Seconds(), r.out)
	s.powerCut()
	s.fsck()
	began := time.Now()
	s.powerOn()
	s.booted(began)
	s.runsNew("five")
}

// cutDuringCopy: what Nix registered and the disk never got is copied again.
// The machine itself looks for the moment and says it on its console: a look
// over ssh takes seconds in emulation, and the copy is then over.
func (s *story) cutDuringCopy() {
	s.many = 150
	half := s.many / 2
	s.must(fmt.Sprintf(`sync
cat >/run/watch-copy <<'END'
while :; do
	if [ -s %[1]s ]; then
		set -- /nix/store/*-etc-many-*[0-9]
		# Nix syncs its database when it likes; what is tested is a database that
		# knows of files which the disk never got.
		[ $# -lt %[2]d ] || { sync /nix/var/nix/db/db.sqlite*; echo "IN-MID-COPY" >/dev/console; exit; }
	fi
	sleep 0.1
done
END
systemd-run --quiet --collect --unit=watch-copy "$(command -v sh)" /run/watch-copy`, copyMark, half))
	from := s.mark()
	p := s.deploy("six", "")
	s.waitConsole(from, "IN-MID-COPY", p)
	s.t.Logf("%6.1fs until %d of %d files are there; the power goes", time.Since(p.began).Seconds(), half, s.many)
	s.powerCut()
	s.fsck()
	began := time.Now()
	s.powerOn()
	r := p.wait()
	s.booted(began)
	// The mark goes when all that came is on the disk, before godwit says that it copied.
	if mark := s.must("cat " + copyMark + " 2>/dev/null || :"); mark == "" || strings.Contains(r.out, name+" | copied ") {
		s.t.Fatalf("the power did not go in mid-copy (mark on the machine: %q): this shows nothing about a copy that was cut; godwit says:\n%s", mark, r.out)
	}
	if r.code != 3 {
		s.t.Errorf("exit code %d, want 3:\n%s", r.code, r.out)
	}
	if now := s.must("readlink -f /run/current-system"); now != s.one {
		s.t.Errorf("runs %s, want the old system %s", now, s.one)
	}
	// settled, which runsNew asks for, verifies the whole store afterwards.
	r = s.exits(s.deploy("six", "").wait(), 0)
	harm := regexp.MustCompile(`lost power during an earlier copy, which damaged \d+ paths?:`).FindString(r.out)
	if harm == "" {
		s.t.Errorf("nothing came to harm, so this shows nothing of how it is mended:\n%s", r.out)
	}
	s.t.Logf("%s; %.1fs until confirmed", harm, r.took.Seconds())
	s.runsNew("six")
}

// runsOld: exactly the system of before.
func (s *story) runsOld() {
	s.t.Helper()
	if now := s.settled(); now != s.one {
		s.t.Errorf("runs %s, want the old system %s", now, s.one)
		s.one = now
	}
}

func (s *story) runsNew(word string) {
	s.t.Helper()
	now := s.settled()
	if got := s.must("cat /run/real"); now == s.one || got != word {
		s.t.Errorf("runs %s (before: %s), its service wrote %q, want %q", now, s.one, got, word)
	}
	s.one = now
}

// settled checks that the machine is wholly on one system, that the store is
// as Nix thinks it is, and that nothing of godwit's is left. It gives the system.
func (s *story) settled() string {
	s.t.Helper()
	const script = `
echo "current $(readlink -f /run/current-system)"
echo "boot $(head -n 1 /boot/loader/default)"
echo "profile $(readlink -f /nix/var/nix/profiles/system)"
[ ! -e /boot/loader/oneshot ] || echo "left oneshot"
systemctl list-units --all --plain --no-legend --no-pager 'godwit*' | awk '{print "left unit " $1}'
# A link to /run of an earlier boot holds nothing, and Nix removes it; of godwit-pushed there is one.
for root in $(find /nix/var/nix/gcroots -name 'godwit-*' ! -name 'godwit-pushed*'); do [ ! -e "$root" ] || echo "left gc root $root"; done
[ ! -L /run/godwit/current ] || echo "left lock"
[ ! -e /var/lib/godwit/pending ] || echo "left note of an unfinished commit"
find /run/godwit /tmp /root /var/tmp -maxdepth 1 -name 'godwit*' ! -path /run/godwit -printf 'left %p\n' 2>/dev/null
true`
	var left []string
	got := map[string]string{}
	for try := 0; try < 4; try++ {
		left = nil
		for line := range strings.Lines(s.must(script)) {
			kind, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			switch kind {
			case "left":
				left = append(left, strings.TrimSpace(line))
			default:
				got[kind] = value
			}
		}
		if len(left) == 0 {
			break
		}
		time.Sleep(2 * time.Second)
	}
	if got["current"] != got["boot"] || got["current"] != got["profile"] {
		s.t.Errorf("neither old nor new:\n current %s\n boot    %s\n profile %s", got["current"], got["boot"], got["profile"])
	}
	if r := s.host.Run(s.t.Context(), lab.Root, `export NIX_REMOTE=; nix-store --verify --check-contents 2>&1 | grep -v '^checking\|^reading'`); strings.TrimSpace(r.Stdout) != "" {
		s.t.Errorf("what Nix holds for valid is not what is on the disk:\n%s", r.Stdout)
	}
	if len(left) > 0 {
		s.t.Errorf("left over: %s", strings.Join(left, "; "))
	}
	return got["current"]
}

// prepare builds godwit and writes what it is run with.
func (s *story) prepare() {
	s.t.Helper()
	s.godwit = s.file("godwit")
	build := exec.Command("go", "build", "-o", s.godwit, "godwit/cmd/godwit")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		s.t.Fatalf("cannot build godwit: %v\n%s", err, out)
	}
	if err := lab.WriteSSHConfig(s.file("ssh_config"), s.host); err != nil {
		s.t.Fatal(err)
	}
	small, err := filepath.Abs("../nixos")
	if err != nil {
		s.t.Fatal(err)
	}
	s.env = append(os.Environ(),
		"XDG_STATE_HOME="+s.file("state"), "XDG_CONFIG_HOME="+s.file("config"),
		"SSH_CONFIG_FILE="+s.file("ssh_config"), "NIX_PATH=nixpkgs="+small,
		"NIX_CONFIG=build-users-group =\nsandbox = false\nsubstituters =\nexperimental-features = nix-command flakes",
		"CI=1", "LC_ALL=C.UTF-8")
}

// network writes a fleet of this machine. The service writes word to /run/real;
// the activation hangs while /run/slow exists; check is run on the machine, as
// root, before the confirmation.
func (s *story) network(word, check string) string {
	s.t.Helper()
	etc, health := "", ""
	if check != "" {
		etc = fmt.Sprintf(`"real-check".text = %q;`, check+"\n")
		health = `
    deployment.healthChecks.cmd = [ { description = "real"; timeout = 240; cmd = [ "sudo" "sh" "/etc/real-check" ]; } ];`
	}
	path := s.file("network.nix")
	s.write("network.nix", fmt.Sprintf(`{
  %s = { lib, ... }: {
    system.stateVersion = "24.05";
    nixpkgs.hostPlatform = "x86_64-linux";
    deployment.targetUser = "deploy";
    environment.etc = { "real".text = "%s\n"; %s } // lib.listToAttrs (map (i: lib.nameValuePair "many-${toString i}" { text = "%s ${toString i}\n"; }) (lib.range 1 %d));
    systemd.services.real = { wantedBy = [ "multi-user.target" ]; restartTriggers = [ "%s" ]; script = "echo %s > /run/real; while :; do sleep 60; done"; };
    system.activationScripts.slow = { deps = [ "etc" ]; text = "if [ -e /run/slow ]; then echo IN-MID-SWITCH >/dev/console; sleep 1000; fi"; };
    %s
  };
}
`, name, word, etc, word, s.many, word, word, health))
	return path
}

// deploy starts a deploy with switch.
func (s *story) deploy(word, check string) *process {
	s.t.Helper()
	return s.start("deploy", s.network(word, check), "switch", "--confirm-timeout", "300")
}

// process is a running godwit.
type process struct {
	cmd   *exec.Cmd
	out   lab.Buffer
	began time.Time
	done  chan struct{}
	took  time.Duration
}

// result is what godwit left.
type result struct {
	out  string
	code int
	took time.Duration
}

func (s *story) start(args ...string) *process {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	p := &process{began: time.Now(), done: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, s.godwit, args...)
	p.cmd.Dir, p.cmd.Env = s.dir, s.env
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		p.took = time.Since(p.began)
		cancel()
		close(p.done)
	}()
	return p
}

func (p *process) wait() result {
	<-p.done
	return result{out: p.out.String(), code: p.cmd.ProcessState.ExitCode(), took: p.took}
}

// exits checks the exit code.
func (s *story) exits(r result, code int) result {
	s.t.Helper()
	if r.code != code {
		s.t.Fatalf("godwit: exit code %d, want %d:\n%s", r.code, code, r.out)
	}
	return r
}
