package activate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/event"
	"godwit/internal/fault"
	"godwit/internal/profile"
	"godwit/internal/profile/nixos"
	"godwit/internal/shell"
)

// exits reads what is known about how the activation ended.
func (d *run) exits() {
	if rc, _, _ := strings.Cut(d.fr.fact("apply-rc"), " "); rc != "" {
		d.res.ExitCode, _ = strconv.Atoi(rc)
		d.res.Meaning = d.req.kindOf(d.fr.fact("failed")).Meaning(d.res.ExitCode, d.res.Log)
	} else if d.fr.has("started") || d.fr.has("apply-result") {
		d.res.Meaning = "the activation " + unitMeaning(d.fr.fact("apply-result"), d.activate.String())
	}
	d.res.Failed = d.fr.fact("failed")
	d.res.NewlyFailed = slices.Concat(d.fr.facts["failed-new"], d.fr.facts["parts-new"])
	if r := d.fr.fact("reason"); r != "" && d.res.Reason == "" {
		d.res.Reason = r
	}
}

// conclude turns the final state into a result and, if it is not the new
// system, into an error that says what runs now, why, and what to do.
func (d *run) conclude() error {
	d.fr.flush()
	d.exits()
	if c := d.fr.fact("current"); c != "" {
		d.res.Running = c
	}
	if old := d.fr.fact("old"); old != "" {
		d.res.OldSystem = old
	}
	d.res.Profiles = d.changed()
	if d.fr.has("gone") {
		return d.rebooted()
	}
	return d.final(d.fr.fact("final"))
}

// changed is what the host says of each profile.
func (d *run) changed() []Changed {
	said := d.fr.profiles()
	var all []Changed
	for i, c := range d.req.Profiles {
		is := Changed{Name: c.Name, Kind: c.Kind, New: c.New}
		if j := slices.IndexFunc(said, func(p hostProfile) bool { return p.name == c.Name }); j >= 0 {
			is.Old, is.Running = said[j].old, said[j].now
		} else if i == d.req.main {
			is.Old, is.Running = d.res.OldSystem, d.res.Running
		}
		all = append(all, is)
	}
	return all
}

func (d *run) final(final string) error {
	word, _, _ := strings.Cut(final, " ")
	host := d.req.Host
	fail := func(format string, args ...any) *fault.Error {
		return fault.New(format, args...).On(host).Exit(ExitFailed)
	}
	switch word {
	case "committed", "done":
		switch {
		case d.req.Action == DryActivate:
			d.res.Outcome = event.OutcomeOK
		case d.res.OldSystem == d.req.Activation:
			d.res.Outcome = event.OutcomeUnchanged
		default:
			d.res.Outcome = event.OutcomeChanged
		}
		d.res.Reason = ""
		if word == "committed" {
			d.phase(Confirmed)
		}
		for _, part := range d.fr.facts["parts-known"] { // "NAME: why it does not matter"
			name, why, _ := strings.Cut(part, ": ")
			d.sc.Warn(name + " failed, which does not take the host back: " + why)
		}
		if d.res.ExitCode == 4 && !d.fr.has("parts-known") {
			d.sc.Warn("some units failed, all of which had failed before or are ignored")
		}
		return nil

	case "rolled-back":
		d.res.Outcome = event.OutcomeRolledBack
		f := fail("%s; it went back by itself", d.why()).Exit(ExitRolledBack)
		d.failedUnits(f)
		d.lastLines(f)
		f.Detail(fmt.Sprintf("running now   %s (as before the deploy)", cmp.Or(d.res.Running, "nothing")))
		d.otherProfiles(f)
		if d.res.Running != d.res.OldSystem {
			f.Detail("expected      " + d.res.OldSystem)
		}
		if how := d.wayBack(); how != "" {
			f.Detail("went back     " + how)
		}
		d.bootUnsure(f)
		d.overTime(f)
		d.wentBack(f, strings.TrimPrefix(final, "rolled-back "))
		return f.Hint("godwit diff %s shows what would have changed; godwit history %s keeps the record", host, host)

	case "aborted":
		switch kind, what, _ := strings.Cut(d.fr.fact("untouched"), " "); kind {
		case "100":
			return d.needsBoot("switch-to-configuration refused, because " + nixos.ExitMeaning(100))
		case "locked":
			return held(host, what)
		case "declined":
			f := fail("%s; nothing was changed", d.meaning())
			d.lastLines(f)
			return f
		case "switched":
			return fail("somebody else switched this host to another system before godwit could; nothing was changed").
				Detail("running now   "+d.res.Running, "godwit's old  "+d.res.OldSystem).Hint("godwit status %s", host)
		}
		return fail("%s; nothing was changed", d.why())

	case "superseded":
		f := fail("somebody else switched this host to another system meanwhile; godwit touched nothing more")
		return f.Detail("running now   "+d.res.Running, "godwit's old  "+d.res.OldSystem, "godwit's new  "+d.req.Activation).
			Hint("godwit status %s", host)

	case "rollback-failed":
		f := fail("%s, and three attempts to go back failed", d.why())
		if by := d.fr.fact("held"); by != "" {
			f.Msg = fmt.Sprintf("%s, and it could not go back: another switch-to-configuration was running all the time (process %s)", d.why(), by)
		} else if d.res.Running == d.res.OldSystem {
			f.Detail("the new system did not become the running one, and switch-to-configuration of the old one failed, too: some of its units may be stopped")
		}
		f.Detail("running now   "+d.res.Running, "should run    "+d.res.OldSystem, "the boot default is the old system, and its gc root is kept")
		d.lastLines(f)
		d.otherProfiles(f)
		return d.byHand(f, d.res.OldSystem, Test, "").Hint("or reboot %s: it boots the old system", host)

	case "failed": // without the guard
		f := fail("%s failed: %s", d.req.Action, d.meaning())
		switch d.req.Action {
		case Boot:
			if !d.bootUnsure(f) {
				f.Detail("the profile was put back; the host boots what it booted before")
			}
		case Switch, Test:
			if d.fr.has("restored") {
				f.Detail("there was no guard, but what ran before was activated again")
				break
			}
			d.mixed(f)
		}
		d.overTime(f)
		d.failedUnits(f)
		d.lastLines(f)
		return f
	}
	return fail("the deployment ended in a state that this godwit does not know: %q", final)
}

// mixed says what a host may run whose activation failed without a guard.
func (d *run) mixed(f *fault.Error) {
	switch {
	case d.req.Action == Test:
		f.Detail("there was no guard: the host may run a mix of both systems until it reboots")
	case d.res.ExitCode == 100:
		f.Msg = "the new system is the boot default, but it cannot be switched to: " + nixos.ExitMeaning(100)
		f.Hint("%s", d.r.Typed(nil, "sudo", "systemctl", "reboot"))
	default:
		f.Detail("there was no guard: the profile names the new system, and the host may run a mix of both")
		if d.state.NoSwitchOld == "" {
			_ = d.byHand(f, d.res.OldSystem, Switch, " goes back")
		}
	}
}

// why says in one clause why the new system was not confirmed.
func (d *run) why() string {
	reason := d.res.Reason
	lost := ""
	if said := cmp.Or(d.unheard, d.dropped); said != "" {
		lost = " (" + said + ")"
	}
	switch {
	case strings.HasPrefix(reason, "the activation"):
		return d.meaning()
	case strings.HasPrefix(reason, "checks failed"), strings.HasPrefix(reason, "the boot default"):
		return reason
	case strings.HasPrefix(reason, "units failed after"):
		return "units failed after the activation: " + strings.Join(d.res.NewlyFailed, ", ")
	case strings.HasPrefix(reason, "not reached on"):
		return "the new system did not answer on a new connection within " + d.silence.String() + lost
	case strings.HasPrefix(reason, "not confirmed") && d.unreached:
		return "the new system did not answer on a new connection within " + d.confirm.String() + lost
	case strings.HasPrefix(reason, "not confirmed"):
		return "the new system was not confirmed within " + d.confirm.String() + lost
	case strings.HasPrefix(reason, "not reached: "):
		return "no new connection to the new system: " + cmp.Or(d.unheard, strings.TrimPrefix(reason, "not reached: "))
	case strings.HasPrefix(reason, "not heard"):
		why := "the new system was not confirmed: the host did not hear from godwit for " + d.silence.String()
		if d.unheard != "" {
			why += " (" + d.unheard + ")"
		}
		return why
	case reason == "":
		return "the deployment was not confirmed"
	}
	return "the new system was not confirmed (" + reason + ")"
}

func (d *run) meaning() string {
	if d.res.Failed != "" {
		return "profile '" + d.res.Failed + "': " + d.meaningOf()
	}
	return d.meaningOf()
}

func (d *run) meaningOf() string {
	if n := d.res.NewlyFailed; d.res.ExitCode == 4 && len(n) > 0 {
		what := strings.Join(n[:min(len(n), 3)], ", ")
		if more := len(n) - 3; more > 0 {
			what += fmt.Sprintf(" and %d more", more)
		}
		return "activated, but " + what + " failed (exit 4)"
	}
	if d.res.ExitCode > 0 {
		return fmt.Sprintf("%s (exit %d)", d.res.Meaning, d.res.ExitCode)
	}
	if d.res.Meaning == "" || d.res.Meaning == nixos.ExitMeaning(0) {
		return "the activation " + unitMeaning(d.fr.fact("apply-result"), d.activate.String())
	}
	return d.res.Meaning
}

// otherProfiles says what became of the profiles besides the main one.
func (d *run) otherProfiles(f *fault.Error) {
	for i, c := range d.res.Profiles {
		if i == d.req.main {
			continue
		}
		f.Detail(fmt.Sprintf("profile '%s' is %s", c.Name, cmp.Or(c.Running, "not there, as before the deploy")))
		if c.Running != c.Old {
			f.Detail("  expected    " + cmp.Or(c.Old, "nothing"))
		}
	}
}

// failedUnits names what failed, where to look, and how to take it as it is.
func (d *run) failedUnits(f *fault.Error) {
	failed := d.res.NewlyFailed
	if len(failed) == 0 {
		return
	}
	f.Detail("newly failed  " + strings.Join(failed, ", "))
	name := failed[0]
	if user, ok := strings.CutPrefix(name, "user activation for "); ok {
		f.Hint("%s", d.r.Typed(nil, "sudo", "sh", "-c", "journalctl -b _UID=$(id -u "+shell.Word(user)+")"))
	} else {
		f.Hint("%s", d.r.Typed(nil, "journalctl", "-b", "-u", name[strings.LastIndex(name, " ")+1:]))
	}
	if parts := d.fr.facts["parts-new"]; len(parts) > 0 && parts[0] != "the activation script" {
		f.Hint("--accept-failed %s takes the new system as it is", parts[0])
	}
}

// wentBack tells what was odd on the way back. status is that of the old system's
// switch-to-configuration, or the name of a signal.
func (d *run) wentBack(f *fault.Error, status string) {
	again := d.fr.facts["parts-old"]
	code, err := strconv.Atoi(status)
	switch {
	case err == nil && code == 0, code == 4 && len(again) > 0:
	case code == 4:
		d.sc.Warn("some units of the old system failed during the rollback", string(d.r.Typed(nil, "systemctl", "--failed")))
	case err == nil:
		d.sc.Warn(fmt.Sprintf("the old system runs, though its switch-to-configuration ended with status %d every time: %s", code, nixos.ExitMeaning(code)),
			string(d.r.Typed(nil, "systemctl", "--failed")))
	default:
		d.sc.Warn("the old system runs, though its switch-to-configuration had to be killed every time", string(d.r.Typed(nil, "systemctl", "--failed")))
	}
	if len(again) > 0 {
		d.sc.Warn("these failed on the way back, too: " + strings.Join(again, ", "))
	}
	if slices.ContainsFunc(d.fr.facts["parts-new"], func(part string) bool { return slices.Contains(again, part) }) {
		f.Detail("that failed with the old system, too, so the next deploy counts it as known and goes on")
	}
}

// byHand hints at the command with which a person makes a path run.
func (d *run) byHand(f *fault.Error, path string, a Action, then string) *fault.Error {
	words := d.req.kind().ByHand(path, a)
	if path == "" || len(words) == 0 {
		return f
	}
	as := []string{"sudo"}
	if owner := d.req.Profiles[d.req.main].Owner; owner != "" {
		as = append(as, "-u", owner)
	}
	return f.Hint("%s%s", d.r.Typed(nil, append(as, words...)...), fault.Raw(then))
}

// overTime says how an activation that took too long gets more time.
func (d *run) overTime(f *fault.Error) {
	if !strings.HasPrefix(d.fr.fact("apply-result"), "timeout") {
		return
	}
	if busy := d.waits.busy; busy != "" {
		f.Detail("it waited for " + busy)
		if _, unit, _ := strings.Cut(busy, " "); strings.Contains(unit, ".") && !strings.ContainsAny(unit, " ?") {
			f.Hint("%s", d.r.Typed(nil, "systemctl", "status", unit))
		}
	}
	f.Hint("--activate-timeout %d gives it twice as long", 2*seconds(d.activate))
}

// bootUnsure tells of a boot loader that failed, or hung, when it was to be set
// again for the old system.
func (d *run) bootUnsure(f *fault.Error) bool {
	if !d.fr.has("boot-unsure") {
		return false
	}
	f.Detail("the profile was put back, but the boot loader could not be set again: the host may boot either system, or neither")
	_ = d.byHand(f, cmp.Or(d.state.Profile, d.res.OldSystem), Boot, ", before it reboots")
	return true
}

// rebooted: the deployment's folder is gone, so the host has booted since. The
// record in /var/lib outlives that, and says whether it had been confirmed.
func (d *run) rebooted() error {
	var rec Record
	if r := d.fr.fact("record"); r != "" && json.Unmarshal([]byte(r), &rec) == nil {
		if d.res.Reason == "" {
			d.res.Reason = rec.Reason
		}
		if rec.Result == "committed" || strings.HasPrefix(rec.Result, "done") {
			if d.res.Running == d.req.Activation || d.res.Running == d.req.NewSystem || d.req.Action == Test || d.req.Action == Boot {
				d.sc.Note("the host rebooted after it had been confirmed")
				d.res.Outcome = event.OutcomeChanged
				return nil
			}
		}
	}
	host := d.req.Host
	if d.fr.fact("boot-id") == d.state.BootID {
		return fault.New("somebody removed the deployment's folder in %s on the host", d.req.at.Run).On(host).Exit(ExitFailed).
			Detail("running now   "+d.res.Running).Hint("godwit status %s", host)
	}
	f := fault.New("the host rebooted before the new system was confirmed").On(host)
	f.Detail("running now   " + d.res.Running)
	lasting := slices.ContainsFunc(d.req.kinds(), func(k profile.Kind) bool { return k.Lasts })
	switch {
	case !lasting:
	case d.fr.has("interrupted"):
		f.Detail("profiles that are not the system itself go back now that it has booted, or else with the next deploy")
	default:
		f.Detail("profiles that are not the system itself have gone back, too")
	}
	if !d.req.kind().Boots {
		f.Msg = "the host rebooted before it was confirmed"
		if lasting && !d.fr.has("interrupted") {
			d.res.Outcome = event.OutcomeRolledBack
			return f.Exit(ExitRolledBack).Hint("run the same deploy again")
		}
		return f.Exit(ExitFailed).Hint("run the same deploy again")
	}
	switch d.res.Running {
	case d.state.Current:
		d.res.Outcome = event.OutcomeRolledBack
		d.res.Reason = "the host rebooted"
		f.Msg += "; it booted the system that it ran before"
		if d.res.Meaning != "" && d.res.ExitCode != 0 {
			f.Detail("before that    " + d.meaning())
		}
		return f.Exit(ExitRolledBack).Hint("run the same deploy again")
	case d.req.NewSystem:
		// Cut after the boot default was set and before the record of it.
		d.res.Outcome = event.OutcomeChanged
		d.sc.Warn("the host rebooted during the confirmation, into the new system")
		return nil
	}
	if d.res.Running == d.state.BootDefaultGuess() {
		d.res.Outcome = event.OutcomeRolledBack
	}
	return f.Exit(ExitFailed).Hint("godwit status %s", host)
}

// needsBoot is the way out for a system that cannot be switched to.
func (d *run) needsBoot(why string) error { return needsBoot(d.req.Host, why) }

func needsBoot(host, why string) *fault.Error {
	return fault.New("%s; nothing was changed", why).On(host).Exit(ExitFailed).
		Hint("godwit deploy boot --reboot --on %s makes it the system of the next boot and reboots", host)
}

var _ = event.Log
