package action

import (
	"strings"
	"testing"

	"godwit/internal/fault"
	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/host/hosttest"
)

var noAnswer = fault.New("no answer on db:22 within 10s").On("db").Because(&host.ConnectError{Kind: host.Timeout})

func TestExec(t *testing.T) {
	hosts := append(web("web", "db", "bad"), fleet.Host{Name: "image", BuildOnly: true})
	e, v := fleetOf(t, hosts,
		connects(t, "web", hosttest.Call{Want: "^uptime$", Out: "up 3 days\n", Stderr: "careful\n"}),
		hosttest.New(t, "db", hosttest.Call{Want: hosttest.Connect, Err: noAnswer, Again: true}),
		connects(t, "bad", hosttest.Call{Want: "^uptime$", Err: &host.ExitError{Code: 3}}),
		hosttest.New(t, "image"))
	sum, err := Exec(t.Context(), e, ExecRequest{HostsRequest: everyone, Line: "uptime"})
	if err != nil {
		t.Fatal(err)
	}
	got := ends(sum)
	for _, want := range []string{"web: ran exit 0", "db: failed db: no answer on db:22 within 10s", "bad: failed bad: ", "image: skipped build-only host: not touched"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if said := v.said("web"); !strings.Contains(said, "log up 3 days") || !strings.Contains(said, "log careful") {
		t.Error(said)
	}
}

// TestExecSudo: a first word sudo becomes root in the way of the run, and a dry run runs
// nothing.
func TestExecSudo(t *testing.T) {
	e, _ := fleetOf(t, web("web"), connects(t, "web", hosttest.Call{Want: "^id -u$", Root: true, Out: "0\n"}))
	r := ExecRequest{HostsRequest: everyone, Line: "sudo id -u"}
	if sum, err := Exec(t.Context(), e, r); err != nil || ends(sum) != "web: ran exit 0" {
		t.Error(ends(sum), err)
	}
	e, v := fleetOf(t, web("web"), hosttest.New(t, "web"))
	e.DryRun = true
	if sum, err := Exec(t.Context(), e, r); err != nil || !strings.Contains(ends(sum), "dry run: would run sudo id -u") {
		t.Error(ends(sum), err, v.said("web"))
	}
}

// TestNobodyChosen: a run of no host is an error.
func TestNobodyChosen(t *testing.T) {
	e, _ := fleetOf(t, web("web"))
	r := everyone
	r.Selection.Skip = 1
	if _, err := Exec(t.Context(), e, ExecRequest{HostsRequest: r, Line: "x"}); err == nil || !strings.Contains(err.Error(), "no hosts selected") {
		t.Error(err)
	}
}
