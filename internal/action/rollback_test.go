package action

import (
	"context"
	"strings"
	"testing"

	"godwit/internal/history"
	"godwit/internal/host/hosttest"
)

// goes are the answers to a rollback to a system.
func goes(system string) []hosttest.Call {
	return []hosttest.Call{
		{Want: `(?s)^\{.*MODE='guard'`, Name: "arm", Root: true, Fed: true, Out: facts("armed", "x", "phase", "activated", "apply-rc", "0 ok", "old", sysB, "current", system, "id", "x")},
		{Want: `VERB='confirm'`, Name: "confirm", Root: true, Fresh: true, Out: facts("phase", "committing", "final", "committed", "apply-rc", "0 ok", "decision", "commit", "old", sysB, "current", system)},
		{Want: `VERB='attend'`, Root: true, Fresh: true, Fed: true, Again: true, Out: "::godwit beat 40 activated \n", Stays: true},
	}
}

func TestRollback(t *testing.T) {
	three := []string{sysA, sysC, sysB}
	for name, c := range map[string]struct {
		to   int
		dry  bool
		m    machine
		want string
	}{
		"the one before":   {m: machine{generations: three, more: goes(sysC)}, want: "web: changed runs the system of generation 2 again, confirmed"},
		"one by number":    {to: 1, m: machine{generations: three, more: goes(sysA)}, want: "web: changed runs the system of generation 1 again, confirmed"},
		"what runs":        {to: 3, m: machine{generations: three}, want: "web: unchanged runs the system of generation 3 already"},
		"none of a number": {to: 9, m: machine{generations: three}, want: "web: failed web: there is no generation 9"},
		"none before":      {m: machine{generations: three[2:]}, want: "web: failed web: there is no earlier generation to go back to"},
		"dry run":          {dry: true, m: machine{generations: three}, want: "web: skipped dry run: would activate generation 2"},
	} {
		t.Run(name, func(t *testing.T) {
			e, v := fleetOf(t, web("web"), c.m.on(t, "web"))
			e.DryRun, e.Message = c.dry, "it was slow"
			sum, err := Rollback(t.Context(), e, RollbackRequest{HostsRequest: everyone, To: c.to})
			if err != nil || ends(sum) != c.want {
				t.Errorf("%v %v\n%s", ends(sum), err, v.said("web"))
			}
			// It is remembered here, with why.
			db, err := history.Open(context.Background(), "")
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			entries, err := db.Entries(t.Context(), history.Filter{})
			if c.dry && len(entries) != 0 || !c.dry && (len(entries) != 1 || entries[0].Action != "rollback" || entries[0].Message != "it was slow" || entries[0].User != "ana") || err != nil {
				t.Errorf("remembered %+v, %v", entries, err)
			}
		})
	}
}

func TestRollbackOthers(t *testing.T) {
	e, v := fleetOf(t, web("web"), machine{generations: []string{sysA, sysB}, records: []string{
		`{"id":"a","old":"` + sysA + `","new":"` + sysB + `","result":"committed","started":1,"ended":2,"profiles":[{"name":"system"},{"name":"ana"}]}`,
	}}.on(t, "web"))
	e.DryRun = true
	if _, err := Rollback(t.Context(), e, RollbackRequest{HostsRequest: everyone}); err != nil {
		t.Fatal(err)
	}
	if said := v.said("web"); !strings.Contains(said, "the system alone goes back; other profiles of the host stay as they are: ana") {
		t.Error(said)
	}

	// A record that says what they were takes all of them back, or one.
	for profile, want := range map[string]string{"": "activate profiles system, ana again", "ana": "activate profile 'ana' again"} {
		e, v := fleetOf(t, web("web"), machine{generations: []string{sysA, sysB}, records: []string{
			`{"id":"a","old":"` + sysA + `","new":"` + sysB + `","result":"committed","started":1,"ended":2,"profiles":[{"name":"system","kind":"nixos","old":"` + sysA + `","new":"` + sysB + `"},` +
				`{"name":"ana","kind":"home","owner":"ana","link":"/home/ana/p","old":"/nix/store/a","new":"/nix/store/b"}]}`,
		}}.on(t, "web"))
		e.DryRun = true
		sum, err := Rollback(t.Context(), e, RollbackRequest{HostsRequest: everyone, Profile: profile})
		if err != nil || !strings.Contains(ends(sum), want) {
			t.Errorf("%q: %s %v\n%s", profile, ends(sum), err, v.said("web"))
		}
	}
}
