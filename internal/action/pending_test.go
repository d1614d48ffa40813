package action

import (
	"strings"
	"testing"

	"godwit/internal/host/hosttest"
)

// asked is a machine on which something waits, or nothing: what godwit's reboot script and
// the guard's say.
func asked(once string, guard ...hosttest.Call) machine {
	m := machine{generations: []string{sysA, sysB}, more: append([]hosttest.Call{
		{Want: `(?m)^VERB='look'$`, Name: "reboot", Root: true, Again: true, EitherWay: true, Out: "boot 1\nbooted " + sysB + "\ncurrent " + sysB + "\n" + once + "end\n"},
		{Want: `^\[ "\$\(readlink`, Again: true, Root: true}, // the root of the push
	}, guard...)}
	if len(guard) > 0 {
		m.pending = facts("id", "x", "action", "switch", "toplevel", sysB, "mode", "guard", "phase", "activated", "apply-rc", "0 ok", "old", sysA, "new", sysB, "current", sysB)
	}
	return m
}

func TestConfirm(t *testing.T) {
	final := func(verb, word string) hosttest.Call {
		return hosttest.Call{Want: `VERB='` + verb + `'`, Root: true, EitherWay: true, Out: facts("id", "x", "phase", "committing", "final", word, "apply-rc", "0 ok", "old", sysA, "new", sysB, "current", sysB)}
	}
	e, _ := fleetOf(t, web("web"), asked("", final("confirm", "committed")).on(t, "web"))
	if sum, err := Confirm(t.Context(), e, everyone); err != nil || ends(sum) != "web: changed confirmed x" {
		t.Errorf("%v %v", ends(sum), err)
	}
	e, _ = fleetOf(t, web("web"), asked("", final("cancel", "rolled-back 0")).on(t, "web"))
	if sum, err := RollbackPending(t.Context(), e, everyone); err != nil || ends(sum) != "web: changed went back, ended x" {
		t.Errorf("%v %v", ends(sum), err)
	}
	for _, f := range []func() (*Summary, error){
		func() (*Summary, error) { return Confirm(t.Context(), e, everyone) },
		func() (*Summary, error) { return RollbackPending(t.Context(), e, everyone) },
	} {
		e, _ = fleetOf(t, web("web"), hosttest.New(t, "web"))
		e.DryRun = true
		if sum, err := f(); err != nil || !strings.Contains(ends(sum), " what is pending") {
			t.Errorf("%v %v", ends(sum), err)
		}
	}
	// A system that was booted once.
	e, _ = fleetOf(t, web("web"), asked("id y\nnew "+sysC+"\nold "+sysA+"\ngoing 1\n").on(t, "web"))
	sum, err := Confirm(t.Context(), e, everyone)
	if err != nil || !strings.Contains(ends(sum), "it has not booted the new system yet") {
		t.Errorf("%v %v", ends(sum), err)
	}
}
