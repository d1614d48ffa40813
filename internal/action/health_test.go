package action

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/fleet"
	"godwit/internal/host"
	"godwit/internal/host/hosttest"
)

func checks(command string) fleet.Checks {
	return fleet.Checks{Cmd: []fleet.CmdCheck{{Description: "page", Cmd: []string{command}, Period: time.Hour, Timeout: time.Second}}}
}

func TestCheckHealth(t *testing.T) {
	hosts := []fleet.Host{{Name: "web", HealthChecks: checks("ok")}, {Name: "db", HealthChecks: checks("bad")}, {Name: "plain"}}
	fakes := func() []*hosttest.Host {
		return []*hosttest.Host{connects(t, "web", hosttest.Call{Want: "^ok$"}), connects(t, "db", hosttest.Call{Want: "^bad$", Err: &host.ExitError{Code: 1}, Again: true}), hosttest.New(t, "plain")}
	}
	r := HealthRequest{HostsRequest: everyone, Timeout: 100 * time.Millisecond}
	e, _ := fleetOf(t, hosts, fakes()...)
	sum, err := CheckHealth(t.Context(), e, r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"web: healthy 1/1 checks", "db: failed db: gave up waiting for health checks", "plain: skipped no health checks"} {
		if !strings.Contains(ends(sum), want) {
			t.Errorf("no %q in\n%s", want, ends(sum))
		}
	}
	e, _ = fleetOf(t, hosts, hosttest.New(t, "web"), hosttest.New(t, "db"), hosttest.New(t, "plain"))
	e.DryRun = true
	if sum, err := CheckHealth(t.Context(), e, r); err != nil || !strings.Contains(ends(sum), "web: skipped dry run: would run 1 checks") {
		t.Errorf("%v %v", ends(sum), err)
	}
}

func TestUploadSecretsRefuses(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	there := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(there, []byte("k"), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := func(file string) []fleet.Secret {
		return []fleet.Secret{{Name: "key", From: fleet.Content{File: file}, Destination: "/run/keys/key", User: "root", Group: "root", Permissions: "0400"}}
	}
	e, _ := fleetOf(t, []fleet.Host{{Name: "web", Secrets: secret(gone)}}, connects(t, "web"))
	if _, err := UploadSecrets(t.Context(), e, SecretsRequest{HostsRequest: everyone}); err == nil || !strings.Contains(err.Error(), "key") {
		t.Error(err)
	}
	e, _ = fleetOf(t, []fleet.Host{{Name: "web", Secrets: secret(there)}, {Name: "plain"}}, hosttest.New(t, "web"), hosttest.New(t, "plain"))
	e.DryRun = true
	sum, err := UploadSecrets(t.Context(), e, SecretsRequest{HostsRequest: everyone})
	if err != nil || ends(sum) != "web: skipped dry run: would upload 1 secret\nplain: skipped no secrets" {
		t.Errorf("%v %v", ends(sum), err)
	}
}
