package action

import (
	"strings"
	"testing"

	"godwit/internal/fleet"
	"godwit/internal/host/hosttest"
)

// systems are hosts that are to run a system.
func systems(of map[string]string, names ...string) (out []fleet.Host) {
	for _, n := range names {
		out = append(out, fleet.Host{Name: n, Profiles: []fleet.Profile{fleet.System("", of[n])}})
	}
	return out
}

func TestStatus(t *testing.T) {
	hosts := systems(map[string]string{"web": sysB, "db": sysA, "drift": sysC}, "web", "db", "drift")
	e, _ := fleetOf(t, hosts, machine{generations: []string{sysA, sysB}}.on(t, "web"), machine{generations: []string{sysA, sysB}}.on(t, "drift"),
		hosttest.New(t, "db", hosttest.Call{Want: hosttest.Connect, Err: noAnswer, Again: true}))
	asked := &seen{}
	f, err := Status(t.Context(), e, StatusRequest{HostsRequest: everyone, Asked: asked})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range f.Hosts {
		got = append(got, h.Host+": "+h.Summary())
	}
	want := "web: as in repository|db: no answer on db:22 within 10s|drift: differs from the repository"
	if s := strings.Join(got, "|"); s != want || f.OK || !strings.HasSuffix(f.File, "fleet.nix") {
		t.Errorf("%s, %+v", s, f)
	}
	if said := asked.said("web"); !strings.Contains(said, "started") || !strings.Contains(said, "done") {
		t.Error(said)
	}
	// Without anybody asked for the systems there is nothing to differ from.
	e2, _ := fleetOf(t, web("web"), machine{generations: []string{sysA, sysB}}.on(t, "web"))
	if f, err := Status(t.Context(), e2, StatusRequest{HostsRequest: everyone, NoEval: true}); err != nil || !f.OK {
		t.Errorf("%+v, %v", f, err)
	}
}
