package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/activate"
	"godwit/internal/event"
	"godwit/internal/host"
	"godwit/internal/reboot"
	"godwit/internal/ssh"
	"godwit/test/lab"
)

const rolledBack = activate.ExitRolledBack

func boot(r *activate.Request)     { r.Action = activate.Boot }
func testOnly(r *activate.Request) { r.Action = activate.Test }
func brief(r *activate.Request)    { r.ActivateTimeout, r.ConfirmTimeout = 4*time.Second, 4*time.Second }

// calm is brief for a new system that is to be activated in time, on a busy machine, too.
func calm(r *activate.Request) { r.ActivateTimeout, r.ConfirmTimeout = 10*time.Second, 4*time.Second }
func unplug(k *kase)           { k.net.cut(true) }

// patient is for what is noticed at once: who waits for a deadline instead is late, however busy the machine is.
func patient(r *activate.Request) {
	r.ActivateTimeout, r.ConfirmTimeout, r.Silence = 3*time.Minute, 5*time.Minute, 2*time.Minute
}

// soon is for what ends when nobody confirms.
func soon(r *activate.Request) { r.ConfirmTimeout = 5 * time.Second }

// replug brings the network back when the host has decided by itself, so that the
// client can see what became of it.
func replug(k *kase) {
	k.wg.Go(func() {
		k.waitFor("the host's decision", `[ -L /run/godwit/current/decision ] || ls /run/godwit/[0-9]*/final`)
		k.net.down.Store(false)
	})
}

// powerCut cuts the power and boots again.
func powerCut(k *kase) {
	if err := k.PowerCut(k.ctx); err != nil {
		k.t.Errorf("cutting the power: %v", err)
	}
	if err := k.Boot(k.ctx); err != nil {
		k.t.Errorf("booting: %v", err)
	}
}

// killApply kills the activation again and again, and what watches its end.
func killApply(k *kase) {
	k.do(`sed -i 's/^apply_ended() {/& sleep 100/' /run/godwit/current/run.sh
for i in 1 2 3 4 5; do systemctl kill -s KILL 'godwit-apply-*.service'; sleep 0.2; done; true`)
}

// deployRs makes the profile name what deploy-rs makes of the old system: a folder
// of links to its files (buildEnv), with two programs of its own.
const deployRs = `export HOME=/root NIX_REMOTE=; old=$(readlink -f /run/current-system); w=$(mktemp -d)/activatable-${old#*-}; mkdir $w
for f in "$old"/*; do ln -s "$f" $w/; done
printf '#!/bin/sh\n' >$w/deploy-rs-activate; cp $w/deploy-rs-activate $w/activate-rs; chmod +x $w/*-rs*
nix-env -p /nix/var/nix/profiles/system --set "$(nix-store --add $w)"`

// customsAre says what the profiles around the system must be.
func customsAre(want string) func(*kase) {
	return func(k *kase) {
		if are := k.customAre(); are != want {
			k.t.Errorf("the other profiles are %s, want %s", are, want)
		}
	}
}

// goneBack waits until the host, which has booted, has taken back what a reboot leaves.
func goneBack(k *kase) {
	k.settled(busy)
	customsAre("old")(k)
	if n := k.must(`grep -c '"result":"rolled-back 0".*"reason":"the host rebooted' /var/lib/godwit/history.jsonl || true`); n != "1" {
		k.t.Errorf("%s records of it", n)
	}
}

func ranOnce(action, system string, times int) func(*kase) {
	return func(k *kase) {
		if n := strings.Count(k.must("cat /var/log/stc-runs 2>/dev/null || true")+"\n", action+" nixos-system-"+system+"\n"); n != times {
			k.t.Errorf("%s ran %s %d times, want %d", system, action, n, times)
		}
	}
}

// lockFor holds the lock of switch-to-configuration, as one of root's does.
func lockFor(seconds string) string {
	return `systemctl stop fault-lock.service 2>/dev/null; systemd-run --quiet --collect --unit=fault-lock flock /run/nixos/switch-to-configuration.lock sleep ` + seconds + `
n=0; while flock -n /run/nixos/switch-to-configuration.lock true && [ $n -lt 50 ]; do sleep 0.1; n=$((n + 1)); done`
}

const (
	// userWorks gives the user deploy a manager that stays, and the bus to reach it
	// that every login of NixOS has. That user's part of a switch fails.
	userWorks = `set -e; echo deploy >/var/lib/fault/user-fails
printf '[Socket]\nListenStream=%%t/bus\n' >/etc/systemd/user/dbus.socket
printf '[Unit]\nRequires=dbus.socket\n[Service]\nType=notify\nNotifyAccess=main\nExecStart=/usr/bin/dbus-daemon --session --address=systemd: --nofork --nopidfile --systemd-activation\n' >/etc/systemd/user/dbus.service
loginctl enable-linger deploy; uid=$(id -u deploy); n=0; until [ -S /run/user/$uid/systemd/private ] || [ $n = 100 ]; do sleep 0.1; n=$((n + 1)); done
as() { setpriv --reuid deploy --regid deploy --clear-groups env XDG_RUNTIME_DIR=/run/user/$uid "$@"; }
as systemctl --user daemon-reload; as systemctl --user start dbus.socket dbus.service
# The user's systemd takes its name on the bus a moment after the bus is there.
n=0; until as busctl --user status org.freedesktop.systemd1 >/dev/null 2>&1 || [ $n = 100 ]; do sleep 0.1; n=$((n + 1)); done
as busctl --user status org.freedesktop.systemd1 >/dev/null`
	// userNix lets users have profiles: lab hosts have no daemon of Nix.
	userNix = `install -d -o deploy /var/lib/fault/profiles; systemd-run --quiet --collect --unit=fault-nix nix-daemon; n=0; until [ -S /nix/var/nix/daemon-socket/socket ] || [ $n = 100 ]; do sleep 0.1; n=$((n + 1)); done`
	// bare: the running system was built without switch-to-configuration.
	bare = `ln -sfn $(readlink -f /nix/var/nix/gcroots/fault/bare) /run/current-system`
)

var cases = []fcase{
	// What must work.
	{name: "good", ages: true, outcome: "changed", end: "new", after: func(k *kase) {
		history, err := activate.History(k.ctx, k.r, k.Name, 5)
		if err != nil || len(history) != 1 || history[0].Result != "committed" || history[0].New != k.systems["good"] || history[0].Meta["who"] != "o'test" {
			k.t.Errorf("history: %+v %v", history, err)
		}
		if k.res.ExitCode != 0 || k.res.OldSystem != k.systems["old"] || k.res.ID == "" {
			k.t.Errorf("result: %+v", k.res)
		}
	}},
	{name: "three profiles", three: "new", outcome: "changed", end: "new", after: customsAre("new")},
	{name: "three profiles, the system fails", three: "new", new: "fail2", outcome: "rolled-back", exit: rolledBack, end: "old", words: "profile 'system': ", after: customsAre("old")},
	{name: "three profiles, the last fails for a user", three: "fails", before: userNix, req: func(r *activate.Request) {
		c := &r.Profiles[2]
		c.Owner, c.Link = "deploy", "/var/lib/fault/profiles/after"
	}, outcome: "rolled-back", exit: rolledBack, end: "old", words: "profile 'after' is not there, as before", after: func(k *kase) {
		customsAre("old")(k)
		if k.l.count("activating after-fails for deploy") != 1 {
			k.t.Errorf("log: %q", k.l.logs)
		}
	}},
	{name: "sshd restarts", new: "sshrestart", outcome: "changed", end: "new"},
	{name: "all ssh sessions killed", new: "dropssh", outcome: "changed", end: "new", after: func(k *kase) {
		for i := 1; i <= 9; i++ {
			if n := k.l.count(fmt.Sprintf("line %d", i)); n != 1 {
				k.t.Errorf("line %d was seen %d times", i, n)
			}
		}
		if k.res.Drops == 0 {
			k.t.Error("no connection was lost")
		}
	}},
	{name: "new systemd", ages: true, new: "reexec", outcome: "changed", end: "new"},
	{name: "the network comes and goes", outcome: "changed", end: "new", running: func(k *kase) {
		for range 4 {
			k.net.cut(true)
			time.Sleep(100 * time.Millisecond)
			k.net.down.Store(false)
			time.Sleep(150 * time.Millisecond)
		}
	}},
	{name: "same system again", new: "old", outcome: "unchanged", end: "old"},
	{name: "same system, skipped", new: "old", req: func(r *activate.Request) { r.SkipUnchanged = true }, outcome: "unchanged", end: "old", after: ranOnce("test", "old", 0)},
	{name: "dry-activate", req: func(r *activate.Request) { r.Action = activate.DryActivate }, outcome: "ok", end: "old", after: func(k *kase) {
		if k.l.count("would restart ssh.service") != 1 {
			k.t.Errorf("log: %q", k.l.logs)
		}
	}},
	{name: "test", req: testOnly, outcome: "changed", after: func(k *kase) {
		left, s := k.settled(busy), k.look()
		if s.current != k.systems["good"] || s.boot != k.systems["old"] || s.profile != k.systems["old"] || s.generations != 1 || len(left) > 0 {
			k.t.Errorf("%+v %q", s, left)
		}
		powerCut(k)
		k.invariant(k.t, k.systems["old"], k.systems["old"])
	}},
	{name: "boot", req: boot, outcome: "changed", after: func(k *kase) {
		left, s := k.settled(busy), k.look()
		if s.current != k.systems["old"] || s.boot != k.systems["good"] || s.profile != k.systems["good"] || len(left) > 0 {
			k.t.Errorf("%+v %q", s, left)
		}
		powerCut(k)
		k.invariant(k.t, k.systems["old"], k.systems["good"])
	}},
	{name: "no guard", req: func(r *activate.Request) { r.NoGuard = true }, new: "dropssh", outcome: "changed", end: "new", after: ranOnce("switch", "dropssh", 1)},
	{name: "no guard, fails", req: func(r *activate.Request) { r.NoGuard = true }, new: "fail2", outcome: "failed", exit: 1, words: "there was no guard"},
	{name: "as root", outcome: "changed", end: "new", runner: func(k *kase) host.Conn { return k.client(k.t, lab.Root) }},
	{name: "with doas", outcome: "changed", end: "new", runner: func(k *kase) host.Conn { return k.clientBy(k.t, lab.DoasUser, "doas") }},
	{name: "nobody", outcome: "failed", exit: 1, end: "old", runner: func(k *kase) host.Conn { return k.client(k.t, lab.Nobody) }},
	{name: "unit that was broken before", new: "fail4old", before: "systemctl start fault-known.service; true", outcome: "changed", end: "new"},
	{name: "unit that failed again and again before", ages: true, new: "fail4loop", before: "systemctl start fault-loop.service; sleep 0.5", outcome: "changed", end: "new", after: func(k *kase) { k.do("systemctl stop fault-loop.service") }},
	{name: "unit that is ignored", new: "fail4", req: func(r *activate.Request) { r.IgnoreUnits = []string{"x.service", "fault-br*"} }, outcome: "changed", end: "new"},
	{name: "daemon-reexec and reload while waiting", ages: true, req: soon, outcome: "rolled-back", exit: rolledBack, end: "old", checks: func(k *kase) error {
		unplug(k)
		k.do("systemctl daemon-reexec; systemctl daemon-reload")
		replug(k)
		return nil
	}, words: "not confirmed within"},
	{name: "isolate while waiting", ages: true, req: soon, outcome: "rolled-back", exit: rolledBack, end: "old", checks: func(k *kase) error {
		unplug(k)
		k.do("systemctl isolate multi-user.target")
		replug(k)
		return nil
	}},

	// What deploy-rs leaves: a profile that names its wrapper of the system.
	{name: "taken over from deploy-rs", before: deployRs, outcome: "changed", checks: func(k *kase) error {
		if state, _, err := activate.Status(k.ctx, k.r, k.Name); err != nil || !strings.Contains(state.Profile, "activatable") || state.Profiled() != k.systems["old"] {
			k.t.Errorf("%+v %v", state, err)
		}
		return nil
	}, after: func(k *kase) {
		if left, s := k.settled(busy), k.look(); s.current != k.systems["good"] || s.boot != s.current || s.profile != s.current || len(left) > 0 {
			k.t.Errorf("%+v %q", s, left)
		}
	}},
	{name: "given back to deploy-rs", before: deployRs, outcome: "rolled-back", exit: rolledBack, words: "the boot default could not be set", checks: func(k *kase) error {
		k.do("touch /var/lib/fault/boot-half")
		return nil
	}, after: func(k *kase) {
		if left, s := k.settled(busy), k.look(); s.current != k.systems["old"] || s.boot != s.current || !strings.Contains(s.profile, "activatable") || s.generations != 2 || len(left) > 0 {
			k.t.Errorf("%+v %q", s, left)
		}
	}},

	{name: "specialisation", new: "special", req: func(r *activate.Request) { r.Activation = r.NewSystem + "/specialisation/quick" }, outcome: "changed", after: func(k *kase) {
		left, s := k.settled(busy), k.look()
		if s.current != k.systems["instant"] || s.boot != k.systems["special"] || s.profile != s.boot || len(left) > 0 {
			k.t.Errorf("%+v %q", s, left)
		}
		if state, _, err := activate.Status(k.ctx, k.r, k.Name); err != nil || state.Specialisation != "quick" {
			k.t.Errorf("%+v %v", state, err)
		}
		if res, err := activate.Run(k.ctx, k.r, k.req, event.Discard); err != nil || res.Outcome != "unchanged" {
			k.t.Errorf("%+v %v", res, err)
		}
	}},
	{name: "specialisation that fails", new: "special", req: func(r *activate.Request) { r.Activation = r.NewSystem + "/specialisation/broken" }, outcome: "rolled-back", exit: rolledBack, end: "old"},

	// Activations that fail.
	{name: "activation script fails", new: "fail2", outcome: "rolled-back", exit: rolledBack, end: "old", req: patient, words: "the activation script of the system failed (exit 2)"},
	{name: "a unit fails", new: "fail4", outcome: "rolled-back", exit: rolledBack, end: "old", req: patient, words: "newly failed  fault-broken.service"},
	{name: "a unit fails again and again", new: "fail4loop", outcome: "rolled-back", exit: rolledBack, end: "old", words: "newly failed  fault-loop.service", after: func(k *kase) { k.do("systemctl stop fault-loop.service") }},
	{name: "exit 4 and no failed unit to see", new: "fail4none", outcome: "rolled-back", exit: rolledBack, end: "old"},
	{name: "switch-to-configuration crashes", new: "crash101", outcome: "rolled-back", exit: rolledBack, end: "old", words: "crashed"},
	{name: "hangs", new: "hang", req: brief, outcome: "rolled-back", exit: rolledBack, end: "old", within: time.Minute, words: "took longer than 4s"},
	{name: "hangs, deaf to SIGTERM", ages: true, new: "hangignore", req: brief, outcome: "rolled-back", exit: rolledBack, end: "old", within: time.Minute},
	{name: "its whole unit is killed", ages: true, new: "killapply", outcome: "rolled-back", exit: rolledBack, end: "old", req: patient, words: "killed"},
	{name: "out of memory", new: "oom", outcome: "rolled-back", exit: rolledBack, end: "old", req: patient, words: "killed"},
	{name: "main process gets SIGTERM", ages: true, new: "term", outcome: "rolled-back", exit: rolledBack, end: "old", req: patient},
	{name: "main process gets SIGHUP", new: "hup", outcome: "rolled-back", exit: rolledBack, end: "old", req: patient},
	{name: "unit stopped by somebody", before: "touch /run/fault-hold-good", outcome: "rolled-back", exit: rolledBack, end: "old", running: func(k *kase) {
		k.do("systemctl stop 'godwit-apply-*.service'; rm /run/fault-hold-good")
	}},
	{name: "rollback asked for during the activation", before: "touch /run/fault-hold-good", outcome: "rolled-back", exit: rolledBack, end: "old", running: func(k *kase) {
		if res, err := activate.Rollback(k.ctx, k.client(k.t, lab.Root), k.Name, "", "", event.Discard); err != nil || res.Outcome != "rolled-back" {
			k.t.Errorf("%+v %v", res, err)
		}
	}, words: "asked for by a person"},
	{name: "it and its watcher are killed", ages: true, new: "hang", req: brief, outcome: "rolled-back", exit: rolledBack, end: "old", running: killApply},
	// PID 1 is not told what to start when the activation fails.
	{name: "only the deadman is left", new: "hang", req: brief, outcome: "rolled-back", exit: rolledBack, end: "old", running: killApply, runner: func(k *kase) host.Conn {
		return &network{Conn: k.r, edit: editTarget(`unit_apply() {
	run_unit godwit-apply "$1" --no-block -p Type=exec -p "OnFailure=godwit-rollback-$ID.service"`, `unit_apply() {
	run_unit godwit-apply "$1" --no-block -p Type=exec`)}
	}},
	{name: "systemd does not answer after the activation", req: brief, outcome: "rolled-back", exit: rolledBack, end: "old", words: "systemd did not set the deadline for the confirmation within 10s", runner: func(k *kase) host.Conn {
		return &network{Conn: k.r, edit: editTarget("if try 6 unit_confirm", "if sleep 60")}
	}},
	{name: "the log fills /run", new: "flood", before: "mount -o remount,size=24m /run", outcome: "rolled-back", exit: rolledBack, end: "old"},

	// Access is lost.
	{name: "firewall drops everything", new: "nonet", req: soon, outcome: "rolled-back", exit: rolledBack, end: "old", words: "did not answer on a new connection within 5s"},
	{name: "sshd does not come back", ages: true, new: "nosshd", req: soon, outcome: "rolled-back", exit: rolledBack, end: "old"},
	{name: "link down", new: "linkdown", req: soon, outcome: "rolled-back", exit: rolledBack, end: "old"},
	{name: "sudo rights lost", ages: true, new: "nosudo", req: soon, outcome: "rolled-back", exit: rolledBack, end: "old", words: "new connection"},
	{name: "checks fail", outcome: "rolled-back", exit: rolledBack, end: "old", req: patient,
		checks: func(*kase) error { return errors.New("http: 503") }, words: "checks failed: http: 503"},
	{name: "a unit fails after the activation", new: "faillate", outcome: "rolled-back", exit: rolledBack, end: "old",
		checks: func(*kase) error { time.Sleep(1500 * time.Millisecond); return nil }, words: "fault-late.service"},
	{name: "the laptop closes after arming", req: soon, outcome: "rolled-back", exit: rolledBack, end: "old", armed: func(k *kase) {
		unplug(k)
		replug(k)
	}},
	{name: "the laptop closes after arming, and it is kept", req: func(r *activate.Request) { soon(r); r.KeepUnconfirmed = true }, outcome: "changed", end: "new", armed: func(k *kase) {
		unplug(k)
		replug(k)
	}},
	{name: "checks fail, and it would be kept", req: func(r *activate.Request) { r.KeepUnconfirmed = true }, outcome: "rolled-back", exit: rolledBack, end: "old",
		checks: func(*kase) error { return errors.New("http: 503") }, words: "checks failed: http: 503"},
	{name: "the host is frozen while waiting", req: soon, outcome: "rolled-back", exit: rolledBack, end: "old", checks: func(k *kase) error {
		unplug(k)
		_ = k.Freeze(k.ctx)
		time.Sleep(6 * time.Second)
		_ = k.Thaw(k.ctx)
		replug(k)
		return nil
	}},

	// Rollbacks that fail.
	{name: "rollback fails once", old: "rbflaky", new: "fail2", before: "touch /var/lib/fault/flaky", outcome: "rolled-back", exit: rolledBack, end: "old"},
	{name: "old system never activates cleanly", old: "rbtwo", new: "fail2", outcome: "rolled-back", exit: rolledBack, end: "old"},
	{name: "rollback fails three times", old: "rbfail", new: "fail2", outcome: "failed", exit: 1, words: "three attempts to go back failed", after: func(k *kase) {
		if s := k.look(); s.boot != k.systems["rbfail"] || s.profile != s.boot {
			k.t.Errorf("%+v", s)
		}
		k.do("[ -e /nix/var/nix/gcroots/auto/godwit-" + k.res.ID + "-old ]") // kept on purpose
		k.do("rm -f /nix/var/nix/gcroots/auto/godwit-*")
		powerCut(k)
		k.invariant(k.t, k.systems["rbfail"], k.systems["rbfail"])
	}},
	{name: "rollback hangs, last resort", old: "rbhang", new: "fail2", req: func(r *activate.Request) { brief(r); r.LastResort = "reboot" }, outcome: "rolled-back", exit: rolledBack, end: "old", within: 2 * time.Minute, words: "rebooted"},
	{name: "rollback hangs after the confirmation deadline, last resort", old: "rbhang", req: func(r *activate.Request) { brief(r); r.LastResort = "reboot" },
		outcome: "rolled-back", exit: rolledBack, end: "old", within: 2 * time.Minute, checks: func(k *kase) error {
			unplug(k)
			replug(k)
			return nil
		}},
	{name: "the rollback unit is killed", ages: true, new: "fail2", before: "touch /run/fault-hold-old", outcome: "rolled-back", exit: rolledBack, end: "old", running: func(k *kase) {
		k.waitFor("the rollback", "test -e /run/fault-held-old")
		k.do("systemctl kill -s KILL 'godwit-rollback-*.service'; rm /run/fault-hold-old")
	}},
	{name: "the rollback unit is stopped", ages: true, new: "fail2", before: "touch /run/fault-hold-old", outcome: "rolled-back", exit: rolledBack, end: "old", running: func(k *kase) {
		k.waitFor("the rollback", "test -e /run/fault-held-old")
		k.do("systemctl stop 'godwit-rollback-*.service'; rm /run/fault-hold-old")
	}},

	{name: "the old system does its work and ends with 1", old: "rbone", new: "fail2", outcome: "rolled-back", exit: rolledBack, end: "old", words: "as before the deploy", after: func(k *kase) {
		if k.l.warned("the old system runs, though its switch-to-configuration ended with status 1") != 1 {
			k.t.Errorf("warnings: %q", k.l.warnings)
		}
	}},
	{name: "the old system does its work and never ends", old: "rblate", new: "fail2", req: brief, outcome: "rolled-back", exit: rolledBack, end: "old", within: 2 * time.Minute, after: func(k *kase) {
		if k.l.warned("had to be killed every time") != 1 {
			k.t.Errorf("warnings: %q", k.l.warnings)
		}
	}},
	{name: "an interrupted run leaves what only the new system has", new: "leavelist", req: brief, outcome: "rolled-back", exit: rolledBack, end: "old", after: func(k *kase) {
		if !perl(k.Suite) && k.l.warned("these failed on the way back, too: start of fault-gone.service") != 1 {
			k.t.Errorf("warnings: %q", k.l.warnings)
		}
	}},

	// Somebody else's switch holds the lock, for which the newer switch-to-configuration does not wait.
	{name: "locked from the beginning", ages: true, before: lockFor("1000"), outcome: "failed", exit: activate.ExitBusy, end: "old", words: "another switch-to-configuration is running on this host (process ", after: ranOnce("test", "good", 0)},
	{name: "locked after the preflight", ages: true, outcome: "failed", exit: activate.ExitBusy, end: "old", words: "another switch-to-configuration is running on this host (process ", runner: func(k *kase) host.Conn {
		return &network{Conn: k.r, edit: func(s string) string {
			if strings.Contains(s, "RUN_SH=") {
				k.do(lockFor("1000"))
			}
			return s
		}}
	}, after: ranOnce("test", "good", 0)},
	{name: "locked for a moment", ages: true, outcome: "changed", end: "new", runner: func(k *kase) host.Conn {
		return &network{Conn: k.r, edit: func(s string) string {
			if strings.Contains(s, "RUN_SH=") {
				k.do(lockFor("1.5"))
			}
			return s
		}}
	}},
	{name: "locked while a boot default is set", req: boot, outcome: "failed", exit: activate.ExitBusy, end: "old", before: lockFor("1000"), words: "another switch-to-configuration"},
	{name: "locked on the way back", ages: true, outcome: "rolled-back", exit: rolledBack, end: "old", words: "checks failed", checks: func(k *kase) error {
		k.do(lockFor("12")) // longer than one attempt waits
		return errors.New("no")
	}, after: ranOnce("test", "old", 1)},
	{name: "locked on the way back, by whom nobody sees", outcome: "rolled-back", exit: rolledBack, end: "old", words: "checks failed", runner: func(k *kase) host.Conn {
		return &network{Conn: k.r, edit: editTarget("cat /proc/locks", "cat /dev/null")}
	}, checks: func(k *kase) error {
		k.do(lockFor("5"))
		return errors.New("no")
	}, after: ranOnce("test", "old", 1)},
	{name: "locked during the commit", ages: true, outcome: "changed", end: "new", checks: func(k *kase) error {
		k.do(lockFor("4"))
		return nil
	}, after: ranOnce("boot", "good", 1)},
	{name: "locked by a user who may not switch", outcome: "changed", end: "new", runner: func(k *kase) host.Conn {
		return &network{Conn: k.r, edit: func(s string) string {
			if strings.Contains(s, "RUN_SH=") {
				k.do(`setsid -f setpriv --reuid nobody --clear-groups flock /run/nixos/switch-to-configuration.lock sleep 60; sleep 0.3`)
			}
			return s
		}}
	}, after: func(k *kase) { k.do("pkill -u nobody sleep") }},
	{name: "locked for ever on the way back", outcome: "failed", exit: 1, words: "it could not go back: another switch-to-configuration was running all the time (process ", req: calm, checks: func(k *kase) error {
		k.do(lockFor("1000"))
		return errors.New("no")
	}, after: func(k *kase) {
		k.do("systemctl stop fault-lock; rm -f /nix/var/nix/gcroots/auto/godwit-*")
		powerCut(k)
		k.invariant(k.t, k.systems["old"], k.systems["old"])
	}},

	// The users' part of a switch.
	{name: "the users' part fails for a user who is not there", before: "echo alice >/var/lib/fault/user-fails", outcome: "changed", end: "new", after: func(k *kase) {
		if !perl(k.Suite) && k.l.warned("user activation for alice failed, which does not take the host back") != 1 {
			k.t.Errorf("warnings: %q", k.l.warnings)
		}
	}},
	{name: "the users' part fails for a user who works", before: userWorks, outcome: "rolled-back", exit: rolledBack, end: "old",
		words: "activated, but user activation for deploy failed (exit 4)", after: func(k *kase) {
			// The old system's failed, too: no reason to go back again.
			if res, err := activate.Run(k.ctx, k.r, k.req, k.l); err != nil || res.Outcome != "changed" {
				k.t.Errorf("%+v %v", res, err)
			}
			k.invariant(k.t, k.systems["old"], k.systems["good"])
			k.do("rm /var/lib/fault/user-fails")
			k.machine.reset("old")
		}},
	{name: "the users' part fails, accepted", before: userWorks, req: func(r *activate.Request) { r.IgnoreUnits = []string{"user activation for deploy"} }, outcome: "changed", end: "new"},
	{name: "a reload fails with the users' part", new: "fail4reload", before: userWorks, req: func(r *activate.Request) { r.IgnoreUnits = []string{"user activation for *"} }, outcome: "rolled-back", exit: rolledBack, end: "old", words: "reload of fault-known.service"},
	{name: "a reload fails behind a unit that was broken before", new: "fail4reload", before: "systemctl start fault-broken.service; true", outcome: "rolled-back", exit: rolledBack, end: "old"},
	{name: "a login ends in the middle of it", before: "touch /var/lib/fault/user-gone", outcome: "changed", end: "new", after: func(k *kase) {
		if !perl(k.Suite) {
			ranOnce("test", "good", 2)(k)
		}
	}},

	// No switch-to-configuration in the running system.
	{name: "an old system that cannot be gone back to", before: bare, outcome: "failed", exit: 1, words: "--no-guard activates without it", after: ranOnce("test", "good", 0)},
	{name: "an old system that cannot be gone back to, no guard", before: bare, req: func(r *activate.Request) { r.NoGuard = true }, outcome: "changed", end: "new"},
	{name: "an old system that cannot be gone back to, boot", before: bare, req: boot, outcome: "changed", after: func(k *kase) {
		if left, s := k.settled(busy), k.look(); s.current != k.systems["bare"] || s.boot != k.systems["good"] || s.profile != s.boot || len(left) > 0 {
			k.t.Errorf("%+v %q", s, left)
		}
		k.do("ln -sfn " + k.systems["old"] + " /run/current-system")
	}},

	// Making it permanent fails.
	{name: "boot loader broken", outcome: "rolled-back", exit: rolledBack, end: "old", checks: func(k *kase) error {
		k.do("touch /var/lib/fault/boot-broken")
		return nil
	}, words: "the boot default could not be set"},
	{name: "boot loader broken half way", outcome: "rolled-back", exit: rolledBack, end: "old", before: "touch /var/lib/fault/boot-half", words: "the boot default could not be set"},
	// For good: also when the old system is to be set again.
	{name: "boot loader hangs", ages: true, before: "echo 1000 >/var/lib/fault/boot-slow", outcome: "rolled-back", exit: rolledBack, end: "old", words: "the boot loader could not be set again",
		runner: func(k *kase) host.Conn {
			return &network{Conn: k.r, edit: func(s string) string { return strings.Replace(s, "COMMIT_MAX='20'", "COMMIT_MAX='3'", 1) }}
		}},
	{name: "boot hangs", req: func(r *activate.Request) { boot(r); brief(r) }, before: "echo 1000 >/var/lib/fault/boot-slow", outcome: "failed", exit: 1, end: "old", within: 2 * time.Minute,
		words: "the boot loader could not be set again"},
	{name: "the commit is killed", ages: true, before: "touch /run/fault-hold-boot", outcome: "changed", end: "new", running: func(k *kase) {
		k.waitFor("the boot loader", heldBoot)
		k.do("systemctl kill -s KILL 'godwit-commit-*.service'; rm /run/fault-hold-boot")
	}},
	{name: "the commit is stopped", ages: true, before: "touch /run/fault-hold-boot", outcome: "changed", end: "new", running: func(k *kase) {
		k.waitFor("the boot loader", heldBoot)
		k.do("systemctl stop 'godwit-commit-*.service'; rm /run/fault-hold-boot")
	}},
	{name: "the commit and its watcher are killed", before: "touch /run/fault-hold-boot", req: brief, outcome: "changed", end: "new", running: func(k *kase) {
		k.waitFor("the boot loader", heldBoot)
		k.do(`sed -i 's/^commit_ended() {/& sleep 100/' /run/godwit/current/run.sh
for i in 1 2 3; do systemctl kill -s KILL 'godwit-commit-*.service'; systemctl stop --no-block 'godwit-commit-*.service'; sleep 0.2; done; rm /run/fault-hold-boot`)
	}},
	{name: "the profile cannot be written", outcome: "rolled-back", exit: rolledBack, end: "old", checks: func(k *kase) error {
		k.do("mount --bind /nix/var/nix/profiles /nix/var/nix/profiles && mount -o remount,bind,ro /nix/var/nix/profiles")
		return nil
	}, after: func(k *kase) { k.do("umount /nix/var/nix/profiles") }},
	{name: "boot fails", req: boot, before: "touch /var/lib/fault/boot-broken", outcome: "failed", exit: 1, end: "old", words: "the profile was put back"},
	{name: "boot fails half way", req: boot, before: "touch /var/lib/fault/boot-half", outcome: "failed", exit: 1, end: "old"},
	{name: "boot is killed", req: boot, before: "touch /run/fault-hold-boot", outcome: "failed", exit: 1, end: "old", running: func(k *kase) {
		k.waitFor("the boot loader", heldBoot)
		k.do("systemctl kill -s KILL 'godwit-apply-*.service'; rm /run/fault-hold-boot")
	}},

	// Refused before anything is touched.
	{name: "init changed", new: "initchange", outcome: "failed", exit: 1, end: "old", words: "boot --reboot", after: ranOnce("test", "initchange", 0)},
	{name: "init changed, booted", new: "initchange", req: boot, outcome: "changed", after: func(k *kase) {
		powerCut(k)
		k.invariant(k.t, k.systems["old"], k.systems["initchange"])
		k.do("ln -sfn " + k.systems["initchange"] + " /run/current-system")
	}},
	{name: "init changed, found out late", new: "initchange", outcome: "failed", exit: 1, end: "old", words: "boot --reboot", runner: func(k *kase) host.Conn {
		return &network{Conn: k.r, edit: func(s string) string { return strings.Replace(s, "tell init-changed yes", ":", 1) }}
	}},
	{name: "inhibited", new: "inhibited", before: "ln -sfn $(readlink -f /run/current-system) /run/booted-system", outcome: "failed", exit: 1, end: "old", words: "boot --reboot"},
	{name: "pre-switch check fails", new: "checkfails", outcome: "failed", exit: 1, end: "old", words: "pre-switch check says no"},
	{name: "no such system", req: func(r *activate.Request) { r.NewSystem = "/nix/store/00000000000000000000000000000000-none" }, outcome: "failed", exit: 1, end: "old", words: "godwit push"},
	{name: "full /run", ages: true, before: "mount -o remount,size=16m /run; dd if=/dev/zero of=/run/filler bs=1M 2>/dev/null; true", outcome: "failed", exit: 1, end: "old", words: "nothing was changed",
		after: func(k *kase) { ranOnce("test", "good", 0)(k); k.do("rm /run/filler") }},
	{name: "no room at the end", new: "term", outcome: "rolled-back", exit: rolledBack, end: "old", runner: func(k *kase) host.Conn {
		return &network{Conn: k.r, edit: editTarget(`put final "$1"`, `mount -o remount,size=16m /run; rm -f "$D/reserve"; : >"$D/log"
cat /dev/zero >/run/filler 2>/dev/null; put final "$1"`)}
	}, after: func(k *kase) { ranOnce("test", "old", 1)(k); k.do("rm /run/filler") }},
	{name: "no room from the rollback on", new: "fail2", outcome: "rolled-back", exit: rolledBack, end: "old", runner: func(k *kase) host.Conn {
		return &network{Conn: k.r, edit: editTarget("put phase rolling-back", `mount -o remount,size=16m /run; rm -f "$D/reserve"
cat /dev/zero >/run/filler 2>/dev/null; put phase rolling-back`)}
	}, after: func(k *kase) { k.do("rm /run/filler") }},
	{name: "no room from the commit on", outcome: "changed", end: "new", runner: func(k *kase) host.Conn {
		return &network{Conn: k.r, edit: editTarget("put phase committing", `mount -o remount,size=16m /run; rm -f "$D/reserve"
cat /dev/zero >/run/filler 2>/dev/null; put phase committing`)}
	}, after: func(k *kase) { ranOnce("boot", "good", 1)(k); k.do("rm /run/filler") }},
	{name: "full /nix", before: "mount -t tmpfs -o size=128k,mode=755 tmpfs /nix/var/nix/gcroots/auto; dd if=/dev/zero of=/nix/var/nix/gcroots/auto/filler bs=1k 2>/dev/null; true", outcome: "failed", exit: 1, end: "old",
		words: "KiB are free in /nix", after: ranOnce("test", "good", 0)},
	{name: "read-only root", before: "for d in /nix /var /etc /boot /root; do mount --bind $d $d && mount -o remount,bind,ro $d; done", outcome: "failed", exit: 1, end: "old", words: "cannot write to",
		after: func(k *kase) { k.do("umount -l /nix /var /etc /boot /root"); ranOnce("test", "good", 0)(k) }},

	// Arming is cut off.
	{name: "arming cut between deadman and activation", outcome: "failed", exit: 1, end: "old", words: "nothing was changed", runner: func(k *kase) host.Conn {
		return &network{Conn: k.r, edit: editTarget("unit_apply apply ||", "kill -9 $$; false ||")}
	}, after: ranOnce("test", "good", 0)},
	{name: "arming cut before the deadman", outcome: "failed", exit: 1, end: "old", words: "nothing was changed", runner: func(k *kase) host.Conn {
		return &network{Conn: k.r, edit: editTarget("elif ! unit_deadman", "elif kill -9 $$")}
	}, after: ranOnce("test", "good", 0)},
	{name: "arming cut and the laptop gone", req: brief, outcome: "failed", exit: 1, end: "old", runner: func(k *kase) host.Conn {
		return &network{Conn: k.r, edit: editTarget("unit_apply apply ||", "kill -9 $$; false ||")}
	}, armed: func(k *kase) { unplug(k); replug(k) }, after: ranOnce("test", "good", 0)},
	{name: "the deadman cannot be set", outcome: "failed", exit: 1, end: "old", words: "deadman", runner: func(k *kase) host.Conn {
		return &network{Conn: k.r, edit: editTarget("elif ! unit_deadman", "elif true")}
	}, after: ranOnce("test", "good", 0)},
	{name: "the confirmation deadline cannot be set", outcome: "rolled-back", exit: rolledBack, end: "old", runner: func(k *kase) host.Conn {
		return &network{Conn: k.r, edit: editTarget("try 6 unit_confirm", "false")}
	}},

	// Other people.
	{name: "second deployer", before: "touch /run/fault-hold-good", outcome: "changed", end: "new", running: func(k *kase) {
		res, err := activate.Run(k.ctx, k.client(k.t, lab.Root), k.machine.request("sshrestart"), event.Discard)
		if err == nil || !strings.Contains(err.Error(), "another deployment") || res.Outcome != "failed" {
			k.t.Errorf("%+v %v", res, err)
		}
		k.do("rm /run/fault-hold-good")
	}},
	{name: "another admin switches meanwhile", outcome: "failed", exit: 1, words: "somebody else", checks: func(k *kase) error {
		k.do(k.systems["instant"] + "/bin/switch-to-configuration switch")
		return nil
	}, after: func(k *kase) {
		if left, s := k.settled(busy), k.look(); s.current != k.systems["instant"] || s.boot != s.current || len(left) > 0 {
			k.t.Errorf("%+v %q", s, left)
		}
	}},
	{name: "status and confirm from elsewhere", req: func(r *activate.Request) { r.ConfirmTimeout = 20 * time.Second }, outcome: "changed", end: "new", checks: func(k *kase) error {
		unplug(k)
		other := k.client(k.t, lab.Root)
		state, dep, err := activate.Status(k.ctx, other, k.Name)
		if err != nil || !dep.Pending() || dep.Phase != "activated" || dep.Meta["commit"] != "4f2a91c" || state.Pending != dep.ID || state.Current != k.systems["good"] {
			k.t.Errorf("%+v %+v %v", state, dep, err)
		}
		if res, err := activate.Confirm(k.ctx, other, k.Name, "", event.Discard); err != nil || res.Outcome != "changed" {
			k.t.Errorf("%+v %v", res, err)
		}
		if _, dep, err := activate.Status(k.ctx, other, k.Name); err != nil || dep.Pending() || dep.Final != "committed" {
			k.t.Errorf("%+v %v", dep, err)
		}
		if _, err := activate.Rollback(k.ctx, other, k.Name, "", "", event.Discard); err == nil || !strings.Contains(err.Error(), "no deployment is pending") {
			k.t.Errorf("%v", err)
		}
		k.net.down.Store(false)
		return nil
	}},
	{name: "rollback from elsewhere", outcome: "rolled-back", exit: rolledBack, end: "old", checks: func(k *kase) error {
		if res, err := activate.Rollback(k.ctx, k.client(k.t, lab.Root), k.Name, "", "I said so", event.Discard); err != nil || res.Outcome != "rolled-back" {
			k.t.Errorf("%+v %v", res, err)
		}
		return nil
	}, words: "I said so"},

	// Power.
	{name: "power cut during the activation", before: "touch /run/fault-hold-good", outcome: "rolled-back", exit: rolledBack, end: "old", running: powerCut, words: "rebooted"},
	{name: "power cut while waiting", ages: true, outcome: "rolled-back", exit: rolledBack, end: "old", checks: func(k *kase) error { powerCut(k); return nil }, words: "rebooted"},
	{name: "power cut while checks go on", req: func(r *activate.Request) { r.ConfirmTimeout = 5 * time.Minute }, outcome: "rolled-back", exit: rolledBack, end: "old", within: 90 * time.Second,
		waits: func(k *kase, ctx context.Context) error {
			powerCut(k)
			<-ctx.Done() // they would never succeed
			if cause := context.Cause(ctx); !errors.Is(cause, reboot.ErrRebooted) {
				k.t.Errorf("the checks ended because of %v", cause)
			}
			return ctx.Err()
		}, words: "the host rebooted before the new system was confirmed; it booted the system that it ran before"},
	{name: "orderly reboot while waiting", outcome: "rolled-back", exit: rolledBack, end: "old", checks: func(k *kase) error { return k.Restart(k.ctx) }, words: "rebooted"},
	{name: "orderly reboot during the commit", ages: true, before: "echo 2 >/var/lib/fault/boot-slow", outcome: "changed", end: "new", running: func(k *kase) {
		k.waitFor("the boot loader", heldBoot)
		if err := k.Restart(k.ctx); err != nil {
			k.t.Error(err)
		}
	}},
	{name: "power cut between profile and boot default", before: "touch /run/fault-hold-boot", outcome: "rolled-back", exit: rolledBack, running: func(k *kase) {
		k.waitFor("the boot loader", heldBoot)
		powerCut(k)
	}, after: func(k *kase) {
		s := k.look()
		if s.current != k.systems["old"] || s.boot != s.current || s.profile != k.systems["good"] {
			k.t.Errorf("not what this case is about: %+v", s)
		}
		state, _, err := activate.Status(k.ctx, k.r, k.Name)
		if err != nil || state.Interrupted == "" {
			k.t.Errorf("the status does not tell: %+v %v", state, err)
		}
		// The next deployment puts it right, even one that fails.
		if res, err := activate.Run(k.ctx, k.r, k.machine.request("fail2"), k.l); err == nil || res.Outcome != "rolled-back" {
			k.t.Errorf("%+v %v", res, err)
		}
		k.invariant(k.t, k.systems["old"], k.systems["old"])
	}},
	{name: "three profiles, power cut while waiting", three: "new", ages: true, outcome: "rolled-back", exit: rolledBack, end: "old", checks: func(k *kase) error { powerCut(k); return nil },
		words: "the host rebooted before", after: goneBack},
	{name: "three profiles, orderly reboot while waiting", three: "new", outcome: "rolled-back", exit: rolledBack, end: "old", checks: func(k *kase) error { return k.Restart(k.ctx) },
		words: "the host rebooted before", after: goneBack},
	{name: "three profiles, orderly reboot on the way back", three: "new", new: "fail2", before: "echo 3 >/var/lib/fault/old-slow", outcome: "rolled-back", exit: rolledBack, end: "old", running: func(k *kase) {
		k.waitFor("the way back", "grep -q rolling-back /run/godwit/current/phase")
		if err := k.Restart(k.ctx); err != nil {
			k.t.Error(err)
		}
	}, after: goneBack},
	{name: "three profiles, power cut between profile and boot default", three: "new", before: "touch /run/fault-hold-boot", outcome: "rolled-back", exit: rolledBack, end: "old", running: func(k *kase) {
		k.waitFor("the boot loader", heldBoot)
		powerCut(k)
	}, after: goneBack},
	{name: "three profiles, orderly reboot during the commit", three: "new", before: "echo 2 >/var/lib/fault/boot-slow", outcome: "changed", end: "new", running: func(k *kase) {
		k.waitFor("the boot loader", heldBoot)
		if err := k.Restart(k.ctx); err != nil {
			k.t.Error(err)
		}
	}, after: customsAre("new")},
	{name: "three profiles, power cut, and no unit for the next boot", three: "new", before: "mkdir -p /etc/systemd/system.control; mount -t tmpfs -o ro none /etc/systemd/system.control", outcome: "rolled-back", exit: rolledBack,
		checks: func(k *kase) error { powerCut(k); return nil }, words: "or else with the next deploy", after: func(k *kase) {
			state, _, err := activate.Status(k.ctx, k.r, k.Name)
			if err != nil || state.Interrupted == "" {
				k.t.Errorf("the status does not tell: %+v %v", state, err)
			}
			// The next deployment puts it right, even one that has only the system, and fails.
			if res, err := activate.Run(k.ctx, k.r, k.machine.request("fail2"), k.l); err == nil || res.Outcome != "rolled-back" {
				k.t.Errorf("%+v %v", res, err)
			}
			customsAre("old")(k)
			k.invariant(k.t, k.systems["old"], k.systems["old"])
		}},
	{name: "garbage collection while waiting", outcome: "rolled-back", exit: rolledBack, end: "old", checks: func(k *kase) error {
		k.do(`export HOME=/root NIX_REMOTE=; rm /nix/var/nix/gcroots/fault/old /nix/var/nix/gcroots/fault/good
mv /nix/var/nix/profiles/system-*-link /root/; link=$(cd /root; ls -d system-*-link); nix-store --gc >/dev/null 2>&1
mv /root/$link /nix/var/nix/profiles/; test -x ` + k.systems["old"] + `/bin/switch-to-configuration && test -x ` + k.systems["good"] + `/bin/switch-to-configuration`)
		k.do(`ln -s ` + k.systems["old"] + ` /nix/var/nix/gcroots/fault/old; ln -s ` + k.systems["good"] + ` /nix/var/nix/gcroots/fault/good`)
		return errors.New("enough")
	}},
}

// TestFaults plays every case on one suite, and those that depend on the age of
// the host's systemd, sshd and sudo on the others. GODWIT_FAULT_SUITES names the
// suites that play all.
func TestFaults(t *testing.T) {
	var aged []fcase
	for _, c := range cases {
		if c.ages {
			aged = append(aged, c)
		}
	}
	runCases(t, func(suite string) ([]fcase, int) {
		if !slices.Contains(suites(), suite) {
			return aged, 2
		}
		return cases, 6
	})
}

// TestInterrupt is Ctrl-C at every stage.
func TestInterrupt(t *testing.T) {
	begin(t)
	h := newHost(t, suites()[0])
	for _, stage := range []string{"preflight", "armed", "activating", "checks"} {
		t.Run(stage, func(t *testing.T) {
			h.t = t
			begin := time.Now()
			h.reset("old")
			usual := time.Since(begin) // on this machine, at this moment
			h.must("echo 2 >/var/lib/fault/good-slow")
			ctx, stop := context.WithTimeout(context.Background(), time.Minute)
			defer stop()
			var pressed time.Time
			cancel := sync.OnceFunc(func() { pressed = time.Now(); stop() })
			req := h.request("good")
			switch stage {
			case "preflight":
				cancel()
			case "armed", "activating":
				req.OnPhase = func(p activate.Phase) {
					if p == activate.Armed {
						if stage == "activating" {
							time.Sleep(700 * time.Millisecond)
						}
						cancel()
					}
				}
			case "checks":
				req.Checks = func(ctx context.Context, _ activate.Phase) error { cancel(); return ctx.Err() }
			}
			res, err := activate.Run(ctx, h.r, req, &listener{t: t})
			took := time.Since(pressed)
			t.Logf("%s after Ctrl-C: %v", took.Round(100*time.Millisecond), err)
			if err == nil || res.Outcome != "interrupted" || took > 10*time.Second+usual {
				t.Errorf("%+v %v", res, err)
			}
			h.invariant(t, h.systems["old"], h.systems["old"])
		})
	}
}

// TestPasswordSudo needs a client of its own.
func TestPasswordSudo(t *testing.T) {
	begin(t)
	h := newHost(t, suites()[0])
	h.reset("old")
	pool, err := ssh.NewPool(ssh.Options{ConfigFile: "none", IdentityFile: h.Identity, ExtraArgs: []string{"-o", "IdentityAgent=none", "-o", "UserKnownHostsFile=" + h.KnownHosts, "-o", "GlobalKnownHostsFile=/dev/null"},
		Password: func(context.Context) (string, error) { return lab.Password, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pool.Close() }()
	r := pool.Host(ssh.Target{Name: h.Name, Host: "127.0.0.1", User: lab.PasswordUser, Port: h.Port})
	if _, err := activate.Run(context.Background(), r, h.request("good"), event.Discard); err != nil {
		t.Fatal(err)
	}
	h.invariant(t, h.systems["old"], h.systems["good"])

	// No more than the last few folders stay in /run.
	for range 5 {
		if _, err := activate.Run(context.Background(), r, h.request("instant"), event.Discard); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Fields(h.must("ls -d /run/godwit/[0-9]*/ | wc -l; wc -l </var/lib/godwit/history.jsonl")); n[0] != "4" || n[1] != "6" {
		t.Errorf("folders in /run/godwit and records: %q, want 4 and 6", n)
	}
}
