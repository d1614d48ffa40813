package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/activate"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/hostscript"
	"godwit/internal/hoststate"
	"godwit/internal/lock"
	"godwit/internal/reboot"
)

func TestHost(t *testing.T) {
	now := time.Date(2026, 11, 28, 22, 0, 0, 0, time.UTC)
	well := func() hoststate.Facts {
		return hoststate.Facts{Clock: now, State: activate.State{Root: true, Systemd: 257,
			Free: map[string]hostscript.Room{"/nix": {Bytes: 20 << 30, Inodes: 100000}, "/boot": {Bytes: 200 << 20, Inodes: -1}, "/run": {Bytes: 1 << 30, Inodes: 5000}}}}
	}
	once := reboot.Loader{Kind: "sdboot"}
	for _, c := range []struct {
		name   string
		change func(*hoststate.Facts)
		loader reboot.Loader
		none   bool // no NixOS, no loader to ask
		err    error
		check  string
		level  Level
		says   string
		remedy string
	}{
		{name: "well", loader: once},
		{name: "no root", change: func(f *hoststate.Facts) { f.Root = false }, loader: once, check: "root", level: Fail, says: "cannot become root", remedy: "sudoers"},
		{name: "no systemd", change: func(f *hoststate.Facts) { f.Systemd = 0 }, loader: once, check: "systemd", level: Warn, says: "does not run this host", remedy: "--no-guard"},
		{name: "full", change: func(f *hoststate.Facts) { f.Free["/nix"] = hostscript.Room{Bytes: 1 << 20, Inodes: 100000} }, loader: once, check: "space", level: Warn, says: "1.0 MiB free in /nix", remedy: "godwit gc 'web 1' --keep 3"},
		{name: "no inodes", change: func(f *hoststate.Facts) { f.Free["/nix"] = hostscript.Room{Bytes: 20 << 30, Inodes: 10} }, loader: once, check: "space", level: Warn, says: "10 inodes", remedy: "gc"},
		{name: "no loader", loader: reboot.Loader{Why: "extlinux"}, check: "boot-loader", level: Warn, says: "extlinux", remedy: "no-oneshot"},
		{name: "loader unread", err: fault.New("no answer").Hint("wait"), check: "boot-loader", level: Warn, says: "no answer", remedy: "wait"},
		{name: "clock", change: func(f *hoststate.Facts) { f.Clock = now.Add(-5 * time.Minute) }, loader: once, check: "clock", level: Warn, says: "5m2s off", remedy: "timedatectl"},
		{name: "locked", change: func(f *hoststate.Facts) { f.Lock = &lock.Lock{User: "ana", Message: "disk"} }, loader: once, check: "lock", level: Warn, says: "ana: disk", remedy: "godwit unlock 'web 1'"},
		{name: "pending", change: func(f *hoststate.Facts) { f.Pending = "x" }, loader: once, check: "pending", level: Warn, says: "(x)", remedy: "godwit confirm 'web 1'"},
		{name: "own home", change: func(f *hoststate.Facts) { f.Root, f.AsUser, f.Linger = false, true, true }, none: true},
		{name: "no linger", change: func(f *hoststate.Facts) { f.Root, f.AsUser = false, true }, none: true, check: "systemd", level: Warn, says: "no linger", remedy: "godwit ssh 'web 1' loginctl enable-linger"},
		{name: "mac", change: func(f *hoststate.Facts) { f.Systemd, f.Launchd = 0, true }, none: true},
		{name: "mac's clock", change: func(f *hoststate.Facts) { f.Systemd, f.Launchd, f.Clock = 0, true, now.Add(time.Hour) }, none: true, check: "clock", level: Warn, says: "off", remedy: "systemsetup"},
		{name: "failed", change: func(f *hoststate.Facts) { f.FailedUnits = []string{"a\x1b[2J.service"} }, loader: once, check: "units", level: Warn, says: "failed: a.service", remedy: "systemctl"},
	} {
		f := well()
		if c.change != nil {
			c.change(&f)
		}
		var up Checkup
		loader := &c.loader
		if c.none {
			loader = nil
		}
		up.Add(Host(fleet.Host{Name: "web 1"}, f, now.Add(2*time.Second), loader, c.err)...)
		if up.OK != (c.level != Fail) {
			t.Errorf("%s: ok %v", c.name, up.OK)
		}
		bad := slices.DeleteFunc(slices.Clone(up.Findings), func(f Finding) bool { return f.Level == OK })
		if c.check == "" {
			if len(bad) > 0 || len(up.Findings) < 7 || c.none == slices.ContainsFunc(up.Findings, func(f Finding) bool { return f.Check == "boot-loader" }) {
				t.Errorf("%s: %+v", c.name, up.Findings)
			}
			continue
		}
		if len(bad) != 1 || bad[0].Check != c.check || bad[0].Level != c.level || bad[0].Host != "web 1" || !strings.Contains(bad[0].Text, c.says) || !strings.Contains(strings.Join(bad[0].Remedies, "\n"), c.remedy) {
			t.Errorf("%s: %+v", c.name, bad)
		}
	}
	if f := NoAnswer("db", fault.New("no answer").Hint("try")); f.Level != Fail || f.Host != "db" || f.Remedies[0] != "try" {
		t.Errorf("%+v", f)
	}
	if f := failed("x", errors.New("y")); f.Text != "y" || f.Level != Fail {
		t.Errorf("%+v", f)
	}
}

// TestHere: whatever this machine has, each thing is looked at, and what is missing has a remedy.
func TestHere(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	checks := func(env map[string]string) map[string]Finding {
		out := map[string]Finding{}
		for _, f := range Here(t.Context(), func(name string) string { return env[name] }, "") {
			out[f.Check] = f
			if f.Level != OK && len(f.Remedies) == 0 {
				t.Errorf("no remedy: %+v", f)
			}
		}
		return out
	}
	got := checks(nil)
	for check, level := range map[string]Level{"ssh": Fail, "ssh-agent": Warn, "engine": Warn} {
		if got[check].Level != level {
			t.Errorf("%s: %+v", check, got[check])
		}
	}
	if got["disk"].Check == "" {
		t.Errorf("%+v", got)
	}
	if f := checks(map[string]string{"SSH_AUTH_SOCK": "/nowhere"})["ssh-agent"]; f.Level != Warn || !strings.Contains(f.Text, "does not answer") {
		t.Errorf("%+v", f)
	}
	home, _ := os.UserHomeDir()
	if err := os.MkdirAll(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".ssh/id_ed25519"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if f := checks(nil)["ssh-agent"]; f.Level != OK || !strings.Contains(f.Text, "1 key file") {
		t.Errorf("%+v", f)
	}
}
