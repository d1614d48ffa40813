package deploy

import (
	"slices"
	"strings"
	"testing"

	"godwit/internal/activate"
	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/host/hosttest"
)

// reboots is a reboot that is asked for, and over at once.
func (s *stage) reboots() *stage {
	const id = `^cat /proc/sys/kernel/random/boot_id$`
	return s.add(hosttest.Call{Want: id, Name: "id", Out: "one\n"}, hosttest.Call{Want: `exec systemctl reboot`, Name: "reboot", Root: true},
		hosttest.Call{Want: id, Name: "id", Fresh: true, Out: "two\n"}, hosttest.Call{Want: hosttest.Disconnect, Name: "disconnect"})
}

func (s *stage) plain(running string) *stage {
	return s.add(hosttest.Call{Want: `MODE='plain'`, Name: "plain", Root: true, Out: facts("armed", "x", "final", "done 0", "apply-rc", "0 ok", "current", running, "old", oldSystem)})
}

// verb is one of a reboot that is only kept when it is confirmed.
func verb(name string, says ...string) hosttest.Call {
	return hosttest.Call{Want: `(?m)^VERB='` + name + `'$`, Name: name, Root: true, EitherWay: true, Out: strings.Join(says, "\n") + "\nend\n"}
}

func again(c hosttest.Call) hosttest.Call { c.Again = true; return c }

// TestReboot: a host that is rebooted into its new system, in each of the ways there are.
func TestReboot(t *testing.T) {
	for name, c := range map[string]struct {
		play  func(s *stage)
		state event.Outcome
		want  string // of the detail, or of the error
		made  string
	}{
		"test":    {func(s *stage) { s.run.Action = activate.Test }, Failed, "web1: test and --reboot contradict each other", ""},
		"refused": {func(s *stage) { s.preflight("absent", s.top) }, Failed, "web1: ", "preflight"},
		"again": {func(s *stage) {
			s.preflight("current", s.top, "profile", s.top).reboots().preflight("current", s.top, "booted", s.top)
		}, Unchanged, "already ran this system, rebooted", "preflight id reboot id disconnect preflight"},
		"again, into another": {func(s *stage) {
			s.preflight("current", s.top, "profile", s.top).reboots().preflight()
		}, Failed, "web1: rebooted, but not into the new system", "preflight id reboot id disconnect preflight"},
		"no guard": {func(s *stage) {
			s.run.NoGuard, s.run.Action = true, activate.Boot
			s.preflight().preflight().plain(oldSystem).reboots().preflight("current", s.top, "booted", s.top)
		}, Changed, "rebooted into the new system", "preflight preflight plain id reboot id disconnect preflight"},
		"a loader that cannot boot once": {func(s *stage) {
			s.run.Action = activate.Boot
			s.preflight().add(hosttest.Call{Want: `why`, Name: "probe", Root: true, Out: "- it has no way\n"}).
				preflight().plain(oldSystem).reboots().preflight("current", s.top, "booted", s.top)
		}, Changed, "rebooted into the new system", "preflight probe preflight plain id reboot id disconnect preflight"},
		"a configuration without rollbacks": {func(s *stage) {
			s.run.Action, s.job.Host.Guard.NoAutoRollback = activate.Boot, true
			s.preflight().preflight().plain(oldSystem).reboots().preflight("booted", "/nix/store/odd")
		}, Failed, "web1: rebooted, but not into the new system", "preflight preflight plain id reboot id disconnect preflight"},
		"a configuration that keeps what nobody confirms": {func(s *stage) {
			s.run.Action, s.job.Host.Guard.NoMagicRollback = activate.Boot, true
			s.preflight().preflight().plain(oldSystem).reboots().preflight("current", s.top, "booted", s.top)
		}, Changed, "rebooted into the new system", "preflight preflight plain id reboot id disconnect preflight"},
		"such a configuration, and another system comes up": {func(s *stage) {
			s.run.Action, s.job.Host.Guard.NoMagicRollback = activate.Boot, true
			s.preflight().preflight().plain(oldSystem).reboots().preflight("booted", "/nix/store/odd").
				preflight().plain(s.top).reboots()
		}, RolledBack, "web1: rebooted, but not into the new system; the host was rebooted into the system that ran before",
			"preflight preflight plain id reboot id disconnect preflight preflight plain id reboot id disconnect"},
		"such a loader, and another system comes up": {func(s *stage) {
			s.run.Action = activate.Boot
			s.preflight().add(hosttest.Call{Want: `why`, Name: "probe", Root: true, Out: "- it has no way\n"}).
				preflight().plain(oldSystem).reboots().preflight("booted", "/nix/store/odd").
				preflight().plain(s.top).reboots()
		}, RolledBack, "web1: rebooted, but not into the new system; the host was rebooted into the system that ran before",
			"preflight probe preflight plain id reboot id disconnect preflight preflight plain id reboot id disconnect"},
		"once": {func(s *stage) {
			s.run.Action = activate.Boot
			s.preflight().add(hosttest.Call{Want: `why`, Name: "probe", Root: true, Out: "systemd-boot\n"},
				verb("look", "boot 1", "booted "+oldSystem, "current "+oldSystem, "state running"),
				verb("go", "boot 1", "booted "+oldSystem, "going 1"), hosttest.Call{Want: hosttest.Disconnect, Name: "disconnect"},
				again(verb("look", "boot 2", "booted "+s.top, "current "+s.top, "state running", "left 60")), verb("keep", "boot 2", "final done 0"))
			s.once = true
		}, Changed, "rebooted into the new system, confirmed", "preflight probe look go look disconnect look keep"},
	} {
		t.Run(name, func(t *testing.T) {
			s := onStage(t).connects().copies()
			s.run.Reboot = true
			c.play(s)
			s.releases()
			s.inOrder = !s.once
			o, made := s.play(greetsOld)
			said := o.Detail
			if o.Err != nil {
				said = o.Err.Error()
			}
			if o.State != c.state || !strings.HasPrefix(said, c.want) {
				t.Errorf("%s: %s\n%s", o.State, said, fault.Render(o.Err))
			}
			want := strings.Fields("connect begin protect " + c.made + " release")
			if !slices.Equal(made, want) {
				t.Errorf("asked %q, want %q", made, want)
			}
			if strings.Contains(c.made, "probe") && !s.once && !slices.ContainsFunc(s.said(event.Warning), func(w string) bool { return strings.HasPrefix(w, "no-oneshot: it has no way") }) {
				t.Errorf("warned of %q", s.said(event.Warning))
			}
		})
	}
}
