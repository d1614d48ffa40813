package plan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/activate"
	"godwit/internal/closure"
	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/hostscript"
	"godwit/internal/nar"
	"godwit/internal/profile"
	"godwit/internal/profile/nixos"
	"godwit/internal/storepath"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test ./internal/plan -update writes it):\n%s", file, got)
	}
}

// sp is a store path.
func sp(hash byte, name string) string {
	return "/nix/store/" + strings.Repeat(string(hash), 32) + "-" + name
}

var (
	oldSystem = sp('a', "nixos-system-web1-24.05.1")
	newSystem = sp('b', "nixos-system-web1-24.05.2")
	oldKernel = sp('k', "linux-6.6.51") + "/bzImage"
	newKernel = sp('l', "linux-6.6.54") + "/bzImage"
	now       = time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)
)

// found are facts about a host of NixOS.
type found struct {
	*Facts
	*nixos.Seen
}

// facts are those of a host where nothing is odd.
func facts() found {
	parts := func() map[string]string {
		return map[string]string{"kernel": oldKernel, "initrd": sp('i', "initrd-linux-6.6.51") + "/initrd", "systemd": sp('s', "systemd-255.4"),
			"kernel-params": "1 2", "boot-loader": sp('g', "install-grub.sh")}
	}
	prints := func() map[string]string {
		return map[string]string{"ssh": "1 10", "firewall": "x", "network": "3 30"}
	}
	seen := &nixos.Seen{
		Current: nixos.System{Path: oldSystem, Known: true, Parts: parts(), Prints: prints()},
		Booted:  nixos.System{Path: oldSystem, Known: true, Parts: parts(), Prints: map[string]string{}},
		New:     nixos.System{Path: newSystem, Known: true, Parts: parts(), Prints: prints()},
		DryExit: -1, BootBytes: 60 << 20,
	}
	return found{&Facts{
		Seen: map[string]profile.Seen{fleet.SystemProfile: seen},
		State: activate.State{Current: oldSystem, Booted: oldSystem, Profile: oldSystem, Generation: "system-41-link", Root: true, Systemd: 255,
			Free: map[string]hostscript.Room{"/nix": {Bytes: 20 << 30, Inodes: 900000}, "/boot": {Bytes: 200 << 20, Inodes: -1}, "/run": {Bytes: 1 << 30, Inodes: 800000}}},
		Last: &activate.Record{ID: "x", Action: "switch", Old: sp('0', "older"), New: oldSystem, Toplevel: oldSystem, Result: "committed",
			Ended: now.Add(-3 * time.Hour).Unix(), Meta: map[string]string{"user": "ana", "deployer": "laptop", "commit": "77c0e1d000000000", "tree": "clean"}},
		Present: true,
	}, seen}
}

func hostOf(name string) fleet.Host {
	return fleet.Host{Name: name, At: fleet.Address{Host: name + ".example.org"}, Profiles: []fleet.Profile{fleet.System(sp('d', "nixos-system-"+name+".drv"), "")}}
}

func TestRisks(t *testing.T) {
	sw := Options{Action: "switch"}
	for _, c := range []struct {
		name   string
		opt    Options
		src    Source
		change func(f found, in *Input)
		want   []string
	}{
		{name: "nothing odd", opt: sw},
		{name: "clean tree", opt: sw, src: Source{Commit: "4f2a91c"}},
		{name: "dirty tree", opt: sw, src: Source{Commit: "4f2a91c", Dirty: true}, want: []string{DirtyTree}},
		{name: "dirty outside git", opt: sw, src: Source{Dirty: true}},
		{name: "kernel", opt: sw, change: func(f found, _ *Input) { f.New.Parts["kernel"] = newKernel }, want: []string{KernelChange}},
		{name: "kernel with boot", opt: Options{Action: "boot"}, change: func(f found, _ *Input) { f.New.Parts["kernel"] = newKernel }, want: []string{KernelChange}},
		{name: "kernel with test", opt: Options{Action: "test"}, change: func(f found, _ *Input) { f.New.Parts["kernel"] = newKernel }},
		{name: "first kernel", opt: sw, change: func(f found, _ *Input) {
			f.New.Parts["kernel"] = newKernel
			delete(f.Current.Parts, "kernel")
			delete(f.Booted.Parts, "kernel")
		}},
		{name: "kernel deployed before, not booted yet", opt: sw, change: func(f found, _ *Input) {
			f.New.Parts["kernel"], f.Current.Parts["kernel"] = newKernel, newKernel
		}},
		{name: "back to the booted kernel", opt: sw, change: func(f found, _ *Input) { f.Current.Parts["kernel"] = newKernel }},
		{name: "container without kernel", opt: sw, change: func(f found, _ *Input) { delete(f.New.Parts, "kernel") }},
		{name: "boot loader", opt: sw, change: func(f found, _ *Input) { f.New.Parts["boot-loader"] = sp('h', "install-systemd-boot.sh") }, want: []string{BootLoader}},
		{name: "boot loader rebuilt", opt: sw, change: func(f found, _ *Input) { f.New.Parts["boot-loader"] = sp('h', "install-grub.sh") }},
		{name: "address of another host", opt: sw, change: func(f found, _ *Input) { f.Twin = "it has the address of web2: 192.0.2.7 port 22" }, want: []string{SameAddress}},
		{name: "a system that is not known here", opt: sw, change: func(f found, _ *Input) { f.Stranger = "would lose x" }, want: []string{UnknownProfile}},
		{name: "sshd settings", opt: sw, change: func(f found, _ *Input) { f.New.Prints["ssh"] = "2 11" }, want: []string{SSHChange}},
		{name: "sshd goes away", opt: sw, change: func(f found, _ *Input) { delete(f.New.Prints, "ssh") }, want: []string{SSHChange}},
		{name: "first sshd", opt: sw, change: func(f found, _ *Input) { delete(f.Current.Prints, "ssh") }},
		{name: "firewall", opt: sw, change: func(f found, _ *Input) { f.New.Prints["firewall"] = "y" }, want: []string{SSHChange}},
		{name: "network at next boot", opt: Options{Action: "boot"}, change: func(f found, _ *Input) { f.New.Prints["network"] = "4" }},
		{name: "network and reboot", opt: Options{Action: "boot", Reboot: true}, change: func(f found, _ *Input) { f.New.Prints["network"] = "4" }, want: []string{SSHChange}},
		{name: "sshd restarts", opt: sw, change: func(f found, _ *Input) {
			f.DryExit, f.Dry = 0, []string{"would restart the following units: sshd.service"}
		}},
		{name: "network stops", opt: sw, change: func(f found, _ *Input) {
			f.DryExit, f.Dry = 0, []string{"would stop the following units: dhcpcd.service"}
		}, want: []string{SSHChange}},
		{name: "no guard asked for", opt: Options{Action: "switch", NoGuard: true}, want: []string{NoRollback}},
		{name: "no guard in the configuration", opt: sw, change: func(_ found, in *Input) { in.Host.Guard.NoAutoRollback = true }, want: []string{NoRollback}},
		{name: "no confirmation in the configuration", opt: sw, change: func(_ found, in *Input) { in.Host.Guard.NoMagicRollback = true }},
		{name: "no guard to be had", opt: sw, change: func(f found, _ *Input) { f.State.Systemd = 230 }, want: []string{NoRollback}},
		{name: "boot needs none", opt: Options{Action: "boot"}, change: func(f found, _ *Input) { f.State.Systemd = 230 }},
		{name: "no guard in the configuration, a reboot", opt: Options{Action: "boot", Reboot: true}, change: func(_ found, in *Input) { in.Host.Guard.NoAutoRollback = true }, want: []string{NoRollback}},
		{name: "no one-shot boots", opt: Options{Action: "boot", Reboot: true}, change: func(f found, _ *Input) { f.NoOneShot = "extlinux" }, want: []string{NoOneShot}},
		{name: "no one-shot boots, switch", opt: Options{Action: "switch", Reboot: true}, change: func(f found, _ *Input) { f.NoOneShot = "extlinux" }, want: []string{NoOneShot}},
		{name: "no one-shot boots, the same system", opt: Options{Action: "boot", Reboot: true}, change: func(f found, _ *Input) {
			f.NoOneShot, f.State.Current, f.State.Profile = "extlinux", newSystem, newSystem
		}},
		{name: "somebody tested", opt: sw, change: func(f found, _ *Input) { f.State.Current = sp('z', "nixos-system-web1-24.05.9") }, want: []string{UnknownProfile}},
		{name: "godwit tested", opt: sw, change: func(f found, _ *Input) {
			f.State.Current = sp('z', "nixos-system-web1-24.05.9")
			f.Last.Action, f.Last.New, f.Last.Toplevel = "test", f.State.Current, f.State.Current
		}},
		{name: "godwit set the boot default", opt: sw, change: func(f found, _ *Input) {
			f.State.Profile = sp('z', "nixos-system-web1-24.05.9")
			f.Last.Action, f.Last.New, f.Last.Toplevel = "boot", f.State.Profile, f.State.Profile
		}},
		{name: "somebody set the boot default", opt: sw, change: func(f found, _ *Input) { f.State.Profile = sp('z', "x") }, want: []string{UnknownProfile}},
		{name: "deploy-rs switched it", opt: sw, change: func(f found, _ *Input) {
			f.State.Profile, f.State.Wrapped, f.Last = sp('z', "activatable-nixos-system-web1-24.05.9"), oldSystem, nil
		}},
		{name: "deploy-rs set the boot default", opt: sw, change: func(f found, _ *Input) {
			f.State.Profile, f.State.Wrapped = sp('z', "activatable-nixos-system-web1-24.05.9"), sp('y', "nixos-system-web1-24.05.9")
		}, want: []string{UnknownProfile}},
		{name: "no record, no profile", opt: sw, change: func(f found, _ *Input) { f.State.Profile, f.Last = "", nil }},
		{name: "a specialisation runs", opt: sw, change: func(f found, _ *Input) { f.State.Current = f.State.Profile + "/specialisation/x" }},
		{name: "few inodes", opt: sw, change: func(f found, _ *Input) { f.State.Free["/nix"] = hostscript.Room{Bytes: 163 << 20, Inodes: 12} }, want: []string{LowSpace}},
		{name: "few inodes, of how many nobody counts", opt: sw, change: func(f found, _ *Input) { f.State.Free["/nix"] = hostscript.Room{Bytes: 20 << 30, Inodes: -1} }},
		{name: "little space", opt: sw, change: func(f found, _ *Input) { f.State.Free["/nix"] = hostscript.Room{Bytes: 10 << 20, Inodes: 900000} }, want: []string{LowSpace}},
		{name: "too much to copy", opt: sw, change: func(f found, in *Input) { in.Copy = &Copy{Paths: 1, Bytes: 30 << 30} }, want: []string{LowSpace}},
		{name: "small /boot", opt: sw, change: func(f found, _ *Input) {
			f.State.Free["/boot"] = hostscript.Room{Bytes: 30 << 20, Inodes: -1}
			f.New.Parts["initrd"] = sp('j', "initrd-linux-6.6.51") + "/initrd"
		}, want: []string{LowSpace}},
		{name: "small /boot, same kernel", opt: sw, change: func(f found, _ *Input) { f.State.Free["/boot"] = hostscript.Room{Bytes: 30 << 20, Inodes: -1} }},
		{name: "another host's system", opt: sw, change: func(f found, _ *Input) { f.OtherHost = "db1" }, want: []string{WrongHost}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := facts()
			in := Input{Host: hostOf("web1"), System: newSystem, Facts: f.Facts}
			if c.change != nil {
				c.change(f, &in)
			}
			h := Build(c.opt, c.src, in)
			var got []string
			for _, r := range h.Risks {
				got = append(got, r.Name)
				if (r.Accepted != "") != (c.opt.NoGuard && r.Name == NoRollback) {
					t.Errorf("%s accepted by %q", r.Name, r.Accepted)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("risks %v (%+v), want %v", got, h.Risks, c.want)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		name   string
		opt    Options
		change func(f found)
		want   Status
	}{
		{"changes", Options{Action: "switch"}, func(found) {}, Change},
		{"runs and boots it", Options{Action: "switch"}, func(f found) { f.State.Current, f.State.Profile = newSystem, newSystem }, Unchanged},
		{"runs but does not boot it", Options{Action: "switch"}, func(f found) { f.State.Current = newSystem }, Change},
		{"runs it, test", Options{Action: "test"}, func(f found) { f.State.Current = newSystem }, Unchanged},
		{"reboot asked for", Options{Action: "switch", Reboot: true}, func(f found) { f.State.Current, f.State.Profile = newSystem, newSystem }, Change},
		{"inhibited", Options{Action: "switch"}, func(f found) { f.State.Inhibited = true }, Blocked},
		{"inhibited, boot", Options{Action: "boot"}, func(f found) { f.State.Inhibited = true }, Change},
		{"another init", Options{Action: "switch"}, func(f found) { f.State.InitChanged = true }, Blocked},
		{"not root", Options{Action: "switch"}, func(f found) { f.State.Root = false }, Blocked},
		{"under way", Options{Action: "switch"}, func(f found) { f.State.Pending = "20260101T000000-abcdef" }, Blocked},
		{"nixos-rebuild", Options{Action: "switch"}, func(f found) { f.State.Rebuild = "nixos-rebuild-switch-to-configuration.service" }, Blocked},
	} {
		f := facts()
		in := Input{Host: hostOf("web1"), System: newSystem, Facts: f.Facts}
		c.change(f)
		h := Build(c.opt, Source{}, in)
		if h.Status != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, h.Status, h.Error, c.want)
		}
		if (h.Status == Blocked) != (h.Err() != nil) {
			t.Errorf("%s: error %v", c.name, h.Err())
		}
	}
}

// TestSecretsChange: a host that only gets other secrets changes, without a risk.
func TestSecretsChange(t *testing.T) {
	for _, c := range []struct {
		state string
		want  Status
		says  string
	}{
		{"unchanged", Unchanged, ""},
		{"new", Change, "secrets: new tls"},
		{"changed", Change, "secrets: changed tls (mode)"},
		{"", Change, "secrets: not compared tls"},
	} {
		in := Input{Host: hostOf("web1"), System: newSystem, Facts: facts().Facts, Secrets: []Secret{{Name: "tls", Destination: "/k/tls", State: c.state, Differs: []string{"mode"}}}}
		in.Facts.State.Current, in.Facts.State.Profile = newSystem, newSystem
		if c.state == "" {
			in.SecretsErr = errors.New("no sha256sum")
		}
		p := &Plan{Options: Options{Action: "switch", UploadSecrets: true}}
		p.Hosts = []Host{Build(p.Options, Source{Commit: "4f2a91c", Dirty: true}, in)}
		h := p.Hosts[0]
		if h.Status != c.want || len(h.Risks) > 0 {
			t.Errorf("%q: %s, %v", c.state, h.Status, h.Risks)
		}
		text := p.Text(Layout{})
		if !strings.Contains(text, "already runs this system") || !strings.Contains(text, c.says) || strings.Contains(text, "secrets:") != (c.says != "") {
			t.Errorf("%q:\n%s", c.state, text)
		}
		if (p.Question() == "") != (c.want == Unchanged) || strings.Contains(text, "no sha256sum") != (c.state == "") {
			t.Errorf("%q: %q\n%s", c.state, p.Question(), text)
		}
	}
}

// sample is a plan with a bit of everything.
func sample() *Plan {
	p := &Plan{Created: now, Godwit: "1.0", File: "/etc/fleet/network.nix", Rolling: &Rolling{Batch: "1,rest", OnFailure: "stop"}, Source: Source{Commit: "4f2a91c00000000000", Content: "git-1"}, Options: Options{Action: "switch", UploadSecrets: true}}
	diff := closure.Diff(
		[]closure.Path{{Path: sp('1', "nginx-1.26.1"), Size: 5 << 20}, {Path: sp('2', "openssl-3.0.14"), Size: 4 << 20}, {Path: sp('3', "etc"), Size: 1000}},
		[]closure.Path{{Path: sp('4', "nginx-1.26.2"), Size: 7 << 20}, {Path: sp('5', "openssl-3.0.15"), Size: 4<<20 + 90000}, {Path: sp('6', "etc"), Size: 1100}},
	)
	for _, name := range []string{"web1", "web2"} {
		f := facts()
		f.DryExit, f.Dry = 0, []string{
			"would stop the following units: nginx.service",
			"would NOT restart the following changed units: display-manager.service",
			"would activate the configuration...",
			"would reload the following units: dbus.service",
			"would start the following units: nginx.service",
		}
		p.Hosts = append(p.Hosts, Build(p.Options, p.Source, Input{Host: hostOf(name), System: newSystem, Facts: f.Facts, Closure: &diff, Copy: &Copy{Paths: 11, Bytes: 9 << 20}}))
	}
	f := facts()
	f.New.Parts["kernel"] = newKernel
	f.New.Parts["systemd"] = sp('t', "systemd-256.1")
	f.State.FailedUnits = []string{"backup.service"}
	kernels := closure.Diff([]closure.Path{{Path: storepath.Top(oldKernel), Size: 100 << 20}}, []closure.Path{{Path: storepath.Top(newKernel), Size: 248 << 20}})
	db := hostOf("db1")
	db.HealthChecks.Cmd = []fleet.CmdCheck{{Description: "x", Cmd: []string{"true"}}}
	p.Hosts = append(p.Hosts, Build(p.Options, p.Source, Input{Host: db, System: newSystem, Facts: f.Facts, Closure: &kernels, Copy: &Copy{Paths: 37, Bytes: 250 << 20},
		Secrets: []Secret{{Name: "dkim", Destination: "/var/keys/dkim", State: "changed", Differs: []string{"content"}},
			{Name: "old", Destination: "/var/keys/old", State: "unchanged"},
			{Name: "tls", Destination: "/var/keys/tls", State: "new"}, {Name: "vpn", Destination: "/var/keys/vpn", State: "changed", Differs: []string{"owner", "mode"}}}}))
	f = facts()
	f.State.Current, f.State.Profile = newSystem, newSystem
	p.Hosts = append(p.Hosts, Build(p.Options, p.Source, Input{Host: hostOf("cache1"), System: newSystem, Facts: f.Facts,
		Secrets: []Secret{{Name: "old", Destination: "/var/keys/old", State: "unchanged"}}}))
	p.Hosts = append(p.Hosts, Build(p.Options, Source{Commit: "4f2a91c", Dirty: true}, Input{Host: hostOf("cache2"), System: newSystem, Facts: f.Facts,
		Secrets: []Secret{{Name: "old", Destination: "/var/keys/old", State: "changed", Differs: []string{"content"}}}}))
	gone := Host{Name: "pi3"}
	Fail(&gone, context.DeadlineExceeded)
	gone.Error = "no answer on 192.168.1.23:22"
	gone.Last = &Last{ID: "20261031T110000-abcdef", Time: now.Add(-73 * time.Hour), User: "ana", Action: "switch", Result: "changed", System: oldSystem}
	p.Hosts = append(p.Hosts, gone)
	f = facts()
	f.State.Inhibited = true
	p.Hosts = append(p.Hosts, Build(p.Options, p.Source, Input{Host: hostOf("old1"), System: newSystem, Facts: f.Facts}))
	broken := Host{Name: "mail"}
	Fail(&broken, fault.New("the option `services.openshh' does not exist").On("mail").Hint("did you mean services.openssh?"))
	p.Hosts = append(p.Hosts, broken)
	p.Seal([]string{"web1", "web2", "db1", "cache1", "cache2", "pi3", "old1", "mail"})
	return p
}

func TestText(t *testing.T) {
	p := sample()
	for _, w := range []int{40, 80, 160} {
		for _, verbose := range []bool{false, true} {
			name := fmt.Sprintf("short-%d.golden", w)
			if verbose {
				name = fmt.Sprintf("verbose-%d.golden", w)
			}
			got := p.Text(Layout{Width: w, Verbose: verbose, Now: now}) + "\n" + p.Question() + "\n"
			golden(t, name, []byte(got))
		}
	}
	small := &Plan{Options: Options{Action: "boot"}, Hosts: p.Hosts[:1]}
	small.Seal(nil)
	if q := small.Question(); q != "Set the boot default of web1?" {
		t.Errorf("question %q", q)
	}
	if q := (&Plan{Hosts: p.Hosts[3:4]}).Question(); q != "" {
		t.Errorf("a plan that changes nothing asks %q", q)
	}
}

// TestHostile: what hosts say does not reach the terminal as it is.
func TestHostile(t *testing.T) {
	h := Host{Name: "x"}
	Fail(&h, errors.New("\x1b[2Jboo\rfoo"))
	p := &Plan{Hosts: []Host{h}}
	for _, v := range []bool{false, true} {
		if s := p.Text(Layout{Verbose: v}); strings.ContainsAny(s, "\x1b\r") {
			t.Errorf("%q", s)
		}
	}
}

func TestSaveLoad(t *testing.T) {
	p := sample()
	p.NixConfig = map[string]string{} // as it comes from Nix
	p.Seal([]string{"web1", "web2", "db1", "cache1", "cache2", "pi3", "old1", "mail"})
	file := filepath.Join(t.TempDir(), "a.plan")
	if err := p.Save(file); err != nil {
		t.Fatal(err)
	}
	if st, _ := os.Stat(file); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	if !IsPlan(file) {
		t.Error("a saved plan is not known as one")
	}
	got, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := got.Whole
	if got.Whole = ""; sum == "" || !bytes.Equal(got.JSON(), p.JSON()) {
		t.Errorf("not the same after loading:\n%s", got.JSON())
	}
	if !reflect.DeepEqual(got.Hosts[0].Config, p.Hosts[0].Config) {
		t.Errorf("config %+v", got.Hosts[0].Config)
	}
	saved, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "plan-v3.json", saved)

	data := string(saved)
	// sealed is a plan whose sums are right: the paths in it are looked at all the same.
	sealed := func(change func(*Plan)) string {
		q := sample()
		change(q)
		q.Seal(nil)
		file := filepath.Join(t.TempDir(), "sealed")
		if err := q.Save(file); err != nil {
			t.Fatal(err)
		}
		b, _ := os.ReadFile(file)
		return string(b)
	}
	// The layout of the file is nobody's business.
	var compact bytes.Buffer
	if err := json.Compact(&compact, saved); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, compact.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); err != nil {
		t.Error(err)
	}
	replace := func(old, new string) string {
		if !strings.Contains(data, old) {
			t.Errorf("no %s in the plan", old)
		}
		return strings.Replace(data, old, new, 1)
	}
	for name, c := range map[string]struct{ content, says string }{
		"cut":     {data[:len(data)/2], "ends too early"},
		"newer":   {replace(`"version": 3`, `"version": 4`), "a newer godwit"},
		"system":  {strings.ReplaceAll(data, newSystem, sp('f', "evil")), "was changed"},
		"drv":     {strings.ReplaceAll(data, sp('d', "nixos-system-web1.drv"), sp('f', "evil.drv")), "was changed"},
		"file":    {replace("/etc/fleet/network.nix", "/etc/fleet/other.nix"), "was changed"},
		"created": {replace("2026-11-03T12:00:00Z", "2026-11-03T12:00:01Z"), "was changed"},
		"target":  {replace("web1.example.org", "evil.example.org"), "was changed"},
		"risk":    {replace(`"kernel-change"`, `"dirty-tree"`), "was changed"},
		"unknown": {replace(`"godwit": "1.0",`, `"godwit": "1.0", "later": 1,`), "was changed"},
		"twice":   {replace(`"godwit": "1.0",`, `"godwit": "1.0", "File": "/x",`), "was changed"},
		"no sum":  {replace(`"sum": "`+sum+`",`, ""), "was changed"},
		"more":    {data + "{}", "something follows its end"},
		"a way out of the store": {sealed(func(q *Plan) {
			q.Hosts[0].Drv = "/nix/store/../../etc/passwd.drv"
			q.Hosts[0].Config.Profiles[0].Drv = q.Hosts[0].Drv
		}), "is not the store path of a derivation"},
		"not a derivation": {sealed(func(q *Plan) { q.Hosts[0].Drv = newSystem }), "is not the store path of a derivation"},
		"an option":        {sealed(func(q *Plan) { q.Hosts[0].System = "--option" }), "is not a store path"},
		"another drv":      {sealed(func(q *Plan) { q.Hosts[0].Config.Profiles[0].Drv = sp('f', "evil.drv") }), "contradicts itself"},
		"two parts":        {sealed(func(q *Plan) { q.Hosts = append(q.Hosts, q.Hosts[0]) }), "two parts about web1"},
		"another":          {`{"schema": "x"}`, "not a godwit plan"},
		"config": {func() string {
			return sealed(func(q *Plan) { q.Hosts[0].Config = nil })
		}(), "too little about web1"},
	} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(file); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	nix := filepath.Join(t.TempDir(), "network.nix")
	if err := os.WriteFile(nix, []byte("{ network.description = \"godwit-plan\"; web = { }; }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if IsPlan(nix) || IsPlan(filepath.Dir(nix)) || IsPlan(nix+"x") {
		t.Error("a configuration is taken for a plan")
	}
}

// TestSum: the hash is over what matters, and only that.
func TestSum(t *testing.T) {
	base := sample().Sum()
	for name, f := range map[string]func(*Plan){
		"system":  func(p *Plan) { p.Hosts[0].System = sp('q', "x") },
		"running": func(p *Plan) { p.Hosts[0].Running = sp('q', "x") },
		"action":  func(p *Plan) { p.Options.Action = "test" },
		"commit":  func(p *Plan) { p.Source.Commit = "x" },
		"host":    func(p *Plan) { p.Hosts = p.Hosts[1:] },
		"target":  func(p *Plan) { p.Hosts[0].Config.At.Host = "evil.example.org" },
		"port":    func(p *Plan) { p.Hosts[0].Config.At.Port = 2222 },
		"drv":     func(p *Plan) { p.Hosts[0].Drv = sp('q', "x.drv") },
		"rolling": func(p *Plan) { p.Rolling = &Rolling{Batch: "all"} },
		"nix":     func(p *Plan) { p.NixConfig = map[string]string{"post-build-hook": "/x"} },
		"check": func(p *Plan) {
			p.Hosts[0].Config.HealthChecks.Local = []fleet.LocalCheck{{Description: "x", Cmd: []string{"x"}}}
		},
		"risk": func(p *Plan) { p.Hosts[2].Risks = nil },
	} {
		p := sample()
		f(p)
		if p.Sum() == base {
			t.Errorf("%s does not count", name)
		}
	}
	p := sample()
	p.Created, p.Hosts[0].Free["/nix"], p.Hosts[0].Copy = now.Add(time.Hour), 1, nil
	Accept{KernelChange: true}.Apply(p)
	if p.Sum() != base {
		t.Error("times, sizes and acceptance count")
	}
}

func TestAccept(t *testing.T) {
	p := sample()
	if open := p.Open(); !slices.Equal(open, []string{KernelChange}) {
		t.Fatalf("open risks %v", open)
	}
	err := p.ErrRisks()
	if err == nil || err.Code != ExitStopped || !strings.Contains(fault.Render(err), "--accept-risk=kernel-change") {
		t.Errorf("%v", err)
	}
	if _, err := ParseAccept([]string{"kernel-chang"}); err == nil || !strings.Contains(fault.Render(err), "did you mean kernel-change?") {
		t.Errorf("%v", err)
	}
	if _, err := ParseAccept([]string{"all"}); err == nil {
		t.Error("a blanket acceptance is taken")
	}
	a, perr := ParseAccept([]string{KernelChange, DirtyTree})
	if perr != nil {
		t.Fatal(perr)
	}
	a.Apply(p)
	if p.ErrRisks() != nil || strings.Contains(p.Question(), "accepting") {
		t.Errorf("%v, %s", p.ErrRisks(), p.Question())
	}
}

func TestMoved(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Host)
		says   string
	}{
		{"not", func(*Host) {}, ""},
		{"runs another", func(h *Host) { h.Running = sp('z', "other") }, "it runs zzzzzzzz…-other, not aaaaaaaa…-nixos-system-web1-24.05.1"},
		{"booted another", func(h *Host) { h.Booted = sp('z', "other") }, "it was booted with"},
		{"boots another", func(h *Host) { h.Profile = "" }, "it would boot nothing"},
		{"applied already", func(h *Host) { h.Status, h.Running, h.Profile = Unchanged, h.System, h.System }, ""},
		{"applied, but for a secret", func(h *Host) {
			h.same, h.Running, h.Profile, h.Secrets = true, h.System, h.System, []Secret{{Name: "tls", State: "new"}}
		}, ""},
		{"a secret that was to stay", func(h *Host) { h.Secrets = []Secret{{Name: "old", State: "changed"}} }, "its secret old was to stay as it is"},
		{"built as another", func(h *Host) { h.Status, h.System = Unchanged, sp('y', "x") }, "was built as"},
	} {
		p := sample()
		p.Hosts[0].Secrets = []Secret{{Name: "old", State: "unchanged"}, {Name: "tls", State: "new"}}
		is := p.Hosts[0]
		c.change(&is)
		if how := p.Hosts[0].Moved(&is); (how == "") != (c.says == "") || !strings.Contains(how, c.says) {
			t.Errorf("%s: %q", c.name, how)
		}
	}
}

func TestOtherHost(t *testing.T) {
	all := []string{"web", "web-1", "db"}
	sys := func(n string) string { return sp('a', "nixos-system-"+n+"-24.05.1") }
	for _, c := range []struct{ own, next, running, want string }{
		{"db", sys("db"), sys("db"), ""},
		{"db", sys("db"), sys("web"), "web"},
		{"db", sys("db"), sys("web-1"), "web-1"},
		{"web-1", sys("web-1"), sys("web-1"), ""},
		{"db", sys("db"), sys("nixos"), ""},
		{"db", sys("db"), sp('f', "nixos-system-factory"), ""},
		{"db", sys("web"), sys("web"), ""}, // networking.hostName says so
	} {
		if got := otherHost(hostOf(c.own), c.next, c.running, all); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// TestLookScript runs the look at a host on this machine, under both shells: it parses,
// ends, and a cut one runs nothing.
func TestLookScript(t *testing.T) {
	looks := Ask{}.closer()
	script, err := lookScript(looks, false, true)
	if err != nil || len(looks) != 1 {
		t.Fatal(looks, err)
	}
	for _, sh := range []string{"dash", "bash"} {
		if _, err := exec.LookPath(sh); err != nil {
			t.Fatal(sh + " is missing: apt-get install " + sh)
		}
		cmd := exec.Command(sh, "-s")
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", sh, err)
		}
		if f := (&Facts{Seen: map[string]profile.Seen{}}); !f.parse(string(out), looks) {
			t.Errorf("%s: %q", sh, out)
		}
	}
	if path, err := exec.LookPath("shellcheck"); err == nil && !testing.Short() {
		cmd := exec.Command(path, "-s", "sh", "-e", "SC2034,SC2154", "facts.sh")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s", out)
		}
	}
	for _, bad := range []string{"/etc", "/nix/store/x'y"} {
		if _, err := lookScript((Ask{System: bad}).closer(), false, false); err == nil {
			t.Errorf("%s goes into a script", bad)
		}
	}
}

// TestRecordedFacts reads what a host of the lab answered.
func TestRecordedFacts(t *testing.T) {
	data, err := os.ReadFile("testdata/facts.txt")
	if err != nil {
		t.Fatal(err)
	}
	looks := Ask{}.closer()
	f := found{Facts: &Facts{Seen: map[string]profile.Seen{}, Present: true}}
	if !f.parse(string(data), looks) {
		t.Fatal("the answer is not whole")
	}
	if f.parse(string(data[:len(data)-5]), looks) {
		t.Error("a cut answer is taken for whole")
	}
	f.parse(string(data), looks)
	f.Seen = f.Facts.Seen[fleet.SystemProfile].(*nixos.Seen)
	f.State = facts().State
	f.State.Current, f.State.Booted, f.State.Profile = f.Current.Path, f.Booted.Path, f.Current.Path
	h := Build(Options{Action: "switch"}, Source{}, Input{Host: hostOf("spare"), System: f.New.Path, Facts: f.Facts})
	got, _ := json.MarshalIndent(h, "", "  ")
	golden(t, "facts.golden", append(got, '\n'))
}

func TestFingerprint(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("network.nix", "{ }")
	file := filepath.Join(dir, "network.nix")
	plan := filepath.Join(dir, "x.plan")
	sum := func(tree string) string { return Fingerprint(t.Context(), file, tree, plan) }
	a := sum("")
	write("x.plan", "{}")
	write("notes.txt", "hello")
	if sum("") != a {
		t.Error("a plan or a note changes the configuration")
	}
	write("hardware.nix", "{ }")
	b := sum("")
	if a == b {
		t.Error("a new file does not count")
	}
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@b"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %s", args, out)
		}
	}
	git("init", "-q")
	git("add", "network.nix")
	git("commit", "-qm", "one")
	c := sum(dir)
	if !strings.HasPrefix(c, "git-") {
		t.Fatal(c)
	}
	write("hardware.nix", "{ a = 1; }") // not tracked
	d := sum(dir)
	write("network.nix", "{ b = 1; }")
	if e := sum(dir); c == d || d == e {
		t.Error("changes in a work tree do not count")
	}
	s := Source{Commit: "4f2a91c0", Content: "x"}
	if how := s.Moved(Source{Commit: "77c0e1d0", Content: "x"}); how != "it is at commit 77c0e1d now, not at commit 4f2a91c" {
		t.Error(how)
	}
}

// TestOneMachine: hosts that turn out to be one machine are not changed, whatever
// their addresses are.
func TestOneMachine(t *testing.T) {
	part := func(name, machine string, system string) Host {
		f := facts()
		f.State.Machine = machine
		return Build(Options{Action: "switch"}, Source{}, Input{Host: hostOf(name), System: system, Facts: f.Facts})
	}
	p := &Plan{Options: Options{Action: "switch"}, Hosts: []Host{
		part("a", "m1", newSystem), part("b", "m1", newSystem), part("c", "m2", newSystem), part("d", "", newSystem), part("e", "", newSystem),
		part("f", "m3", newSystem), part("g", "m3", oldSystem),
	}}
	p.Seal([]string{"a", "b", "c", "d", "e", "f", "g"})
	for i, want := range []Status{Blocked, Blocked, Change, Change, Change, Blocked, Unchanged} {
		if h := p.Hosts[i]; h.Status != want || (h.Err() != nil) != (want == Blocked) {
			t.Errorf("%s is %s: %v", h.Name, h.Status, h.Err())
		}
	}
	if s := p.Hosts[1].Error; !strings.Contains(s, "it is the same machine as a") {
		t.Error(s)
	}
}

// TestOlderPlans: plans that earlier versions saved say the same as one of today.
// Version 1 has no sum over all of the file: what its hash leaves out must be
// harmless, or the plan is refused with a way out.
func TestOlderPlans(t *testing.T) {
	want := sample()
	first, err := os.ReadFile(filepath.Join("testdata", "plan-v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(content string) string {
		file := filepath.Join(t.TempDir(), "plan")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	// The only host with a check is db1.
	before, rest, _ := strings.Cut(string(first), `"Cmd": [`)
	check, after, ok := strings.Cut(rest, "],\n          \"HTTP\"")
	if !ok || !strings.Contains(check, "true") {
		t.Fatalf("no check in the plan: %s", check)
	}
	plain := before + `"Cmd": null,` + "\n          \"HTTP\"" + after
	want.Hosts[2].Config.HealthChecks = fleet.Checks{}
	for version, file := range map[int]string{1: write(plain), 2: filepath.Join("testdata", "plan-v2.json"), 3: filepath.Join("testdata", "plan-v3.json")} {
		old, err := Load(file)
		if err != nil {
			t.Errorf("version %d: %s", version, fault.Render(err))
			continue
		}
		if old.Version != version || len(old.Hosts) != len(want.Hosts) || (old.Rolling == nil) != (version < 3) {
			t.Errorf("version %d: %d, %d hosts, %v", version, old.Version, len(old.Hosts), old.Rolling)
		}
		for i, h := range old.Hosts {
			if h.Name == "db1" && version > 1 {
				h.Config.HealthChecks = fleet.Checks{}
			}
			if !reflect.DeepEqual(h.Config, want.Hosts[i].Config) || h.Drv != want.Hosts[i].Drv || h.Running != want.Hosts[i].Running {
				t.Errorf("version %d, %s: got  %+v\nwant %+v", version, h.Name, h.Config, want.Hosts[i].Config)
			}
		}
	}
	for name, c := range map[string]struct{ content, says string }{
		"check":  {string(first), "older godwit (version 1 of plans), whose plans do not tell whether the checks of db1 were changed"},
		"hook":   {strings.Replace(plain, `"hosts":`, `"nixConfig": {"post-build-hook": "/x"}, "hosts":`, 1), "its Nix settings were changed"},
		"secret": {strings.Replace(plain, `"Secrets": null`, `"Secrets": [{"Name": "x", "Source": "/etc/shadow", "Destination": "/x"}]`, 1), "the secrets of web1 were changed"},
		"target": {strings.Replace(plain, "web1.example.org", "evil.example.org", 1), "was changed after it was made"},
		"system": {strings.ReplaceAll(plain, newSystem, sp('f', "evil")), "was changed after it was made"},
		"drv":    {strings.Replace(plain, sp('d', "nixos-system-web1.drv"), sp('f', "evil.drv"), 1), "contradicts itself"},
	} {
		_, err := Load(write(c.content))
		if text := fault.Render(err); err == nil || !strings.Contains(text, c.says) || !strings.Contains(text, "hint: godwit plan -o ") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// TestStranger: what a host would lose is known where it is, or where it was deployed from.
func TestStranger(t *testing.T) {
	was, me := sp('z', "nixos-system-web1-24.05.9"), "somewhere else"
	if host, err := os.Hostname(); err == nil {
		me = host
	}
	record := func(system, by string) *activate.Record {
		return &activate.Record{Toplevel: system, New: system, Meta: map[string]string{"deployer": by}}
	}
	for _, c := range []struct {
		name    string
		profile string
		here    bool
		last    *activate.Record
		want    string
	}{
		{name: "not known", profile: was, want: "which is not known here"},
		{name: "in the store", profile: was, here: true},
		{name: "the new one", profile: newSystem},
		{name: "no system yet"},
		{name: "deployed from here", profile: was, last: record(was, me)},
		{name: "deployed from elsewhere", profile: was, last: record(was, "laptop9"), want: "was deployed from laptop9"},
		{name: "another one deployed from here", profile: was, last: record(oldSystem, me), want: "which is not known here"},
	} {
		f := &Facts{State: activate.State{Profile: c.profile}, Last: c.last}
		got := stranger(f, newSystem, func(string) bool { return c.here })
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

// TestProfiles: a host with several profiles changes when one of them does; the plan
// says what becomes of each, is saved with all of them, and notices when one moved.
func TestProfiles(t *testing.T) {
	app := func(s string) string { return sp('g', "app-"+s) }
	h := hostOf("web1")
	h.Profiles = []fleet.Profile{
		{Name: "app", Kind: fleet.Custom, Drv: sp('g', "app.drv"), Path: app("2"), Activate: []string{"go"}},
		{Name: "system", Kind: fleet.NixOS, Drv: h.Profiles[0].Drv, Path: newSystem},
		{Name: "ana", Kind: fleet.Home, User: "ana", Drv: sp('h', "home.drv"), Path: sp('h', "home")},
	}
	part := func(system, appRuns, home string) Host {
		f := facts()
		f.State.Current, f.State.Profile = system, system
		f.State.Profiles = []activate.ProfileState{{Name: "app", Current: appRuns, Profile: appRuns}, {Name: "system", Current: system, Profile: system}, {Name: "ana", Current: home, Profile: home}}
		return Build(Options{Action: "switch"}, Source{}, Input{Host: h, System: newSystem, Facts: f.Facts})
	}
	p := &Plan{Options: Options{Action: "switch"}, Hosts: []Host{part(newSystem, app("1"), "")}}
	p.Seal(nil)
	if x := p.Hosts[0]; x.Status != Change || len(x.Profiles) != 3 || x.Profiles[0].Same || !x.Profiles[1].Same || x.Profiles[2].Running != "" {
		t.Errorf("%+v", x)
	}
	if s := p.Text(Layout{Now: now}); !strings.Contains(s, "profiles: app changes, system stays, ana is new") {
		t.Error(s)
	}
	if s := p.Text(Layout{Now: now, Verbose: true, Width: 200}); !strings.Contains(s, "app (custom) "+app("1")+" → "+app("2")) || !strings.Contains(s, "ana (home) new: "+sp('h', "home")) {
		t.Error(s)
	}
	if x := part(newSystem, app("2"), sp('h', "home")); x.Status != Unchanged {
		t.Errorf("all runs, and it is %s", x.Status)
	}
	file := filepath.Join(t.TempDir(), "p")
	if err := p.Save(file); err != nil {
		t.Fatal(err)
	}
	got, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Hosts[0].Config, &h) || !reflect.DeepEqual(got.Hosts[0].Profiles, p.Hosts[0].Profiles) {
		t.Errorf("%+v", got.Hosts[0])
	}
	for says, is := range map[string]Host{
		"":                          part(newSystem, app("1"), ""),
		"its profile app is gggggg": part(newSystem, app("3"), ""),
	} {
		if how := got.Hosts[0].Moved(&is); !strings.Contains(how, says) || (how == "") != (says == "") {
			t.Errorf("want %q, got %q", says, how)
		}
	}
	if done := part(newSystem, app("2"), sp('h', "home")); got.Hosts[0].Moved(&done) != "" {
		t.Error("a plan that was applied has moved")
	}
	before := p.Sum()
	p.Hosts[0].Profiles[2].New = sp('h', "other")
	if p.Sum() == before {
		t.Error("a profile does not count")
	}
	p.Hosts[0].Config.Profiles[2].Drv = "--option"
	p.Hosts[0].Profiles[2].New = sp('h', "home")
	p.Seal(nil)
	if err := p.Save(file); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); err == nil || !strings.Contains(err.Error(), "profile ana") {
		t.Error(err)
	}
}

// odd is what was seen of a profile by a kind that knows more than it.
type odd struct{ asked *profile.Question }

func (odd) Report() profile.Report                      { return profile.Report{} }
func (odd) Fetch(string, func(string) (nar.Tree, bool)) {}
func (o odd) Judge(q profile.Question) profile.Judgement {
	*o.asked = q
	return profile.Judgement{NeedReboot: true, Warning: "it creaks", Risks: []profile.Risk{{Name: SSHChange, Text: "the door moves"}},
		Units: &profile.Units{Stop: []string{"odd.service"}}, Parts: []profile.Part{{Name: profile.Init, From: "1", To: "2"}}, BootBytes: 1 << 40, BootWhat: "the attic takes"}
}

// TestJudged: what a kind says of a change is in the plan, whatever the kind is; of a
// profile beside the one that stands for the host these are the risks, by its name.
func TestJudged(t *testing.T) {
	o := Options{Action: "switch", Reboot: true}
	for _, beside := range []bool{false, true} {
		h := hostOf("web1")
		f := facts()
		var asked profile.Question
		f.Facts.Seen[fleet.SystemProfile] = odd{&asked}
		if beside {
			h.Profiles = append(h.Profiles, fleet.Profile{Name: "app", Kind: fleet.Custom, Path: sp('g', "app")})
			f.Facts.Seen = map[string]profile.Seen{"app": odd{&asked}}
		}
		got := Build(o, Source{}, Input{Host: h, System: newSystem, Facts: f.Facts})
		if want := (profile.Question{Action: profile.Switch, Reboot: true}); asked != want {
			t.Errorf("asked about %+v", asked)
		}
		text := (&Plan{Options: o, Hosts: []Host{got}}).Text(Layout{Width: 200, Verbose: true, Now: now})
		for says, want := range map[string]bool{"ssh-change: the door moves": !beside, "ssh-change: app: the door moves": beside, "it creaks": true,
			"odd.service": !beside, "systemd 1 → 2": !beside, "/boot, the attic takes": !beside} {
			if strings.Contains(text, says) != want {
				t.Errorf("beside %v: %q is in the text: %v\n%s", beside, says, !want, text)
			}
		}
		if !got.NeedReboot {
			t.Errorf("beside %v: needs no reboot", beside)
		}
	}
}

func TestLeavesOut(t *testing.T) {
	host := func(status Status, from ...fleet.Content) Host {
		h := fleet.Host{Name: "a"}
		for _, f := range from {
			h.Secrets = append(h.Secrets, fleet.Secret{From: f})
		}
		return Host{Name: "a", Status: status, Config: &h}
	}
	file, content := fleet.Content{File: "/f"}, fleet.Content{Text: "t"}
	for want, p := range map[string]*Plan{
		"": {Options: Options{UploadSecrets: true}, Hosts: []Host{host(Change, file), host(Failed, content), {Name: "b"}}},
		"it uploads no secrets, of which its hosts have 2": {Hosts: []Host{host(Change, file, content)}},
		"it does not hold 1 secret (":                      {Options: Options{UploadSecrets: true}, Hosts: []Host{host(Unchanged, file, content)}},
	} {
		if got := p.LeavesOut(); (got == "") != (want == "") || !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestRefill(t *testing.T) {
	saved := func() []fleet.Host {
		return []fleet.Host{{Name: "a", Secrets: []fleet.Secret{
			{Name: "file", From: fleet.Content{File: "/f"}},
			{Name: "text", Destination: "/run/text", From: fleet.Content{Withheld: "text"}},
			{Name: "said", Destination: "/run/said", From: fleet.Content{Withheld: "command"}},
		}}}
	}
	hosts := saved()
	now := []fleet.Host{{Name: "b"}, {Name: "a", Secrets: []fleet.Secret{
		{Name: "said", Destination: "/run/said", From: fleet.Content{Command: []string{"pass", "x"}}},
		{Name: "text", Destination: "/run/text", From: fleet.Content{Text: "t"}},
	}}}
	if err := Refill(hosts, now); err != nil {
		t.Fatal(err)
	}
	s := hosts[0].Secrets
	if s[0].From.File != "/f" || s[1].From.Text != "t" || strings.Join(s[2].From.Command, " ") != "pass x" || s[1].From.Withheld != "" {
		t.Errorf("%q %q %q", s[0].From.File, s[1].From.Text, s[2].From.Command)
	}
	for name, now := range map[string][]fleet.Host{
		"no such host":   {{Name: "b"}},
		"no such secret": {{Name: "a"}},
		"elsewhere":      {{Name: "a", Secrets: []fleet.Secret{{Name: "text", Destination: "/run/other", From: fleet.Content{Text: "t"}}}}},
	} {
		if err := Refill(saved(), now); err == nil || !strings.Contains(err.Error(), "a: the configuration has no secret 'text' for /run/text any more") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
