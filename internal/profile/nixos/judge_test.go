package nixos

import (
	"reflect"
	"testing"

	"godwit/internal/profile"
)

func TestParseDryActivate(t *testing.T) {
	u := parseDryActivate([]string{
		"would stop the following units: a.service, b.service",
		"would NOT stop the following changed units: x.service",
		"would NOT restart the following changed units: y.service",
		"activating the configuration...",
		"would restart systemd",
		"would reload the following units: r.service",
		"would restart the following units: c.service, d.service",
		"would start the following units: b.service, e.service",
	})
	want := &profile.Units{Stop: []string{"a.service"}, Start: []string{"e.service"}, Restart: []string{"b.service", "c.service", "d.service"},
		Reload: []string{"r.service"}, Kept: []string{"x.service", "y.service"}, Systemd: true}
	if !reflect.DeepEqual(u, want) {
		t.Errorf("%+v", u)
	}
	if !parseDryActivate([]string{"would activate the configuration..."}).Empty() {
		t.Error("something out of nothing")
	}
}

func TestCompareUnits(t *testing.T) {
	u := compareUnits(
		map[string]string{"a.service": "1", "b.service": "1", "gone.socket": "1", "x.target": "1", "t@.service": "1"},
		map[string]string{"a.service": "1", "b.service": "2", "new.timer": "1", "x.target": "2", "t@.service": "2"})
	want := &profile.Units{Stop: []string{"gone.socket"}, Restart: []string{"b.service"}, Start: []string{"new.timer"}, Estimated: true}
	if !reflect.DeepEqual(u, want) {
		t.Errorf("%+v", u)
	}
}

func TestFirewall(t *testing.T) {
	ipt := func(ports ...string) []string {
		lines := []string{"firewall-start", "ip46tables -N nixos-fw"}
		for _, p := range ports {
			lines = append(lines, "ip46tables -A nixos-fw -p tcp --dport "+p+" -j nixos-fw-accept")
		}
		return append(lines, "ip46tables -A nixos-fw -j nixos-fw-log-refuse")
	}
	nft := func(ports string) []string {
		return []string{"table inet nixos-fw {", "  tcp dport { " + ports + " } accept", "}"}
	}
	for _, c := range []struct {
		name     string
		old, new []string
		want     bool
	}{
		{"same", ipt("22"), ipt("22"), true},
		{"one more port", ipt("22"), ipt("22", "443"), true},
		{"one less", ipt("22", "443"), ipt("22"), false},
		{"another", ipt("22"), ipt("2222"), false},
		{"nft one more", nft("22, 80"), nft("22, 80, 443"), true},
		{"nft another", nft("22, 80"), nft("80, 443"), false},
		{"a new drop", ipt("22"), append(ipt("22"), "ip46tables -I INPUT -j DROP"), false},
		{"none before", nil, ipt("22"), false},
	} {
		if got := opensOnly(c.old, c.new); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestReport: what report.sh tells of a host whose kernel, or what comes with it, waits for
// a reboot.
func TestReport(t *testing.T) {
	line := func(name, value string) profile.Line { return profile.Line{Name: name, Value: value} }
	const old, next = "/nix/store/ffffffffffffffffffffffffffffffff-linux-6.6.51/bzImage", "/nix/store/dddddddddddddddddddddddddddddddd-linux-6.6.54/bzImage"
	for _, c := range []struct {
		name  string
		lines []profile.Line
		want  profile.Report
	}{
		{name: "nothing"},
		{"well", []profile.Line{line("version", "24.05"), line("revision", "abc"), line("uname", "6.6.51"), line("kernel", old), line("booted-kernel", old), line("boots", "/nix/store/ffffffffffffffffffffffffffffffff-a")},
			profile.Report{Version: "24.05", Revision: "abc", Kernel: "linux 6.6.51", Boots: "/nix/store/ffffffffffffffffffffffffffffffff-a"}},
		{"another kernel", []profile.Line{line("differs", "kernel"), line("differs", "initrd"), line("differs", "kernel-modules"), line("differs", "systemd"), line("kernel", next), line("booted-kernel", old)},
			profile.Report{Kernel: "linux 6.6.54", RebootParts: []string{"kernel", "initrd", "kernel-modules", "systemd"}, RebootText: "kernel 6.6.51 runs, systemd"}},
		{"booted by other means", []profile.Line{line("differs", "kernel"), line("kernel", next), line("uname", "6.1.9")},
			profile.Report{Kernel: "linux 6.6.54", RebootParts: []string{"kernel"}, RebootText: "kernel 6.1.9 runs"}},
		{"another build", []profile.Line{line("differs", "kernel"), line("differs", "initrd"), line("kernel", old), line("booted-kernel", old)},
			profile.Report{Kernel: "linux 6.6.51", RebootParts: []string{"kernel", "initrd"}, RebootText: "kernel, initrd"}},
		{"a kernel by another name", []profile.Line{line("kernel", "/nix/store/dddddddddddddddddddddddddddddddd-bsd-9/x")}, profile.Report{}},
		{"made up", []profile.Line{line("kernel", "/etc/passwd"), line("boots", "/nix/store/../../etc/passwd"), line("version", "")}, profile.Report{}},
	} {
		if got := Read(c.lines).Report(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}
