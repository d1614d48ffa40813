package hoststate

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"godwit/internal/activate"
	"godwit/internal/history"
	"godwit/internal/profile"
	"godwit/internal/profile/nixos"
)

const (
	sysA = "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-nixos-system-web-24.05"
	sysB = "/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-nixos-system-web-24.05"
	sysC = "/nix/store/cccccccccccccccccccccccccccccccc-nixos-system-web-24.11"
)

const answer = `version 24.05.20260911
uname 6.6.51
clock 1762600000
differs kernel
differs kernel-modules
kernel /nix/store/dddddddddddddddddddddddddddddddd-linux-6.6.54/bzImage
booted-kernel /nix/store/ffffffffffffffffffffffffffffffff-linux-6.6.51/bzImage
disk /nix/store /dev/sda2 100000000 50000000
disk /boot /dev/sda1 500000 400000
disk /data /dev/sdb1 100 50 65536 12
disk nonsense
generation system-10-link 1762500000.1234567890 ` + sysB + `
generation system-9-link 1762400000.0 ` + sysA + `
generation system-x-link 1762400000.0 ` + sysA + `
generation other
boots ` + sysB + `
end
`

func TestParse(t *testing.T) {
	f, ended := parse(answer, nixos.Kind)
	if !ended || f.Version != "24.05.20260911" || f.Kernel != "linux 6.6.54" || f.RebootText != "kernel 6.6.51 runs" || f.KernelRuns != "6.6.51" {
		t.Errorf("%v %+v", ended, f)
	}
	if f.BootDefault != sysB || !f.BootDefaultKnown {
		t.Errorf("boots %q", f.BootDefault)
	}
	if len(f.Generations) != 2 || f.Generations[0].Number != 9 || f.Generations[1].System != sysB || f.Generations[1].Made.Unix() != 1762500000 {
		t.Errorf("generations %+v", f.Generations)
	}
	if len(f.Disks) != 3 || f.Disks[2].Inodes != 65536 || f.Disks[2].FreeInodes != 12 || f.Disks[1] != (Disk{Folder: "/boot", Device: "/dev/sda1", Total: 500000 << 10, Free: 400000 << 10}) {
		t.Errorf("disks %+v", f.Disks)
	}
	for _, boots := range []string{"?", "garbage", "/nix/store/../../etc/passwd"} {
		if f, _ := parse("boots "+boots+"\n", nixos.Kind); f.BootDefaultKnown {
			t.Errorf("%s: %q", boots, f.BootDefault)
		}
	}
	if _, ended := parse(answer[:len(answer)-4], nixos.Kind); ended {
		t.Error("a cut answer is no answer")
	}
}

func TestPrevious(t *testing.T) {
	gens := func(systems ...string) (out []Generation) {
		for i, s := range systems {
			if s != "" {
				out = append(out, Generation{Number: i + 1, System: s})
			}
		}
		return out
	}
	for _, c := range []struct {
		name    string
		gens    []Generation
		link    string
		current string
		want    int
	}{
		{"usual", gens(sysA, sysB, sysC), "system-3-link", sysC, 2},
		{"the same system twice", gens(sysA, sysB, sysB), "system-3-link", sysB, 1},
		{"after a rollback to 1", gens(sysA, sysB, sysA), "system-3-link", sysA, 2},
		{"the profile went back to 2", gens(sysA, sysB, sysC), "system-2-link", sysB, 1},
		{"boot of 3 is due", gens(sysA, sysB, sysC), "system-3-link", sysB, 2},
		{"runs none of them", gens(sysA, sysB), "system-2-link", sysC, 2},
		{"only one", gens(sysA), "system-1-link", sysA, 0},
		{"none", nil, "", sysA, 0},
		{"holes", gens(sysA, "", "", sysB), "/nix/var/nix/profiles/system-4-link", sysB, 1},
	} {
		f := Facts{Generations: c.gens, State: activate.State{Current: c.current, Generation: c.link}}
		g, ok := f.Previous()
		if g.Number != c.want || ok != (c.want != 0) {
			t.Errorf("%s: %d, want %d", c.name, g.Number, c.want)
		}
	}
}

// TestPreviousTried: a system that has a generation is tried again.
func TestPreviousTried(t *testing.T) {
	f := Facts{
		Generations: []Generation{{Number: 1, System: sysA}, {Number: 2, System: sysB}, {Number: 3, System: sysA}},
		State:       activate.State{Current: sysB, Generation: "system-3-link"},
		Records: []activate.Record{
			{Action: activate.Boot, New: sysB, Result: "done 0"}, {Action: activate.Switch, New: sysA, Result: "committed"},
			{Action: activate.Test, New: sysB, Result: "committed"}, {Action: activate.Switch, New: sysC, Result: "rolled-back 0"},
		},
	}
	if g, ok := f.Previous(); !ok || g.Number != 3 {
		t.Errorf("goes to %d, not to what the profile names", g.Number)
	}
	f.Records = f.Records[:1]
	if g, ok := f.Previous(); !ok || g.Number != 2 {
		t.Errorf("without the test: %d", g.Number)
	}
}

func TestAssess(t *testing.T) {
	now := time.Unix(1762600000, 0)
	commit := strings.Repeat("4f2a91c0", 5)
	record := func(result, new string, ago time.Duration) activate.Record {
		return activate.Record{ID: "d", Action: "switch", New: new, Toplevel: new, Old: sysA, Result: result, Started: now.Add(-ago).Unix() - 5, Ended: now.Add(-ago).Unix(),
			Meta: map[string]string{"user": "ana", "commit": commit, "tree": "clean"}}
	}
	base := func() Facts {
		return Facts{
			State: activate.State{Current: sysB, Booted: sysB, Profile: sysB, Generation: "system-2-link"}, Report: profile.Report{Version: "24.05"}, Clock: now,
			BootDefault: sysB, BootDefaultKnown: true, Generations: []Generation{{1, sysA, now}, {2, sysB, now.Add(-50 * time.Hour)}},
			Records: []activate.Record{record("committed", sysB, 2*time.Hour)},
			Disks:   []Disk{{Folder: "/nix/store", Device: "/dev/a", Total: 100 << 30, Free: 50 << 30}, {Folder: "/boot", Device: "/dev/b", Total: 512 << 20, Free: 300 << 20}},
		}
	}
	behind := func(n int) func(string) (int, bool) {
		return func(c string) (int, bool) { return n, c == commit }
	}
	for _, c := range []struct {
		name   string
		change func(*Facts, *Wanted)
		ok     bool
		want   string
	}{
		{"fine", func(*Facts, *Wanted) {}, true, "as in repository"},
		{"not evaluated", func(_ *Facts, w *Wanted) { w.System = "" }, true, "healthy"},
		{"behind", func(_ *Facts, w *Wanted) { w.System, w.Behind = sysC, behind(3) }, false, "3 commits behind"},
		{"behind by one", func(_ *Facts, w *Wanted) { w.System, w.Behind = sysC, behind(1) }, false, "1 commit behind"},
		{"another branch", func(_ *Facts, w *Wanted) {
			w.System, w.Behind = sysC, func(string) (int, bool) { return 0, false }
		}, false, "differs from the repository"},
		{"dirty here", func(_ *Facts, w *Wanted) { w.System, w.Behind, w.Source.Dirty = sysC, behind(0), true }, false, "differs from the repository (uncommitted changes)"},
		{"was dirty", func(f *Facts, w *Wanted) {
			w.System, w.Behind = sysC, behind(0)
			f.Records[0].Meta["tree"] = "dirty"
		}, false, "deployed from a dirty tree of this commit"},
		{"evaluation fails", func(_ *Facts, w *Wanted) { w.System, w.Err = "", errors.New("x") }, false, "cannot be evaluated"},
		{"reboot due", func(f *Facts, _ *Wanted) {
			f.RebootParts, f.RebootText = []string{"kernel", "initrd", "kernel-modules", "systemd"}, "kernel 6.6.51 runs, systemd"
		}, false, "reboot due (kernel 6.6.51 runs, systemd)"},
		{"reboot due, same version", func(f *Facts, _ *Wanted) { f.RebootParts, f.RebootText = []string{"kernel-params"}, "kernel-params" }, false, "reboot due (kernel-params)"},
		{"failed units", func(f *Facts, _ *Wanted) { f.FailedUnits = []string{"a", "b", "c", "d"} }, false, "failed: a, b, c and 1 more"},
		{"boot", func(f *Facts, _ *Wanted) { f.Profile, f.BootDefault, f.State.Generation = sysA, sysA, "system-1-link" }, false, "boots another system next time (generation 1)"},
		{"profile", func(f *Facts, _ *Wanted) { f.Profile, f.State.Generation = sysA, "system-1-link" }, false, "the profile names another system (generation 1)"},
		{"test", func(f *Facts, _ *Wanted) { f.BootDefault = sysA }, false, "boots another system next time"},
		{"little room", func(f *Facts, _ *Wanted) { f.Disks[0].Free, f.Disks[1].Free = 500<<20, 5<<20 }, false, "500 MiB free on /nix · 5.0 MiB free on /boot"},
		{"little room for files", func(f *Facts, _ *Wanted) { f.Disks[0].Inodes, f.Disks[0].FreeInodes = 100000, 12 }, false, "12 inodes (room for files) free on /nix"},
		{"one file system", func(f *Facts, _ *Wanted) {
			f.Disks[1] = Disk{Folder: "/boot", Device: "/dev/a", Total: 100 << 30, Free: 1 << 20}
		}, true, "as in repository"},
		{"a small store", func(f *Facts, _ *Wanted) { f.Disks[0].Total, f.Disks[0].Free = 1<<30, 600<<20 }, true, "as in repository"},
		{"rolled back", func(f *Facts, _ *Wanted) {
			f.Records = append(f.Records, record("rolled-back 0", sysC, 4*time.Minute))
		}, true, "as in repository · rolled back 4 min ago"},
		{"failed", func(f *Facts, _ *Wanted) {
			f.Records = append(f.Records, record("aborted", sysC, 4*time.Minute))
		}, true, "as in repository · last deploy failed 4 min ago"},
		{"pending", func(f *Facts, _ *Wanted) {
			f.Deployment = &activate.Deployment{ID: "x", Phase: "activated", Guarded: true, Action: activate.Switch, Started: now.Add(-30 * time.Second), Meta: map[string]string{"user": "bo"}}
			f.Profile = sysA
		}, false, "a deployment waits for its confirmation by bo since 30s"},
		{"ended", func(f *Facts, _ *Wanted) {
			f.Deployment = &activate.Deployment{ID: "x", Phase: "committing", Final: "committed"}
		}, true, "as in repository"},
		{"a specialisation", func(f *Facts, _ *Wanted) { f.Current, f.Specialisation = sysC, "travel" }, true, "as in repository · specialisation travel"},
		{"power cut", func(f *Facts, _ *Wanted) { f.Interrupted = "x" }, false, "deployment x was interrupted by a reboot; the next deploy repairs what it left"},
	} {
		f, w := base(), Wanted{System: sysB}
		c.change(&f, &w)
		s := Assess("web", f, w)
		if s.OK != c.ok || s.Summary() != c.want {
			t.Errorf("%s: %v %q\nwant %v %q", c.name, s.OK, s.Summary(), c.ok, c.want)
		}
	}

	s := Assess("web", base(), Wanted{System: sysB, Behind: behind(0)})
	if d := s.Deployed; d == nil || d.By != "ana" || d.Ago != 7200 || d.Behind == nil || *d.Behind != 0 || s.Running.Generation != 2 || s.Running.Version != "24.05" {
		t.Errorf("%+v %+v", s.Deployed, s.Running)
	}
	f := base()
	f.Records = nil
	if d := Assess("web", f, Wanted{}).Deployed; d == nil || d.By != "" || d.Ago != 50*3600 {
		t.Errorf("not by godwit: %+v", d)
	}
	if b := NotAsked("pi", Wanted{Err: errors.New("no such option")}); b.OK || b.Answers || len(b.Problems) != 1 || b.Problems[0].Kind != Evaluation || b.Error != "no such option" {
		t.Errorf("%+v", b)
	}
	n := NoAnswer("pi", "no answer on 192.168.1.23:22", nil, Wanted{Source: history.Source{}})
	if n.OK || n.Answers || n.Summary() != "no answer on 192.168.1.23:22" {
		t.Errorf("%+v", n)
	}
}

func TestAgo(t *testing.T) {
	var got []string
	for _, d := range []time.Duration{-time.Hour, time.Second, 42 * time.Second, 4 * time.Minute, time.Hour, 2 * time.Hour, 47 * time.Hour, 50 * time.Hour, 12 * 24 * time.Hour, 90 * 24 * time.Hour} {
		got = append(got, Ago(d))
	}
	want := "[just now just now 42 s ago 4 min ago 1 hour ago 2 hours ago 47 hours ago 2 days ago 12 days ago 3 months ago]"
	if fmt.Sprint(got) != want {
		t.Errorf("%v", got)
	}
}
